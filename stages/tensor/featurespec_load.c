/* Reading feature-spec.json and vocabularies.safetensors, believing neither: see featurespec.h for the document. */
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/tensor/featurespec-internal.h"

enum { BUCKETS_MAX = 1 << 30, VALUES_MAX = 1 << 20, DOCUMENT_VERSION = 1 };

struct loader {
    struct featurespec *s;
    const struct safetensors *vocabularies; /* NULL: the spec has none */
};

#define invalid(path, err, ...) json_fail(path, NULL, EXITCODE_DATA, "feature-spec", err, __VA_ARGS__)

/* --- raw columns --------------------------------------------------------------------------------------- */

static int load_raw(struct featurespec *s, const cJSON *list, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"name", "sql", "type", "servingSql", NULL};
    static const char *const types[] = {[COLUMN_F64] = "f64", [COLUMN_I64] = "i64", [COLUMN_STR] = "str"};
    s->raw = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *s->raw);
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = path, .index = s->n_raw};
        struct featurespec_raw *r = &s->raw[s->n_raw];
        const char *type;
        if (json_only_keys(item, &at, keys, err) < 0 ||
            json_get_string(item, &at, "name", &r->name, err) < 0 ||
            json_get_string(item, &at, "sql", &r->sql, err) < 0 ||
            json_get_string(item, &at, "type", &type, err) < 0 ||
            json_get_string_or(item, &at, "servingSql", NULL, &r->serving_sql, err) < 0)
            return -1;
        size_t k = 0;
        while (k < ARRAY_SIZE(types) && strcmp(types[k], type) != 0)
            k++;
        if (k == ARRAY_SIZE(types))
            return invalid(&at, err, "type is '%.40s', expected f64, i64 or str", type);
        r->type = (enum column_type)k;
        for (size_t i = 0; i < s->n_raw; i++) {
            if (strcmp(s->raw[i].name, r->name) == 0)
                return invalid(&at, err, "a second raw column '%s'", r->name);
        }
        s->n_raw++;
    }
    return 0;
}

static int find_raw(const struct featurespec *s, const char *name, const struct json_path *path, size_t *ret,
                    struct err *err)
{
    for (size_t i = 0; i < s->n_raw; i++) {
        if (strcmp(s->raw[i].name, name) == 0) {
            *ret = i;
            return 0;
        }
    }
    return invalid(path, err, "raw column '%.100s' is not in the list 'raw'", name);
}

/* --- numeric -------------------------------------------------------------------------------------------- */

static int load_numeric(struct feature *f, const cJSON *o, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"fill", "required", "missingFlag", "transform",
                                       "clip", "offset",   "scale",       NULL};
    static const char *const transforms[] = {[TRANSFORM_NONE] = "none",
                                             [TRANSFORM_LOG] = "log",
                                             [TRANSFORM_LOG1P] = "log1p",
                                             [TRANSFORM_SQRT] = "sqrt"};
    struct numeric *p = &f->numeric;
    const char *transform;
    const cJSON *clip;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_double(o, path, "fill", &p->fill, err) < 0 ||
        json_get_bool(o, path, "missingFlag", &p->missing_flag, err) < 0 ||
        json_get_bool_or(o, path, "required", false, &p->required, err) < 0 ||
        json_get_string(o, path, "transform", &transform, err) < 0 ||
        json_get_double(o, path, "offset", &p->offset, err) < 0 ||
        json_get_double(o, path, "scale", &p->scale, err) < 0 ||
        json_get_array_or(o, path, "clip", &clip, err) < 0)
        return -1;
    size_t k = 0;
    while (k < ARRAY_SIZE(transforms) && strcmp(transforms[k], transform) != 0)
        k++;
    if (k == ARRAY_SIZE(transforms))
        return invalid(path, err, "transform is '%.40s', expected none, log, log1p or sqrt", transform);
    p->transform = (enum numeric_transform)k;
    if (!isfinite(p->fill) || !isfinite(p->offset) || !isfinite(p->scale) || p->scale == 0)
        return invalid(path, err, "fill, offset and scale must be finite, scale not 0");
    if (clip) {
        const cJSON *low = clip->child, *high = low ? low->next : NULL;
        if (!cJSON_IsNumber(low) || !cJSON_IsNumber(high) || high->next ||
            !(low->valuedouble <= high->valuedouble))
            return invalid(path, err, "clip is no pair [lowest, highest]");
        p->clip = true;
        p->lowest = low->valuedouble;
        p->highest = high->valuedouble;
    }
    return 0;
}

/* --- categorical ------------------------------------------------------------------------------------------ */

static int load_hash(struct categorical *c, const cJSON *o, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"function", "seed", "buckets", NULL};
    const char *function;
    int64_t seed, buckets;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "function", &function, err) < 0 ||
        json_get_int(o, path, "seed", &seed, err) < 0 || json_get_int(o, path, "buckets", &buckets, err) < 0)
        return -1;
    if (strcmp(function, "xxh64") != 0)
        return invalid(path, err, "function is '%.40s', expected xxh64", function);
    if (buckets < 1 || buckets > BUCKETS_MAX)
        return invalid(path, err, "buckets is %lld, expected 1 to %d", (long long)buckets, BUCKETS_MAX);
    c->kind = CATEGORICAL_HASH;
    c->seed = (uint64_t)seed;
    c->buckets = (uint64_t)buckets;
    return 0;
}

static int load_vocabulary(struct loader *l, struct feature *f, enum column_type type, const cJSON *o,
                           const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"function", "seed", "oovBuckets", "size", NULL};
    const char *function;
    int64_t seed, buckets, size;
    struct categorical *c = &f->categorical;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "function", &function, err) < 0 ||
        json_get_int(o, path, "seed", &seed, err) < 0 ||
        json_get_int(o, path, "oovBuckets", &buckets, err) < 0 ||
        json_get_int(o, path, "size", &size, err) < 0)
        return -1;
    if (strcmp(function, "xxh64") != 0)
        return invalid(path, err, "function is '%.40s', expected xxh64", function);
    if (buckets < 1 || buckets > BUCKETS_MAX)
        return invalid(path, err, "oovBuckets is %lld, expected 1 to %d", (long long)buckets, BUCKETS_MAX);
    if (!l->vocabularies)
        return invalid(path, err, "vocabularies.safetensors is missing beside the feature spec");
    c->kind = CATEGORICAL_KNOWN;
    c->seed = (uint64_t)seed;
    c->buckets = (uint64_t)buckets;
    if (vocabulary_load(l->vocabularies, f->name, type, (int32_t)(1 + buckets), &c->known, err) < 0)
        return -1;
    if ((int64_t)vocabulary_size(c->known) != size)
        return invalid(path, err, "size is %lld, vocabularies.safetensors holds %zu values", (long long)size,
                       vocabulary_size(c->known));
    return 0;
}

static int values_range(struct vocabulary *v, const cJSON *o, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"from", "to", NULL};
    int64_t from, to;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_int(o, path, "from", &from, err) < 0 ||
        json_get_int(o, path, "to", &to, err) < 0)
        return -1;
    if (from > to || (uint64_t)to - (uint64_t)from >= VALUES_MAX)
        return invalid(path, err, "from %lld to %lld: expected an ascending range of at most %d values",
                       (long long)from, (long long)to, VALUES_MAX);
    for (int64_t k = from; k <= to; k++)
        vocabulary_add_i64(v, k);
    return 0;
}

static int values_list(struct vocabulary *v, enum column_type type, const cJSON *list,
                       const struct json_path *path, struct err *err)
{
    const cJSON *item;
    size_t index = 0;
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = path, .index = index++};
        int64_t number;
        if (type == COLUMN_STR && cJSON_IsString(item)) {
            vocabulary_add_text(v, item->valuestring, strlen(item->valuestring));
        } else if (type == COLUMN_I64 && cJSON_IsNumber(item) &&
                   item->valuedouble == floor(item->valuedouble) &&
                   fabs(item->valuedouble) <= 9007199254740992.0) {
            vocabulary_add_i64(v, (int64_t)item->valuedouble);
        } else if (type == COLUMN_I64 && cJSON_IsString(item)) {
            if (text_parse_int(item->valuestring, &number, err) < 0)
                return -1;
            vocabulary_add_i64(v, number);
        } else {
            return invalid(&at, err, "expected %s, as the raw column is",
                           type == COLUMN_I64 ? "an integer" : "a text");
        }
    }
    return 0;
}

static int load_values(struct feature *f, enum column_type type, const cJSON *o, const struct json_path *path,
                       struct err *err)
{
    struct categorical *c = &f->categorical;
    c->kind = CATEGORICAL_KNOWN;
    c->buckets = 1;
    if (type == COLUMN_F64)
        return invalid(path, err, "values need an integer or text column");
    c->known = vocabulary_new(type, 2);
    if (cJSON_IsArray(o)) {
        if (values_list(c->known, type, o, path, err) < 0)
            return -1;
    } else if (type != COLUMN_I64) {
        return invalid(path, err, "a range of values needs an integer column, the raw column is text");
    } else if (values_range(c->known, o, path, err) < 0) {
        return -1;
    }
    return vocabulary_finish(c->known, err) < 0 ? err_wrap(err, "feature '%s': values", f->name) : 0;
}

static int load_categorical(struct loader *l, struct feature *f, const cJSON *o, const struct json_path *path,
                            struct err *err)
{
    static const char *const keys[] = {"vocabulary", "values", "hash", NULL};
    if (json_only_keys(o, path, keys, err) < 0)
        return -1;
    const cJSON *body = o->child;
    if (!body || body->next)
        return invalid(path, err, "expected exactly one of vocabulary, values, hash");
    struct json_path at = {.parent = path, .key = body->string};
    enum column_type type = l->s->raw[f->input[0]].type;
    for (size_t i = 0; i < f->n_inputs; i++) {
        if (l->s->raw[f->input[i]].type == COLUMN_F64)
            return invalid(path, err, "raw column '%s' is f64, categorical features take i64 or str",
                           l->s->raw[f->input[i]].name);
    }
    if (strcmp(body->string, "hash") == 0)
        return load_hash(&f->categorical, body, &at, err);
    if (f->n_inputs > 1)
        return invalid(&at, err, "a cross is hashed: expected hash");
    if (strcmp(body->string, "values") == 0)
        return load_values(f, type, body, &at, err);
    return load_vocabulary(l, f, type, body, &at, err);
}

/* --- features ---------------------------------------------------------------------------------------------- */

static int load_inputs(struct featurespec *s, struct feature *f, const cJSON *o, const struct json_path *path,
                       struct err *err)
{
    const cJSON *cross;
    const char *raw;
    if (json_get_array_or(o, path, "cross", &cross, err) < 0)
        return -1;
    if (!cross) {
        f->n_inputs = 1;
        return json_get_string(o, path, "raw", &raw, err) < 0 ? -1
                                                              : find_raw(s, raw, path, &f->input[0], err);
    }
    int n = cJSON_GetArraySize(cross);
    if (n < 2 || n > FEATURE_CROSS_MAX)
        return invalid(path, err, "cross of %d columns: expected 2 to %d", n, FEATURE_CROSS_MAX);
    const cJSON *item;
    cJSON_ArrayForEach(item, cross)
    {
        if (!cJSON_IsString(item))
            return invalid(path, err, "cross holds something that is no name");
        if (find_raw(s, item->valuestring, path, &f->input[f->n_inputs++], err) < 0)
            return -1;
    }
    return 0;
}

static int load_feature(struct loader *l, struct feature *f, const cJSON *o, const struct json_path *path,
                        struct err *err)
{
    static const char *const keys[] = {"name", "raw", "cross", "numeric", "categorical", NULL};
    const cJSON *numeric, *categorical;
    if (json_only_keys(o, path, keys, err) < 0 || json_get_string(o, path, "name", &f->name, err) < 0 ||
        load_inputs(l->s, f, o, path, err) < 0 || json_get_object_or(o, path, "numeric", &numeric, err) < 0 ||
        json_get_object_or(o, path, "categorical", &categorical, err) < 0)
        return -1;
    if (!numeric == !categorical)
        return invalid(path, err, "expected exactly one of numeric, categorical");
    struct json_path at = {.parent = path, .key = numeric ? "numeric" : "categorical"};
    f->is_numeric = numeric != NULL;
    if (categorical)
        return load_categorical(l, f, categorical, &at, err);
    if (f->n_inputs != 1 || l->s->raw[f->input[0]].type != COLUMN_F64)
        return invalid(path, err, "a numeric feature takes one raw column of type f64");
    return load_numeric(f, numeric, &at, err);
}

/* Positions in the order of the features; a missing flag stands right after its value. */
static void lay_out(struct featurespec *s)
{
    s->dense_names = xcalloc(2 * s->n_features + 1, sizeof *s->dense_names);
    s->cat_features = xcalloc(s->n_features + 1, sizeof(struct feature *));
    for (size_t i = 0; i < s->n_features; i++) {
        struct feature *f = &s->features[i];
        if (!f->is_numeric) {
            f->at = s->cat_width;
            s->cat_features[s->cat_width++] = f;
            continue;
        }
        f->at = s->dense_width;
        s->dense_names[s->dense_width++] = xstrdup(f->name);
        if (f->numeric.missing_flag)
            s->dense_names[s->dense_width++] = xasprintf("%s.missing", f->name);
    }
}

static int load_features(struct loader *l, const cJSON *list, const struct json_path *path, struct err *err)
{
    struct featurespec *s = l->s;
    size_t n = (size_t)cJSON_GetArraySize(list);
    if (n == 0 || n > LIMIT_COLUMNS)
        return invalid(path, err, "%zu features: expected 1 to %d", n, LIMIT_COLUMNS);
    s->features = xcalloc(n, sizeof *s->features);
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        struct json_path at = {.parent = path, .index = s->n_features};
        if (load_feature(l, &s->features[s->n_features++], item, &at, err) < 0)
            return -1;
        for (size_t i = 0; i + 1 < s->n_features; i++) {
            if (strcmp(s->features[i].name, s->features[s->n_features - 1].name) == 0)
                return invalid(&at, err, "a second feature '%s'", s->features[i].name);
        }
    }
    lay_out(s);
    return 0;
}

/* Takes the document, on failure too. */
int featurespec_parse(cJSON *document, const struct safetensors *vocabularies, struct featurespec **ret,
                      struct err *err)
{
    _cleanup_featurespec_ struct featurespec *s = xcalloc(1, sizeof *s);
    s->document = document;
    struct loader l = {.s = s, .vocabularies = vocabularies};
    struct json_path root = {.key = "feature-spec.json"}, raw_path = {.parent = &root, .key = "raw"},
                     path = {.parent = &root, .key = "features"};
    int64_t version;
    const cJSON *raw, *features;
    if (!cJSON_IsObject(document))
        return invalid(&root, err, "expected an object");
    if (json_get_int(document, &root, "version", &version, err) < 0)
        return -1;
    if (version != DOCUMENT_VERSION)
        return invalid(&root, err, "version %lld, expected %d: use the release that wrote it",
                       (long long)version, DOCUMENT_VERSION);
    if (json_get_array(document, &root, "raw", &raw, err) < 0 ||
        json_get_array(document, &root, "features", &features, err) < 0 ||
        load_raw(s, raw, &raw_path, err) < 0 || load_features(&l, features, &path, err) < 0)
        return -1;
    *ret = steal_ptr(s);
    return 0;
}

int featurespec_load(const char *dir, struct featurespec **ret, struct err *err)
{
    _cleanup_free_ char *spec = fs_join(dir, "feature-spec.json"),
                        *words = fs_join(dir, "vocabularies.safetensors");
    _cleanup_safetensors_ struct safetensors *vocabularies = NULL;
    cJSON *document = NULL;
    if (fs_exists(words) && safetensors_open(words, &vocabularies, err) < 0)
        return -1;
    if (json_parse_file(spec, LIMIT_FEATURE_SPEC_BYTES, &document, err) < 0)
        return -1;
    int r = featurespec_parse(document, vocabularies, ret, err);
    return r < 0 ? err_wrap(err, "%s", dir) : 0;
}

struct featurespec *featurespec_free(struct featurespec *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n_features; i++)
        vocabulary_free(s->features[i].categorical.known);
    for (size_t i = 0; i < s->dense_width; i++)
        free(s->dense_names[i]);
    free(s->dense_names);
    free(s->cat_features);
    free(s->features);
    free(s->raw);
    cJSON_Delete(s->document);
    free(s);
    return NULL;
}
