/* See retention.h. */
#include "operator/controller/retention.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

/* Oldest end first; of equal ones by name, so that the choice is the same at each look. */
static int by_end(const void *a, const void *b)
{
    const struct retention_run *const *x = a, *const *y = b;
    if ((*x)->finished_ms != (*y)->finished_ms)
        return (*x)->finished_ms < (*y)->finished_ms ? -1 : 1;
    return strcmp((*x)->name, (*y)->name);
}

size_t retention_decide(const struct retention_run *runs, size_t n, const struct retention_limits *limits,
                        int64_t now_ms, size_t *ret_delete, int64_t *ret_wake_ms)
{
    _cleanup_free_ const struct retention_run **sorted = xcalloc(n + 1, sizeof *sorted);
    size_t ended = 0, deleted = 0;
    int64_t too_many[2] = {-limits->failed, -limits->successful}; /* by success */
    for (size_t i = 0; i < n; i++) {
        if (!runs[i].ours || !runs[i].finished)
            continue;
        sorted[ended++] = &runs[i];
        too_many[runs[i].succeeded]++;
    }
    qsort(sorted, ended, sizeof(const struct retention_run *), by_end);
    *ret_wake_ms = 0;
    for (size_t i = 0; i < ended; i++) {
        const struct retention_run *run = sorted[i];
        int64_t end_of_life = run->finished_ms + limits->max_age_ms;
        bool old = limits->max_age_ms > 0 && end_of_life <= now_ms;
        bool surplus = too_many[run->succeeded] > 0;
        too_many[run->succeeded]--;
        if (run->kept)
            continue;
        if (old || surplus)
            ret_delete[deleted++] = (size_t)(run - runs);
        else if (limits->max_age_ms > 0 && (!*ret_wake_ms || end_of_life < *ret_wake_ms))
            *ret_wake_ms = end_of_life;
    }
    return deleted;
}
