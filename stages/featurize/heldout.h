/* heldout/, validation/ and golden.json.
 *
 * heldout/00000.parquet: every source (and derived) column of the validation and test rows in the order of rowKey, with
 * `row_key` BIGINT (the hash of the key, as in the shards) and `trainyard_split` ('validation' or 'test').
 * validation/: its validation rows, transformed, in that order, as shards.
 * golden.json: {"version": 1, "rows": [{"row_key": "…", "source": {column: text or null}, "raw": {name: number, text or null},
 * "dense": […], "cat": […]}]}: 32 of the heldout rows (those with the smallest hash of row_key under the seed), in the order of rowKey;
 * int64 raw values as text. Training adds the scores. */
#pragma once

#include "common/base/err.h"
#include "stages/featurize/rowstream.h"

/* Into the output directory. */
int heldout_write(struct source *s, const char *output, struct err *err);
/* After heldout_write(). stream->relation and order_by are set by this. */
int heldout_write_validation(const struct rowstream *stream, const char *output, int64_t *ret_rows,
                             struct err *err);
int heldout_write_golden(struct source *s, const struct featurespec *spec, const char *output,
                         struct err *err);
