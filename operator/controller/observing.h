/* What the caches say about a run's attempts, as plan() wants to see it. Pure.
 *
 * An attempt that the status names and no Job stands for is `gone` if its Job was seen before, or if the status says that its end was asked for or
 * recorded; otherwise it is not there yet, and plan() asks for it again. A Job that the API server refused is an attempt whose pod failed with exit 78.
 *
 * A pod that should have been ended OBSERVING_LOST_MS ago, and of whose end nobody has heard, has failed: its node is dead or cut off. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "operator/controller/seen.h"
#include "operator/pipeline/observed.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/status.h"

enum { OBSERVING_LOST_MS = 30 * 1000 };

struct observing_source {               /* borrowed */
    const struct seen_job *const *jobs; /* of this run */
    size_t n_jobs;
    const struct seen_pod *const *pods; /* of these Jobs */
    size_t n_pods;
    const char *run_name;
    int64_t now_ms; /* wall */
    bool (*was_seen)(void *ctx, const char *job_name);
    const char *(*refused)(void *ctx, const char *job_name); /* why the Job cannot be; NULL: it can */
    /* false: nothing was heard. Sets *ret_fraction and *ret_checkpoint, or leaves them. */
    bool (*progress)(void *ctx, const char *step, int64_t item, int attempt, double *ret_fraction,
                     int64_t *ret_checkpoint);
    void *ctx;
};
struct observing {
    struct observed observed;
    struct observed_attempt *attempts;
    struct observed_pod *pods; /* strings borrowed from the source */
    int64_t look_again_ms;     /* wall: a pod will count as lost then; 0: none */
};
void observing_init(struct observing *o, const struct observing_source *source, const struct pipeline *p,
                    const struct run_status *status);
void observing_release(struct observing *o);
#define _cleanup_observing_ CLEANUP(observing_release)

/* Does the Job say that an attempt failed whose result the status has? The result counts; people should know. */
bool observing_disagrees(const struct seen_job *job, const struct pipeline *p,
                         const struct run_status *status);
