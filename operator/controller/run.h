/* A TrainingRun's reconciler: observe → plan() → status → actions.
 *
 * One pass, each step only when the one before is durable: read the caches; plan; write the status if it changed (PUT with resourceVersion;
 * 409 → again from the top); then, on the API server's word that it is written, delete the Jobs of attempts that are to end,
 * create Services and Jobs (AlreadyExists → adopted if it is ours, else waited for), publish Events, hand the cache its entries. The next pass
 * waits until the cache has seen the write. The Jobs of a run that is over go after --job-ttl. Killed anywhere, the next look does what is missing. */
#pragma once

#include "operator/controller/controller.h"
#include "operator/controller/run_metrics.h"

struct
    runs; /* opaque: what is remembered of each active run between passes, and which Jobs and pods are whose */

struct runs *runs_new(struct controller *c);
/* Everything under way is cancelled. */
struct runs *runs_free(struct runs *r);

/* queue_config.process of the run queue; ends with queue_done() or queue_retry(). */
void run_process(void *controller, const char *key);
/* reflector_config.changed of runs, Jobs and pods. */
void run_changed(void *controller, const void *old, const void *now);
void run_job_changed(void *controller, const void *old, const void *now);
void run_pod_changed(void *controller, const void *old, const void *now);
/* A checkpoint of this run advanced (progress.h). */
void run_wake_uid(void *controller, const char *run_uid);
/* Steps of unfinished runs by state (enum step_state), for metrics. */
void runs_count_steps(const struct runs *r, size_t ret[static RUN_METRICS_STATES]);
/* Passes under way: writes that a graceful end waits for. */
size_t run_busy(const struct controller *c);
