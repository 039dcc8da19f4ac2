/* A TrainingPipeline's spec as the operator uses it: decoded once for each change of it, and what is wrong with it as one sentence. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "operator/controller/retention.h"
#include "operator/controller/starting.h"
#include "operator/pipeline/pipeline.h"

enum { VIEW_MESSAGE_MAX = 1024 };

struct pipeline_view { /* strings are owned */
    /* Of what it was made. */
    char *uid, *code_revision;
    int64_t generation;
    /* What it says. */
    bool valid;
    char *message;             /* of the condition Ready: all findings, cut at VIEW_MESSAGE_MAX */
    char hash[DIGEST_HEX];     /* struct pipeline.hash; "" unless valid */
    char *revision;            /* name of its ControllerRevision; NULL unless valid */
    struct pipeline *pipeline; /* until someone takes it; NULL unless valid */
    bool on_change, on_schedule;
    char *cron, *zone; /* NULL without a schedule */
    struct schedule schedule;
    enum concurrency concurrency;
    enum catch_up catch_up;
    int64_t deadline_ms;
    struct retention_limits retention;
    cJSON *control; /* spec.control, also of a spec that is not valid; NULL */
};
/* From an API object; true if it had changed since. A zeroed view is a new one. */
bool pipeline_view_update(struct pipeline_view *v, const cJSON *object);
void pipeline_view_release(struct pipeline_view *v);
/* The part that starting_decide() wants; borrows. */
struct starting_spec pipeline_view_starting(const struct pipeline_view *v, const char *name);
