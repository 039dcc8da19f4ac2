/* Fixed-size records sorted coarsely into buckets, in bounded memory: what is beyond it goes to a file in the scratch.
 *
 * The external half of a distribution sort: records arrive in any order, each with the number of its bucket; afterwards one
 * bucket after the other is read back whole and sorted by the caller. Chosen well (a uniform hash), a bucket fits a cache. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct spill; /* opaque */

/* At most memory_bytes are held (at least 64 KiB a bucket); the file is unlinked at once, so nothing is left behind. */
int spill_new(const char *scratch, size_t record_size, size_t buckets, int64_t memory_bytes,
              struct spill **ret, struct err *err);
struct spill *spill_free(struct spill *s);
int spill_add(struct spill *s, size_t bucket, const void *record, struct err *err);
size_t spill_buckets(const struct spill *s);
size_t spill_count(const struct spill *s, size_t bucket);
/* All records of a bucket, in the order they were added, into `to` (spill_count() × record_size bytes). After the last spill_add(); from any thread. */
int spill_read(const struct spill *s, size_t bucket, void *to, struct err *err);

/* The number of buckets, a power of two, so that `records` of `record_size` come in buckets of about `bucket_bytes`. */
size_t spill_choose_buckets(int64_t records, size_t record_size, int64_t bucket_bytes);
/* Of a 64-bit hash: its highest bits, so that buckets in order hold ascending hashes. */
static inline size_t spill_bucket_of(uint64_t hash, size_t buckets)
{
    return (size_t)(((unsigned __int128)hash * buckets) >> 64);
}

DEFINE_CLEANUP(struct spill *, spill_free);
#define _cleanup_spill_ CLEANUP(spill_free_cleanup)
