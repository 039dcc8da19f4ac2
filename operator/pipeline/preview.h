/* `trainyard plan`: the jobs that a run would create, in order, without starting anything. What is only known later (an
 * input's digest, the value of an earlier step, the items of a fan-out from a list) is written symbolically: "$(steps.s.values.v)". */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/buf.h"
#include "operator/pipeline/plan.h"

/* {"run", "pipeline", "jobs": [{"name", "step", "item"?, "when"?, "workers", "threads", "device", …, "config", "inputs"}]} */
int plan_preview(const struct pipeline *pipeline, const struct run_spec *run,
                 const struct plan_options *options, cJSON **ret, struct err *err);
/* The same for a person. */
int plan_preview_text(const cJSON *preview, struct buf *out, struct err *err);
