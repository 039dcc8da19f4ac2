/* The whole of featurize as one call: a snapshot and a `featurize:` block in, the files of `features` out.
 *
 * Output: train/ and validation/ (shards), heldout/00000.parquet, feature-spec.json, vocabularies.safetensors, golden.json. Equal
 * snapshot and config give equal bytes, whatever the number of threads. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct featurize_job {
    const cJSON *config;          /* the `featurize:` block */
    const char *snapshot;         /* directory with data/…parquet */
    const char *output, *scratch; /* existing directories */
    int64_t memory_bytes;
    int threads;
    bool (*stop)(void *ctx);                                        /* asked while it works; may be NULL */
    void (*progress)(void *ctx, double fraction, const char *what); /* may be NULL */
    void *ctx;
};

struct featurize_counts {
    int64_t train_rows, validation_rows, test_rows; /* train_rows after sampling */
    int64_t features, duplicates_dropped;
};

int featurize_run(const struct featurize_job *job, struct featurize_counts *ret, struct err *err);
