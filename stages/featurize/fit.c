/* Fitting: raw columns and their types, vocabularies by counts of the engine, numeric statistics of our own, and the document. */
#include "stages/featurize/fit.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/featurize/numericfit.h"
#include "stages/featurize/vocabularyfit.h"

enum { STATEMENT_BYTES = 4 * 1024 * 1024, CARRY_VALUES_MAX = 65536 };

struct fit {
    struct source *s;
    const struct featurizeconfig *config;
    char **sql;              /* raw expression of each feature; NULL for crosses */
    enum column_type *types; /* of it */
    struct vocabulary **vocabularies;
    struct numericfit_result *numeric;
};

/* --- raw expressions ----------------------------------------------------------------------------------------- */

static int raw_expressions(struct fit *f, struct err *err)
{
    for (size_t i = 0; i < f->config->n_features; i++) {
        const struct config_feature *c = &f->config->features[i];
        _cleanup_free_ char *what = xasprintf("feature '%s'", c->name);
        if (c->cross.n)
            continue;
        if (c->column && !source_column_type(f->s, c->column))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "column",
                            "%s: the snapshot has no column '%s'", what, c->column);
        if (c->column) {
            f->sql[i] = table_quote_ident(c->column);
        } else {
            if (table_check_expression(f->s->table, c->sql, true, err) < 0)
                return err_wrap(err, "%s", what);
            f->sql[i] = xstrdup(c->sql);
        }
    }
    return 0;
}

static int raw_types(struct fit *f, struct err *err)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    (void)buf_adds(&sql, "(SELECT 0 AS trainyard_none");
    for (size_t i = 0; i < f->config->n_features; i++) {
        if (f->sql[i])
            (void)buf_addf(&sql, ", (%s\n) AS f%zu", f->sql[i], i);
    }
    (void)buf_adds(&sql, " FROM " SOURCE_ALL ")");
    _cleanup_json_ cJSON *described = NULL;
    if (buf_check(&sql, "SQL of the features", err) < 0 ||
        table_describe(f->s->table, buf_str(&sql), &described, err) < 0)
        return err_wrap(err, "the features' SQL");
    const cJSON *item = described->child->next;
    for (size_t i = 0; i < f->config->n_features; i++) {
        if (!f->sql[i])
            continue;
        f->types[i] = f->config->features[i].numeric
                          ? COLUMN_F64
                          : source_categorical_type(cJSON_GetObjectItem(item, "type")->valuestring);
        item = item->next;
    }
    return 0;
}

/* --- vocabularies ---------------------------------------------------------------------------------------------- */

static int fit_vocabularies(struct fit *f, struct err *err)
{
    size_t n = 0;
    _cleanup_free_ struct vocabularyfit *fits = xcalloc(f->config->n_features, sizeof *fits);
    for (size_t i = 0; i < f->config->n_features; i++) {
        const struct config_feature *c = &f->config->features[i];
        if (!c->vocabulary)
            continue;
        f->vocabularies[i] = vocabulary_new(f->types[i], (int32_t)(1 + c->oov_buckets));
        fits[n++] = (struct vocabularyfit){.name = c->name,
                                           .sql = f->sql[i],
                                           .type = f->types[i],
                                           .min_count = c->min_count,
                                           .max_size = c->max_size,
                                           .vocabulary = f->vocabularies[i]};
    }
    return vocabularyfit_run(f->s->table, SOURCE_TRAIN, VOCABULARYFIT_BY_COUNT, fits, n, err);
}

static int fit_carry(struct fit *f, struct fit_carry *ret, struct err *err)
{
    const struct config_names *carry = &f->config->carry;
    _cleanup_free_ struct vocabularyfit *fits = xcalloc(carry->n + 1, sizeof *fits);
    char **quoted = xcalloc(carry->n + 1, sizeof *quoted);
    ret->dictionaries = xcalloc(carry->n + 1, sizeof(struct vocabulary *));
    for (size_t i = 0; i < carry->n; i++) {
        quoted[i] = table_quote_ident(carry->items[i]);
        ret->dictionaries[ret->n++] = vocabulary_new(COLUMN_STR, 1);
        fits[i] = (struct vocabularyfit){.name = carry->items[i],
                                         .sql = quoted[i],
                                         .type = COLUMN_STR,
                                         .min_count = 1,
                                         .max_size = CARRY_VALUES_MAX + 1,
                                         .vocabulary = ret->dictionaries[i]};
    }
    int r = vocabularyfit_run(f->s->table, SOURCE_ALL, VOCABULARYFIT_BY_VALUE, fits, carry->n, err);
    for (size_t i = 0; i < carry->n; i++) {
        free(quoted[i]);
        if (r == 0 && vocabulary_size(ret->dictionaries[i]) > CARRY_VALUES_MAX)
            r = err_fail(
                err, ERR_INVALID, EXITCODE_DATA, "carry",
                "carry column '%s' has more than %d different values: carry is for slices; leave it out",
                carry->items[i], CARRY_VALUES_MAX);
    }
    free(quoted);
    return r;
}

void fit_carry_release(struct fit_carry *c)
{
    for (size_t i = 0; i < c->n; i++)
        vocabulary_free(c->dictionaries[i]);
    free(c->dictionaries);
    *c = (struct fit_carry){0};
}

/* --- numeric statistics, all features in one scan ----------------------------------------------------------------- */

struct numeric_scan {
    struct numericfit **fits;
    enum numeric_transform *transforms;
    size_t n;
};

static int scan_numeric(void *ctx, const struct column_batch *b, struct err *err)
{
    struct numeric_scan *s = ctx;
    for (size_t k = 0; k < s->n; k++) {
        const struct column *c = &b->columns[k];
        for (size_t i = 0; i < b->n_rows; i++) {
            double x = c->valid && !c->valid[i] ? NAN : featurespec_transform(s->transforms[k], c->f64[i]);
            if (numericfit_add(s->fits[k], x, err) < 0)
                return -1;
        }
    }
    return 0;
}

static enum numeric_transform transform_of(const char *name)
{
    static const char *const names[] = {[TRANSFORM_NONE] = "none",
                                        [TRANSFORM_LOG] = "log",
                                        [TRANSFORM_LOG1P] = "log1p",
                                        [TRANSFORM_SQRT] = "sqrt"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0)
            return (enum numeric_transform)i;
    }
    BUG("transform '%s'", name);
}

static int run_numeric_scan(struct fit *f, struct numeric_scan *scan, const size_t *index, struct err *err)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    _cleanup_free_ enum column_type *types = xcalloc(scan->n, sizeof *types);
    (void)buf_adds(&sql, "SELECT ");
    for (size_t k = 0; k < scan->n; k++) {
        types[k] = COLUMN_F64;
        (void)buf_addf(&sql, "%s(%s\n)", k ? ", " : "", f->sql[index[k]]);
        if (numericfit_new(f->s->scratch, &scan->fits[k], err) < 0)
            return -1;
    }
    (void)buf_adds(&sql, " FROM " SOURCE_TRAIN);
    if (buf_check(&sql, "SQL of the features", err) < 0 ||
        table_stream(f->s->table, buf_str(&sql), types, scan->n, scan_numeric, scan, err) < 0)
        return err_wrap(err, "scanning numeric features");
    for (size_t k = 0; k < scan->n; k++) {
        if (numericfit_finish(scan->fits[k], &f->config->features[index[k]], &f->numeric[index[k]], err) < 0)
            return -1;
        scan->fits[k] = numericfit_free(scan->fits[k]);
    }
    return 0;
}

static int fit_numeric(struct fit *f, struct err *err)
{
    size_t n = f->config->n_features;
    struct numeric_scan scan = {.fits = xcalloc(n, sizeof(struct numericfit *)),
                                .transforms = xcalloc(n, sizeof *scan.transforms)};
    _cleanup_free_ size_t *index = xcalloc(n, sizeof *index);
    for (size_t i = 0; i < n; i++) {
        if (f->config->features[i].numeric) {
            scan.transforms[scan.n] = transform_of(f->config->features[i].transform);
            index[scan.n++] = i;
        }
    }
    int r = scan.n ? run_numeric_scan(f, &scan, index, err) : 0;
    for (size_t k = 0; k < scan.n; k++)
        numericfit_free(scan.fits[k]);
    free(scan.fits);
    free(scan.transforms);
    return r;
}

/* --- the document ---------------------------------------------------------------------------------------------------- */

static char *serving_sql(const cJSON *value)
{
    char number[32];
    if (cJSON_IsString(value))
        return table_quote_string(value->valuestring);
    if (cJSON_IsBool(value))
        return xstrdup(cJSON_IsTrue(value) ? "true" : "false");
    json_format_double(value->valuedouble, number);
    return xstrdup(number);
}

static cJSON *raw_list(const struct fit *f)
{
    static const char *const names[] = {[COLUMN_F64] = "f64", [COLUMN_I64] = "i64", [COLUMN_STR] = "str"};
    cJSON *list = json_array();
    for (size_t i = 0; i < f->config->n_features; i++) {
        const struct config_feature *c = &f->config->features[i];
        if (!f->sql[i])
            continue;
        cJSON *o = json_object();
        json_add_string(o, "name", c->name);
        json_add_string(o, "sql", f->sql[i]);
        json_add_string(o, "type", names[f->types[i]]);
        if (c->serving_value) {
            _cleanup_free_ char *sql = serving_sql(c->serving_value);
            json_add_string(o, "servingSql", sql);
        }
        json_append(list, o);
    }
    return list;
}

static cJSON *numeric_entry(const struct config_feature *c, const struct numericfit_result *r)
{
    cJSON *o = json_object();
    json_add_double(o, "fill", r->fill);
    json_add_bool(o, "missingFlag", c->missing_flag);
    json_add_string(o, "transform", c->transform);
    if (c->impute == IMPUTE_NONE)
        json_add_bool(o, "required", true);
    if (c->clip) {
        cJSON *clip = json_array();
        json_append(clip, cJSON_CreateNumber(r->lowest));
        json_append(clip, cJSON_CreateNumber(r->highest));
        json_add(o, "clip", clip);
    }
    json_add_double(o, "offset", r->offset);
    json_add_double(o, "scale", r->scale);
    return o;
}

/* Hash parameters with their defaults; a missing or odd one is refused when the document is loaded. */
static cJSON *hash_entry(const cJSON *hash)
{
    cJSON *o = cJSON_Duplicate(hash, true);
    if (!cJSON_HasObjectItem(o, "function"))
        json_add_string(o, "function", "xxh64");
    if (!cJSON_HasObjectItem(o, "seed"))
        json_add_int(o, "seed", 0);
    return o;
}

static cJSON *categorical_entry(const struct fit *f, size_t i)
{
    const struct config_feature *c = &f->config->features[i];
    cJSON *o = json_object();
    if (c->vocabulary) {
        cJSON *v = json_object();
        json_add_string(v, "function", "xxh64");
        json_add_int(v, "seed", c->oov_seed);
        json_add_int(v, "oovBuckets", c->oov_buckets);
        json_add_int(v, "size", (int64_t)vocabulary_size(f->vocabularies[i]));
        json_add(o, "vocabulary", v);
    } else if (c->values) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->values, "list");
        json_add(o, "values", cJSON_Duplicate(list ? list : c->values, true));
    } else {
        json_add(o, "hash", hash_entry(c->hash));
    }
    return o;
}

static cJSON *feature_list(const struct fit *f)
{
    cJSON *list = json_array();
    for (size_t i = 0; i < f->config->n_features; i++) {
        const struct config_feature *c = &f->config->features[i];
        cJSON *o = json_object();
        json_add_string(o, "name", c->name);
        if (c->cross.n) {
            cJSON *cross = json_array();
            for (size_t k = 0; k < c->cross.n; k++)
                json_append(cross, cJSON_CreateString(c->cross.items[k]));
            json_add(o, "cross", cross);
        } else {
            json_add_string(o, "raw", c->name);
        }
        if (c->numeric)
            json_add(o, "numeric", numeric_entry(c, &f->numeric[i]));
        else
            json_add(o, "categorical", categorical_entry(f, i));
        json_append(list, o);
    }
    return list;
}

static void add_text(cJSON *o, const char *key, const char *text)
{
    if (text)
        json_add_string(o, key, text);
}

static cJSON *names_list(const struct config_names *names)
{
    cJSON *list = json_array();
    for (size_t i = 0; i < names->n; i++)
        json_append(list, cJSON_CreateString(names->items[i]));
    return list;
}

static void add_rows_part(cJSON *doc, const struct source *s)
{
    const struct featurizeconfig *c = s->config;
    if (c->label_type != LABEL_NONE) {
        cJSON *label = json_object();
        add_text(label, "column", c->label_column);
        add_text(label, "sql", c->label_sql);
        json_add_string(label, "type", c->label_type_name);
        if (c->label_type == LABEL_CLASS)
            json_add_int(label, "classes", s->classes);
        json_add(doc, "label", label);
    }
    add_text(doc, "group", c->group);
    add_text(doc, "time", c->time);
    add_text(doc, "weight", c->weight);
    add_text(doc, "where", c->where);
    json_add(doc, "rowKey", names_list(&c->row_key));
    json_add(doc, "carry", names_list(&c->carry));
    cJSON *sql = json_object();
    json_add_string(sql, "rowKey", s->row_key_sql);
    json_add_string(sql, "rowOrder", s->row_order);
    add_text(sql, "label", s->label_sql);
    add_text(sql, "weight", s->weight_sql);
    add_text(sql, "group", s->group_sql);
    add_text(sql, "time", s->time_sql);
    json_add(doc, "sql", sql);
    if (c->n_derive) {
        cJSON *derive = json_array();
        for (size_t i = 0; i < c->n_derive; i++) {
            cJSON *o = json_object();
            json_add_string(o, "name", c->derive[i].name);
            json_add_string(o, "sql", c->derive[i].sql);
            add_text(o, "pointInTime", c->derive[i].point_in_time);
            json_append(derive, o);
        }
        json_add(doc, "derive", derive);
    }
}

static void add_source_part(cJSON *doc, const struct source *s)
{
    static const char *const by[] = {"time", "hash", "column", "folds"};
    cJSON *split = json_object(), *source = json_object();
    json_add_string(split, "by", by[s->config->split.by]);
    if (s->config->split.by == SPLIT_TIME) {
        json_add_int64_string(split, "validationFrom", s->validation_from);
        if (s->test_from != INT64_MAX)
            json_add_int64_string(split, "testFrom", s->test_from);
    }
    json_add(doc, "split", split);
    if (s->has_newest_train_time)
        json_add_int64_string(doc, "newestTrainTime", s->newest_train_time);
    json_add(source, "columns", cJSON_Duplicate(s->columns, true));
    json_add_int(source, "rows", s->rows);
    json_add_int(source, "duplicatesDropped", s->rows_before_dedupe - s->rows);
    json_add_int(source, "trainRows", s->train_rows);
    json_add_int(source, "validationRows", s->validation_rows);
    json_add_int(source, "testRows", s->test_rows);
    json_add(doc, "source", source);
}

static void add_dictionaries(cJSON *doc, const struct featurizeconfig *c, const struct fit_carry *carry)
{
    cJSON *all = json_object();
    for (size_t i = 0; i < carry->n; i++) {
        struct safetensors_tensor t[VOCABULARY_TENSORS];
        /* Keys are sorted and ids follow them: the code of a value is 1 + its index. */
        (void)vocabulary_tensors(carry->dictionaries[i], c->carry.items[i], t);
        const int64_t *offsets = t[0].data;
        const char *text = t[2].data;
        cJSON *list = json_array();
        for (size_t k = 0; k < vocabulary_size(carry->dictionaries[i]); k++) {
            _cleanup_free_ char *value = xstrndup(text + offsets[k], (size_t)(offsets[k + 1] - offsets[k]));
            json_append(list, cJSON_CreateString(value));
        }
        json_add(all, c->carry.items[i], list);
    }
    json_add(doc, "carryDictionaries", all);
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

static int write_vocabularies(const struct fit *f, const char *output, struct err *err)
{
    size_t n = 0;
    struct safetensors_tensor *tensors =
        xcalloc(VOCABULARY_TENSORS * f->config->n_features + 1, sizeof *tensors);
    for (size_t i = 0; i < f->config->n_features; i++) {
        if (f->vocabularies[i])
            n += vocabulary_tensors(f->vocabularies[i], f->config->features[i].name, tensors + n);
    }
    _cleanup_free_ char *path = fs_join(output, "vocabularies.safetensors");
    int r = safetensors_write(path, tensors, n, NULL, err);
    free(tensors);
    return r;
}

static int write_document(const struct fit *f, const struct fit_carry *carry, const char *output,
                          struct err *err)
{
    _cleanup_json_ cJSON *doc = json_object();
    json_add_int(doc, "version", 1);
    json_add(doc, "raw", raw_list(f));
    json_add(doc, "features", feature_list(f));
    add_rows_part(doc, f->s);
    add_source_part(doc, f->s);
    add_dictionaries(doc, f->config, carry);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_FEATURE_SPEC_BYTES);
    _cleanup_free_ char *path = fs_join(output, "feature-spec.json");
    (void)json_pretty(doc, &text);
    if (buf_check(&text, "feature-spec.json", err) < 0)
        return -1;
    return fs_write_atomic(path, text.data, text.len, err);
}

static int fit_all(struct fit *f, const char *output, struct fit_carry *carry, struct err *err)
{
    if (raw_expressions(f, err) < 0 || raw_types(f, err) < 0)
        return -1;
    if (fit_vocabularies(f, err) < 0)
        return -1;
    if (fit_numeric(f, err) < 0 || fit_carry(f, carry, err) < 0 || write_vocabularies(f, output, err) < 0)
        return -1;
    return write_document(f, carry, output, err);
}

int fit_features(struct source *s, const char *output, struct featurespec **ret, struct fit_carry *ret_carry,
                 struct err *err)
{
    size_t n = s->config->n_features;
    struct fit f = {.s = s,
                    .config = s->config,
                    .sql = xcalloc(n, sizeof *f.sql),
                    .types = xcalloc(n, sizeof *f.types),
                    .vocabularies = xcalloc(n, sizeof(struct vocabulary *)),
                    .numeric = xcalloc(n, sizeof *f.numeric)};
    struct fit_carry carry = {0};
    int r = fit_all(&f, output, &carry, err);
    if (r == 0) {
        r = featurespec_load(output, ret, err);
        if (r < 0) /* what the manifest said about values, hashes or crosses does not fit the columns */
            err->exit_code = EXITCODE_CONFIG;
    }
    for (size_t i = 0; i < n; i++) {
        free(f.sql[i]);
        vocabulary_free(f.vocabularies[i]);
    }
    free(f.sql);
    free(f.types);
    free(f.vocabularies);
    free(f.numeric);
    if (r < 0)
        fit_carry_release(&carry);
    else
        *ret_carry = carry;
    return r;
}
