/* trainyard models: the registry, for people. */
#include <errno.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/registry.h"
#include "operator/cli/columns.h"
#include "operator/cli/command.h"
#include "operator/cli/ui.h"

enum { METRIC_COLUMNS = 80 };

struct options {
    const char *store, *registry, *manifest, *output, *who, *why, *public_key;
    struct cli_list secrets;
    int64_t expect;
};

#define AT(field) .offset = offsetof(struct options, field)
#define WHERE_OPTIONS                                                                                    \
    COMMAND_OPTION_STORE(struct options), COMMAND_OPTION_REGISTRY(struct options),                       \
        COMMAND_OPTION_SECRET(struct options),                                                           \
    {                                                                                                    \
        .name = "file", .short_name = 'f', .kind = CLI_STRING, .metavar = "PIPELINE.yaml", AT(manifest), \
        .help = "Take store and registry from this manifest."                                            \
    }
#define CHANGE_OPTIONS                                                                                    \
    {.name = "who",                                                                                       \
     .kind = CLI_STRING,                                                                                  \
     .metavar = "NAME",                                                                                   \
     AT(who),                                                                                             \
     .help = "Who does this, for the alias's history. Default: the user."},                               \
        {.name = "why",                                                                                   \
         .kind = CLI_STRING,                                                                              \
         .metavar = "TEXT",                                                                               \
         AT(why),                                                                                         \
         .fallback = "",                                                                                  \
         .help = "Why, for the alias's history."},                                                        \
    {                                                                                                     \
        .name = "expect", .kind = CLI_INT, .metavar = "VERSION", AT(expect), .fallback = "-1", .min = -1, \
        .max = INT32_MAX,                                                                                 \
        .help = "Only if the alias points to this version now (0: to none); -1: whatever it points to."   \
    }

static const struct cli_option where_options[] = {WHERE_OPTIONS, COMMAND_OPTION_OUTPUT(struct options),
                                                  CLI_END};
static const struct cli_option change_options[] = {WHERE_OPTIONS, CHANGE_OPTIONS,
                                                   COMMAND_OPTION_OUTPUT(struct options), CLI_END};
static const struct cli_option verify_options[] = {
    WHERE_OPTIONS,
    {.name = "public-key",
     .kind = CLI_STRING,
     .metavar = "FILE",
     AT(public_key),
     .help = "PEM; the provenance must be signed with its private key."},
    COMMAND_OPTION_OUTPUT(struct options),
    CLI_END,
};

static bool json(const struct options *o)
{
    return strcmp(o->output, "json") == 0;
}

/* --- where ---------------------------------------------------------------------------------------------- */

/* The newest store in use, when nothing says where: what `run` wrote to last is what `models` shows. */
static char *default_store(void)
{
    char **known = location_known();
    char *first = known[0] ? xstrdup(known[0]) : NULL;
    location_known_free(known);
    return first;
}

static int open_registry(const struct options *o, struct store **ret, struct err *err)
{
    _cleanup_manifest_ struct manifest m = {0};
    _cleanup_location_ struct location l = {0};
    _cleanup_json_ cJSON *secrets = NULL;
    _cleanup_free_ char *fallback = NULL;
    const char *store = o->store;
    if (o->manifest && manifest_load(o->manifest, &m, err) < 0)
        return -1;
    if (!store && !m.pipeline) {
        fallback = o->registry ? NULL : default_store();
        store = fallback ? fallback : o->registry;
    }
    if (location_parse_secrets(o->secrets.items, o->secrets.n, &secrets, err) < 0 ||
        location_resolve(m.pipeline, store, o->registry, secrets, &l, err) < 0)
        return -1;
    return location_open(l.registry ? l.registry : l.store, secrets, ret, err);
}

/* "3", "v3", "newest", or an alias. */
static int resolve_version(struct store *s, const char *model, const char *text, int64_t *ret,
                           struct err *err)
{
    struct err ignored = ERR_INIT;
    int64_t version = 0;
    if (text_parse_int(text[0] == 'v' ? text + 1 : text, &version, &ignored) == 0) {
        if (version < 1)
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "version %s: expected 1 or more",
                            text);
        *ret = version;
        return 0;
    }
    if (strcmp(text, "newest") == 0) {
        if (registry_newest_version(s, model, &version, err) < 0)
            return -1;
    } else if (registry_get_alias(s, model, text, &version, NULL, err) < 0) {
        return -1;
    }
    if (version == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-version",
                        "model %s has no version or alias \"%s\": `trainyard models show %s` lists them",
                        model, text, model);
    *ret = version;
    return 0;
}

/* --- looking ---------------------------------------------------------------------------------------------- */

static const char *text_of(const cJSON *o, const char *key)
{
    const char *v = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return v ? v : "";
}

/* Numbers may travel as strings. */
static int64_t int_of(const cJSON *o, const char *key)
{
    static const struct json_path root = {0};
    struct err ignored = ERR_INIT;
    int64_t v = 0;
    return json_get_int_or(o, &root, key, 0, &v, &ignored) < 0 ? 0 : v;
}

static int print_table(const struct columns *table, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 << 20);
    columns_print(table, &text);
    return buf_check(&text, "the table", err) < 0 ? -1 : command_print(&text, err);
}

static int do_list(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    (void)n;
    (void)args;
    _cleanup_json_ cJSON *models = NULL;
    const cJSON *m, *a;
    if (registry_list_models(s, &models, err) < 0)
        return -1;
    if (json(o))
        return command_print_json(models, err);
    if (cJSON_GetArraySize(models) == 0) {
        (void)fprintf(stderr, "no models in %s\n", store_url(s));
        return 0;
    }
    static const char *const titles[] = {"MODEL", "NEWEST", "ALIASES", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    cJSON_ArrayForEach(m, models)
    {
        const cJSON *aliases = cJSON_GetObjectItemCaseSensitive(m, "aliases");
        _cleanup_buf_ struct buf names = BUF_INIT(4096);
        cJSON_ArrayForEach(a, aliases)(void)
            buf_addf(&names, "%s%s → %" PRId64, names.len ? ", " : "", a->string, int_of(aliases, a->string));
        columns_add(table, text_of(m, "name"));
        columns_addf(table, "%" PRId64, int_of(m, "newest"));
        columns_add(table, buf_str(&names));
    }
    return print_table(table, err);
}

/* {alias: version} of one model. */
static cJSON *aliases_of(struct store *s, const char *model)
{
    _cleanup_json_ cJSON *models = NULL;
    struct err ignored = ERR_INIT;
    const cJSON *m;
    if (registry_list_models(s, &models, &ignored) < 0)
        return json_object();
    cJSON_ArrayForEach(m, models)
    {
        if (strcmp(text_of(m, "name"), model) == 0)
            return cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(m, "aliases"), true);
    }
    return json_object();
}

static int show_versions(struct store *s, const struct options *o, const char *model, struct err *err)
{
    _cleanup_json_ cJSON *versions = NULL;
    if (registry_list_versions(s, model, &versions, err) < 0)
        return -1;
    if (cJSON_GetArraySize(versions) == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-model",
                        "%s has no model \"%s\": `trainyard models list` shows what there is", store_url(s),
                        model);
    _cleanup_json_ cJSON *aliases = aliases_of(s, model);
    if (json(o)) {
        _cleanup_json_ cJSON *all = json_object();
        json_add_string(all, "name", model);
        json_add(all, "aliases", steal_ptr(aliases));
        json_add(all, "versions", steal_ptr(versions));
        return command_print_json(all, err);
    }
    const cJSON *v, *a;
    static const char *const titles[] = {"VERSION", "CREATED", "DIGEST", "ALIASES", "METRICS", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    cJSON_ArrayForEach(v, versions)
    {
        _cleanup_buf_ struct buf names = BUF_INIT(4096), metrics = BUF_INIT(64 * 1024);
        cJSON_ArrayForEach(a, aliases)
        {
            if (int_of(aliases, a->string) == int_of(v, "version"))
                (void)buf_addf(&names, "%s%s", names.len ? ", " : "", a->string);
        }
        ui_add_values(&metrics, cJSON_GetObjectItemCaseSensitive(v, "metrics"), METRIC_COLUMNS, true);
        columns_addf(table, "%" PRId64, int_of(v, "version"));
        columns_add(table, *text_of(v, "created") ? text_of(v, "created") : text_of(v, "at"));
        columns_addf(table, "%.12s", text_of(v, "model"));
        columns_add(table, buf_str(&names));
        columns_add(table, buf_str(&metrics));
    }
    return print_table(table, err);
}

static int do_show(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    _cleanup_json_ cJSON *document = NULL;
    int64_t version;
    if (n < 2)
        return show_versions(s, o, args[0], err);
    if (resolve_version(s, args[0], args[1], &version, err) < 0 ||
        registry_get_version(s, args[0], version, &document, err) < 0)
        return -1;
    return command_print_json(document, err); /* the document is its own best table */
}

static int do_history(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    const char *alias = n > 1 ? args[1] : "production";
    _cleanup_json_ cJSON *records = NULL;
    const cJSON *r;
    if (registry_alias_history(s, args[0], alias, &records, err) < 0)
        return -1;
    if (json(o))
        return command_print_json(records, err);
    if (cJSON_GetArraySize(records) == 0)
        return err_fail(
            err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-alias",
            "alias %s of model %s was never set: `trainyard models promote %s VERSION %s` sets it", alias,
            args[0], args[0], alias);
    static const char *const titles[] = {"SEQ", "WHEN", "VERSION", "WHO", "WHY", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    cJSON_ArrayForEach(r, records)
    {
        bool automatic = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r, "automatic"));
        columns_addf(table, "%" PRId64, int_of(r, "seq"));
        columns_add(table, text_of(r, "at"));
        if (int_of(r, "from") > 0)
            columns_addf(table, "%" PRId64 " → %" PRId64, int_of(r, "from"), int_of(r, "to"));
        else
            columns_addf(table, "- → %" PRId64, int_of(r, "to"));
        columns_add(table, text_of(r, "who"));
        columns_addf(table, "%s%s%s", text_of(r, "why"), automatic && *text_of(r, "why") ? " " : "",
                     automatic ? "(by a register step)" : "");
    }
    return print_table(table, err);
}

/* --- moving ------------------------------------------------------------------------------------------------ */

static int move(struct store *s, const struct options *o, const char *model, const char *alias,
                int64_t version, struct err *err)
{
    int64_t before, after;
    struct registry_change change = {.who = o->who ? o->who : command_user(),
                                     .why = o->why,
                                     .at_ms = clock_system.wall_ms(clock_system.ctx),
                                     .expect_from = o->expect};
    if (registry_get_alias(s, model, alias, &before, NULL, err) < 0 ||
        registry_set_alias(s, model, alias, version, &change, err) < 0 ||
        registry_get_alias(s, model, alias, &after, NULL, err) < 0)
        return -1;
    if (json(o)) {
        _cleanup_json_ cJSON *j = json_object();
        json_add_string(j, "model", model);
        json_add_string(j, "alias", alias);
        json_add_int(j, "from", before);
        json_add_int(j, "to", after);
        return command_print_json(j, err);
    }
    if (before == version)
        (void)printf("%s: %s points to version %" PRId64 " already\n", model, alias, version);
    else if (before == 0)
        (void)printf("%s: %s now points to version %" PRId64 "\n", model, alias, after);
    else
        (void)printf("%s: %s now points to version %" PRId64 ", before to %" PRId64 "\n", model, alias, after,
                     before);
    return 0;
}

static int do_promote(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    int64_t version;
    if (resolve_version(s, args[0], args[1], &version, err) < 0)
        return -1;
    return move(s, o, args[0], n > 2 ? args[2] : "production", version, err);
}

static int do_rollback(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    const char *alias = n > 1 ? args[1] : "production";
    int64_t version;
    if (registry_previous_target(s, args[0], alias, &version, err) < 0)
        return -1;
    struct options with_reason = *o;
    if (!*o->why)
        with_reason.why = "rollback";
    return move(s, &with_reason, args[0], alias, version, err);
}

/* --- verifying --------------------------------------------------------------------------------------------- */

static int do_verify(struct store *s, const struct options *o, int n, char **args, struct err *err)
{
    _cleanup_json_ cJSON *findings = json_array();
    _cleanup_free_ char *pem = NULL, *scratch = NULL;
    int64_t version;
    const char *tmp = getenv("TMPDIR");
    if (resolve_version(s, args[0], n > 1 ? args[1] : "newest", &version, err) < 0 ||
        (o->public_key && fs_read_file(o->public_key, 64 * 1024, &pem, NULL, err) < 0) ||
        fs_make_temp_dir(tmp && *tmp ? tmp : "/tmp", "trainyard-verify", &scratch, err) < 0)
        return -1;
    struct err why = ERR_INIT, ignored = ERR_INIT;
    int r = registry_verify(s, args[0], version, pem, scratch, findings, &why);
    (void)fs_remove_tree(scratch, &ignored);
    const cJSON *f;
    if (json(o)) {
        _cleanup_json_ cJSON *j = json_object();
        json_add_string(j, "model", args[0]);
        json_add_int(j, "version", version);
        json_add_bool(j, "verified", r == 0);
        json_add(j, "findings", steal_ptr(findings));
        if (command_print_json(j, err) < 0)
            return -1;
    } else {
        cJSON_ArrayForEach(f, findings)(void)
            printf("%s\n", cJSON_IsString(f) ? f->valuestring : text_of(f, "message"));
        if (r == 0)
            (void)printf("%s version %" PRId64 ": verified\n", args[0], version);
    }
    if (r < 0) {
        *err = why;
        return err_wrap(err, "%s version %" PRId64 " is not verified", args[0], version);
    }
    return 0;
}

/* --- commands ---------------------------------------------------------------------------------------------- */

static void release(struct options *o)
{
    cli_list_release(&o->secrets);
}

static int models(const struct cli_command *cmd, int argc, char **argv,
                  int (*act)(struct store *, const struct options *, int, char **, struct err *))
{
    CLEANUP(release) struct options o = {0};
    _cleanup_store_ struct store *s = NULL;
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    if (open_registry(&o, &s, &err) < 0 || (n > 0 && registry_check_name("model", argv[0], &err) < 0) ||
        act(s, &o, n, argv, &err) < 0)
        return cli_fail(cmd, &err);
    return fflush(stdout) == 0 ? EXITCODE_OK : EXITCODE_IO;
}

#define COMMAND(word, text, line, table, least, most, example)                  \
    static int run_##word(const struct cli_command *cmd, int argc, char **argv) \
    {                                                                           \
        return models(cmd, argc, argv, do_##word);                              \
    }                                                                           \
    static const struct cli_command word = {.name = "trainyard models " #word,  \
                                            .synopsis = text,                   \
                                            .summary = line,                    \
                                            .examples = example,                \
                                            .options = table,                   \
                                            .min_args = least,                  \
                                            .max_args = most,                   \
                                            .run = run_##word}

COMMAND(list, "", "list models, their newest versions and aliases", where_options, 0, 0,
        "trainyard models list");
COMMAND(show, "MODEL [VERSION|ALIAS]", "list a model's versions, or show one", where_options, 1, 2,
        "trainyard models show click-ranker\ntrainyard models show click-ranker production");
COMMAND(
    promote, "MODEL VERSION|ALIAS [ALIAS]", "point an alias (production) to a version", change_options, 2, 3,
    "trainyard models promote click-ranker 7 production --why \"better on new users\"\ntrainyard models promote click-ranker candidate production");
COMMAND(rollback, "MODEL [ALIAS]", "point an alias (production) back to where it pointed before",
        change_options, 1, 2, "trainyard models rollback click-ranker --why \"clicks fell\"");
COMMAND(history, "MODEL [ALIAS]", "who moved an alias (production), when and why", where_options, 1, 2,
        "trainyard models history click-ranker production");
COMMAND(verify, "MODEL [VERSION|ALIAS]", "read every file of a version and check digests and signature",
        verify_options, 1, 2, "trainyard models verify click-ranker 7 --public-key model-signing.pub");

static const struct cli_command *const commands[] = {&list,    &show,   &promote, &rollback,
                                                     &history, &verify, NULL};

const struct cli_command command_models = {
    .name = "trainyard models",
    .summary = "registered models: versions, aliases, history",
    .description =
        "The registry is files in the store (or in spec.registry): numbered versions that never change, and aliases whose every move is recorded. Nothing here needs a server.",
    .commands = commands,
};
