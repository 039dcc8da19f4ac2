/* Clocks that can stand still, and the deadlines of manifest.md's `limits` and `timeoutSeconds`.
 *
 * A stopwatch changes only when it is started or stopped, so reading it does not change the status. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct stopwatch {
    int64_t counted_ms; /* in stretches that have ended */
    int64_t since_ms;   /* start of the present stretch; 0: it stands still */
};
/* Both are idempotent. A `now_ms` that lies before the start (a clock set back) counts as no time. */
void stopwatch_run(struct stopwatch *w, int64_t now_ms);
void stopwatch_stop(struct stopwatch *w, int64_t now_ms);
int64_t stopwatch_read(const struct stopwatch *w, int64_t now_ms);
/* When it will read `limit_ms` if it goes on; 0: it stands still, or there is no limit (limit_ms ≤ 0). */
int64_t stopwatch_due(const struct stopwatch *w, int64_t limit_ms);
/* True once it reads limit_ms or more; never without a limit. */
bool stopwatch_passed(const struct stopwatch *w, int64_t limit_ms, int64_t now_ms);

/* The earlier of two wake-up times where 0 means never. */
int64_t deadline_earlier(int64_t a, int64_t b);
