/* A TrainingPipeline's reconciler: validate, keep its revision, start runs (SpecChange, Schedule), pass on control from Git, retention, status.
 *
 * One pass, each step only when the one before is visible in the cache: keep the spec as a ControllerRevision; write the status if it changed, with
 * what was decided; then carry out what the status says: create the run of status.starting, stop what is replaced, pass control on, delete old runs, prune
 * revisions that no run names. Killed anywhere, the next look does what is missing; two operators at once cannot both win the status. */
#pragma once

#include "operator/controller/controller.h"

struct pipelines; /* opaque: what is remembered of each pipeline between looks */

struct pipelines *pipelines_new(struct controller *c);
/* Everything under way is cancelled. */
struct pipelines *pipelines_free(struct pipelines *p);

/* queue_config.process of the pipeline queue; ends with queue_done() or queue_retry(). */
void pipeline_process(void *controller, const char *key);
/* reflector_config.changed of pipelines and, beside the run reconciler's own, of runs. */
void pipeline_changed(void *controller, const void *old, const void *now);
void pipeline_run_changed(void *controller, const void *old, const void *now);
/* Requests under way: writes that a graceful end waits for. */
size_t pipeline_busy(const struct controller *c);
