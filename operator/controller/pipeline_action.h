/* What a pipeline's reconciler sends to the API server, as objects: pure. */
#pragma once

#include <cjson/cJSON.h>

#include "operator/controller/starting.h"

enum pipeline_action_kind {
    ACTION_CREATE_RUN, /* name; body: the run */
    ACTION_STOP_RUN,   /* name; body: a merge patch */
    ACTION_CONTROL,    /* name of the run; body: spec.control; uid: its key */
    ACTION_DELETE_RUN, /* name, uid, version */
    ACTION_PRUNE,      /* body, while it goes on: the revisions that are left to delete */
};
struct pipeline_action {
    enum pipeline_action_kind kind;
    char *name, *uid, *version;
    cJSON *body;
};
void pipeline_action_release(struct pipeline_action *a);
/* "creating run", …: for messages. */
const char *pipeline_action_name(enum pipeline_action_kind kind);

/* All of these are the caller's to free. */

/* The TrainingRun to create, owned by the pipeline. */
cJSON *pipeline_action_run(const char *ns, const char *pipeline, const char *uid,
                           const struct starting_run_record *starting);
/* Merge patches: stop this very run; own this orphaned object, if it is still as it was. */
cJSON *pipeline_action_stop(const char *uid);
cJSON *pipeline_action_adopt(const char *pipeline, const char *uid, const char *version);
/* DeleteOptions for exactly this object; version NULL: whatever has become of it. */
cJSON *pipeline_action_delete(const char *uid, const char *version);
/* Of the revisions of a pipeline. */
char *pipeline_action_revisions_query(const char *pipeline);

/* spec.control: the run that it names, "" without one (borrowed); "<run>/<hash>", NULL where there is nothing to pass on. */
const char *pipeline_action_control_run(const cJSON *control);
char *pipeline_action_control_key(const cJSON *control);
/* The merge patch that makes a run's spec say what control says; approvals are added to those that it has. NULL: it does already. */
cJSON *pipeline_action_control_patch(const cJSON *control, const cJSON *run);
