/* Status is the run's database: what plan() has decided and learnt, in TrainingRun.status or the local run record.
 *
 * The JSON form is at most LIMIT_STATUS_BYTES. Messages are cut at LIMIT_MESSAGE_BYTES (shorter in very large runs);
 * outputs and values never are. Items of a fan-out that look alike are written as one range. Times are RFC 3339. */
#pragma once

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/deadline.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/retry.h"

enum step_state {
    STATE_WAITING,  /* for its predecessors, or for the old attempt to be gone (suspended, restarted) */
    STATE_READY,    /* could start: waits for a free slot (parallelism) */
    STATE_RUNNING,  /* attempt `attempt` was asked for; `stop_at_ms` is set while it is being ended */
    STATE_RETRYING, /* attempt `attempt` has ended; another one follows */
    STATE_SUCCEEDED, /* the rest is final, unless `restart` names the step or a consumer finds its artifact missing */
    STATE_CACHED,
    STATE_SKIPPED,
    STATE_FAILED,
    STATE_STOPPED, /* never started, or ended, because the run was stopped or had failed */
    STATE_AWAITING_APPROVAL,
};
const char *step_state_name(enum step_state s); /* "Waiting", "AwaitingApproval", … */
bool step_state_finished(enum step_state s);
/* Succeeded or Cached: outputs and values are there. */
bool step_state_done(enum step_state s);

struct item_status { /* one per fan-out item; one per step without fan-out */
    enum step_state state;
    int restart;                  /* g of the store's layout */
    int attempt;                  /* newest attempt, 0: none yet; never falls, not even by a restart */
    int charged[FAIL_N];          /* failures charged to the budgets, by fail_class */
    int progressless_preemptions; /* in a row */
    int uncharged;                /* attempts whose message was gone, in a row */
    int missing_inputs;           /* how often it ended because an input's artifact was missing */
    int64_t memory_bytes;         /* after growth by out-of-memory failures; 0: as written */
    enum fail_class fail;         /* of the newest attempt that failed */
    char *reason, *message;       /* why it waits, failed or was stopped; NULL */
    char *cache_note;             /* "cached: same key as run X", "not cached: config.epochs changed"; NULL */
    int64_t started_ms;           /* first attempt; 0: none */
    int64_t finished_ms;          /* of the item; 0: not yet */
    int64_t attempt_started_ms;   /* START of the newest attempt was asked for */
    int64_t attempt_ended_ms;     /* its end was recorded; 0: not yet */
    bool attempt_over;            /* nothing of it runs any more (true before the first) */
    int64_t deleting_ms;          /* its removal was first seen; 0: not yet */
    int64_t gang_failed_ms;       /* first failed pod of a gang was seen; its class is still open */
    int64_t stop_at_ms;           /* when it was asked to end; 0: not */
    int64_t retry_at_ms;          /* Retrying: not before this time */
    struct stopwatch
        pending;             /* of the newest attempt: until a pod runs; stands still while queued by Kueue */
    double progress;         /* 0…1; < 0: unknown */
    int64_t checkpoint_step; /* newest known, -1: none */
    int64_t checkpoint_at_start;                 /* the same when the newest attempt started */
    double gpu_seconds_used, gpu_seconds_wasted; /* of ended attempts */
    bool cache_bypass;                           /* restarted by name: do the work again */
    /* When done: where the result is. */
    cJSON *outputs;  /* name → digest; NULL */
    cJSON *values;   /* name → scalar; NULL */
    char *from_run;  /* producer's run UID if it is another run's (cache hit); NULL: this run */
    char *from_step; /* producer's step if its name is another; NULL: this step */
    int64_t from_item;
    int from_restart;
    char *cache_key; /* hex; pure steps */
};
void item_status_init(struct item_status *i);
void item_status_release(struct item_status *i);
/* reason is an identifier; the message is cut, and cleaned of what is no text. Either may be NULL. True if anything changed. */
bool item_status_explain(struct item_status *i, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void item_status_note_cache(struct item_status *i, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The result is forgotten: outputs, values, where they came from, the cache's word. */
void item_status_forget_result(struct item_status *i);
bool status_explain(char **reason, char **message, const char *new_reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool status_vexplain(char **reason, char **message, const char *new_reason, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));

struct step_status {
    char *name;
    enum step_state state;  /* summary over items */
    char *reason, *message; /* of the step as a whole (skipped, when is wrong…); NULL: see the items */
    struct item_status *items;
    size_t n_items;
    bool expanded; /* the items are known and `when` was true; before that there is exactly one item */
    cJSON *axes;   /* fan-out: array of objects axis → string, one per item; NULL without fan-out */
};

/* Keeps the first n items, adds new ones. */
void step_status_resize(struct step_status *s, size_t n);

enum run_phase {
    PHASE_PENDING,
    PHASE_RUNNING,
    PHASE_SUSPENDED,
    PHASE_STOPPING,
    PHASE_FINALLY,
    PHASE_SUCCEEDED,
    PHASE_FAILED,
    PHASE_STOPPED
};
const char *run_phase_name(enum run_phase p);
/* Succeeded, Failed or Stopped: nothing runs any more, nothing will start. */
bool run_phase_finished(enum run_phase p);

struct run_status {
    enum run_phase phase;
    char *reason, *message;          /* why it failed, was stopped, or waits; NULL */
    int64_t started_ms, finished_ms; /* 0: not yet */
    struct stopwatch clock;    /* runSeconds: stands still while suspended, queued or waiting for approval */
    enum run_stop stopping;    /* asked for, or because of gpuHours; stays until a restart */
    bool out_of_time;          /* limits.runSeconds has passed: the run fails; stays until a restart */
    char *observed_restart;    /* id of the newest restart acted upon; NULL */
    struct step_status *steps; /* as in the pipeline */
    size_t n_steps;
};
void run_status_init(struct run_status *s);
void run_status_release(struct run_status *s);
/* The deep copy of `from`; ret is initialised by it. */
void run_status_copy(const struct run_status *from, struct run_status *ret);
/* Steps for a new run, all waiting. */
void run_status_prepare(struct run_status *s, const struct pipeline *p);

/* Larger than LIMIT_STATUS_BYTES is ERR_INVALID. */
int run_status_to_json(const struct run_status *s, cJSON **ret, struct err *err);
/* Unknown keys are ignored (a newer operator wrote them); a wrong type or a step that the pipeline lacks is ERR_INVALID. */
int run_status_from_json(const cJSON *json, const struct pipeline *p, struct run_status *ret,
                         struct err *err);

static inline void run_status_cleanup_func(struct run_status *s)
{
    run_status_release(s);
}
#define _cleanup_run_status_ CLEANUP(run_status_cleanup_func)
