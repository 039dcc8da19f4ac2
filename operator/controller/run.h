/* A TrainingRun's reconciler: observe → plan() → status → actions (design: docs/architecture.md, "The operator").
 *
 * In order, each step only when the one before is visible in the cache: read caches; plan; write status if changed (PUT with
 * resourceVersion; 409 → again from the top) and wait until the cache has it; write the cache entries; delete the Jobs of ended attempts that are still
 * active; create Services and Jobs (AlreadyExists → adopt if it is ours by owner UID, else wait and retry); set the TTL of Jobs whose end the status records; publish
 * Events. Killed anywhere, the next look does what is missing. */
#pragma once

#include "operator/controller/controller.h"

/* queue_config.process of the run queue; ends with queue_done() or queue_retry(). */
void run_process(void *controller, const char *key);
/* reflector_config.changed of runs, jobs and pods: they put the run's key into the queue. */
void run_changed(void *controller, const void *old, const void *now);
void run_job_changed(void *controller, const void *old, const void *now);
void run_pod_changed(void *controller, const void *old, const void *now);
/* Everything under way is cancelled. */
void run_stop_all(struct controller *c);
