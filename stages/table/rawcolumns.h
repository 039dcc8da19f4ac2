/* From DuckDB to columns: evaluates a feature spec's raw expressions over a table or file and hands
 * over batches of typed columns in a total order. */
#pragma once

#include "common/base/err.h"
#include "stages/table/table.h"
#include "stages/tensor/featurespec.h"

/* Streams `SELECT <raw expressions…>, <extra…> FROM <relation> [ORDER BY …]`: `each` gets batches of at most 65,536 rows whose first
 * n_raw columns are in the order of featurespec_raw(), followed by `extra` expressions (name, sql, type). With `serving`, serving_sql
 * replaces the expression where given. Strings of `relation` and `order_by` are ours (trusted), expressions are user SQL and were checked. */
struct rawcolumns_extra {
    const char *name, *sql;
    enum column_type type;
};
int rawcolumns_stream(struct table *t, const struct featurespec *spec, bool serving, const char *relation,
                      const char *order_by, const struct rawcolumns_extra *extra, size_t n_extra,
                      int (*each)(void *ctx, const struct column_batch *batch, struct err *err), void *ctx,
                      struct err *err);
