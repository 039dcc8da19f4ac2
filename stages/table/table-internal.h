/* Between table.c and check.c only. */
#pragma once

#include "common/base/map.h"
#include "stages/table/table.h"

/* Runs `sql`, whose one parameter is bound to `text`; one row, one column of text. Caller frees. */
int table_query_bound(struct table *t, const char *sql, const char *text, char **ret, struct err *err);
/* Names of DuckDB's functions: "volatile" also holds those that depend on the moment or the session. Filled at first use. */
int table_function_sets(struct table *t, struct map **ret_volatile, struct map **ret_aggregates,
                        struct err *err);
/* As table_check_expression() without volatile functions, but windows may stand in it; *ret_tree is DuckDB's parse of "SELECT <sql>". */
int table_check_windows(struct table *t, const char *sql, cJSON **ret_tree, struct err *err);
