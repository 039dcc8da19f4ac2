/* featurize --transform: a saved feature spec applied to new rows, by the same code that made the training shards.
 *
 * The rows (CSV, Parquet or JSON lines, compressed or not) need the source columns that the spec's SQL names, and keep their order. Columns
 * derived with pointInTime must be among them, for the history that they count is not. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct transform_config {
    const char *spec; /* directory with feature-spec.json and vocabularies.safetensors */
    const char *in;   /* .csv, .tsv, .parquet, .json, .jsonl, .ndjson; .gz and .zst of the text forms */
    const char *
        out; /* a directory for shards (dense, cat), or a name ending in .jsonl, or "-": a line of JSON a row */
    const char *scratch; /* an existing directory; holds temporary files */
    bool serving;        /* servingValue instead of the logged value where a feature has one */
    int64_t memory_bytes;
    int threads;
};
int transform_run(const struct transform_config *config, int64_t *ret_rows, struct err *err);
