/* From options and environment to a run. The only place of the layer that reads the environment. */
#include <errno.h>
#include <inttypes.h>
#include <sys/statvfs.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "stages/runtime/run-internal.h"

enum { DEFAULT_MEMORY = 2 /* GiB */ };

static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"auto", "json", "text", NULL};

#define AT(field) .offset = offsetof(struct run_options, field)
const struct cli_option run_option_table[] = {
    {.name = "config",
     .kind = CLI_STRING,
     .metavar = "FILE",
     AT(config),
     .env = ENV_CONFIG,
     .help = "The step's configuration as JSON: the body of the step in the manifest."},
    {.name = "input",
     .kind = CLI_LIST,
     .metavar = "NAME=DIR",
     AT(inputs),
     .help = "By hand: a directory with the files of an input."},
    {.name = "output",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(output),
     .help = "By hand: outputs are written to DIR/NAME/."},
    {.name = "store",
     .kind = CLI_STRING,
     .metavar = "URI|FILE",
     AT(store),
     .env = ENV_STORE,
     .help = "Where artifacts live: file:///path, s3://bucket/prefix, or a file that describes it."},
    {.name = "registry",
     .kind = CLI_STRING,
     .metavar = "URI|FILE",
     AT(registry),
     .env = ENV_REGISTRY,
     .help = "Where models are registered; absent: the store."},
    {.name = "scratch",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(scratch),
     .env = ENV_SCRATCH,
     .help = "A writable directory for temporary files; absent: TMPDIR or /tmp."},
    {.name = "scratch-size",
     .kind = CLI_BYTES,
     .metavar = "SIZE",
     AT(scratch_bytes),
     .env = ENV_SCRATCH_BYTES,
     .help = "How much of it may be used (20Gi); absent: what is free."},
    {.name = "threads",
     .kind = CLI_INT,
     .metavar = "N",
     AT(threads),
     .env = ENV_THREADS,
     .fallback = "1",
     .min = 1,
     .max = 1024,
     .help = "Compute threads. Never taken from the machine, for they may change results."},
    {.name = "memory",
     .kind = CLI_BYTES,
     .metavar = "SIZE",
     AT(memory),
     .env = ENV_MEMORY,
     .help = "Memory the step may use (4Gi); absent: 2Gi."},
    {.name = "scheduled-time",
     .kind = CLI_STRING,
     .metavar = "TIME",
     AT(scheduled_time),
     .env = ENV_SCHEDULED_TIME,
     .help = "The run's time, RFC 3339 (2026-01-31T02:00:00Z); absent: now."},
    {.name = "secrets",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(secrets),
     .env = ENV_SECRETS,
     .help = "Directory of mounted Secrets: DIR/SECRET/KEY."},
    {.name = "secret",
     .kind = CLI_LIST,
     .metavar = "NAME=DIR",
     AT(secret_dirs),
     .help = "The directory of one Secret."},
    {.name = "device",
     .kind = CLI_STRING,
     .metavar = "DEVICE",
     AT(device),
     .env = ENV_DEVICE,
     .fallback = "auto",
     .choices = devices,
     .help = "Where to compute."},
    {.name = "result",
     .kind = CLI_STRING,
     .metavar = "FILE",
     AT(result),
     .env = ENV_RESULT,
     .help = "Where the result is written as JSON, too."},
    {.name = "log-level",
     .kind = CLI_STRING,
     .metavar = "LEVEL",
     AT(log_level),
     .env = "TRAINYARD_LOG_LEVEL",
     .fallback = "info",
     .choices = levels,
     .help = "The least important lines to log."},
    {.name = "log-format",
     .kind = CLI_STRING,
     .metavar = "FORMAT",
     AT(log_format),
     .env = "TRAINYARD_LOG_FORMAT",
     .fallback = "auto",
     .choices = formats,
     .help = "JSON lines, or text; auto: text on a terminal."},
    CLI_END,
};

static char *env_copy(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? xstrdup(v) : NULL;
}

static int env_int(const char *name, int64_t fallback, int64_t *ret, struct err *err)
{
    const char *v = getenv(name);
    if (!v || !*v) {
        *ret = fallback;
        return 0;
    }
    if (text_parse_int(v, ret, err) < 0) {
        err_clear(err);
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s: expected a whole number, found \"%.60s\"", name, v);
    }
    return 0;
}

static int read_identity(struct stage_run *run, struct err *err)
{
    run->run_name = env_copy(ENV_RUN);
    run->contract = run->run_name != NULL;
    if (!run->contract)
        return 0;
    run->run_uid = env_copy(ENV_RUN_UID);
    run->step = env_copy(ENV_STEP);
    run->index = env_copy(ENV_INDEX);
    run->revision = env_copy(ENV_REVISION);
    static const char *const needed[] = {ENV_RUN_UID, ENV_STEP, ENV_ATTEMPT, ENV_STORE, ENV_CONFIG};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        const char *v = getenv(needed[i]);
        if (!v || !*v)
            return err_fail(
                err, ERR_INVALID, EXITCODE_USAGE, "environment",
                "%s is set but %s is not: a planner sets both; by hand set neither and use --config and --output",
                ENV_RUN, needed[i]);
    }
    if (env_int(ENV_RESTART, 0, &run->restart, err) < 0 || env_int(ENV_ATTEMPT, 0, &run->attempt, err) < 0)
        return -1;
    return commit_place_init(&run->place, run->run_uid, run->step, run->index, run->restart, run->attempt,
                             err);
}

static int read_world(struct stage_run *run, struct err *err)
{
    int64_t rank, local_rank, size, port;
    if (env_int("RANK", 0, &rank, err) < 0 || env_int("LOCAL_RANK", 0, &local_rank, err) < 0 ||
        env_int("WORLD_SIZE", 1, &size, err) < 0 || env_int("MASTER_PORT", 0, &port, err) < 0)
        return -1;
    if (size < 1 || size > LIMIT_WORKERS || rank < 0 || rank >= size || port < 0 || port > 65535)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "RANK %" PRId64 " of WORLD_SIZE %" PRId64 " at MASTER_PORT %" PRId64
                        ": expected 0 ≤ RANK < WORLD_SIZE ≤ %d",
                        rank, size, port, (int)LIMIT_WORKERS);
    run->world = (struct stage_world){.rank = (int)rank,
                                      .local_rank = (int)local_rank,
                                      .size = (int)size,
                                      .master_port = (int)port};
    if (size == 1)
        return 0;
    run->world.run_uid = run->run_uid ? run->run_uid : "by-hand";
    run->world.master_addr = env_copy("MASTER_ADDR");
    run->world.advertise_addr = env_copy(ENV_ADVERTISE_ADDR);
    const char *key = getenv(ENV_RENDEZVOUS_KEY);
    if (!run->world.master_addr || port == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "WORLD_SIZE is %" PRId64 ", so MASTER_ADDR and MASTER_PORT are needed", size);
    if (!key || hex_decode(key, run->world.rendezvous_key, sizeof run->world.rendezvous_key) < 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "WORLD_SIZE is %" PRId64 ", so %s is needed: 64 hex digits", size,
                        ENV_RENDEZVOUS_KEY);
    return 0;
}

/* A description file, or a plain URI. */
static int read_description(const char *text, const char *what, cJSON **ret, struct err *err)
{
    if (strstr(text, "://")) {
        *ret = json_object();
        json_add_string(*ret, "url", text);
        return 0;
    }
    if (json_parse_file(text, LIMIT_CONFIG_BYTES, ret, err) < 0) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(
            err, "%s: expected file:///path, s3://bucket/prefix, or a JSON file that describes the store",
            what);
    }
    return 0;
}

/* "a/b" → absolute, for other parts of the program may compare and quote it. */
static int absolute(const char *path, char **ret, struct err *err)
{
    if (fs_mkdir_p(path, err) < 0)
        return -1;
    *ret = realpath(path, NULL);
    return *ret ? 0 : err_errno(err, errno, "%s", path);
}

static int make_scratch(struct stage_run *run, struct err *err)
{
    const char *base = run->options.scratch;
    if (!base || !*base)
        base = getenv("TMPDIR");
    _cleanup_free_ char *parent = NULL;
    if (absolute(base && *base ? base : "/tmp", &parent, err) < 0)
        return err_wrap(err, "--scratch");
    _cleanup_free_ char *prefix =
        run->contract ? xasprintf("%s-%s", run->step, run->place.folder) : xstrdup(run->stage->name);
    if (fs_make_temp_dir(parent, prefix, &run->scratch, err) < 0)
        return err_wrap(err, "--scratch");
    run->scratch_max = run->options.scratch_bytes;
    struct statvfs fs;
    if (run->scratch_max <= 0 && statvfs(run->scratch, &fs) == 0)
        run->scratch_max = (int64_t)(fs.f_bavail * fs.f_frsize);
    return 0;
}

/* Files that one step keeps in its log: bounded, in scratch until the end. */
static void start_log(struct stage_run *run)
{
    run->log_path = fs_join(run->scratch, "kept.log");
    run->log_file = fopen(run->log_path, "we");
    if (run->log_file)
        log_tee(run->log_file, LIMIT_KEPT_LOG_BYTES);
    char attempt[24], rank[24];
    (void)snprintf(attempt, sizeof attempt, "%" PRId64, run->attempt);
    (void)snprintf(rank, sizeof rank, "%d", run->world.rank);
    if (run->contract && run->world.size > 1)
        log_context("run", run->run_name, "step", run->step, "attempt", attempt, "rank", rank, NULL);
    else if (run->contract)
        log_context("run", run->run_name, "step", run->step, "attempt", attempt, NULL);
}

static int read_config(struct stage_run *run, struct err *err)
{
    if (!run->options.config)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--config FILE is needed: the step's configuration as JSON");
    if (!run->contract && !run->options.output)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--output DIR is needed: where the outputs go");
    if (json_parse_file(run->options.config, LIMIT_CONFIG_BYTES, &run->config, err) < 0) {
        err->exit_code = err->class_ == ERR_NOTFOUND ? EXITCODE_NOINPUT : EXITCODE_CONFIG;
        return err_wrap(err, "--config");
    }
    if (!cJSON_IsObject(run->config))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "%s: expected a JSON object",
                        run->options.config);
    if (run->options.store &&
        read_description(run->options.store, "--store", &run->store_description, err) < 0)
        return -1;
    if (run->options.registry &&
        read_description(run->options.registry, "--registry", &run->registry_description, err) < 0)
        return -1;
    return 0;
}

int run_setup(struct stage_run *run, struct err *err)
{
    run->values = json_object();
    run->provenance = json_object();
    run->started_ms = clock_system.wall_ms(clock_system.ctx);
    if (read_identity(run, err) < 0 || read_world(run, err) < 0 ||
        process_bind_to_parent(getenv(ENV_PARENT_PID), err) < 0)
        return -1;
    if (run->options.memory <= 0)
        run->options.memory = (int64_t)DEFAULT_MEMORY << 30;
    run->scheduled_ms = run->started_ms;
    if (run->options.scheduled_time &&
        clock_parse_rfc3339(run->options.scheduled_time, &run->scheduled_ms, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "--scheduled-time");
    }
    if (make_scratch(run, err) < 0)
        return -1;
    start_log(run);
    if (read_config(run, err) < 0)
        return -1;
    for (const struct stage_output *o = run->stage->outputs; o && o->name; o++) {
        if (run->n_outputs == RUN_OUTPUTS_MAX)
            BUG("stage %s declares more than %d outputs", run->stage->name, (int)RUN_OUTPUTS_MAX);
        run->outputs[run->n_outputs++].declared = o;
    }
    if (run->contract)
        run->progress = progress_new(getenv(ENV_PROGRESS_URL), getenv(ENV_PROGRESS_TOKEN));
    return 0;
}

static const char *env_lookup(const char *name)
{
    return getenv(name);
}

static int open_described(struct stage_run *run, const cJSON *description, struct store **ret,
                          struct err *err)
{
    struct store_config config = {0};
    if (store_config_from_json(description, run->options.secrets, env_lookup, &config, err) < 0)
        return -1;
    int r = store_open(&config, ret, err);
    store_config_release(&config);
    return r;
}

int run_open_stores(struct stage_run *run, struct err *err)
{
    if (!run->contract)
        return 0;
    if (open_described(run, run->store_description, &run->store, err) < 0)
        return err_wrap(err, "opening the store");
    return 0;
}

/* The step's own description with another URL: same endpoint, region and credentials. */
static cJSON *description_for(const struct stage_run *run, const char *url)
{
    cJSON *d = json_object();
    const cJSON *item;
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(run->store_description, "url");
    bool same =
        text_starts_with(url, "s3://") && cJSON_IsString(own) && text_starts_with(own->valuestring, "s3://");
    cJSON_ArrayForEach(item, run->store_description)
    {
        if (same && !text_equal(item->string, "url") && !text_equal(item->string, "encryption"))
            json_add(d, item->string, cJSON_Duplicate(item, true));
    }
    json_add_string(d, "url", url);
    return d;
}

static int open_remembered(struct stage_run *run, const char *url, const cJSON *description,
                           struct store **ret, struct err *err)
{
    for (size_t i = 0; i < run->n_stores; i++) {
        if (text_equal(run->stores[i].url, url)) {
            *ret = run->stores[i].store;
            return 0;
        }
    }
    if (run->n_stores == RUN_STORES_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "stores",
                        "the step reads from more than %d stores", (int)RUN_STORES_MAX);
    struct store *s;
    if (open_described(run, description, &s, err) < 0)
        return err_wrap(err, "opening %s", url);
    run->stores[run->n_stores++] = (struct run_store){xstrdup(url), s};
    *ret = s;
    return 0;
}

int stage_open_store(struct stage_run *run, const char *url, struct store **ret, struct err *err)
{
    _cleanup_json_ cJSON *description = description_for(run, url);
    return open_remembered(run, url, description, ret, err);
}

int stage_registry(struct stage_run *run, struct store **ret, struct err *err)
{
    const cJSON *description = run->registry_description ? run->registry_description : run->store_description;
    if (!description)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--registry or --store is needed: where models are registered");
    return open_remembered(run, run->registry_description ? "registry" : "store", description, ret, err);
}

int stage_secret_path(const struct stage_run *run, const char *secret, const char *key, char **ret,
                      struct err *err)
{
    _cleanup_free_ char *dir = NULL;
    for (size_t i = 0; i < run->options.secret_dirs.n && !dir; i++) {
        const char *pair = run->options.secret_dirs.items[i], *eq = strchr(pair, '=');
        if (eq && strlen(secret) == (size_t)(eq - pair) && memcmp(pair, secret, (size_t)(eq - pair)) == 0)
            dir = xstrdup(eq + 1);
    }
    if (!fs_safe_relative(secret) || strchr(secret, '/') || !fs_safe_relative(key))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "secret", "\"%.80s\" is not the name of a Secret",
                        secret);
    if (!dir && run->options.secrets)
        dir = fs_join(run->options.secrets, secret);
    _cleanup_free_ char *path = dir ? fs_join(dir, key) : NULL;
    if (!path || !fs_exists(path))
        return err_fail(
            err, ERR_NOTFOUND, EXITCODE_CONFIG, "secret",
            "Secret %s with the key %s is not there%s%s: create it, or on a laptop give --secret %s=DIR",
            secret, key, path ? "; looked for " : "", path ? path : "", secret);
    *ret = steal_ptr(path);
    return 0;
}

void run_release(struct stage_run *run)
{
    run->progress = progress_free(run->progress);
    log_tee(NULL, 0);
    if (run->log_file)
        (void)fclose(run->log_file);
    struct err ignored = ERR_INIT;
    if (run->scratch && fs_remove_tree(run->scratch, &ignored) < 0)
        log_warn("scratch not removed", "path", run->scratch, "why", ignored.msg, NULL);
    for (size_t i = 0; i < run->n_stores; i++) {
        free(run->stores[i].url);
        store_free(run->stores[i].store);
    }
    store_free(run->store);
    for (size_t i = 0; i < run->n_outputs; i++) {
        free(run->outputs[i].dir);
        cJSON_Delete(run->outputs[i].extra);
    }
    commit_place_release(&run->place);
    inputs_release(&run->inputs);
    cJSON *const trees[] = {run->config, run->store_description, run->registry_description,
                            run->values, run->provenance,        run->memo_outputs};
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++)
        cJSON_Delete(trees[i]);
    char *const texts[] = {run->run_name,
                           run->run_uid,
                           run->step,
                           run->index,
                           run->revision,
                           run->scratch,
                           run->log_path,
                           run->checkpoint_prefix,
                           run->previous_checkpoints,
                           (char *)run->world.master_addr,
                           (char *)run->world.advertise_addr};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    cli_list_release(&run->options.inputs);
    cli_list_release(&run->options.secret_dirs);
}
