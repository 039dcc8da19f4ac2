/* Names: quoting, DuckDB's functions, a relation's columns. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "stages/table/table-internal.h"

enum { FUNCTIONS_MAX = 20000 };

static char *quote(const char *text, char mark)
{
    size_t n = strlen(text), marks = 0;
    for (size_t i = 0; i < n; i++)
        marks += text[i] == mark;
    char *out = xmalloc(n + marks + 3), *p = out;
    *p++ = mark;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == mark)
            *p++ = mark;
        *p++ = text[i];
    }
    *p++ = mark;
    *p = '\0';
    return out;
}

char *table_quote_ident(const char *name)
{
    return quote(name, '"');
}

char *table_quote_string(const char *text)
{
    return quote(text, '\'');
}

int table_query_bound(struct table *t, const char *sql, const char *text, char **ret, struct err *err)
{
    duckdb_prepared_statement statement = NULL;
    duckdb_result result;
    int r = -1;
    table_watch_begin(t);
    if (duckdb_prepare(table_connection(t), sql, &statement) != DuckDBSuccess) {
        r = table_fail(t, DUCKDB_ERROR_INVALID, duckdb_prepare_error(statement), err);
    } else if (duckdb_bind_varchar(statement, 1, text) != DuckDBSuccess) {
        r = err_set(err, ERR_INVALID, "not valid UTF-8 text: %.100s", text);
    } else if (duckdb_execute_prepared(statement, &result) != DuckDBSuccess) {
        r = table_fail(t, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
        duckdb_destroy_result(&result);
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
            duckdb_string_t *v = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
            *ret = xstrndup(duckdb_string_t_data(v), duckdb_string_t_length(*v));
            r = 0;
        } else {
            r = err_set(err, ERR_INVALID, "a query gave no row where one was expected");
        }
        if (chunk)
            duckdb_destroy_data_chunk(&chunk);
        duckdb_destroy_result(&result);
    }
    table_watch_end(t);
    duckdb_destroy_prepare(&statement);
    return r;
}

struct function_sets {
    struct map *volatile_functions, *aggregates;
};

static int add_function(void *ctx, const struct column_batch *batch, struct err *err)
{
    struct function_sets *sets = ctx;
    for (size_t i = 0; i < batch->n_rows; i++) {
        const struct column *name = &batch->columns[0];
        char text[128];
        (void)snprintf(text, sizeof text, "%.*s", (int)(name->offsets[i + 1] - name->offsets[i]),
                       name->text + name->offsets[i]);
        struct map *m = batch->columns[1].i64[i] ? sets->aggregates : sets->volatile_functions;
        if (map_set(m, text, NULL) < 0)
            return err_set(err, ERR_TERMINAL, "more than %d functions", FUNCTIONS_MAX);
    }
    return 0;
}

int table_function_sets(struct table *t, struct map **ret_volatile, struct map **ret_aggregates,
                        struct err *err)
{
    struct table_functions *f = table_functions(t);
    if (!f->aggregates) {
        _cleanup_map_ struct map *vol = map_new(FUNCTIONS_MAX, NULL);
        _cleanup_map_ struct map *agg = map_new(FUNCTIONS_MAX, NULL);
        struct function_sets sets = {vol, agg};
        static const enum column_type types[] = {COLUMN_STR, COLUMN_I64};
        /* Macros have no stability of their own: those built on the clock or the session are named. */
        if (table_stream(
                t,
                "SELECT DISTINCT function_name, function_type = 'aggregate' FROM duckdb_functions() "
                "WHERE function_type = 'aggregate' OR stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY') "
                "OR (function_type = 'macro' AND regexp_matches(macro_definition, 'current_|random|uuid|now\\('))",
                types, ARRAY_SIZE(types), add_function, &sets, err) < 0)
            return -1;
        f->unsteady = steal_ptr(vol);
        f->aggregates = steal_ptr(agg);
    }
    *ret_volatile = f->unsteady;
    *ret_aggregates = f->aggregates;
    return 0;
}

static int add_described(void *ctx, const struct column_batch *batch, struct err *err)
{
    (void)err;
    cJSON *out = ctx;
    for (size_t i = 0; i < batch->n_rows; i++) {
        cJSON *item = json_object();
        static const char *const keys[] = {"name", "type"};
        for (size_t k = 0; k < 2; k++) {
            const struct column *c = &batch->columns[k];
            _cleanup_free_ char *text = xstrndup(c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
            json_add_string(item, keys[k], text);
        }
        json_append(out, item);
    }
    return 0;
}

int table_describe(struct table *t, const char *relation, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *out = json_array();
    _cleanup_free_ char *sql =
        xasprintf("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM %s)", relation);
    static const enum column_type types[] = {COLUMN_STR, COLUMN_STR};
    if (table_stream(t, sql, types, ARRAY_SIZE(types), add_described, out, err) < 0)
        return -1;
    *ret = steal_ptr(out);
    return 0;
}
