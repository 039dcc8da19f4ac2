/* Held-out test rows of a `features` artifact, scored by one or two models, each under its own feature spec.
 *
 * heldout/…parquet hold the source columns (and row_key, trainyard_split) of validation and test rows; the test rows are read in the order
 * (group, row_key), so groups are contiguous. Keys and labels that differ under the baseline's spec are an error (exit 65): then the models
 * do not speak of the same rows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/evaluate/comparison.h"
#include "stages/model/model.h"
#include "stages/table/table.h"

struct dataset; /* opaque; owns what comparison_rows borrow */

struct dataset_config {
    const char *features; /* directory of the features artifact */
    const char *scratch;
    int64_t memory_bytes;
    int threads;
    const char *const *slices; /* columns */
    size_t n_slices;
    bool (*stop)(void *ctx);
    void *stop_ctx;
};
int dataset_open(const struct dataset_config *config, struct dataset **ret, struct err *err);
struct dataset *dataset_free(struct dataset *d);

/* Candidate first, then at most one baseline. */
int dataset_score_candidate(struct dataset *d, struct model *model, struct err *err);
int dataset_score_baseline(struct dataset *d, struct model *model, struct err *err);
void dataset_rows(const struct dataset *d, struct comparison_rows *ret);
/* The earliest test row, µs since 1970 UTC; false: the features have no time. */
bool dataset_earliest(const struct dataset *d, int64_t *ret_us);

DEFINE_CLEANUP(struct dataset *, dataset_free);
#define _cleanup_dataset_ CLEANUP(dataset_free_cleanup)
