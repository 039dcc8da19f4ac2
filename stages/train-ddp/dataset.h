/* Rows for training: the shards of a directory, mapped, in a seeded order that never touches more than a window of them.
 *
 * An epoch permutes the shards, then the rows within each window of DATASET_WINDOW consecutive shards. A row's place is
 * a function of (seed, epoch) only: neither the number of workers nor a resume changes it. One thread uses it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/model/backend.h"

enum { DATASET_WINDOW = 4 };

struct dataset; /* opaque */

/* Shards must have these widths; training rows need labels. */
int dataset_open(const char *dir, uint64_t seed, size_t dense_width, size_t cat_width, struct dataset **ret,
                 struct err *err);
struct dataset *dataset_free(struct dataset *d);
int64_t dataset_rows(const struct dataset *d);
/* Bytes held beside the mapped files. */
size_t dataset_memory(const struct dataset *d);

/* Rows [begin, begin + b->n) of the epoch's order into the arrays of *b (dense, cat, label, weight are the caller's, large enough). */
struct batch_rows {
    size_t n;
    float *dense, *label, *weight;
    int32_t *cat;
};
void dataset_fill(struct dataset *d, int64_t epoch, int64_t begin, struct batch_rows *b);
/* The same in file order, for validation. */
void dataset_fill_in_order(struct dataset *d, int64_t begin, struct batch_rows *b);

DEFINE_CLEANUP(struct dataset *, dataset_free);
#define _cleanup_dataset_ CLEANUP(dataset_free_cleanup)
