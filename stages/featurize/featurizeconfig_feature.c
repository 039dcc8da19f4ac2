/* Decoding of the list of features. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/featurize/featurizeconfig-internal.h"

enum { VOCABULARY_MAX = 100 * 1000 * 1000, VOCABULARY_SIZE = 100 * 1000 /* default */ };

static int parse_numeric(const cJSON *o, const struct json_path *path, struct config_feature *f,
                         struct err *err)
{
    static const char *const keys[] = {"impute", "missingFlag", "clip", "scale", "transform", NULL};
    static const char *const imputes[] = {"none", "mean", "median", "zero", NULL},
                             *const scales[] = {"none", "standard", "minmax", "robust", NULL};
    static const char *const transforms[] = {"none", "log", "log1p", "sqrt", NULL};
    const cJSON *clip;
    int impute, scale, transform;
    if (json_only_keys(o, path, keys, err) < 0 ||
        config_choice(o, path, "impute", imputes, IMPUTE_MEDIAN, &impute, err) < 0 ||
        config_choice(o, path, "scale", scales, SCALE_STANDARD, &scale, err) < 0 ||
        config_choice(o, path, "transform", transforms, 0, &transform, err) < 0 ||
        json_get_bool_or(o, path, "missingFlag", false, &f->missing_flag, err) < 0 ||
        json_get_array_or(o, path, "clip", &clip, err) < 0)
        return -1;
    f->numeric = true;
    f->impute = (enum impute)impute;
    f->scale = (enum scale)scale;
    f->transform = transforms[transform];
    if (clip) {
        const cJSON *low = clip->child, *high = low ? low->next : NULL;
        struct json_path at = {.parent = path, .key = "clip"};
        if (!cJSON_IsNumber(low) || !cJSON_IsNumber(high) || high->next ||
            !(low->valuedouble >= 0 && low->valuedouble < high->valuedouble && high->valuedouble <= 1))
            return config_fail(&at, err, "expected two quantiles, such as [0.001, 0.999]");
        f->clip = true;
        f->clip_low = low->valuedouble;
        f->clip_high = high->valuedouble;
    }
    return 0;
}

static int parse_vocabulary(const cJSON *o, const struct json_path *path, struct config_feature *f,
                            struct err *err)
{
    static const char *const keys[] = {"minCount", "maxSize", "oovBuckets", "seed", NULL};
    if (json_only_keys(o, path, keys, err) < 0 ||
        json_get_int_or(o, path, "minCount", 1, &f->min_count, err) < 0 ||
        json_get_int_or(o, path, "maxSize", VOCABULARY_SIZE, &f->max_size, err) < 0 ||
        json_get_int_or(o, path, "oovBuckets", 1, &f->oov_buckets, err) < 0 ||
        json_get_int_or(o, path, "seed", 0, &f->oov_seed, err) < 0)
        return -1;
    if (f->min_count < 1 || f->max_size < 1 || f->max_size > VOCABULARY_MAX || f->oov_buckets < 1 ||
        f->oov_buckets > 1 << 24)
        return config_fail(path, err, "expected minCount ≥ 1, maxSize 1 to %d, oovBuckets 1 to %d",
                           VOCABULARY_MAX, 1 << 24);
    f->vocabulary = o;
    return 0;
}

static int parse_categorical(const cJSON *o, const struct json_path *path, struct config_feature *f,
                             struct err *err)
{
    static const char *const keys[] = {"vocabulary", "values", "hash", NULL};
    if (json_only_keys(o, path, keys, err) < 0)
        return -1;
    const cJSON *body = o->child;
    if (!body || body->next)
        return config_fail(path, err, "expected exactly one of vocabulary, values, hash");
    struct json_path at = {.parent = path, .key = body->string};
    if (f->cross.n && strcmp(body->string, "hash") != 0)
        return config_fail(&at, err,
                           "a cross is hashed: expected categorical: {hash: {function, seed, buckets}}");
    if (strcmp(body->string, "vocabulary") == 0)
        return parse_vocabulary(body, &at, f, err);
    if (strcmp(body->string, "values") == 0)
        f->values = body; /* checked with the column's type at hand, by featurespec_parse() */
    else
        f->hash = body;
    return 0;
}

static int parse_source(const cJSON *o, const struct json_path *path, struct config_feature *f,
                        struct err *err)
{
    if (json_get_string_or(o, path, "column", NULL, &f->column, err) < 0 ||
        json_get_string_or(o, path, "sql", NULL, &f->sql, err) < 0 ||
        config_names(o, path, "cross", false, &f->cross, err) < 0)
        return -1;
    if ((f->column != NULL) + (f->sql != NULL) + (f->cross.n > 0) != 1)
        return config_fail(path, err, "expected exactly one of column, sql, cross");
    return 0;
}

static int parse_feature(const cJSON *o, const struct json_path *path, struct config_feature *f,
                         struct err *err)
{
    static const char *const keys[] = {"name",        "column",   "sql",    "cross",        "numeric",
                                       "categorical", "sequence", "tensor", "servingValue", NULL};
    const cJSON *numeric, *categorical;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "name", &f->name, err) < 0)
        return -1;
    if (cJSON_HasObjectItem(o, "sequence") || cJSON_HasObjectItem(o, "tensor"))
        return config_fail(
            path, err,
            "feature '%s': sequence and tensor features are not available: use numeric or categorical",
            f->name);
    if (parse_source(o, path, f, err) < 0 || json_get_object_or(o, path, "numeric", &numeric, err) < 0 ||
        json_get_object_or(o, path, "categorical", &categorical, err) < 0)
        return -1;
    if (!numeric == !categorical)
        return config_fail(path, err, "feature '%s': expected exactly one of numeric, categorical", f->name);
    struct json_path at = {.parent = path, .key = numeric ? "numeric" : "categorical"};
    if (numeric && f->cross.n)
        return config_fail(&at, err, "a cross is categorical");
    f->serving_value = cJSON_GetObjectItemCaseSensitive(o, "servingValue");
    if (f->serving_value && !cJSON_IsNumber(f->serving_value) && !cJSON_IsString(f->serving_value) &&
        !cJSON_IsBool(f->serving_value))
        return config_fail(path, err, "servingValue of '%s': expected a number, text or boolean", f->name);
    if (f->serving_value && f->cross.n)
        return config_fail(path, err, "servingValue of '%s': give it to the crossed features", f->name);
    return numeric ? parse_numeric(numeric, &at, f, err) : parse_categorical(categorical, &at, f, err);
}

/* A cross names categorical features with a column of their own. */
static int check_cross(const struct featurizeconfig *c, size_t index, const struct json_path *path,
                       struct err *err)
{
    const struct config_feature *f = &c->features[index];
    for (size_t i = 0; i < f->cross.n; i++) {
        const struct config_feature *part = NULL;
        for (size_t k = 0; k < c->n_features && !part; k++)
            part = strcmp(c->features[k].name, f->cross.items[i]) == 0 ? &c->features[k] : NULL;
        if (!part || part->numeric || part->cross.n)
            return config_fail(path, err, "cross of '%s': '%s' is %s", f->name, f->cross.items[i],
                               !part           ? "no feature"
                               : part->numeric ? "numeric, expected a categorical feature"
                                               : "itself a cross");
    }
    return 0;
}

int featurizeconfig_features(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                             struct err *err)
{
    const cJSON *list, *item;
    struct json_path path = {.parent = root, .key = "features"};
    if (json_get_array(config, root, "features", &list, err) < 0)
        return -1;
    int n = cJSON_GetArraySize(list);
    if (n < 1 || n > LIMIT_COLUMNS)
        return config_fail(&path, err, "%d features, expected 1 to %d", n, LIMIT_COLUMNS);
    c->features = xcalloc((size_t)n, sizeof *c->features);
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = &path, .index = c->n_features};
        struct config_feature *f = &c->features[c->n_features++];
        if (parse_feature(item, &at, f, err) < 0)
            return -1;
        for (size_t i = 0; i + 1 < c->n_features; i++) {
            if (strcmp(c->features[i].name, f->name) == 0)
                return config_fail(&at, err, "a second feature named '%s'", f->name);
        }
    }
    for (size_t i = 0; i < c->n_features; i++) {
        struct json_path at = {.parent = &path, .index = i};
        if (check_cross(c, i, &at, err) < 0)
            return -1;
    }
    return 0;
}
