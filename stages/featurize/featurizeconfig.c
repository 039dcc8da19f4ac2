/* Decoding of the `featurize:` block; the features themselves are in featurizeconfig_feature.c. */
#include "stages/featurize/featurizeconfig.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/featurize/featurizeconfig-internal.h"
#include "stages/tensor/shard.h"

int config_choice(const cJSON *o, const struct json_path *path, const char *key, const char *const *choices,
                  int fallback, int *ret, struct err *err)
{
    const char *text;
    if (json_get_string_or(o, path, key, NULL, &text, err) < 0)
        return -1;
    if (!text) {
        *ret = fallback;
        return 0;
    }
    char known[200] = "";
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *ret = i;
            return 0;
        }
        size_t at = strlen(known);
        (void)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", choices[i]);
    }
    struct json_path at = {.parent = path, .key = key};
    return config_fail(&at, err, "'%.60s' is unknown, expected one of: %s", text, known);
}

int config_names(const cJSON *o, const struct json_path *path, const char *key, bool required,
                 struct config_names *ret, struct err *err)
{
    const cJSON *list, *item;
    struct json_path at = {.parent = path, .key = key};
    if (json_get_array_or(o, path, key, &list, err) < 0)
        return -1;
    int n = list ? cJSON_GetArraySize(list) : 0;
    if (required && n == 0)
        return config_fail(&at, err, "missing or empty: expected a list of column names");
    if (n > LIMIT_COLUMNS)
        return config_fail(&at, err, "%d names, at most %d", n, LIMIT_COLUMNS);
    ret->items = xcalloc((size_t)n + 1, sizeof *ret->items);
    cJSON_ArrayForEach(item, list)
    {
        struct json_path element = {.parent = &at, .index = ret->n};
        if (!cJSON_IsString(item) || !*item->valuestring)
            return config_fail(&element, err, "expected a name");
        for (size_t i = 0; i < ret->n; i++) {
            if (strcmp(ret->items[i], item->valuestring) == 0)
                return config_fail(&element, err, "'%s' stands twice", item->valuestring);
        }
        ret->items[ret->n++] = item->valuestring;
    }
    return 0;
}

static int parse_dedupe(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                        struct err *err)
{
    static const char *const keys[] = {"keep", "orderBy", NULL}, *const keeps[] = {"first", "last", NULL};
    const cJSON *o;
    struct json_path path = {.parent = root, .key = "dedupe"};
    int keep;
    if (json_get_object_or(config, root, "dedupe", &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    if (json_only_keys(o, &path, keys, err) < 0 || config_choice(o, &path, "keep", keeps, 0, &keep, err) < 0)
        return -1;
    c->dedupe = true;
    c->keep_last = keep == 1;
    return config_names(o, &path, "orderBy", false, &c->dedupe_order, err);
}

static int parse_derive(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                        struct err *err)
{
    static const char *const keys[] = {"name", "sql", "pointInTime", NULL};
    const cJSON *list, *item;
    struct json_path path = {.parent = root, .key = "derive"};
    if (json_get_array_or(config, root, "derive", &list, err) < 0)
        return -1;
    c->derive = xcalloc((size_t)(list ? cJSON_GetArraySize(list) : 0) + 1, sizeof *c->derive);
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = &path, .index = c->n_derive};
        struct config_derive *d = &c->derive[c->n_derive++];
        if (json_only_keys(item, &at, keys, err) < 0 ||
            json_get_string(item, &at, "name", &d->name, err) < 0 ||
            json_get_string(item, &at, "sql", &d->sql, err) < 0 ||
            json_get_string_or(item, &at, "pointInTime", NULL, &d->point_in_time, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_label(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                       struct err *err)
{
    static const char *const keys[] = {"column", "sql", "type", NULL};
    static const char *const types[] = {"binary", "class", "number", "relevance", NULL};
    const cJSON *o;
    struct json_path path = {.parent = root, .key = "label"};
    int type;
    if (json_get_object_or(config, root, "label", &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    if (json_only_keys(o, &path, keys, err) < 0 ||
        json_get_string_or(o, &path, "column", NULL, &c->label_column, err) < 0 ||
        json_get_string_or(o, &path, "sql", NULL, &c->label_sql, err) < 0 ||
        config_choice(o, &path, "type", types, 0, &type, err) < 0)
        return -1;
    if (!c->label_column == !c->label_sql)
        return config_fail(&path, err, "expected exactly one of column, sql");
    c->label_type = LABEL_BINARY + (enum label_type)type;
    c->label_type_name = types[type];
    return 0;
}

/* Shares come as numbers or, where a manifest's schema has one type for both, as text: 0.1, "0.1", "10%". */
static int parse_share(const cJSON *o, const struct json_path *path, const char *key, double *ret,
                       struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    struct json_path at = {.parent = path, .key = key};
    double v = 0;
    if (cJSON_IsNumber(item)) {
        v = item->valuedouble;
    } else if (cJSON_IsString(item)) {
        size_t n = strlen(item->valuestring);
        bool percent = n > 1 && item->valuestring[n - 1] == '%';
        _cleanup_free_ char *number = xstrndup(item->valuestring, percent ? n - 1 : n);
        struct err ignored = ERR_INIT;
        if (text_parse_double(number, &v, &ignored) < 0)
            return config_fail(&at, err, "'%.40s' is no share: expected such as 0.1 or \"10%%\"",
                               item->valuestring);
        v = percent ? v / 100 : v;
    } else if (item) {
        return config_fail(&at, err, "expected a share such as 0.1");
    }
    if (!(v >= 0 && v < 1))
        return config_fail(&at, err, "%g is no share of rows: expected 0 to below 1", v);
    *ret = v;
    return 0;
}

static int parse_duration(const cJSON *o, const struct json_path *path, const char *key, int64_t *ret,
                          struct err *err)
{
    struct json_path at = {.parent = path, .key = key};
    const char *text;
    if (json_get_string_or(o, path, key, NULL, &text, err) < 0)
        return -1;
    *ret = 0;
    if (!text)
        return 0;
    if (clock_parse_duration(text, ret, err) < 0)
        return err_wrap(err, "featurize.split.%s", key);
    if (*ret < 0)
        return config_fail(&at, err, "'%s': expected a positive duration, such as 36h", text);
    return 0;
}

static int parse_split(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                       struct err *err)
{
    static const char *const keys[] = {"by",       "column", "validation", "test", "boundary",
                                       "timeZone", "folds",  "fold",       NULL};
    static const char *const bys[] = {"time", "hash", "column", "folds", NULL},
                             *const boundaries[] = {"exact", "hour", "day", NULL};
    const cJSON *o;
    struct json_path path = {.parent = root, .key = "split"};
    int by, boundary;
    if (json_get_object(config, root, "split", &o, err) < 0)
        return -1;
    if (json_only_keys(o, &path, keys, err) < 0 || config_choice(o, &path, "by", bys, 0, &by, err) < 0 ||
        config_choice(o, &path, "boundary", boundaries, BOUNDARY_DAY, &boundary, err) < 0 ||
        json_get_string_or(o, &path, "column", NULL, &c->split.column, err) < 0 ||
        json_get_string_or(o, &path, "timeZone", "UTC", &c->split.time_zone, err) < 0)
        return -1;
    c->split.by = (enum split_by)by;
    c->split.boundary = (enum boundary)boundary;
    switch (c->split.by) {
    case SPLIT_TIME:
        if (!c->time)
            return config_fail(&path, err, "by: time needs featurize.time, the column of the event's time");
        if (parse_duration(o, &path, "validation", &c->split.validation_ms, err) < 0 ||
            parse_duration(o, &path, "test", &c->split.test_ms, err) < 0)
            return -1;
        if (c->split.validation_ms == 0)
            return config_fail(&path, err, "validation is missing: expected a duration such as 2d");
        return 0;
    case SPLIT_HASH:
        if (parse_share(o, &path, "validation", &c->split.validation, err) < 0 ||
            parse_share(o, &path, "test", &c->split.test, err) < 0)
            return -1;
        if (c->split.validation <= 0 || c->split.validation + c->split.test >= 1)
            return config_fail(&path, err, "validation %g and test %g leave no rows for %s",
                               c->split.validation, c->split.test,
                               c->split.validation <= 0 ? "validation" : "training");
        return 0;
    case SPLIT_COLUMN:
        if (!c->split.column)
            return config_fail(&path, err,
                               "by: column needs column, whose values are train, validation and test");
        return 0;
    case SPLIT_FOLDS:
        if (json_get_int(o, &path, "folds", &c->split.folds, err) < 0 ||
            json_get_int_or(o, &path, "fold", 0, &c->split.fold, err) < 0)
            return -1;
        if (c->split.folds < 2 || c->split.folds > 100 || c->split.fold < 0 ||
            c->split.fold >= c->split.folds)
            return config_fail(&path, err,
                               "fold %lld of %lld: expected 2 to 100 folds, fold from 0 to folds - 1",
                               (long long)c->split.fold, (long long)c->split.folds);
        return 0;
    }
    return 0;
}

static int parse_shards(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                        struct err *err)
{
    static const char *const keys[] = {"rows", "order", NULL}, *const orders[] = {"hashed", "rowKey", NULL};
    const cJSON *o;
    struct json_path path = {.parent = root, .key = "shards"};
    int order = 0;
    c->shard_rows = SHARD_ROWS;
    if (json_get_object_or(config, root, "shards", &o, err) < 0)
        return -1;
    if (o && (json_only_keys(o, &path, keys, err) < 0 ||
              json_get_int_or(o, &path, "rows", SHARD_ROWS, &c->shard_rows, err) < 0 ||
              config_choice(o, &path, "order", orders, 0, &order, err) < 0))
        return -1;
    c->hashed_order = order == 0;
    if (c->shard_rows < 1 || c->shard_rows > SHARD_ROWS_MAX)
        return config_fail(&path, err, "rows is %lld, expected 1 to %d", (long long)c->shard_rows,
                           SHARD_ROWS_MAX);
    return 0;
}

static int parse_sampling(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                          struct err *err)
{
    static const char *const keys[] = {"negatives", NULL};
    const cJSON *o;
    struct json_path path = {.parent = root, .key = "trainSampling"};
    c->negatives = 1;
    if (json_get_object_or(config, root, "trainSampling", &o, err) < 0)
        return -1;
    if (o && (json_only_keys(o, &path, keys, err) < 0 ||
              json_get_double_or(o, &path, "negatives", 1, &c->negatives, err) < 0))
        return -1;
    if (!(c->negatives > 0 && c->negatives <= 1))
        return config_fail(&path, err, "negatives is %g, expected a share above 0, at most 1", c->negatives);
    if (c->negatives < 1 && c->label_type != LABEL_BINARY)
        return config_fail(&path, err, "negatives are known only for label.type: binary");
    return 0;
}

int featurizeconfig_parse(const cJSON *config, struct featurizeconfig *ret, struct err *err)
{
    static const char *const keys[] = {"seed",   "rowKey", "dedupe",        "where",    "derive",
                                       "weight", "label",  "group",         "time",     "carry",
                                       "split",  "shards", "trainSampling", "features", NULL};
    struct json_path root = {.key = "featurize"};
    _cleanup_featurizeconfig_ struct featurizeconfig c = {0};
    if (json_only_keys(config, &root, keys, err) < 0 ||
        json_get_int_or(config, &root, "seed", 0, &c.seed, err) < 0 ||
        config_names(config, &root, "rowKey", true, &c.row_key, err) < 0 ||
        parse_dedupe(config, &root, &c, err) < 0 ||
        json_get_string_or(config, &root, "where", NULL, &c.where, err) < 0 ||
        json_get_string_or(config, &root, "weight", NULL, &c.weight, err) < 0 ||
        json_get_string_or(config, &root, "group", NULL, &c.group, err) < 0 ||
        json_get_string_or(config, &root, "time", NULL, &c.time, err) < 0 ||
        config_names(config, &root, "carry", false, &c.carry, err) < 0 ||
        parse_derive(config, &root, &c, err) < 0 || parse_label(config, &root, &c, err) < 0 ||
        parse_split(config, &root, &c, err) < 0 || parse_shards(config, &root, &c, err) < 0 ||
        parse_sampling(config, &root, &c, err) < 0 || featurizeconfig_features(config, &root, &c, err) < 0) {
        if (!err->exit_code || err->exit_code == EXITCODE_DATA)
            err->exit_code = EXITCODE_CONFIG;
        return -1;
    }
    *ret = c;
    c = (struct featurizeconfig){0};
    return 0;
}

void featurizeconfig_release(struct featurizeconfig *c)
{
    free(c->row_key.items);
    free(c->dedupe_order.items);
    free(c->carry.items);
    free(c->derive);
    for (size_t i = 0; i < c->n_features; i++)
        free(c->features[i].cross.items);
    free(c->features);
    *c = (struct featurizeconfig){0};
}
