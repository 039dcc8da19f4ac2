/* A result's rows as batches of typed columns. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "stages/table/table-internal.h"

struct column_store {
    enum column_type type;
    double *f64;
    int64_t *i64;
    uint32_t *offsets;
    char *text; /* never NULL for strings */
    size_t text_len, text_capacity;
    uint8_t *valid;
    bool any_null;
};

struct batcher {
    struct column_store *stores;
    struct column *columns;
    size_t n_columns, n_rows;
    int (*each)(void *ctx, const struct column_batch *batch, struct err *err);
    void *ctx;
};

static void batcher_init(struct batcher *b, const enum column_type *types, size_t n)
{
    b->n_columns = n;
    b->stores = xcalloc(n, sizeof *b->stores);
    b->columns = xcalloc(n, sizeof *b->columns);
    for (size_t i = 0; i < n; i++) {
        struct column_store *s = &b->stores[i];
        s->type = types[i];
        s->valid = xcalloc(TABLE_BATCH_ROWS, 1);
        if (types[i] == COLUMN_F64)
            s->f64 = xcalloc(TABLE_BATCH_ROWS, sizeof *s->f64);
        else if (types[i] == COLUMN_I64)
            s->i64 = xcalloc(TABLE_BATCH_ROWS, sizeof *s->i64);
        else
            s->offsets = xcalloc(TABLE_BATCH_ROWS + 1, sizeof *s->offsets);
        s->text_capacity = 1 << 16;
        s->text = types[i] == COLUMN_STR ? xmalloc(s->text_capacity) : NULL;
    }
}

static void batcher_release(struct batcher *b)
{
    for (size_t i = 0; i < b->n_columns; i++) {
        struct column_store *s = &b->stores[i];
        free(s->f64);
        free(s->i64);
        free(s->offsets);
        free(s->valid);
        free(s->text);
    }
    free(b->stores);
    free(b->columns);
}

static int batcher_flush(struct batcher *b, struct err *err)
{
    if (b->n_rows == 0)
        return 0;
    for (size_t i = 0; i < b->n_columns; i++) {
        struct column_store *s = &b->stores[i];
        b->columns[i] = (struct column){.name = b->columns[i].name,
                                        .type = s->type,
                                        .f64 = s->f64,
                                        .i64 = s->i64,
                                        .text = s->text,
                                        .offsets = s->offsets,
                                        .valid = s->any_null ? s->valid : NULL};
    }
    struct column_batch batch = {.columns = b->columns, .n_columns = b->n_columns, .n_rows = b->n_rows};
    int r = b->each(b->ctx, &batch, err);
    b->n_rows = 0;
    for (size_t i = 0; i < b->n_columns; i++) {
        b->stores[i].text_len = 0;
        b->stores[i].any_null = false;
    }
    return r;
}

static bool row_valid(const uint64_t *mask, idx_t row)
{
    return !mask || (mask[row / 64] >> (row % 64)) & 1;
}

/* Room for all of them first: asking for it string by string costs more than the copies. */
static int reserve_text(struct column_store *s, duckdb_string_t *values, const uint64_t *mask, idx_t from,
                        size_t n, struct err *err)
{
    size_t need = s->text_len;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(mask, from + i))
            need += duckdb_string_t_length(values[from + i]);
    }
    if (need > UINT32_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "text-too-large",
                        "%d rows hold more than 4 GiB of text in one column", TABLE_BATCH_ROWS);
    if (need > s->text_capacity) {
        s->text_capacity = need > s->text_capacity * 2 ? need : s->text_capacity * 2;
        s->text = xreallocarray(s->text, s->text_capacity, 1);
    }
    return 0;
}

static int copy_strings(struct column_store *s, size_t at, duckdb_string_t *values, const uint64_t *mask,
                        idx_t from, size_t n, struct err *err)
{
    if (reserve_text(s, values, mask, from, n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(mask, from + i)) {
            duckdb_string_t *v = &values[from + i];
            uint32_t len = duckdb_string_t_length(*v);
            memcpy(s->text + s->text_len, duckdb_string_t_data(v), len);
            s->text_len += len;
        }
        s->offsets[at + i + 1] = (uint32_t)s->text_len;
    }
    return 0;
}

static int copy_column(struct column_store *s, size_t at, duckdb_vector vector, idx_t from, size_t n,
                       struct err *err)
{
    const uint64_t *mask = duckdb_vector_get_validity(vector);
    if (!mask) {
        memset(s->valid + at, 1, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            bool valid = row_valid(mask, from + i);
            s->valid[at + i] = valid;
            s->any_null |= !valid;
        }
    }
    void *data = duckdb_vector_get_data(vector);
    switch (s->type) {
    case COLUMN_F64:
        memcpy(s->f64 + at, (double *)data + from, n * sizeof(double));
        break;
    case COLUMN_I64:
        memcpy(s->i64 + at, (int64_t *)data + from, n * sizeof(int64_t));
        break;
    case COLUMN_STR:
        return copy_strings(s, at, data, mask, from, n, err);
    }
    /* What lies under a NULL is undefined; make it 0, so that no reader can depend on it. */
    for (size_t i = 0; mask && i < n; i++) {
        if (s->valid[at + i])
            continue;
        if (s->type == COLUMN_F64)
            s->f64[at + i] = 0;
        else
            s->i64[at + i] = 0;
    }
    return 0;
}

static int batcher_add(struct batcher *b, duckdb_data_chunk chunk, struct err *err)
{
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    for (idx_t from = 0; from < rows;) {
        size_t n = TABLE_BATCH_ROWS - b->n_rows;
        if (n > rows - from)
            n = rows - from;
        for (size_t c = 0; c < b->n_columns; c++) {
            if (copy_column(&b->stores[c], b->n_rows, duckdb_data_chunk_get_vector(chunk, c), from, n, err) <
                0)
                return -1;
        }
        b->n_rows += n;
        from += n;
        if (b->n_rows == TABLE_BATCH_ROWS && batcher_flush(b, err) < 0)
            return -1;
    }
    return 0;
}

static int drain(struct table *t, duckdb_result *result, struct batcher *b, struct err *err)
{
    for (;;) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(*result);
        if (!chunk) {
            const char *message = duckdb_result_error(result);
            if (message && *message)
                return table_fail(t, duckdb_result_error_type(result), message, err);
            if (table_interrupted(t))
                return table_fail(t, DUCKDB_ERROR_INTERRUPT, "interrupted", err);
            return batcher_flush(b, err);
        }
        int r = batcher_add(b, chunk, err);
        duckdb_destroy_data_chunk(&chunk);
        if (r < 0)
            return r;
    }
}

/* The statement's columns are renamed and cast; a projection keeps the order of its ordered input. */
static int cast_statement(const char *sql, const enum column_type *types, size_t n, char **ret,
                          struct err *err)
{
    static const char *const names[] =
        {[COLUMN_F64] = "DOUBLE", [COLUMN_I64] = "BIGINT", [COLUMN_STR] = "VARCHAR"};
    _cleanup_buf_ struct buf text = BUF_INIT(TABLE_STATEMENT_MAX);
    (void)buf_adds(&text, "SELECT ");
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&text, "%sCAST(c%zu AS %s)", i ? ", " : "", i, names[types[i]]);
    (void)buf_addf(&text, " FROM (%s\n) AS q(", sql);
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&text, "%sc%zu", i ? ", " : "", i);
    (void)buf_addc(&text, ')');
    if (buf_check(&text, "SQL statement", err) < 0)
        return -1;
    *ret = buf_take(&text);
    return 0;
}

static int execute_streaming(struct table *t, duckdb_prepared_statement statement, duckdb_result *ret,
                             struct err *err)
{
    duckdb_pending_result pending = NULL;
    if (duckdb_pending_prepared_streaming(statement, &pending) != DuckDBSuccess) {
        int r = table_fail(t, DUCKDB_ERROR_INVALID, duckdb_pending_error(pending), err);
        duckdb_destroy_pending(&pending);
        return r;
    }
    duckdb_state state = duckdb_execute_pending(pending, ret);
    duckdb_destroy_pending(&pending);
    if (state == DuckDBSuccess)
        return 0;
    int r = table_fail(t, duckdb_result_error_type(ret), duckdb_result_error(ret), err);
    duckdb_destroy_result(ret);
    return r;
}

int table_stream(struct table *t, const char *sql, const enum column_type *types, size_t n_columns,
                 int (*each)(void *ctx, const struct column_batch *batch, struct err *err), void *ctx,
                 struct err *err)
{
    _cleanup_free_ char *text = NULL;
    if (cast_statement(sql, types, n_columns, &text, err) < 0)
        return -1;
    duckdb_prepared_statement statement = NULL;
    if (duckdb_prepare(table_connection(t), text, &statement) != DuckDBSuccess) {
        int r = table_fail(t, DUCKDB_ERROR_INVALID, duckdb_prepare_error(statement), err);
        duckdb_destroy_prepare(&statement);
        return r;
    }
    struct batcher b = {.each = each, .ctx = ctx};
    batcher_init(&b, types, n_columns);
    duckdb_result result;
    table_watch_begin(t);
    int r = execute_streaming(t, statement, &result, err);
    if (r == 0) {
        r = drain(t, &result, &b, err);
        duckdb_destroy_result(&result);
    }
    table_watch_end(t);
    duckdb_destroy_prepare(&statement);
    batcher_release(&b);
    return r;
}
