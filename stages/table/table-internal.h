/* Between the files of stages/table only. */
#pragma once

#include <duckdb.h>

#include "common/base/map.h"
#include "stages/table/table.h"

enum { TABLE_STATEMENT_MAX = 4 * 1024 * 1024 };

/* Around every statement: its deadline runs, and stopping interrupts it. */
void table_watch_begin(struct table *t);
void table_watch_end(struct table *t);
bool table_interrupted(const struct table *t);
/* What DuckDB said, or why it was interrupted, as our error. Always negative. */
int table_fail(struct table *t, duckdb_error_type type, const char *message, struct err *err);
duckdb_connection table_connection(struct table *t);

/* DuckDB's functions by name; NULL until first asked for. */
struct table_functions {
    struct map *unsteady, *aggregates;
};
struct table_functions *table_functions(struct table *t);

/* Runs `sql`, whose one parameter is bound to `text`; one row, one column of text. Caller frees. */
int table_query_bound(struct table *t, const char *sql, const char *text, char **ret, struct err *err);
/* Names of DuckDB's functions: "volatile" also holds those that depend on the moment or the session. Filled at first use. */
int table_function_sets(struct table *t, struct map **ret_volatile, struct map **ret_aggregates,
                        struct err *err);
/* As table_check_expression() without volatile functions, but windows may stand in it; *ret_tree is DuckDB's parse of "SELECT <sql>". */
int table_check_windows(struct table *t, const char *sql, cJSON **ret_tree, struct err *err);
