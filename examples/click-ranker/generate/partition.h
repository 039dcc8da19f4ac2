/* One day of click logs as a Parquet file, day=YYYY-MM-DD/clicks.parquet, written by DuckDB. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "examples/click-ranker/generate/truth.h"
#include "examples/click-ranker/generate/world.h"

/* The accidents of production; they befall one partition. */
enum accident {
    ACCIDENT_NONE,
    ACCIDENT_MISSING_COLUMN, /* price is gone */
    ACCIDENT_TYPE_CHANGE,    /* price is text */
    ACCIDENT_VOLUME,         /* 40 % of the sessions */
    ACCIDENT_SHIFTED_PRICES, /* every price tripled */
    ACCIDENT_NULLS,          /* 30 % of the prices are NULL */
    ACCIDENT_DUPLICATES,     /* one session in twenty is there twice */
    ACCIDENT_STALE,          /* its events are two days old */
    ACCIDENT_LEAK,           /* a column dwell_ms that follows from the click */
    ACCIDENT_CHANGING,       /* rewritten in place again and again, see partition_keep_changing() */
    ACCIDENT_COUNT,
};
extern const char *const accident_names[ACCIDENT_COUNT + 1]; /* NULL-terminated, for the option's choices */

struct partition {
    const char *directory; /* the source's root */
    int64_t day;           /* days since 1970 */
    int64_t first_session, sessions;
    enum accident accident;
};
/* Replaces the file atomically. `truth` (may be NULL) collects the rows as a model without accident would see them. */
int partition_write(const struct partition *p, const struct world *w, struct truth *truth, struct err *err);

/* Rewrites the partition's file in place every millisecond, now shorter, now whole, until *stopping: a reader never gets
 * the version it saw listed. Leaves the whole file behind. */
int partition_keep_changing(const struct partition *p, const volatile sig_atomic_t *stopping,
                            struct err *err);
