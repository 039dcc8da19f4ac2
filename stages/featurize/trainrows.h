/* train/: the training rows, transformed, in seeded hash order (or the order of rowKey), as shards.
 *
 * The place of a row is the hash of its key under the seed, so the order depends on neither the engine nor its threads: rows are
 * transformed as they come, dropped into buckets by the hash's upper bits (in the scratch, where memory does not hold them), and each
 * bucket is sorted. With negatives < 1 a row with label 0 stays if another hash of its key falls below that share, and weighs 1/share. */
#pragma once

#include "common/base/err.h"
#include "stages/featurize/rowstream.h"

struct trainrows_config {
    const char *directory;
    const char *scratch;
    int64_t memory_bytes;                         /* for the buckets */
    void (*progress)(void *ctx, double fraction); /* may be NULL */
    void *progress_ctx;
};

/* stream->relation and order_by are set by this. */
int trainrows_write(const struct rowstream *stream, const struct trainrows_config *config, int64_t *ret_rows,
                    struct err *err);
