/* Shared by the parts of the pipelines' reconciler: pipeline.c looks and decides, pipeline_write.c keeps the revision and writes the status,
 * pipeline_act.c carries out what the status says. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operator/controller/controller.h"
#include "operator/controller/pipeline_action.h"
#include "operator/controller/pipeline_status.h"
#include "operator/controller/pipeline_view.h"
#include "operator/controller/starting.h"

struct state {
    struct controller *c;
    char *key, *ns, *name;
    struct pipeline_view view;
    char *written_version; /* of our last write of the status; the cache is too old until it has it */
    char *made_revision;   /* known to exist */
    char *seen_run;        /* newest run of ours that was in the cache, even if it is gone */
    bool prune;            /* there may be revisions that nobody names */
    int64_t prune_at_ms;   /* monotonic */
    char *control_done;    /* what was passed on last: as status.observedControl */
    char *last_event;      /* what was said last about this pipeline's troubles */
    struct pass *pass;     /* in hand */
};

/* One look, from queue to queue_done(). */
struct pass {
    int64_t began_ms; /* monotonic */
    struct state *s;
    struct kube_call *call;
    const struct seen_run *
        *runs; /* that name the pipeline; borrowed from the cache: not beyond the first call */
    size_t n_runs;
    struct pipeline_status status;
    struct starting_decision decision;
    struct pipeline_action *actions; /* carried out in order, when the status is as it should be */
    size_t n_actions, next_action;
    int64_t wake_ms; /* wall; 0: never */
};

/* --- pipeline.c --- */

/* Sends a request for this pass; what was borrowed from the caches is let go. */
void pipeline_call(struct pass *p, const struct kube_request *r,
                   void (*done)(void *ctx, cJSON **object, struct err *failure));
/* Out of hand; p is gone. With `retry` it comes again after its back-off. */
void pipeline_end(struct pass *p, bool retry);
/* The same after a failure; what a retry cannot mend by itself is told to people, once. */
void pipeline_failed(struct pass *p, const char *what, const struct err *failure);
/* Looks anew, still in hand; p is gone. */
void pipeline_again(struct pass *p);
void pipeline_say(struct state *s, bool warning, const char *reason, const char *message);
void pipeline_prune_later(struct state *s);
/* *field is the field's own copy of value from now on. */
void pipeline_set(char **field, const char *value);

/* --- pipeline_write.c --- */

void pipeline_keep_revision(struct pass *p);
/* Takes status. */
void pipeline_write_status(struct pass *p, const cJSON *object, cJSON *status);

/* --- pipeline_act.c --- */

/* The action at p->next_action, and then all others. */
void pipeline_next_action(struct pass *p);
