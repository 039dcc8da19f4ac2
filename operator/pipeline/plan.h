/* plan(spec, observed, now) → actions + status: the one planner of operator, `trainyard run`, lint, plan and the simulation.
 *
 * Pure: no I/O, no clock, no randomness, no environment (a test over the library's symbols proves it). The driver observes
 * attempts, calls plan(), stores the status it returns (when status_changed), and only then carries the actions out. Killed
 * at any moment, the driver observes again and gets the same answer. `observed` may lag or repeat; see observed.h.
 *
 * Actions are level-triggered: START is repeated until the attempt is seen, STOP until it is `deleting` or over, so both must
 * be idempotent. Calling plan() again with what it returned and the same observation changes nothing and asks for nothing new.
 *
 * A failed step fails the run: nothing new starts except finally steps; what runs is left to finish, but is not tried again.
 * The run ends when nothing of it runs any more. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/result.h"
#include "operator/pipeline/jobspec.h"
#include "operator/pipeline/observed.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/status.h"

enum action_kind {
    ACTION_START, /* start the attempt `job` describes */
    ACTION_STOP, /* end a running attempt: SIGTERM, then SIGKILL after the grace period (operator: delete the Job) */
};
struct action {
    enum action_kind kind;
    struct job job; /* START: all of it; STOP: step, item, restart, attempt, name */
    char *why;      /* a sentence */
};
/* A cache entry to write after the status. */
struct cache_update {
    char *key;    /* in the cache object */
    cJSON *entry; /* NULL: remove it (its artifact was found missing) */
};
struct event {
    char *reason, *message;
    bool warning;
};
struct plan {
    struct run_status status;
    bool status_changed;
    struct action *actions; /* STOPs first */
    size_t n_actions;
    struct cache_update *cache_updates; /* apply with cache_apply() of cache.h */
    size_t n_cache_updates;
    int64_t wake_at_ms;   /* call again at this time even if nothing happens; 0: no need */
    struct event *events; /* what changed, for people; publish after the status was stored */
    size_t n_events;
};
void plan_release(struct plan *p);

/* cache: the object that cache_apply() maintains, may be NULL. status: the last stored one (run_status_init for a new run).
 * Fails only on what no status could say: a status of another pipeline, a cycle. A run with a bad expression or a config that
 * is too large is no failure of plan() but of the run, in the status. */
int plan(const struct pipeline *pipeline, const struct run_spec *run, const struct run_status *status,
         const struct observed *observed, const cJSON *cache, const struct plan_options *options,
         int64_t now_ms, struct plan *ret, struct err *err);

static inline void plan_cleanup_func(struct plan *p)
{
    plan_release(p);
}
#define _cleanup_plan_ CLEANUP(plan_cleanup_func)
