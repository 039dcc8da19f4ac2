/* One locked-down DuckDB connection, and the few verbs the stages need (contract section 7).
 *
 * table_open() sets memory limit, threads, temp directory and `allowed_directories` = the scratch and input
 * directories given; table_lock() then sets enable_external_access=false, no extensions, lock_configuration=true, and must be
 * called before any user text. User texts pass table_check_expression()/table_check_select() first: each must parse to exactly one
 * expression or one SELECT, without volatile functions where those are refused. Errors name the text. Accepted texts are
 * pasted in parentheses with a newline before the closing one, for they may end in a comment.
 *
 * Errors: the text's own faults are ERR_INVALID, exit 65; too little memory exit 78, reason "memory"; scratch full or
 * unreadable files exit 74; past the deadline exit 65, reason "deadline". One handle per thread. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/column.h"

struct table; /* opaque */

struct table_config {
    const char *scratch; /* temp files and spills; writable */
    const char *const *
        readable; /* further directories, NULL-terminated; NULL: none. Links are resolved: name where they lead */
    int64_t memory_bytes;
    int threads;
    int64_t deadline_ms; /* of each statement after table_lock(); 0: 600 s, negative: none */
    /* Asked five times a second while a statement runs; true interrupts it: ERR_RETRY, exit 75, reason "stopped".
     * Called from another thread. NULL: never. */
    bool (*stop)(void *ctx);
    void *stop_ctx;
};
int table_open(const struct table_config *config, struct table **ret, struct err *err);
struct table *table_free(struct table *t);
int table_lock(struct table *t, struct err *err);

/* Our own statements (printf form; identifiers must be quoted with table_quote_ident). */
int table_exec(struct table *t, struct err *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* One row, one column. NULL result: *ret_null true (ret_null may be NULL: then NULL is an error). */
int table_query_int(struct table *t, int64_t *ret, bool *ret_null, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int table_query_double(struct table *t, double *ret, bool *ret_null, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int table_query_string(struct table *t, char **ret, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Streams a result as batches of typed columns (types[i] per column; values cast by DuckDB). Every batch but the last
 * has exactly TABLE_BATCH_ROWS rows whatever the number of threads, so that a sum per batch, added in order, is equal
 * everywhere. Columns and strings are valid during the call of `each` only; `each` must not use the table. A negative
 * return of `each` ends the stream with its err. */
enum { TABLE_BATCH_ROWS = 65536 };
int table_stream(struct table *t, const char *sql, const enum column_type *types, size_t n_columns,
                 int (*each)(void *ctx, const struct column_batch *batch, struct err *err), void *ctx,
                 struct err *err);

/* "a""b" and 'it''s', caller frees. */
char *table_quote_ident(const char *name);
char *table_quote_string(const char *text);

/* User SQL. Exactly one scalar expression over the row (no aggregate, no sub-select; refuse_volatile: now, random, uuid, …). */
int table_check_expression(struct table *t, const char *sql, bool refuse_volatile, struct err *err);
/* Exactly one expression that may aggregate. */
int table_check_aggregate(struct table *t, const char *sql, struct err *err);
int table_check_select(struct table *t, const char *sql, struct err *err);

/* Column names and DuckDB types of a relation: array of {"name", "type"}. */
int table_describe(struct table *t, const char *relation, cJSON **ret, struct err *err);

DEFINE_CLEANUP(struct table *, table_free);
#define _cleanup_table_ CLEANUP(table_free_cleanup)
