/* A TrainingRun of a cluster as a struct record (record.h), so that what shows a local run shows it too: spec, status, and the pipeline that its
 * revision holds. The record is a view: it has no directory and is never written. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/base/err.h"
#include "operator/cli/cluster/cluster.h"
#include "operator/cli/record.h"

/* ERR_NOTFOUND, exit 66, suggests the nearest name. ret_object (may be NULL): the object itself; the caller owns it. */
int clusterrun_get(const struct cluster *c, const char *name, struct record **ret, cJSON **ret_object,
                   struct err *err);
/* *record: NULL, or that of an earlier version, whose pipeline is taken over if the revision is the same. */
int clusterrun_update(const struct cluster *c, const cJSON *object, struct record **record, struct err *err);

/* Decoding alone. revision: the ControllerRevision or NULL; pipeline: the TrainingPipeline or NULL. Without either, or with a status of other steps
 * than theirs, the steps are those that the status names: enough to show them. */
int clusterrun_decode(const cJSON *run, const cJSON *revision, const cJSON *pipeline, struct record **ret,
                      struct err *err);

/* Changes a run's spec: `change` adds to the merge patch {"spec": {}} what it makes of the run as it is (0), or says that nothing is to be done (1).
 * A write in between repeats it, a few times. *ret_changed (may be NULL): whether anything was written. */
int clusterrun_change(const struct cluster *c, const char *name,
                      int (*change)(void *ctx, const struct record *run, const cJSON *object, cJSON *spec,
                                    struct err *err),
                      void *ctx, bool *ret_changed, struct err *err);
