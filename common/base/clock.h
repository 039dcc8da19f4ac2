/* Time, replaceable by tests: everything that needs a clock takes a `const struct clock *`.
 * Wall time is milliseconds since 1970 UTC; monotonic time is milliseconds since an arbitrary start. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct clock {
    int64_t (*wall_ms)(void *ctx);
    int64_t (*mono_ms)(void *ctx);
    void (*sleep_ms)(void *ctx, int64_t ms);
    void *ctx;
};

extern const struct clock clock_system;

/* A clock under a test's control: starts at `wall_ms`, advances only by sleeping or clock_fake_advance(). */
struct clock_fake {
    struct clock clock;
    int64_t wall, mono;
};
void clock_fake_init(struct clock_fake *f, int64_t wall_ms);
void clock_fake_advance(struct clock_fake *f, int64_t ms);

/* RFC 3339 in UTC, "2026-01-31T02:00:00Z" (milliseconds only when they are not 0). */
enum { CLOCK_RFC3339_MAX = 32 };
void clock_format_rfc3339(int64_t wall_ms, char ret[static CLOCK_RFC3339_MAX]);
/* Accepts Z and ±hh:mm offsets and fractions. */
int clock_parse_rfc3339(const char *text, int64_t *ret_ms, struct err *err);
/* Civil date ↔ days since 1970-01-01 (proleptic Gregorian; H. Hinnant's algorithm). */
int64_t clock_days_from_civil(int64_t year, unsigned month, unsigned day);
void clock_civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day);
/* "36h", "2d", "90s", "15m", "1w" or sums "1d12h"; an optional sign → milliseconds. */
int clock_parse_duration(const char *text, int64_t *ret_ms, struct err *err);
