/* What `get` shows of a cluster: the pipelines and runs there are, one pipeline. */
#pragma once

#include <stdbool.h>

#include "operator/cli/cluster/cluster.h"

struct listing_options {
    const char *pipeline; /* only this one and its runs; NULL: all */
    bool all_namespaces, json;
};
/* {"pipelines": […], "runs": […]} for programs, two tables for people; runs newest first. */
int listing_all(const struct cluster *c, const struct listing_options *o, struct err *err);
/* One pipeline and its runs. Not there: 0 with *ret_found false. */
int listing_pipeline(const struct cluster *c, const char *name, const struct listing_options *o,
                     bool *ret_found, struct err *err);

/* --- parts, for tests -------------------------------------------------------------------------------------- */

/* {"name", "namespace", "pipeline", "phase", "step"?, "progress"?, "message"?, "created", "started"?, "finished"?} of a TrainingRun. Caller owns. */
cJSON *listing_run(const cJSON *object);
/* {"name", "namespace", "ready", "message"?, "currentRun"?, "lastRun"?, "lastPhase"?, "nextScheduled"?, "created"} of a TrainingPipeline. Caller owns. */
cJSON *listing_of_pipeline(const cJSON *object);
/* The tables; either list may be empty. */
void listing_text(const cJSON *pipelines, const cJSON *runs, bool all_namespaces, int64_t now_ms,
                  struct buf *out);
