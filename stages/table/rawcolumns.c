/* Raw expressions of a feature spec, evaluated by DuckDB. */
#include "stages/table/rawcolumns.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/limits.h"

enum { SELECT_MAX = 4 * 1024 * 1024 };

/* Names belong to the spec and the extras, not to DuckDB's result. */
struct stream {
    const struct featurespec_raw *raw;
    size_t n_raw;
    const struct rawcolumns_extra *extra;
    size_t n_extra;
    struct column *columns;
    int (*each)(void *ctx, const struct column_batch *batch, struct err *err);
    void *ctx;
};

static int name_columns(void *ctx, const struct column_batch *batch, struct err *err)
{
    struct stream *s = ctx;
    for (size_t i = 0; i < batch->n_columns; i++) {
        s->columns[i] = batch->columns[i];
        s->columns[i].name = i < s->n_raw ? s->raw[i].name : s->extra[i - s->n_raw].name;
    }
    struct column_batch named = {.columns = s->columns,
                                 .n_columns = batch->n_columns,
                                 .n_rows = batch->n_rows};
    return s->each(s->ctx, &named, err);
}

int rawcolumns_stream(struct table *t, const struct featurespec *spec, bool serving, const char *relation,
                      const char *order_by, const struct rawcolumns_extra *extra, size_t n_extra,
                      int (*each)(void *ctx, const struct column_batch *batch, struct err *err), void *ctx,
                      struct err *err)
{
    size_t n_raw;
    const struct featurespec_raw *raw = featurespec_raw(spec, &n_raw);
    size_t n = n_raw + n_extra;
    if (n == 0 || n > LIMIT_COLUMNS)
        return err_set(err, ERR_INVALID, "a feature spec with %zu columns: expected 1 to %d", n,
                       (int)LIMIT_COLUMNS);

    _cleanup_free_ enum column_type *types = xcalloc(n, sizeof *types);
    _cleanup_buf_ struct buf sql = BUF_INIT(SELECT_MAX);
    (void)buf_adds(&sql, "SELECT ");
    for (size_t i = 0; i < n; i++) {
        const char *text = i >= n_raw                      ? extra[i - n_raw].sql
                           : serving && raw[i].serving_sql ? raw[i].serving_sql
                                                           : raw[i].sql;
        types[i] = i < n_raw ? raw[i].type : extra[i - n_raw].type;
        (void)buf_addf(&sql, "%s(%s\n)", i ? ", " : "", text);
    }
    (void)buf_addf(&sql, " FROM %s", relation);
    if (order_by && *order_by)
        (void)buf_addf(&sql, " ORDER BY %s", order_by);
    if (buf_check(&sql, "SQL of the feature spec", err) < 0)
        return -1;

    _cleanup_free_ struct column *columns = xcalloc(n, sizeof *columns);
    struct stream s = {.raw = raw,
                       .n_raw = n_raw,
                       .extra = extra,
                       .n_extra = n_extra,
                       .columns = columns,
                       .each = each,
                       .ctx = ctx};
    return table_stream(t, buf_str(&sql), types, n, name_columns, &s, err);
}
