/* TrainingRun.status around what the planner keeps there: conditions, printer columns, the revision. Pure. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "operator/pipeline/status.h"

struct run_status_extra {
    const char *revision;  /* NULL: none yet */
    int64_t generation;    /* of the spec that was looked at */
    bool suspended;        /* spec.suspend */
    bool stopped;          /* spec.stop; only for run_status_waiting() */
    const char *blocked;   /* what keeps a Job from being created; NULL */
    bool unverified;       /* it has approvals, and no policy vouches for who gave them */
    const cJSON *previous; /* the status before: when did conditions change? NULL */
    int64_t now_ms;
};
/* Too large is ERR_INVALID. */
int run_status_object(const struct run_status *status, const struct run_status_extra *extra, cJSON **ret,
                      struct err *err);
/* A run that cannot be looked at (no such pipeline, no such revision): what it waits for; or, if it was stopped before that, its end. */
cJSON *run_status_waiting(const struct run_status_extra *extra, const char *reason, const char *message);
