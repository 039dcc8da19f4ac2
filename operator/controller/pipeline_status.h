/* What the status of a TrainingPipeline records, as a struct and as JSON. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operator/controller/starting.h"
#include "operator/pipeline/status.h"

struct pipeline_status { /* strings are owned; NULL: absent */
    int64_t observed_generation;
    bool ready;
    char *ready_message;
    int64_t ready_since_ms; /* when `ready` changed */
    char *current_run;
    char *last_run, *last_phase;
    int64_t last_finished_ms;
    char *last_successful;
    char *revision;
    char *observed_control; /* "<run>/<hash of the control>" */
    int64_t next_scheduled_ms;
    struct starting_memory memory;
};
/* What is missing or strange counts as absent. */
void pipeline_status_read(const cJSON *status, struct pipeline_status *ret);
cJSON *pipeline_status_write(const struct pipeline_status *s);
void pipeline_status_release(struct pipeline_status *s);

struct pipeline_status_run { /* of all runs that name the pipeline; borrowed */
    const char *name;
    enum run_phase phase;
    int64_t created_ms, finished_ms;
};
/* Current, last and last successful run. A last run that is deleted stays the last one. */
void pipeline_status_observe(struct pipeline_status *s, const struct pipeline_status_run *runs, size_t n);
/* The condition Ready; true if it changed to or from True, or says something else. */
bool pipeline_status_set_ready(struct pipeline_status *s, bool ready, const char *message, int64_t generation,
                               int64_t now_ms);
