/* One attempt as API objects: a batch/v1 Job, and for several workers the headless Service through which they find each other. Pure.
 *
 * The Job is one attempt (backoffLimit 0); its pod failure policy's rules stand in a fixed order, of which operator/pipeline/retry.h knows. Pods fit
 * Pod Security "restricted", have no token of the API server, and see their config and inputs as files of a downward-API volume:
 *
 *   /trainyard/config/{config,inputs,store,registry}.json     from annotations
 *   /trainyard/secrets/<Secret>/<key>, /trainyard/ca/<ConfigMap>/<key>, /trainyard/token/token
 *   /scratch, /tmp (HOME), /dev/shm where workers or gpu exceed 1
 *
 * A container step's pod runs fetch, the step, publish (docs/reference/step-contract.md §9); only the first and the last see secrets. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/err.h"
#include "operator/controller/controller.h"
#include "operator/pipeline/jobspec.h"

struct jobs_context { /* borrowed */
    const struct pipeline *pipeline;
    const struct run_spec *run;
    const char *ns;
    const struct controller_options *options;
    const char *progress_url, *progress_token; /* NULL: none */
    const char *rendezvous_key;                /* hex; for workers > 1 */
};
/* ret_service is NULL for one worker. What a cluster cannot have (a file:// store, an image that nobody named) is ERR_INVALID. */
int jobs_build(const struct jobs_context *x, const struct job *job, cJSON **ret_job, cJSON **ret_service,
               struct err *err);
