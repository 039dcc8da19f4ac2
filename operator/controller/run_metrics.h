/* What a run's status says to metrics: counters and gauges change once, when the status that tells of it has been written. */
#pragma once

#include <stdbool.h>

#include "operator/controller/controller.h"
#include "operator/pipeline/status.h"

enum { RUN_METRICS_STATES = STATE_AWAITING_APPROVAL + 1 };

struct run_news {           /* what only the pipeline's spec can tell of a change of status */
    bool validation_failed; /* the run has failed, and a dataValidate step of it */
    int64_t data_age_ms;    /* of the newest data, where a dataValidate step has just ended and said it; -1 */
};
void run_news_find(const struct pipeline *p, const struct run_status *before, const struct run_status *after,
                   int64_t now_ms, struct run_news *ret);

/* The change from `before` to `after` has been written. */
void run_metrics_written(struct controller *c, const char *ns, const char *pipeline,
                         const struct run_status *before, const struct run_status *after,
                         const struct run_news *news);
/* How many steps are in each state; none once the run has finished. */
void run_metrics_count_steps(const struct run_status *status, uint16_t ret[static RUN_METRICS_STATES]);
