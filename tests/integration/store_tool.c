/* One store operation from the command line, for the integration tests and the benchmark:
 *
 *   store-tool [--url U] [--endpoint E] … OPERATION ARGUMENT…
 *
 * Each operation prints one JSON line: {"ok": true, …} or {"ok": false, "class", "exit", "reason", "message"}, with the CPU
 * and wall seconds it took. "-" as the operation reads operations from stdin, a line each, arguments separated by tabs, so
 * that one handle (its connections, its corrected clock) serves several. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cli.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/store/store.h"

enum { GET_MAX = 64 << 20, ARGUMENTS_MAX = 8 };

static struct {
    struct store_config config;
    int64_t connections, clock_offset_ms;
    const char *addressing;
} options;

/* A clock that is off, as a laptop's may be. */
static int64_t off_wall_ms(void *ctx)
{
    (void)ctx;
    return clock_system.wall_ms(clock_system.ctx) + options.clock_offset_ms;
}

#define STRING(flag, field)                                                           \
    {                                                                                 \
        .name = flag, .kind = CLI_STRING, .metavar = "S",                             \
        .offset = offsetof(__typeof__(options), config.field), .help = "See store.h." \
    }
static const struct cli_option option_table[] = {STRING("url", url),
                                                 STRING("endpoint", endpoint),
                                                 STRING("region", region),
                                                 STRING("credentials-dir", credentials_dir),
                                                 STRING("access-key-id", access_key_id),
                                                 STRING("secret-access-key", secret_access_key),
                                                 STRING("session-token", session_token),
                                                 STRING("token-file", web_identity_token_file),
                                                 STRING("role-arn", role_arn),
                                                 STRING("sts-endpoint", sts_endpoint),
                                                 STRING("ca-file", ca_file),
                                                 STRING("sse", sse),
                                                 STRING("sse-key-id", sse_key_id),
                                                 {.name = "unsigned",
                                                  .kind = CLI_FLAG,
                                                  .offset =
                                                      offsetof(__typeof__(options), config.unsigned_payload),
                                                  .help = "See store.h."},
                                                 {.name = "deadline",
                                                  .kind = CLI_DURATION,
                                                  .metavar = "T",
                                                  .offset = offsetof(__typeof__(options), config.deadline_ms),
                                                  .help = "See store.h."},
                                                 {.name = "part-bytes",
                                                  .kind = CLI_INT,
                                                  .metavar = "N",
                                                  .offset = offsetof(__typeof__(options), config.part_bytes),
                                                  .help = "See store.h."},
                                                 {.name = "connections",
                                                  .kind = CLI_INT,
                                                  .metavar = "N",
                                                  .offset = offsetof(__typeof__(options), connections),
                                                  .help = "See store.h."},
                                                 {.name = "addressing",
                                                  .kind = CLI_STRING,
                                                  .metavar = "S",
                                                  .offset = offsetof(__typeof__(options), addressing),
                                                  .fallback = "auto",
                                                  .help = "See store.h."},
                                                 {.name = "clock-offset",
                                                  .kind = CLI_DURATION,
                                                  .metavar = "T",
                                                  .offset = offsetof(__typeof__(options), clock_offset_ms),
                                                  .help = "The clock is off by this."},
                                                 CLI_END};

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *or_null(const char *s)
{
    return s && *s && !text_equal(s, "-") ? s : NULL;
}

static int64_t number(const char *s, int64_t fallback)
{
    struct err err = ERR_INIT;
    int64_t n;
    return s && text_parse_int(s, &n, &err) == 0 ? n : fallback;
}

static int do_get(struct store *s, char **a, cJSON *out, struct err *err)
{
    _cleanup_free_ char *data = NULL;
    size_t len;
    char etag[STORE_ETAG_MAX], sha256[DIGEST_HEX];
    if (store_get(s, a[0], (size_t)number(a[1], GET_MAX), &data, &len, etag, err) < 0)
        return -1;
    sha256_hex(data, len, sha256);
    json_add_string(out, "etag", etag);
    json_add_int(out, "size", (int64_t)len);
    json_add_string(out, "sha256", sha256);
    if (len < 1000 && text_valid_utf8(data, len))
        json_add_string(out, "text", data);
    return 0;
}

static int do_range(struct store *s, char **a, cJSON *out, struct err *err)
{
    size_t len = (size_t)number(a[2], 0);
    _cleanup_free_ char *data = xcalloc(1, len + 1);
    if (store_get_range(s, a[0], number(a[1], 0), len, data, err) < 0)
        return -1;
    char sha256[DIGEST_HEX];
    sha256_hex(data, len, sha256);
    json_add_string(out, "sha256", sha256);
    return 0;
}

static int do_getfile(struct store *s, char **a, cJSON *out, struct err *err)
{
    (void)out;
    return store_get_file(s, a[0], a[1], or_null(a[2]), number(a[3], -1), or_null(a[4]), err);
}

static int do_head(struct store *s, char **a, cJSON *out, struct err *err)
{
    struct store_object o;
    if (store_head(s, a[0], &o, err) < 0)
        return -1;
    json_add_int(out, "size", o.size);
    json_add_int(out, "mtime_ms", o.mtime_ms);
    json_add_string(out, "etag", o.etag);
    return 0;
}

/* put KEY TEXT [none | ETAG] */
static int do_put(struct store *s, char **a, cJSON *out, struct err *err)
{
    char etag[STORE_ETAG_MAX];
    const char *condition = or_null(a[2]), *text = a[1] ? a[1] : "";
    enum store_condition cond = !condition                      ? STORE_ALWAYS
                                : text_equal(condition, "none") ? STORE_IF_NONE
                                                                : STORE_IF_MATCH;
    if (store_put(s, a[0], text, strlen(text), cond, condition, etag, err) < 0)
        return -1;
    json_add_string(out, "etag", etag);
    return 0;
}

static int do_putfile(struct store *s, char **a, cJSON *out, struct err *err)
{
    (void)out;
    return store_put_file(s, a[0], a[1], or_null(a[2]), err);
}

static int do_delete(struct store *s, char **a, cJSON *out, struct err *err)
{
    (void)out;
    return store_delete(s, a[0], err);
}

static int do_probe(struct store *s, char **a, cJSON *out, struct err *err)
{
    (void)a, (void)out;
    return store_probe(s, err);
}

struct listed {
    cJSON *keys;
    int64_t n, bytes;
};

static int each(void *ctx, const struct store_object *o, struct err *err)
{
    struct listed *l = ctx;
    (void)err;
    l->n++;
    l->bytes += o->size;
    if (l->n <= 2000) {
        cJSON *key = cJSON_CreateString(o->key);
        json_append(l->keys, key);
    }
    return 0;
}

static int do_list(struct store *s, char **a, cJSON *out, struct err *err)
{
    struct listed l = {.keys = json_array()};
    int r = store_list(s, a[0] ? a[0] : "", each, &l, err);
    json_add(out, "keys", l.keys);
    json_add_int(out, "n", l.n);
    json_add_int(out, "bytes", l.bytes);
    return r;
}

static const struct {
    const char *name;
    int (*run)(struct store *s, char **arguments, cJSON *out, struct err *err);
} operations[] = {{"get", do_get},       {"range", do_range}, {"getfile", do_getfile},
                  {"head", do_head},     {"put", do_put},     {"putfile", do_putfile},
                  {"delete", do_delete}, {"probe", do_probe}, {"list", do_list}};

static int run(struct store *s, const char *name, char **arguments)
{
    _cleanup_json_ cJSON *out = json_object();
    _cleanup_buf_ struct buf line = BUF_INIT(64 << 20);
    struct err err = ERR_INIT;
    int r = -1;
    bool known = false;
    double cpu = cpu_seconds(), wall = wall_seconds();
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
        if (text_equal(operations[i].name, name)) {
            known = true;
            r = operations[i].run(s, arguments, out, &err);
        }
    if (!known)
        (void)err_fail(&err, ERR_INVALID, EXITCODE_USAGE, "usage", "no operation \"%s\"", name);
    json_add_double(out, "cpu", cpu_seconds() - cpu);
    json_add_double(out, "wall", wall_seconds() - wall);
    json_add_bool(out, "ok", r == 0);
    if (r < 0) {
        json_add_string(out, "class", err_class_name(err.class_));
        json_add_int(out, "exit", err_exit_code(&err));
        json_add_string(out, "reason", err.reason);
        json_add_string(out, "message", err.msg);
    }
    struct err ignored = ERR_INIT;
    (void)json_canonical(out, &line, &ignored);
    (void)printf("%s\n", buf_str(&line));
    (void)fflush(stdout);
    return r < 0 ? err_exit_code(&err) : 0;
}

static int run_stdin(struct store *s)
{
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *arguments[ARGUMENTS_MAX + 1] = {0};
        int n = 0;
        for (char *p = line; p && n < ARGUMENTS_MAX; n++) {
            arguments[n] = p;
            p = strchr(p, '\t');
            if (p)
                *p++ = '\0';
        }
        (void)run(s, arguments[0], arguments + 1);
    }
    free(line);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct cli_command command = {.name = "store-tool",
                                               .synopsis = "OPERATION ARGUMENT…",
                                               .summary = "One store operation, for tests",
                                               .options = option_table,
                                               .min_args = 1,
                                               .max_args = ARGUMENTS_MAX};
    struct err err = ERR_INIT;
    int n;
    int parsed = cli_parse(&command, argc - 1, argv + 1, &options, &n, &err);
    if (parsed > 0)
        return 0;
    char **args = argv + 1;
    if (parsed == 0 && !options.config.access_key_id && !options.config.credentials_dir &&
        !options.config.web_identity_token_file) {
        options.config.access_key_id = getenv("AWS_ACCESS_KEY_ID");
        options.config.secret_access_key = getenv("AWS_SECRET_ACCESS_KEY");
        options.config.session_token = getenv("AWS_SESSION_TOKEN");
    }
    struct clock off = clock_system;
    off.wall_ms = off_wall_ms;
    options.config.clock = options.clock_offset_ms ? &off : NULL;
    options.config.connections = (int)options.connections;
    options.config.addressing = text_equal(options.addressing, "path")      ? STORE_ADDRESSING_PATH
                                : text_equal(options.addressing, "virtual") ? STORE_ADDRESSING_VIRTUAL
                                                                            : STORE_ADDRESSING_AUTO;
    _cleanup_store_ struct store *s = NULL;
    if (parsed < 0 || store_open(&options.config, &s, &err) < 0) {
        (void)printf("{\"ok\":false,\"exit\":%d,\"reason\":\"%s\",\"class\":\"%s\"}\n", err_exit_code(&err),
                     err.reason, err_class_name(err.class_));
        (void)fprintf(stderr, "store-tool: %s\n", err.msg);
        return err_exit_code(&err);
    }
    if (text_equal(args[0], "-"))
        return run_stdin(s);
    char *arguments[ARGUMENTS_MAX + 1] = {0};
    for (int i = 1; i < n; i++)
        arguments[i - 1] = args[i];
    return run(s, args[0], arguments);
}
