/* Between run.c, run_index.c and run_act.c. */
#pragma once

#include "common/base/map.h"
#include "operator/controller/cachemap.h"
#include "operator/controller/jobs.h"
#include "operator/controller/observing.h"
#include "operator/controller/run.h"
#include "operator/controller/run_metrics.h"

/* --- run_index.c: what is whose --------------------------------------------------------------------------------- */

struct run_state { /* kept while the run is active */
    char *key, *uid;
    char *written;       /* resourceVersion of our last write; the cache must have it first; NULL */
    bool deferred;       /* a pass waits for that write to be in the cache */
    struct map *seen;    /* names of Jobs that were in the cache */
    struct map *refused; /* names of Jobs that the API server refuses → why (char *) */
    struct map
        *done;     /* act and Job's name → monotonic time of success (int64_t *): the caches will show it */
    char *blocked; /* what keeps a Job from being created, and may pass; NULL */
    bool blocked_changed;               /* since the status last said it */
    int64_t success_seen_ms;            /* monotonic: the last pod that succeeded was seen; 0 */
    int64_t progress_ms;                /* monotonic: when progress was last taken into the status */
    struct pass *pass;                  /* under way; NULL */
    uint16_t steps[RUN_METRICS_STATES]; /* by state, as last planned */
};
struct runs {
    struct controller *c;
    struct cachemap *cache;
    struct map *states;      /* "ns/name" → struct run_state */
    struct map *jobs_of_run; /* run UID → struct map of "ns/job" */
    struct map *pods_of_job; /* job UID → struct map of "ns/pod" */
    struct map *key_of_uid;  /* run UID → char * "ns/name", of active runs */
    size_t busy;
};
struct run_state *run_state_get(struct runs *r, const struct seen_run *run);
void run_state_forget(struct runs *r, const char *key);
/* Arrays of what the caches hold; caller frees the arrays. */
const struct seen_job **run_jobs(const struct runs *r, const char *run_uid, size_t *ret_n);
const struct seen_pod **run_pods(const struct runs *r, const struct seen_job *const *jobs, size_t n_jobs,
                                 size_t *ret_n);

/* --- run_act.c: what a plan wants done ---------------------------------------------------------------------------- */

enum act_kind { ACT_CREATE, ACT_DELETE, ACT_EXPIRE, ACT_DELETE_SERVICE, ACT_KINDS };
struct act {
    struct pass *pass;
    enum act_kind kind;
    char *name;           /* of the Job */
    char *uid;            /* DELETE: of the Job that is meant */
    cJSON *job, *service; /* CREATE */
    struct kube_call *call;
};
/* Everything that the plan and the Jobs seen ask for, built while the pipeline is at hand. */
void acts_of_plan(struct pass *pass, const struct pipeline *p, const struct run_spec *run,
                  const struct plan *plan, const struct seen_job *const *jobs, size_t n_jobs);
/* The Jobs of a run that has been over for --job-ttl go, with their Services. */
void acts_of_finished(struct pass *pass, const struct seen_job *const *jobs, size_t n_jobs);
/* What keeps a Job from being created, for the status; NULL: nothing. */
void run_state_block(struct run_state *s, const char *why);
/* Starts them; pass_finish() runs when the last is done. */
void acts_start(struct pass *pass);

/* --- run.c: one pass ------------------------------------------------------------------------------------------------ */

struct pass {
    struct runs *runs;
    struct run_state *state;
    char *key, *ns, *name, *uid;
    struct kube_call *call; /* the status */
    struct plan plan;       /* what is published once the status is written */
    struct run_status before;
    struct run_news news;
    char *pipeline, *pipeline_uid;
    struct act *acts;
    size_t n_acts, capacity, open; /* open: not done yet */
    bool retry;
    int64_t again_ms; /* look again in so long; 0: no need */
};
void pass_finish(struct pass *pass);
