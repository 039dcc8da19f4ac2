/* A shard: transformed rows (65,536 by default) as one safetensors file; what featurize writes and training reads.
 *
 * dense F32[n,D] · cat I32[n,C] · label F32[n,L] · weight F32[n] · group I64[n] · row_key I64[n] · carry.<c> I32[n].
 * dense and cat are absent when their width is 0; label, weight, group and carry when the rows have none (NULL here: weight 1 each).
 * Labels: binary 0/1, class = index of the class, number, relevance ≥ 0. cat ids: 0 missing, 1…k out of vocabulary, then ids;
 * codes of carry: 0 NULL, then 1 + index in feature-spec.json's carryDictionaries. Tensors of features that have their own
 * (seq.<f>.values I32, seq.<f>.offsets I64[n+1], tensor.<f>) are found in .file.
 * A directory of shards is read in name order: 00000.safetensors, 00001.safetensors, … */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/safetensors.h"

enum { SHARD_ROWS = 65536 /* by default */, SHARD_ROWS_MAX = 1 << 24 };

struct shard_carry {
    const char *name;     /* the column's, without "carry." */
    const int32_t *codes; /* [n] */
};

/* Views: into the mapped file for an opened shard, into the caller's memory for one to write. */
struct shard {
    size_t n, dense_width, cat_width, label_width;
    const float *dense;     /* [n, dense_width] */
    const int32_t *cat;     /* [n, cat_width] */
    const float *label;     /* [n, label_width]; NULL: no label */
    const float *weight;    /* [n]; NULL: all 1 */
    const int64_t *group;   /* [n]; NULL: none */
    const int64_t *row_key; /* [n]; NULL: none (--transform) */
    struct shard_carry *carry;
    size_t n_carry;
    struct safetensors *file; /* of an opened shard; owned */
};

/* All shapes verified against each other. ERR_INVALID (exit 65) names file, tensor, expected and found. */
int shard_open(const char *path, struct shard **ret, struct err *err);
struct shard *shard_free(struct shard *s);
int shard_write(const char *path, const struct shard *s, struct err *err);

/* The shards of a directory in order, with their row counts read from the headers. */
struct shard_list {
    char **paths;
    int64_t *rows;
    size_t n;
    int64_t total_rows;
};
/* No shard at all is ERR_INVALID, exit 65. */
int shard_list_open(const char *dir, struct shard_list *ret, struct err *err);
void shard_list_release(struct shard_list *l);

DEFINE_CLEANUP(struct shard *, shard_free);
#define _cleanup_shard_ CLEANUP(shard_free_cleanup)
static inline void shard_list_cleanup_func(struct shard_list *l)
{
    shard_list_release(l);
}
#define _cleanup_shard_list_ CLEANUP(shard_list_cleanup_func)
