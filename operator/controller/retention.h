/* Which finished runs of a pipeline are deleted: pure.
 *
 * Only runs that the operator created (a person's, such as one kept in Git, would come back and run again), and only finished ones. By count,
 * the newest end first, successful and other ones apart; by age since the end, all alike. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retention_run { /* borrowed */
    const char *name;
    bool ours;     /* created by the operator for this very pipeline */
    bool finished; /* active and pending ones are never deleted */
    bool succeeded;
    bool kept; /* whatever its age: something is to be done with it, such as a restart */
    int64_t finished_ms;
};
struct retention_limits {
    int64_t successful, failed; /* how many are kept of each */
    int64_t max_age_ms;         /* 0: none */
};
/* Indexes of the runs to delete, oldest end first, in ret_delete (of at least n); their number in the result. *ret_wake_ms: when the next
 * of the others is too old; 0: never. */
size_t retention_decide(const struct retention_run *runs, size_t n, const struct retention_limits *limits,
                        int64_t now_ms, size_t *ret_delete, int64_t *ret_wake_ms);
