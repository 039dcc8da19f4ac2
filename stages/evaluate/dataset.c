/* Test rows and their scores: see dataset.h. */
#include "stages/evaluate/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "stages/table/rawcolumns.h"
#include "stages/tensor/featurespec.h"

#define TEST_ROWS "trainyard_test"
enum { SLICE_VALUES_MAX = 10000, SQL_BYTES = 1024 * 1024 };

/* The values of one slice column, numbered in order of appearance; sorted at the end. */
struct slice {
    struct map *numbers; /* value → number + 1 */
    char **names;
    size_t n, capacity;
    uint32_t *value; /* per row */
};

struct dataset {
    struct dataset_config config;
    struct table *table;
    struct featurespec *features; /* of the features artifact: who the rows are */
    const char *row_key_sql, *label_sql, *weight_sql, *group_sql, *time_sql; /* NULL: none */
    int64_t *row_key;
    float *label, *weight, *logged, *served, *baseline_logged, *baseline_served;
    uint32_t *group;
    struct slice *slices;
    size_t n, capacity, n_groups;
    bool has_baseline, has_time;
    int64_t last_group, earliest_us;
};

/* --- opening -------------------------------------------------------------------------------------------- */

static int create_view(struct dataset *d, struct err *err)
{
    _cleanup_free_ char *heldout = fs_join(d->config.features, "heldout");
    struct fs_list files = {0};
    if (fs_list_inputs(heldout, &files, err) < 0)
        return err_wrap(err, "the held-out rows of the features");
    _cleanup_buf_ struct buf list = BUF_INIT(SQL_BYTES);
    size_t n = 0;
    for (size_t i = 0; i < files.n; i++) {
        if (!text_ends_with(files.names[i], ".parquet"))
            continue;
        _cleanup_free_ char *path = fs_join(heldout, files.names[i]), *quoted = table_quote_string(path);
        (void)buf_addf(&list, "%s%s", n++ ? ", " : "", quoted);
    }
    fs_list_release(&files);
    if (n == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "heldout-empty",
                        "%s: expected heldout/*.parquet, found none", d->config.features);
    if (buf_check(&list, "list of held-out files", err) < 0)
        return -1;
    return table_exec(
        d->table, err,
        "CREATE TEMP VIEW " TEST_ROWS
        " AS SELECT * FROM read_parquet([%s], hive_partitioning = false) WHERE trainyard_split = 'test'",
        buf_str(&list));
}

/* Reads the texts of the features' own spec that say who the rows are. */
static int read_row_sql(struct dataset *d, struct err *err)
{
    const cJSON *sql;
    struct json_path path = {.key = "sql"};
    if (json_get_object(featurespec_document(d->features), NULL, "sql", &sql, err) < 0 ||
        json_get_string(sql, &path, "rowKey", &d->row_key_sql, err) < 0 ||
        json_get_string_or(sql, &path, "label", NULL, &d->label_sql, err) < 0 ||
        json_get_string_or(sql, &path, "weight", NULL, &d->weight_sql, err) < 0 ||
        json_get_string_or(sql, &path, "group", NULL, &d->group_sql, err) < 0 ||
        json_get_string_or(sql, &path, "time", NULL, &d->time_sql, err) < 0)
        return err_wrap(err, "feature-spec.json");
    if (!d->label_sql)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "label",
                        "the features have no label: evaluate needs one (featurize.label)");
    return 0;
}

/* A column that a slice names must be there. */
static int check_slices(const struct dataset *d, struct err *err)
{
    _cleanup_json_ cJSON *columns = NULL;
    if (table_describe(d->table, TEST_ROWS, &columns, err) < 0)
        return -1;
    size_t n = (size_t)cJSON_GetArraySize(columns), i = 0;
    _cleanup_free_ const char **names = xcalloc(n + 1, sizeof *names);
    const cJSON *column;
    cJSON_ArrayForEach(column, columns) names[i++] =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(column, "name"));
    for (size_t s = 0; s < d->config.n_slices; s++) {
        bool found = false;
        for (i = 0; i < n; i++)
            found = found || text_equal(names[i], d->config.slices[s]);
        const char *near = text_nearest(d->config.slices[s], names);
        if (!found)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "slices",
                            "slices[%zu]: the held-out rows have no column '%s'%s%s%s", s,
                            d->config.slices[s], near ? "; did you mean '" : "", near ? near : "",
                            near ? "'?" : "");
    }
    return 0;
}

int dataset_open(const struct dataset_config *config, struct dataset **ret, struct err *err)
{
    _cleanup_dataset_ struct dataset *d = xcalloc(1, sizeof *d);
    d->config = *config;
    d->slices = xcalloc(config->n_slices + 1, sizeof *d->slices);
    for (size_t i = 0; i < config->n_slices; i++)
        d->slices[i].numbers = map_new(SLICE_VALUES_MAX, NULL);
    const char *const readable[] = {config->features, NULL};
    struct table_config table = {.scratch = config->scratch,
                                 .readable = readable,
                                 .memory_bytes = config->memory_bytes,
                                 .threads = config->threads,
                                 .stop = config->stop,
                                 .stop_ctx = config->stop_ctx};
    if (featurespec_load(config->features, &d->features, err) < 0 || read_row_sql(d, err) < 0 ||
        table_open(&table, &d->table, err) < 0 || table_lock(d->table, err) < 0 || create_view(d, err) < 0 ||
        check_slices(d, err) < 0)
        return -1;
    *ret = steal_ptr(d);
    return 0;
}

struct dataset *dataset_free(struct dataset *d)
{
    if (!d)
        return NULL;
    for (size_t i = 0; d->slices && i < d->config.n_slices; i++) {
        map_free(d->slices[i].numbers);
        for (size_t v = 0; v < d->slices[i].n; v++)
            free(d->slices[i].names[v]);
        free(d->slices[i].names);
        free(d->slices[i].value);
    }
    free(d->slices);
    table_free(d->table);
    featurespec_free(d->features);
    free(d->row_key);
    free(d->label);
    free(d->weight);
    free(d->logged);
    free(d->served);
    free(d->baseline_logged);
    free(d->baseline_served);
    free(d->group);
    free(d);
    return NULL;
}

/* --- one pass over the rows ----------------------------------------------------------------------------- */

/* Extra columns after the model's raw ones. */
enum { X_KEY, X_LABEL, X_WEIGHT, X_GROUP, X_TIME, X_SLICES };

struct pass {
    struct dataset *d;
    struct model *model;
    float **scores;       /* where they go */
    bool first, identity; /* first: rows are recorded; identity: keys and labels are compared */
    size_t n_raw, row;
    struct featurebatch batch;
};

static void reserve(struct dataset *d, size_t n)
{
    if (n <= d->capacity)
        return;
    d->capacity = n > 2 * d->capacity ? n : 2 * d->capacity;
    d->row_key = xreallocarray(d->row_key, d->capacity, sizeof *d->row_key);
    d->label = xreallocarray(d->label, d->capacity, sizeof *d->label);
    d->weight = xreallocarray(d->weight, d->capacity, sizeof *d->weight);
    d->group = xreallocarray(d->group, d->capacity, sizeof *d->group);
    d->logged = xreallocarray(d->logged, d->capacity, sizeof *d->logged);
    for (size_t s = 0; s < d->config.n_slices; s++)
        d->slices[s].value = xreallocarray(d->slices[s].value, d->capacity, sizeof *d->slices[s].value);
}

static bool is_null(const struct column *c, size_t i)
{
    return c->valid && !c->valid[i];
}

static int slice_number(struct slice *s, const char *column, const struct column *c, size_t i, uint32_t *ret,
                        struct err *err)
{
    _cleanup_free_ char *name = is_null(c, i)
                                    ? xstrdup("(missing)")
                                    : xstrndup(c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
    size_t number = (size_t)(uintptr_t)map_get(s->numbers, name);
    if (!number) {
        number = s->n + 1;
        if (map_set(s->numbers, name, (void *)(uintptr_t)number) < 0)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "slices",
                            "slice column '%s' has more than %d values: slice by a coarser column", column,
                            SLICE_VALUES_MAX);
        s->names = grow_array(s->names, &s->capacity, s->n, sizeof *s->names);
        s->names[s->n++] = steal_ptr(name);
    }
    *ret = (uint32_t)(number - 1);
    return 0;
}

static int record_row(struct dataset *d, const struct column *extra, size_t i, struct err *err)
{
    size_t row = d->n;
    if (is_null(&extra[X_LABEL], i))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "label",
                        "test row with key %" PRId64 " has no label", extra[X_KEY].i64[i]);
    d->row_key[row] = extra[X_KEY].i64[i];
    d->label[row] = (float)extra[X_LABEL].f64[i];
    d->weight[row] = (float)extra[X_WEIGHT].f64[i];
    int64_t group = extra[X_GROUP].i64[i];
    if (row == 0 || group != d->last_group)
        d->n_groups++;
    d->last_group = group;
    d->group[row] = (uint32_t)(d->n_groups - 1);
    if (d->time_sql && !is_null(&extra[X_TIME], i) &&
        (!d->has_time || extra[X_TIME].i64[i] < d->earliest_us)) {
        d->has_time = true;
        d->earliest_us = extra[X_TIME].i64[i];
    }
    for (size_t s = 0; s < d->config.n_slices; s++)
        if (slice_number(&d->slices[s], d->config.slices[s], &extra[X_SLICES + s], i,
                         &d->slices[s].value[row], err) < 0)
            return -1;
    d->n++;
    return 0;
}

static int compare_row(const struct dataset *d, const struct column *extra, size_t i, size_t row,
                       struct err *err)
{
    if (row >= d->n || extra[X_KEY].i64[i] != d->row_key[row])
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "different-rows",
                        "the baseline identifies test row %zu by key %" PRId64 ", the candidate by %" PRId64
                        ": their rowKey differ, so they cannot be compared; "
                        "register a baseline trained with the same rowKey",
                        row, extra[X_KEY].i64[i], row < d->n ? d->row_key[row] : 0);
    float label = is_null(&extra[X_LABEL], i) ? NAN : (float)extra[X_LABEL].f64[i];
    if (label != d->label[row])
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "different-labels",
            "test row %zu (key %" PRId64
            ") has label %g for the baseline and %g for the candidate: their label definitions differ, so they cannot be compared",
            row, d->row_key[row], (double)label, (double)d->label[row]);
    return 0;
}

static int take_batch(void *ctx, const struct column_batch *batch, struct err *err)
{
    struct pass *p = ctx;
    struct dataset *d = p->d;
    const struct column *extra = batch->columns + p->n_raw;
    if (p->first)
        reserve(d, d->n + batch->n_rows);
    for (size_t i = 0; i < batch->n_rows; i++) {
        if (p->first && record_row(d, extra, i, err) < 0)
            return -1;
        if (p->identity && compare_row(d, extra, i, p->row + i, err) < 0)
            return -1;
    }
    if (p->row + batch->n_rows > d->n)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "rows",
                        "a second pass over the held-out rows gave more rows than the first");
    struct column_batch raw = {batch->columns, p->n_raw, batch->n_rows};
    if (featurespec_apply(model_featurespec(p->model), &raw, &p->batch, err) < 0 ||
        model_score(p->model, &p->batch, *p->scores + p->row, err) < 0)
        return -1;
    for (size_t i = 0; i < batch->n_rows; i++)
        if (!isfinite((*p->scores)[p->row + i]))
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "score",
                            "the model scores test row %zu (key %" PRId64
                            ") as %g: it diverged, or its files are damaged",
                            p->row + i, d->row_key[p->row + i], (double)(*p->scores)[p->row + i]);
    p->row += batch->n_rows;
    return 0;
}

/* Texts that came in an artifact are user SQL as much as a manifest's. */
static int check_spec(struct dataset *d, const struct featurespec *spec, struct err *err)
{
    size_t n;
    const struct featurespec_raw *raw = featurespec_raw(spec, &n);
    for (size_t i = 0; i < n; i++)
        if (table_check_expression(d->table, raw[i].sql, true, err) < 0)
            return err_wrap(err, "raw column '%s' of the feature spec", raw[i].name);
    return 0;
}

static int stream(struct pass *p, bool serving, const char *key_sql, const char *label_sql, struct err *err)
{
    struct dataset *d = p->d;
    const struct featurespec *spec = model_featurespec(p->model);
    (void)featurespec_raw(spec, &p->n_raw);
    struct rawcolumns_extra extra[X_SLICES + EVALUATE_SLICES_MAX] = {
        [X_KEY] = {"trainyard_key", key_sql, COLUMN_I64},
        [X_LABEL] = {"trainyard_label", label_sql, COLUMN_F64},
        [X_WEIGHT] = {"trainyard_weight", d->weight_sql ? d->weight_sql : "1.0", COLUMN_F64},
        [X_GROUP] = {"trainyard_group", d->group_sql ? d->group_sql : "0", COLUMN_I64},
        [X_TIME] = {"trainyard_time", d->time_sql ? d->time_sql : "0", COLUMN_I64},
    };
    char *quoted[EVALUATE_SLICES_MAX] = {0};
    size_t n = p->first ? X_SLICES + d->config.n_slices : X_SLICES;
    for (size_t s = 0; p->first && s < d->config.n_slices; s++) {
        quoted[s] = table_quote_ident(d->config.slices[s]);
        extra[X_SLICES + s] = (struct rawcolumns_extra){d->config.slices[s], quoted[s], COLUMN_STR};
    }
    _cleanup_free_ char *order =
        xasprintf("%s%srow_key", d->group_sql ? d->group_sql : "", d->group_sql ? ", " : "");
    int rc = rawcolumns_stream(d->table, spec, serving, TEST_ROWS, order, extra, n, take_batch, p, err);
    for (size_t s = 0; s < EVALUATE_SLICES_MAX; s++)
        free(quoted[s]);
    featurebatch_release(&p->batch);
    return rc;
}

static bool has_serving(const struct featurespec *spec)
{
    size_t n;
    const struct featurespec_raw *raw = featurespec_raw(spec, &n);
    for (size_t i = 0; i < n; i++)
        if (raw[i].serving_sql)
            return true;
    return false;
}

static int score_served(struct dataset *d, struct model *model, const float *logged, float **ret,
                        struct err *err)
{
    *ret = xreallocarray(NULL, d->n + 1, sizeof **ret);
    if (!has_serving(model_featurespec(model))) {
        memcpy(*ret, logged, d->n * sizeof **ret);
        return 0;
    }
    struct pass p = {.d = d, .model = model, .scores = ret};
    return stream(&p, true, d->row_key_sql, d->label_sql, err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Numbers slice values by their sorted names, so that reports do not depend on the order of rows. */
static void sort_slice(struct slice *s, size_t n_rows)
{
    char **sorted = xreallocarray(NULL, s->n + 1, sizeof *sorted);
    uint32_t *renamed = xreallocarray(NULL, s->n + 1, sizeof *renamed);
    if (s->n) {
        memcpy(sorted, s->names, s->n * sizeof *sorted);
        qsort(sorted, s->n, sizeof *sorted, compare_names);
    }
    for (size_t i = 0; i < s->n; i++)
        renamed[(uintptr_t)map_get(s->numbers, sorted[i]) - 1] = (uint32_t)i;
    for (size_t i = 0; i < n_rows; i++)
        s->value[i] = renamed[s->value[i]];
    free(renamed);
    free(s->names);
    s->names = sorted;
}

int dataset_score_candidate(struct dataset *d, struct model *model, struct err *err)
{
    struct pass p = {.d = d, .model = model, .scores = &d->logged, .first = true};
    if (check_spec(d, model_featurespec(model), err) < 0 ||
        stream(&p, false, d->row_key_sql, d->label_sql, err) < 0)
        return err_wrap(err, "scoring with the model");
    if (d->n == 0)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "no-test-rows",
            "the features hold no test row: widen featurize.split.test, or the window of the source");
    for (size_t s = 0; s < d->config.n_slices; s++)
        sort_slice(&d->slices[s], d->n);
    return score_served(d, model, d->logged, &d->served, err);
}

int dataset_score_baseline(struct dataset *d, struct model *model, struct err *err)
{
    const struct featurespec *spec = model_featurespec(model);
    const cJSON *sql;
    const char *key_sql, *label_sql;
    if (json_get_object(featurespec_document(spec), NULL, "sql", &sql, err) < 0 ||
        json_get_string(sql, NULL, "rowKey", &key_sql, err) < 0 ||
        json_get_string(sql, NULL, "label", &label_sql, err) < 0)
        return err_wrap(err, "the baseline's feature-spec.json");
    d->baseline_logged = xreallocarray(NULL, d->n + 1, sizeof *d->baseline_logged);
    struct pass p = {.d = d, .model = model, .scores = &d->baseline_logged, .identity = true};
    if (check_spec(d, spec, err) < 0 || table_check_expression(d->table, key_sql, true, err) < 0 ||
        table_check_expression(d->table, label_sql, true, err) < 0 ||
        stream(&p, false, key_sql, label_sql, err) < 0)
        return err_wrap(err, "scoring with the baseline under its own feature spec");
    d->has_baseline = true;
    return score_served(d, model, d->baseline_logged, &d->baseline_served, err);
}

void dataset_rows(const struct dataset *d, struct comparison_rows *ret)
{
    struct scored common = {d->n,
                            d->logged,
                            d->served,
                            d->label,
                            d->weight_sql ? d->weight : NULL,
                            d->group_sql ? d->group : NULL,
                            d->n_groups};
    *ret = (struct comparison_rows){.candidate = common};
    if (d->has_baseline) {
        ret->baseline = common;
        ret->baseline.logged = d->baseline_logged;
        ret->baseline.served = d->baseline_served;
    }
    for (size_t s = 0; s < d->config.n_slices; s++) {
        ret->slice_value[s] = d->slices[s].value;
        ret->slice_names[s] = d->slices[s].names;
        ret->n_slice_names[s] = d->slices[s].n;
    }
}

bool dataset_earliest(const struct dataset *d, int64_t *ret_us)
{
    *ret_us = d->earliest_us;
    return d->has_time;
}
