/* What a run would probably do: plan() played forward without starting anything.
 *
 * Steps that look outside are assumed to give what they gave in the newest recorded run of the pipeline; pure steps are looked up
 * in the cache. Where neither helps, the step works, and what follows from it cannot be foretold. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/err.h"
#include "operator/pipeline/plan.h"

/* Object step name → sentence. previous: the newest run's status of the same pipeline (with its pipeline), both NULL if there is none. */
int expectation(const struct pipeline *p, const struct run_spec *run, const struct plan_options *options,
                const cJSON *cache, const struct run_status *previous, int64_t now_ms, cJSON **ret,
                struct err *err);
