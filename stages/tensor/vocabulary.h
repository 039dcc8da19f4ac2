/* A vocabulary: known values of a categorical feature and their ids, immutable once finished, safe for any number of threads.
 *
 * Kept in safetensors as sorted keys and the id of each: int64 keys as "vocabulary.<f>.keys" I64[n]; texts as
 * "vocabulary.<f>.text" U8[bytes] and "vocabulary.<f>.offsets" I64[n+1], sorted bytewise; ids "vocabulary.<f>.ids" I32[n]. The ids are
 * first_id … first_id + n − 1 in any order: featurize gives them by count descending, then value ascending; a file with permuted ids is as good
 * (so long as the embedding rows are permuted with them). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/column.h"
#include "stages/tensor/safetensors.h"

struct vocabulary; /* opaque */

enum { VOCABULARY_TENSORS = 3 };

/* type: COLUMN_I64 or COLUMN_STR. The i-th value added gets id first_id + i. */
struct vocabulary *vocabulary_new(enum column_type type, int32_t first_id);
struct vocabulary *vocabulary_free(struct vocabulary *v);
void vocabulary_add_i64(struct vocabulary *v, int64_t key);
void vocabulary_add_text(struct vocabulary *v, const char *text, size_t len);
/* Sorts and indexes. A value that was added twice is ERR_INVALID, naming it. */
int vocabulary_finish(struct vocabulary *v, struct err *err);

/* Verifies order, uniqueness, text bounds and that the ids are a permutation. */
int vocabulary_load(const struct safetensors *f, const char *feature, enum column_type type, int32_t first_id,
                    struct vocabulary **ret, struct err *err);
/* The tensors to write, in `ret`; names and data belong to the vocabulary. Returns how many. */
size_t vocabulary_tensors(struct vocabulary *v, const char *feature,
                          struct safetensors_tensor ret[static VOCABULARY_TENSORS]);

size_t vocabulary_size(const struct vocabulary *v);
/* The id, or -1 for an unknown value. */
int32_t vocabulary_find_i64(const struct vocabulary *v, int64_t key);
int32_t vocabulary_find_text(const struct vocabulary *v, const char *text, size_t len);

DEFINE_CLEANUP(struct vocabulary *, vocabulary_free);
#define _cleanup_vocabulary_ CLEANUP(vocabulary_free_cleanup)
