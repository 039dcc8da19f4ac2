/* Columns and their types: as a file has them, as the rules want them, and as the snapshot will have them. */
#pragma once

#include "common/base/cleanup.h"
#include "stages/data-validate/config.h"
#include "stages/data-validate/stats.h"
#include "stages/table/table.h"

struct schema_column {
    char *name;
    char *type; /* DuckDB's name */
};
struct schema {
    struct schema_column *columns;
    size_t n;
};

enum type_fit { TYPE_EXACT, TYPE_WIDENS, TYPE_WRONG };

int schema_read(struct table *t, const char *relation, struct schema **ret, struct err *err);
struct schema *schema_free(struct schema *s);
struct schema *schema_copy(const struct schema *s);
const struct schema_column *schema_find(const struct schema *s, const char *name);
bool schema_equal(const struct schema *a, const struct schema *b); /* names, order and types */
void schema_set_type(struct schema *s, const char *name, const char *type);

/* Does a column of DuckDB type `found` satisfy the manifest's `declared` type? Text formats infer types from the
 * values, so any number there satisfies a wider number type. */
enum type_fit schema_fit(const char *found, const char *declared, bool text_format);
/* DuckDB's name of a declared type. */
const char *schema_duckdb_type(const char *declared);
/* The type that holds both, or NULL. */
const char *schema_unify(const char *a, const char *b);
enum stat_kind schema_kind(const char *type);
/* Expression that hands the column to our counters: BIGINT, DOUBLE or VARCHAR by kind; caller frees. */
char *schema_counting_expression(const struct schema_column *c);

/* "read_parquet('…')" with fixed options; `types` (NULL: inferred) fixes the types of a text format. Caller frees. */
char *schema_reader(enum format format, const char *path, const struct schema *types);

DEFINE_CLEANUP(struct schema *, schema_free);
#define _cleanup_schema_ CLEANUP(schema_free_cleanup)
