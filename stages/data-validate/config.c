/* Decoding the configuration. */
#include "stages/data-validate/config.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { RULES_MAX = 4096, TRAILING_MAX = 10000 };

static const char *const level_names[] = {"error", "warn", NULL};
static const char *const format_names[] = {"auto", "parquet", "csv", "jsonl", NULL};
const char *const drift_method_names[] = {"psi", "ks", "js", "chi2", NULL};

static int get_choice(const cJSON *o, const struct json_path *path, const char *key, const char *const *names,
                      int fallback, int *ret, struct err *err)
{
    const char *text;
    if (json_get_string_or(o, path, key, names[fallback], &text, err) < 0)
        return -1;
    for (int i = 0; names[i]; i++) {
        if (text_equal(names[i], text)) {
            *ret = i;
            return 0;
        }
    }
    char message[256];
    (void)snprintf(message, sizeof message, "expected one of %s, %s%s%s…, found \"%.60s\"", names[0],
                   names[1], names[2] ? ", " : "", names[2] ? names[2] : "", text);
    return json_bad_config(path, key, err, "%s", message);
}

static int get_level(const cJSON *o, const struct json_path *path, enum level *ret, struct err *err)
{
    int v;
    if (get_choice(o, path, "level", level_names, LEVEL_ERROR, &v, err) < 0)
        return -1;
    *ret = (enum level)v;
    return 0;
}

static int get_format(const cJSON *o, const struct json_path *path, enum format *ret, struct err *err)
{
    int v;
    if (get_choice(o, path, "format", format_names, FORMAT_AUTO, &v, err) < 0)
        return -1;
    *ret = (enum format)v;
    return 0;
}

/* NaN when absent. */
static int get_number(const cJSON *o, const struct json_path *path, const char *key, double *ret,
                      struct err *err)
{
    return json_get_double_or(o, path, key, NAN, ret, err);
}

static int require_number(const cJSON *o, const struct json_path *path, const char *key, double *ret,
                          struct err *err)
{
    if (json_get_double(o, path, key, ret, err) < 0)
        return -1;
    return isfinite(*ret) ? 0 : json_bad_config(path, key, err, "expected a finite number");
}

/* An array of strings, or NULL. */
static int get_names(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                     struct err *err)
{
    if (json_get_array_or(o, path, key, ret, err) < 0)
        return -1;
    const cJSON *item;
    cJSON_ArrayForEach(item, *ret)
    {
        if (!cJSON_IsString(item))
            return json_bad_config(path, key, err, "expected a list of strings");
    }
    return 0;
}

static int get_baseline(const cJSON *o, const struct json_path *path, struct baseline *ret, struct err *err)
{
    if (json_get_string_or(o, path, "baseline", "previous", &ret->text, err) < 0)
        return -1;
    if (text_equal(ret->text, "previous")) {
        ret->kind = BASELINE_PREVIOUS;
        return 0;
    }
    if (text_equal(ret->text, "sameWeekday")) {
        ret->kind = BASELINE_WEEKDAY;
        return 0;
    }
    if (text_starts_with(ret->text, "trailing:")) {
        int64_t n;
        struct err ignored = ERR_INIT;
        if (text_parse_int(ret->text + strlen("trailing:"), &n, &ignored) < 0 || n < 1 || n > TRAILING_MAX)
            return json_bad_config(path, "baseline", err, "expected trailing:N with N from 1 to 10000");
        ret->kind = BASELINE_TRAILING;
        ret->trailing = (int)n;
        return 0;
    }
    const char *at = strrchr(ret->text, '@');
    const char *digest = at ? at + 1 : NULL;
    if (digest && text_starts_with(digest, "sha256:"))
        digest += strlen("sha256:");
    if (!digest || !digest_valid(digest) || at == ret->text)
        return json_bad_config(
            path, "baseline", err,
            "expected previous, sameWeekday, trailing:7, or URI@digest of a profile with 64 hex digits");
    ret->kind = BASELINE_PINNED;
    ret->uri = xstrndup(ret->text, (size_t)(at - ret->text));
    ret->digest = digest;
    return 0;
}

static int decode_source(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    const cJSON *o;
    if (json_get_object(json, path, "source", &o, err) < 0)
        return -1;
    struct json_path here = {.parent = path, .key = "source"};
    static const char *const keys[] = {"uri", "format", "partition", "window", NULL};
    if (json_only_keys(o, &here, keys, err) < 0 || json_get_string(o, &here, "uri", &c->uri, err) < 0 ||
        get_format(o, &here, &c->format, err) < 0 ||
        json_get_string_or(o, &here, "partition", NULL, &c->partition, err) < 0 ||
        json_get_int_or(o, &here, "window", 0, &c->window, err) < 0)
        return -1;
    if (!*c->uri)
        return json_bad_config(&here, "uri", err,
                               "expected a file, a folder ending in / or a glob, found an empty text");
    if (c->window < 0)
        return json_bad_config(&here, "window", err, "expected a number of partitions from 1");
    return 0;
}

static int decode_column(const cJSON *o, const struct json_path *path, struct column_rule *c, struct err *err)
{
    static const char *const keys[] = {"name", "type",   "nullable", "maxNullFraction", "min",
                                       "max",  "values", "pattern",  "level",           NULL};
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "name", &c->name, err) < 0 ||
        json_get_string_or(o, path, "type", NULL, &c->type, err) < 0 ||
        json_get_bool_or(o, path, "nullable", true, &c->nullable, err) < 0 ||
        get_number(o, path, "maxNullFraction", &c->max_null_fraction, err) < 0 ||
        get_number(o, path, "min", &c->min, err) < 0 || get_number(o, path, "max", &c->max, err) < 0 ||
        get_names(o, path, "values", &c->values, err) < 0 ||
        json_get_string_or(o, path, "pattern", NULL, &c->pattern, err) < 0 ||
        get_level(o, path, &c->level, err) < 0)
        return -1;
    static const char *const types[] = {"boolean", "int8",   "int16",  "int32", "int64",     "uint8",
                                        "uint16",  "uint32", "uint64", "float", "double",    "decimal",
                                        "string",  "binary", "date",   "time",  "timestamp", NULL};
    bool known = !c->type;
    for (size_t i = 0; types[i]; i++)
        known = known || text_equal(types[i], c->type);
    if (!known)
        return json_bad_config(
            path, "type", err,
            "unknown type; expected boolean, int8…int64, uint8…uint64, float, double, decimal, string, binary, date, time or timestamp");
    if (c->max_null_fraction < 0 || c->max_null_fraction > 1)
        return json_bad_config(path, "maxNullFraction", err, "expected a share from 0 to 1");
    if (c->min > c->max)
        return json_bad_config(path, "min", err, "is above max: no value can pass");
    return 0;
}

static int decode_check(const cJSON *o, const struct json_path *path, struct check_rule *c, struct err *err)
{
    static const char *const keys[] = {"name", "sql", "maxViolations", "aggregate",
                                       "min",  "max", "level",         NULL};
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "name", &c->name, err) < 0 ||
        json_get_string_or(o, path, "sql", NULL, &c->sql, err) < 0 ||
        json_get_string_or(o, path, "aggregate", NULL, &c->aggregate, err) < 0 ||
        json_get_int_or(o, path, "maxViolations", 0, &c->max_violations, err) < 0 ||
        get_number(o, path, "min", &c->min, err) < 0 || get_number(o, path, "max", &c->max, err) < 0 ||
        get_level(o, path, &c->level, err) < 0)
        return -1;
    if (!c->sql == !c->aggregate)
        return json_bad_config(path, NULL, err, "expected exactly one of sql and aggregate");
    if (c->aggregate && isnan(c->min) && isnan(c->max))
        return json_bad_config(path, NULL, err, "an aggregate needs min or max to be compared with");
    return 0;
}

static int decode_reference(const cJSON *o, const struct json_path *path, struct reference_rule *r,
                            struct err *err)
{
    static const char *const keys[] = {"name", "columns", "table", "maxViolations", "level", NULL};
    static const char *const table_keys[] = {"uri", "format", "columns", NULL};
    const cJSON *table;
    struct json_path here = {.parent = path, .key = "table"};
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "name", &r->name, err) < 0 ||
        get_names(o, path, "columns", &r->columns, err) < 0 ||
        json_get_object(o, path, "table", &table, err) < 0 ||
        json_only_keys(table, &here, table_keys, err) < 0 ||
        json_get_string(table, &here, "uri", &r->uri, err) < 0 ||
        get_format(table, &here, &r->format, err) < 0 ||
        get_names(table, &here, "columns", &r->other_columns, err) < 0 ||
        json_get_int_or(o, path, "maxViolations", 0, &r->max_violations, err) < 0 ||
        get_level(o, path, &r->level, err) < 0)
        return -1;
    if (cJSON_GetArraySize(r->columns) == 0)
        return json_bad_config(path, "columns", err, "expected at least one column");
    if (r->other_columns && cJSON_GetArraySize(r->other_columns) != cJSON_GetArraySize(r->columns))
        return json_bad_config(&here, "columns", err, "expected as many columns as the source's");
    return 0;
}

/* An array of objects → an array of rules of `size` bytes. */
static int decode_list(const cJSON *json, const struct json_path *path, const char *key, size_t size,
                       void **ret, size_t *ret_n,
                       int (*decode)(const cJSON *, const struct json_path *, void *, struct err *),
                       struct err *err)
{
    const cJSON *list, *item;
    if (json_get_array_or(json, path, key, &list, err) < 0)
        return -1;
    int n = cJSON_GetArraySize(list);
    if (n > RULES_MAX)
        return json_bad_config(path, key, err, "more than 4096 entries");
    char *items = xcalloc(n ? (size_t)n : 1, size);
    *ret = items;
    struct json_path here = {.parent = path, .key = key};
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = &here, .index = *ret_n};
        if (!cJSON_IsObject(item))
            return json_bad_config(&at, NULL, err, "expected an object");
        if (decode(item, &at, items + size * *ret_n, err) < 0)
            return -1;
        ++*ret_n;
    }
    return 0;
}

static int decode_column_any(const cJSON *o, const struct json_path *path, void *rule, struct err *err)
{
    return decode_column(o, path, rule, err);
}

static int decode_check_any(const cJSON *o, const struct json_path *path, void *rule, struct err *err)
{
    return decode_check(o, path, rule, err);
}

static int decode_reference_any(const cJSON *o, const struct json_path *path, void *rule, struct err *err)
{
    return decode_reference(o, path, rule, err);
}

static int decode_unique(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    if (json_get_array_or(json, path, "unique", &c->unique, err) < 0)
        return -1;
    const cJSON *set, *name;
    cJSON_ArrayForEach(set, c->unique)
    {
        if (!cJSON_IsArray(set) || cJSON_GetArraySize(set) == 0)
            return json_bad_config(path, "unique", err,
                                   "expected lists of column names, such as [[session_id, item_id]]");
        cJSON_ArrayForEach(name, set)
        {
            if (!cJSON_IsString(name))
                return json_bad_config(path, "unique", err,
                                       "expected lists of column names, such as [[session_id, item_id]]");
        }
    }
    return 0;
}

static int decode_volume(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    const cJSON *o;
    if (json_get_object_or(json, path, "volume", &o, err) < 0 || !o)
        return err_is_set(err) ? -1 : 0;
    struct json_path here = {.parent = path, .key = "volume"};
    static const char *const keys[] = {"baseline", "tolerance", "level", NULL};
    c->volume = true;
    if (json_only_keys(o, &here, keys, err) < 0 || get_baseline(o, &here, &c->volume_baseline, err) < 0 ||
        require_number(o, &here, "tolerance", &c->volume_tolerance, err) < 0 ||
        get_level(o, &here, &c->volume_level, err) < 0)
        return -1;
    return c->volume_tolerance < 0 ? json_bad_config(&here, "tolerance", err, "expected a share from 0") : 0;
}

static int get_method(const cJSON *o, const struct json_path *path, enum drift_method *ret, struct err *err)
{
    int v;
    if (get_choice(o, path, "method", drift_method_names, DRIFT_PSI, &v, err) < 0)
        return -1;
    *ret = (enum drift_method)v;
    return 0;
}

static int decode_drift(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    const cJSON *o;
    if (json_get_object_or(json, path, "drift", &o, err) < 0 || !o)
        return err_is_set(err) ? -1 : 0;
    struct json_path here = {.parent = path, .key = "drift"};
    static const char *const keys[] = {"baseline", "method", "max", "columns", "level", NULL};
    c->drift = true;
    if (json_only_keys(o, &here, keys, err) < 0 || get_baseline(o, &here, &c->drift_baseline, err) < 0 ||
        get_method(o, &here, &c->drift_method, err) < 0 ||
        require_number(o, &here, "max", &c->drift_max, err) < 0 ||
        get_names(o, &here, "columns", &c->drift_columns, err) < 0 ||
        get_level(o, &here, &c->drift_level, err) < 0)
        return -1;
    return 0;
}

static int decode_freshness(const cJSON *json, const struct json_path *path, struct config *c,
                            struct err *err)
{
    const cJSON *o;
    if (json_get_object_or(json, path, "freshness", &o, err) < 0 || !o)
        return err_is_set(err) ? -1 : 0;
    struct json_path here = {.parent = path, .key = "freshness"};
    static const char *const keys[] = {"column", "maxAge", "level", NULL};
    if (json_only_keys(o, &here, keys, err) < 0 ||
        json_get_string(o, &here, "column", &c->freshness_column, err) < 0 ||
        json_get_string(o, &here, "maxAge", &c->freshness_text, err) < 0 ||
        get_level(o, &here, &c->freshness_level, err) < 0)
        return -1;
    struct err why = ERR_INIT;
    if (clock_parse_duration(c->freshness_text, &c->freshness_ms, &why) < 0)
        return json_bad_config(&here, "maxAge", err, "%s", why.msg);
    return 0;
}

static int decode_leakage(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    const cJSON *o;
    if (json_get_object_or(json, path, "leakage", &o, err) < 0 || !o)
        return err_is_set(err) ? -1 : 0;
    struct json_path here = {.parent = path, .key = "leakage"};
    static const char *const keys[] = {"label", "maxAuc", "level", NULL};
    if (json_only_keys(o, &here, keys, err) < 0 ||
        json_get_string(o, &here, "label", &c->leakage_label, err) < 0 ||
        json_get_double_or(o, &here, "maxAuc", 0.95, &c->leakage_max_auc, err) < 0 ||
        get_level(o, &here, &c->leakage_level, err) < 0)
        return -1;
    return c->leakage_max_auc >= 0.5 && c->leakage_max_auc <= 1
               ? 0
               : json_bad_config(&here, "maxAuc", err, "expected a number from 0.5 to 1");
}

static int decode_serving(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    const cJSON *o;
    if (json_get_object_or(json, path, "servingLogs", &o, err) < 0 || !o)
        return err_is_set(err) ? -1 : 0;
    struct json_path here = {.parent = path, .key = "servingLogs"};
    static const char *const keys[] = {"uri", "format", "method", "max", "columns", "level", NULL};
    if (json_only_keys(o, &here, keys, err) < 0 ||
        json_get_string(o, &here, "uri", &c->serving_uri, err) < 0 ||
        get_format(o, &here, &c->serving_format, err) < 0 ||
        get_method(o, &here, &c->serving_method, err) < 0 ||
        require_number(o, &here, "max", &c->serving_max, err) < 0 ||
        get_names(o, &here, "columns", &c->serving_columns, err) < 0 ||
        get_level(o, &here, &c->serving_level, err) < 0)
        return -1;
    return 0;
}

static int decode_lists(const cJSON *json, const struct json_path *path, struct config *c, struct err *err)
{
    void *columns = NULL, *checks = NULL, *references = NULL;
    int r = decode_list(json, path, "columns", sizeof *c->columns, &columns, &c->n_columns, decode_column_any,
                        err);
    if (r == 0)
        r = decode_list(json, path, "checks", sizeof *c->checks, &checks, &c->n_checks, decode_check_any,
                        err);
    if (r == 0)
        r = decode_list(json, path, "references", sizeof *c->references, &references, &c->n_references,
                        decode_reference_any, err);
    c->columns = columns;
    c->checks = checks;
    c->references = references;
    return r;
}

int config_decode(const cJSON *json, struct config **ret, struct err *err)
{
    _cleanup_config_ struct config *c = xcalloc(1, sizeof *c);
    struct json_path root = {.key = "dataValidate"};
    static const char *const keys[] = {"source",     "columns",     "checks", "unique",
                                       "references", "volume",      "drift",  "freshness",
                                       "leakage",    "servingLogs", NULL};
    if (json_only_keys(json, &root, keys, err) < 0 || decode_source(json, &root, c, err) < 0 ||
        decode_lists(json, &root, c, err) < 0 || decode_unique(json, &root, c, err) < 0 ||
        decode_volume(json, &root, c, err) < 0 || decode_drift(json, &root, c, err) < 0 ||
        decode_freshness(json, &root, c, err) < 0 || decode_leakage(json, &root, c, err) < 0 ||
        decode_serving(json, &root, c, err) < 0) {
        if (!err->exit_code)
            err->exit_code = EXITCODE_CONFIG;
        return -1;
    }
    for (size_t i = 0; i < c->n_columns; i++) {
        if (config_column(c, c->columns[i].name) != &c->columns[i])
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                            "dataValidate.columns[%zu]: the column \"%s\" is listed twice", i,
                            c->columns[i].name);
    }
    *ret = steal_ptr(c);
    return 0;
}

struct config *config_free(struct config *c)
{
    if (!c)
        return NULL;
    free(c->columns);
    free(c->checks);
    free(c->references);
    free(c->volume_baseline.uri);
    free(c->drift_baseline.uri);
    free(c);
    return NULL;
}

const struct column_rule *config_column(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_columns; i++) {
        if (text_equal(c->columns[i].name, name))
            return &c->columns[i];
    }
    return NULL;
}

bool config_lists(const cJSON *names, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, names)
    {
        if (cJSON_IsString(item) && text_equal(item->valuestring, name))
            return true;
    }
    return false;
}
