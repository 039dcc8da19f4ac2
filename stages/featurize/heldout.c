/* Heldout rows: see heldout.h. */
#include "stages/featurize/heldout.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/featurize/shardwriter.h"
#include "stages/table/rawcolumns.h"

enum {
    GOLDEN_ROWS = 32,
    GOLDEN_BYTES = 16 * 1024 * 1024,
    STATEMENT_BYTES = 4 * 1024 * 1024,
    ROW_GROUP_ROWS = 122880
};

static char *heldout_path_sql(const char *output)
{
    _cleanup_free_ char *path = xasprintf("%s/heldout/00000.parquet", output);
    return table_quote_string(path);
}

int heldout_write(struct source *s, const char *output, struct err *err)
{
    _cleanup_free_ char *directory = fs_join(output, "heldout"), *path = heldout_path_sql(output);
    if (fs_mkdir_p(directory, err) < 0)
        return -1;
    /* The key orders the rows totally; one that is not unique was refused. */
    if (table_exec(s->table, err,
                   "COPY (SELECT *, %s AS row_key FROM " SOURCE_HELDOUT
                   " ORDER BY %s) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE %d)",
                   s->row_key_sql, s->row_order, path, ROW_GROUP_ROWS) < 0)
        return err_wrap(err, "writing the heldout rows");
    return 0;
}

/* --- validation ---------------------------------------------------------------------------------------------- */

static int add_rows(void *ctx, const struct rowbatch *b, struct err *err)
{
    struct shardwriter *w = ctx;
    for (size_t i = 0; i < b->n; i++) {
        const struct shardwriter_row row = {.dense = b->features.dense + i * b->features.dense_width,
                                            .cat = b->features.cat + i * b->features.cat_width,
                                            .carry = b->carry + i * b->n_carry,
                                            .label = b->label[i],
                                            .weight = b->weight[i],
                                            .group = b->group[i],
                                            .row_key = b->row_key[i]};
        if (shardwriter_add(w, &row, err) < 0)
            return -1;
    }
    return 0;
}

int heldout_write_validation(const struct rowstream *stream, const char *output, int64_t *ret_rows,
                             struct err *err)
{
    const struct source *source = stream->source;
    const struct featurizeconfig *c = source->config;
    _cleanup_free_ char *path = heldout_path_sql(output), *directory = fs_join(output, "validation");
    _cleanup_free_ char *relation =
        xasprintf("(SELECT * FROM read_parquet(%s) WHERE trainyard_split = 'validation')", path);
    struct rowstream validation = *stream;
    validation.relation = relation;
    validation.order_by = source->row_order;
    const struct shardwriter_config wc = {.directory = directory,
                                          .rows = (size_t)c->shard_rows,
                                          .dense_width = featurespec_dense_width(stream->spec),
                                          .cat_width = featurespec_cat_width(stream->spec),
                                          .label = source->label_sql != NULL,
                                          .weight = source->weight_sql != NULL,
                                          .group = source->group_sql != NULL,
                                          .row_key = true,
                                          .carry = c->carry.items,
                                          .n_carry = c->carry.n};
    _cleanup_shardwriter_ struct shardwriter *w = NULL;
    if (shardwriter_new(&wc, &w, err) < 0 || rowstream_run(&validation, add_rows, w, err) < 0 ||
        shardwriter_finish(w, err) < 0)
        return err_wrap(err, "writing the validation rows");
    *ret_rows = shardwriter_rows(w);
    return 0;
}

/* --- golden rows ------------------------------------------------------------------------------------------------ */

struct golden {
    const struct source *source;
    const struct featurespec *spec;
    cJSON *rows;
    struct featurebatch features;
};

static cJSON *text_value(const struct column *c, size_t row)
{
    if (c->valid && !c->valid[row])
        return cJSON_CreateNull();
    _cleanup_free_ char *text = xstrndup(c->text + c->offsets[row], c->offsets[row + 1] - c->offsets[row]);
    return cJSON_CreateString(text);
}

static cJSON *raw_value(const struct column *c, size_t row)
{
    if (c->valid && !c->valid[row])
        return cJSON_CreateNull();
    if (c->type == COLUMN_STR)
        return text_value(c, row);
    if (c->type == COLUMN_F64) /* NaN and infinity count as missing */
        return c->f64[row] - c->f64[row] == 0 ? cJSON_CreateNumber(c->f64[row]) : cJSON_CreateNull();
    char number[24];
    (void)snprintf(number, sizeof number, "%" PRId64, c->i64[row]);
    return cJSON_CreateString(number);
}

static int golden_raw(void *ctx, const struct column_batch *b, struct err *err)
{
    struct golden *g = ctx;
    size_t n_raw;
    (void)featurespec_raw(g->spec, &n_raw);
    if (featurespec_apply(g->spec, b, &g->features, err) < 0)
        return -1;
    for (size_t row = 0; row < b->n_rows; row++) {
        cJSON *o = json_object(), *raw = json_object(), *dense = json_array(), *cat = json_array();
        json_add_int64_string(o, "row_key", b->columns[n_raw].i64[row]);
        for (size_t k = 0; k < n_raw; k++)
            json_add(raw, b->columns[k].name, raw_value(&b->columns[k], row));
        for (size_t k = 0; k < g->features.dense_width; k++)
            json_append(dense,
                        cJSON_CreateNumber((double)g->features.dense[row * g->features.dense_width + k]));
        for (size_t k = 0; k < g->features.cat_width; k++)
            json_append(cat, cJSON_CreateNumber((double)g->features.cat[row * g->features.cat_width + k]));
        json_add(o, "raw", raw);
        json_add(o, "dense", dense);
        json_add(o, "cat", cat);
        json_append(g->rows, o);
    }
    return 0;
}

static int golden_source(void *ctx, const struct column_batch *b, struct err *err)
{
    struct golden *g = ctx;
    cJSON *target = g->rows->child;
    for (size_t row = 0; row < b->n_rows; row++, target = target->next) {
        if (!target)
            return err_set(err, ERR_TERMINAL, "golden rows differ between two queries");
        cJSON *o = json_object();
        const cJSON *column = g->source->columns->child;
        for (size_t k = 0; k < b->n_columns; k++, column = column->next)
            json_add(o, cJSON_GetObjectItem(column, "name")->valuestring, text_value(&b->columns[k], row));
        json_add(target, "source", o);
    }
    return 0;
}

static int golden_collect(struct source *s, struct golden *g, const char *output, struct err *err)
{
    _cleanup_free_ char *path = heldout_path_sql(output);
    if (table_exec(
            s->table, err,
            "CREATE OR REPLACE TEMP TABLE trainyard_golden AS SELECT * FROM read_parquet(%s) ORDER BY trainyard_xxh64(row_key, CAST('%" PRId64
            "' AS BIGINT)), row_key, %s LIMIT %d",
            path, s->config->seed, s->row_order, GOLDEN_ROWS) < 0)
        return -1;
    static const struct rawcolumns_extra key = {"row_key", "row_key", COLUMN_I64};
    if (rawcolumns_stream(s->table, g->spec, false, "trainyard_golden", s->row_order, &key, 1, golden_raw, g,
                          err) < 0)
        return -1;
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, s->columns)
    {
        _cleanup_free_ char *quoted = table_quote_ident(cJSON_GetObjectItem(item, "name")->valuestring);
        (void)buf_addf(&sql, "%s CAST(%s AS VARCHAR)", n++ ? "," : "SELECT", quoted);
    }
    (void)buf_addf(&sql, " FROM trainyard_golden ORDER BY %s", s->row_order);
    if (buf_check(&sql, "SQL of the golden rows", err) < 0)
        return -1;
    _cleanup_free_ enum column_type *types = xcalloc(n, sizeof *types);
    for (size_t i = 0; i < n; i++)
        types[i] = COLUMN_STR;
    return table_stream(s->table, buf_str(&sql), types, n, golden_source, g, err);
}

int heldout_write_golden(struct source *s, const struct featurespec *spec, const char *output,
                         struct err *err)
{
    _cleanup_json_ cJSON *document = json_object();
    struct golden g = {.source = s, .spec = spec, .rows = json_array()};
    json_add_int(document, "version", 1);
    json_add(document, "rows", g.rows);
    int r = golden_collect(s, &g, output, err);
    featurebatch_release(&g.features);
    if (r < 0)
        return err_wrap(err, "writing the golden rows");
    _cleanup_buf_ struct buf text = BUF_INIT(GOLDEN_BYTES);
    _cleanup_free_ char *path = fs_join(output, "golden.json");
    (void)json_pretty(document, &text);
    if (buf_check(&text, "golden.json", err) < 0)
        return -1;
    return fs_write_atomic(path, text.data, text.len, err);
}
