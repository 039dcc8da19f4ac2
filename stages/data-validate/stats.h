/* What is known of one column: counts only, so that partial results of files, partitions and workers merge to the same
 * numbers in any order.
 *
 * Numbers are counted in a log-histogram: a bucket is the sign, exponent and top five mantissa bits of the double, so each
 * octave has 32 buckets (3 % wide; integers up to 64 have one each) and bucket order is numeric order. Bucket 0 is zero,
 * bucket ±k holds ±[edge(k), edge(k + 1)). Texts are tallied, up to a bound beyond which new ones count as "other". Distinct values are
 * estimated by HyperLogLog with 4,096 registers (P. Flajolet et al., 2007; small range by linear counting). */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/tensor/column.h"
#include "stages/tensor/exactsum.h"

enum stat_kind { STAT_INTEGER, STAT_NUMBER, STAT_TIME /* µs since 1970 */, STAT_TEXT, STAT_OTHER };
enum { STAT_BUCKETS = 65536, HLL_REGISTERS = 4096, TALLY_MAX = 16384, TALLY_KEY_MAX = 256, TOP_VALUES = 20 };

/* Sparse, sorted by bucket. */
struct histogram {
    int32_t *bucket;
    int64_t *count;
    size_t n, capacity;
};
int32_t histogram_bucket(double x);
double histogram_edge(
    int32_t bucket); /* the edge nearer to zero; edge of the bucket away from zero: histogram_far_edge */
double histogram_far_edge(int32_t bucket);
int64_t histogram_total(const struct histogram *h);

struct tally_entry {
    uint64_t hash;
    uint32_t offset, length; /* of the key's kept bytes in the arena */
    int64_t count;
};
struct tally {
    struct tally_entry *entries; /* in order of first appearance */
    size_t n, capacity;
    uint32_t *slots; /* index + 1 into entries; a power of two */
    size_t n_slots;
    char *arena;
    size_t arena_len, arena_capacity;
    int64_t other; /* values that came when the tally was full */
};

struct stats {
    enum stat_kind kind;
    int64_t rows, nulls, nans, infinities;
    bool any;                 /* min and max are set */
    int64_t int_min, int_max; /* STAT_INTEGER, STAT_TIME */
    double min, max;          /* STAT_NUMBER */
    __int128 int_sum;         /* STAT_INTEGER */
    struct exactsum sum;      /* STAT_NUMBER: the finite ones */
    struct histogram histogram;
    struct tally tally;
    uint8_t *registers;
};

void stats_init(struct stats *s, enum stat_kind kind);
void stats_release(struct stats *s);
void stats_merge(struct stats *into, struct stats *from);
/* A column of a batch: I64 for integers, times and STAT_OTHER, F64 for numbers, STR for texts. `scratch` is a dense histogram of
 * 2·STAT_BUCKETS + 1 counts, all zero at the start of a file, that stats_collect() empties into the sparse one at its end. */
void stats_add_batch(struct stats *s, const struct column *c, size_t n, int64_t *scratch);
void stats_collect(struct stats *s, int64_t *scratch);

/* Hash of one value, for sets and unique keys: equal values, equal hashes. */
uint64_t stats_hash_integer(int64_t v);
uint64_t stats_hash_number(double v);
uint64_t stats_hash_text(const char *text, size_t len);

double stats_mean(struct stats *s);                     /* NaN: no values */
double stats_quantile(const struct stats *s, double q); /* NaN: no values; within a bucket's width */
int64_t stats_distinct(const struct stats *s);
/* Most frequent texts: count descending, then bytewise; at most `max` entries, borrowed; returns how many. */
size_t stats_top(const struct stats *s, size_t max, const struct tally_entry **ret);
const struct tally_entry *tally_find(const struct tally *t, uint64_t hash, uint32_t length, const char *key);

/* {"nulls", "rows", …}; whole: with histogram and top values, so that it can be merged and be a baseline. */
cJSON *stats_to_json(struct stats *s, bool whole);
int stats_from_json(const cJSON *o, struct stats *ret, struct err *err);
extern const char *const stat_kind_names[];
