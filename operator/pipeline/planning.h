/* Inside plan(): what its parts share. Not for drivers.
 *
 * plan.c drives, in this order: control (restart) → attempt (what was observed) → control (stop, suspend, limits)
 * → advance (steps in order: skip, when, fan-out, cache, start) → plan.c again (stops, end of the run, clock, events). */
#pragma once

#include "operator/pipeline/cache.h"
#include "operator/pipeline/dag.h"
#include "operator/pipeline/plan.h"

struct planning {
    const struct pipeline *pipeline;
    const struct run_spec *run;
    const struct observed *observed;
    const struct plan_options *options;
    int64_t now_ms;

    struct run_status *status; /* of the plan being made */
    struct plan *plan;
    struct cache_view cache;
    struct dag dag;
    cJSON *params;
    cJSON *steps_scope;         /* see planning_scope(); NULL: to be made again */
    size_t *first_of, *next_of; /* chains of observed attempts by step; index + 1, 0 ends */
    bool suspended;             /* nothing starts */
    bool
        failing; /* a step that is not `finally` has failed, or the run is out of time: only finally steps start */
    bool no_params;          /* the parameters are wrong: nothing can start, not even finally steps */
    const char *outcome;     /* phase name for finally steps: Succeeded, Failed, Stopped */
    size_t live;             /* attempts that may still run */
    size_t queued;           /* of these, suspended by the queue */
    double gpu_seconds_live; /* of attempts that run now */
    int64_t gpus_live;
};

/* --- plan.c ----------------------------------------------------------------------------------------------- */
void planning_wake(struct planning *pl, int64_t at_ms); /* 0, or past: no need, this plan has seen it */
int64_t planning_grace_ms(const struct planning *pl);
/* The values of finished steps changed. */
void planning_values_changed(struct planning *pl);
/* Names for the step's expressions; borrowed until values change. */
struct expr_scope planning_scope(struct planning *pl, size_t step, int64_t item);
/* The newest observation of this attempt; NULL: not seen. */
const struct observed_attempt *planning_find(const struct planning *pl, size_t step, int64_t item,
                                             int attempt);
/* Highest attempt number seen for the item, 0: none. */
int planning_highest_attempt(const struct planning *pl, size_t step, int64_t item);
/* Takes job (steals its contents). */
void planning_start(struct planning *pl, struct job *job, const char *why);

/* --- attempt.c: what became of the attempts in the status ------------------------------------------------------ */
void attempt_observe(struct planning *pl);
bool attempt_is_over(const struct planning *pl, size_t step, const struct observed_attempt *a);
/* Asks for the end of a running attempt, uncharged (stop, suspend, restart). */
void attempt_stop(struct planning *pl, struct item_status *item, const char *reason, const char *message);

/* --- control.c: what people asked for, and the run's limits ----------------------------------------------------- */
void control_restart(struct planning *pl);
void control_apply(struct planning *pl);
/* The step awaits approval: has it been given? */
void control_approve(struct planning *pl, size_t step);
bool control_closes(const struct planning *pl, size_t step); /* nothing of the step may start any more */
/* A consumer found an artifact missing: what produced it runs again. */
void control_rerun_producers(struct planning *pl, size_t step, const struct item_status *item,
                             const char *message);

/* --- advance.c: steps that can go on ----------------------------------------------------------------------------- */
void advance_steps(struct planning *pl, bool finally);

/* --- events.c ------------------------------------------------------------------------------------------------------ */
void events_of_difference(const struct run_status *before, struct plan *plan);
