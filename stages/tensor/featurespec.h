/* The feature spec: everything needed to turn raw columns into a model's inputs, fitted on the training split
 * only; saved as feature-spec.json + vocabularies.safetensors in `features` and copied into every model.
 *
 * Raw columns come from SQL over the source columns (DuckDB; stages/table/rawcolumns.h runs it), so the spec lists for each
 * feature the SQL text to evaluate and the raw type; applying it is pure C and bit-equal for one row and for a batch.
 * Categorical ids: 0 missing, 1…k out-of-vocabulary buckets, then vocabulary ids.
 *
 * feature-spec.json:
 *   version   1
 *   raw       [{name, sql, type: f64|i64|str, servingSql?}]
 *   features  [{name, raw, numeric: {fill, required?, missingFlag, transform: none|log|log1p|sqrt, clip?: [low, high], offset, scale}}
 *              {name, raw, categorical: {vocabulary: {function: xxh64, seed, oovBuckets, size}}}
 *              {name, raw, categorical: {values: [v…] | {from, to}}}
 *              {name, raw | cross: [raw…], categorical: {hash: {function: xxh64, seed, buckets}}}]
 *   label     {column|sql, type: binary|class|number|relevance, classes?}
 *   group, time, where, weight, rowKey, carry, carryDictionaries, source: see stages/featurize/fit.h
 * Numeric: NULL and what the transform makes non-finite is missing; x = transform(raw), or fill; clipped; (x − offset) / scale in double precision,
 * rounded once to float; a missing flag is the dense input after it; where required, a missing value is an error. Values have one out-of-vocabulary id, 1. Hashes: featurehash.h; an
 * out-of-vocabulary value gets 1 + below(hash(value, seed), oovBuckets), a hashed one 1 + below(hash, buckets); a cross chains its
 * columns' hashes in order and is missing when one of them is. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/column.h"

struct featurespec; /* opaque */

/* One raw input: `sql` is an expression over the source columns (a quoted column name for plain columns). */
struct featurespec_raw {
    const char *name; /* feature's raw column, unique */
    const char *sql;
    enum column_type type;
    const char *serving_sql; /* constant used instead when serving (servingValue), or NULL */
};

/* A batch of model inputs, row-major; the arrays belong to the batch. */
struct featurebatch {
    size_t n, dense_width, cat_width;
    float *dense; /* [n, dense_width] */
    int32_t *cat; /* [n, cat_width] */
    size_t capacity;
};
void featurebatch_release(struct featurebatch *b);
/* Room for n rows of this spec; contents undefined. */
void featurebatch_reserve(struct featurebatch *b, const struct featurespec *s, size_t n);

/* Reads <dir>/feature-spec.json and <dir>/vocabularies.safetensors. */
int featurespec_load(const char *dir, struct featurespec **ret, struct err *err);
struct featurespec *featurespec_free(struct featurespec *s);
/* Borrowed. */
const struct featurespec_raw *featurespec_raw(const struct featurespec *s, size_t *ret_n);
size_t featurespec_dense_width(const struct featurespec *s);
size_t featurespec_cat_width(const struct featurespec *s);
const char *featurespec_cat_name(const struct featurespec *s, size_t i);
const char *featurespec_dense_name(const struct featurespec *s, size_t i);
/* Number of ids of categorical input i (embedding rows). */
size_t featurespec_cardinality(const struct featurespec *s, size_t i);
/* The whole document, for the label, group, time, row key and carry columns: keys "label" {column|sql, type}, "group", "time",
 * "rowKey" [columns], "where", "weight", "carry" [columns], "source" (what else featurize needs to rebuild rows). */
const cJSON *featurespec_document(const struct featurespec *s);

/* Columns of `in` in the order of featurespec_raw(). Replaces the contents of *out, reusing its memory. */
int featurespec_apply(const struct featurespec *s, const struct column_batch *in, struct featurebatch *out,
                      struct err *err);

/* The parts of apply, for callers that share a batch among threads: check once, reserve, then any ranges of rows at once. */
int featurespec_check(const struct featurespec *s, const struct column_batch *in, struct err *err);
void featurespec_apply_range(const struct featurespec *s, const struct column_batch *in, size_t first,
                             size_t n, struct featurebatch *out);

/* The first step of a numeric feature, shared with its fitting. NaN: missing. */
enum numeric_transform { TRANSFORM_NONE, TRANSFORM_LOG, TRANSFORM_LOG1P, TRANSFORM_SQRT };
double featurespec_transform(enum numeric_transform t, double x);

/* From memory: takes the document (on failure too); vocabularies may be NULL when no feature has one. */
struct safetensors;
int featurespec_parse(cJSON *document, const struct safetensors *vocabularies, struct featurespec **ret,
                      struct err *err);

DEFINE_CLEANUP(struct featurespec *, featurespec_free);
#define _cleanup_featurespec_ CLEANUP(featurespec_free_cleanup)
