/* Between source.c, rowkeys.c and split.c only. */
#pragma once

#include "common/base/limits.h"
#include "stages/featurize/source.h"

#define SOURCE_FILTERED "trainyard_filtered"     /* after derive and where, before dedupe */
#define SOURCE_POSITIONED "trainyard_positioned" /* the same with trainyard_file and file_row_number */

enum { SOURCE_NUMBERS_MAX = LIMIT_COLUMNS + 16 };
/* One row of integers; NULL comes as INT64_MIN. */
int source_numbers(struct source *s, const char *sql, int64_t *ret, size_t n, struct err *err);

/* rowkeys.c: refuses duplicate keys, or drops them, and creates SOURCE_ALL. */
int rowkeys_settle(struct source *s, int64_t memory_bytes, struct err *err);
/* split.c: creates SOURCE_TRAIN and SOURCE_HELDOUT and counts them. */
int split_make(struct source *s, struct err *err);
