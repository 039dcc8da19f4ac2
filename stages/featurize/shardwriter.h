/* Writes rows, one after the other, as shards 00000.safetensors, 00001.safetensors, … of a directory. */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/shard.h"

struct shardwriter; /* opaque */

struct shardwriter_config {
    const char *directory; /* made if absent */
    size_t rows;           /* of a shard */
    size_t dense_width, cat_width;
    bool label, weight, group, row_key; /* which tensors there are */
    const char *const *carry;           /* names, borrowed */
    size_t n_carry;
};

struct shardwriter_row {
    const float *dense;
    const int32_t *cat;
    const int32_t *carry;
    float label, weight;
    int64_t group, row_key;
};

int shardwriter_new(const struct shardwriter_config *config, struct shardwriter **ret, struct err *err);
struct shardwriter *shardwriter_free(struct shardwriter *w);
int shardwriter_add(struct shardwriter *w, const struct shardwriter_row *row, struct err *err);
/* Writes what is left. No row at all: no file. */
int shardwriter_finish(struct shardwriter *w, struct err *err);
int64_t shardwriter_rows(const struct shardwriter *w);

DEFINE_CLEANUP(struct shardwriter *, shardwriter_free);
#define _cleanup_shardwriter_ CLEANUP(shardwriter_free_cleanup)
