/* Typed columns in memory: what DuckDB hands over and what a feature spec is applied to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum column_type { COLUMN_F64, COLUMN_I64, COLUMN_STR };

/* Strings: bytes [offsets[i], offsets[i+1]) of text. NULL rows: valid[i] == 0 (valid may be NULL: no NULLs). */
struct column {
    const char *name;
    enum column_type type;
    const double *f64;
    const int64_t *i64;
    const char *text;
    const uint32_t *offsets;
    const uint8_t *valid; /* one byte a row */
};

struct column_batch {
    const struct column *columns;
    size_t n_columns, n_rows;
};
