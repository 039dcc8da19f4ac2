/* Giving work to the operator: a pipeline applied, a run started.
 *
 * A changed pipeline starts a run by itself where spec.runOn has SpecChange, as it has by default. So that a submission means one run, such a change is
 * only applied and the operator's run is waited for, unless the submission asks for more than the change: parameters, a name, a time. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "operator/cli/cluster/cluster.h"
#include "operator/pipeline/pipeline.h"

struct submission {             /* borrowed */
    const struct run_spec *run; /* parameters, scheduled_ms; name NULL: one that is free */
    bool scheduled;             /* the run is to have scheduled_ms */
    bool force;                 /* take over fields of the pipeline that another tool applied */
    int64_t wait_ms;            /* at most, for the operator to look at a changed pipeline */
};
/* tree: the manifest as written; pipeline: the same decoded. *ret_name: the run's; the caller frees it. */
int submission_pipeline(const struct cluster *c, const cJSON *tree, const struct pipeline *pipeline,
                        const struct submission *s, char **ret_name, struct err *err);
/* A run of a pipeline that is in the cluster. */
int submission_of(const struct cluster *c, const char *pipeline, const struct submission *s, char **ret_name,
                  struct err *err);
/* A TrainingRun as written, with the submission's parameters added. */
int submission_run(const struct cluster *c, const cJSON *tree, const struct submission *s, char **ret_name,
                   struct err *err);

/* --- parts, for tests -------------------------------------------------------------------------------------- */

/* What is sent of a manifest: in this namespace, without what only the API server writes. Caller owns. */
cJSON *submission_body(const cJSON *tree, const char *ns);
/* Will the operator start a run of this change by itself? before: the TrainingPipeline as it was, NULL: it is new. */
bool submission_starts_itself(const struct pipeline *p, const cJSON *before);
/* The run that the operator has decided on for a spec of this hash; "" if it has not yet. Borrowed. */
const char *submission_started(const cJSON *pipeline, const char *hash);
