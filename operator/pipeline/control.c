/* What people asked for (restart, approvals, stop, suspend), and the limits of the whole run.
 *
 * restart acts once per id. It resets the steps it names and everything downstream of them, and, because the run is to reach
 * its end this time, every step that failed or was stopped; finally steps run again. A step that had a result starts anew in
 * the next g; one that had none stays in its g, where its checkpoints are, unless what it reads is made anew. Attempt numbers
 * go on. `stop` must be taken back by whoever restarts, else it acts again. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/pipeline/fanout.h"
#include "operator/pipeline/planning.h"

/* --- restart ------------------------------------------------------------------------------------------------- */

struct reset {
    bool named;         /* by the restart itself: its cache is not asked */
    bool redo;          /* named, or something before it is redone: results do not count any more */
    bool inputs_change; /* what it reads is made anew: its checkpoints do not fit any more */
};

static void reset_item(struct planning *pl, struct item_status *item, const struct reset *r)
{
    bool had_result = step_state_done(item->state), running = item->state == STATE_RUNNING;
    if (had_result && !r->redo)
        return;
    if (running)
        item->attempt_ended_ms = pl->now_ms;
    if (had_result || (running && r->named) || (r->inputs_change && item->attempt > 0)) {
        item->restart++;
        item->checkpoint_step = item->checkpoint_at_start = -1;
    }
    item->state = STATE_WAITING;
    memset(item->charged, 0, sizeof item->charged);
    item->progressless_preemptions = item->uncharged = item->missing_inputs = 0;
    item->fail = FAIL_NONE;
    item->finished_ms = item->retry_at_ms = item->stop_at_ms = item->gang_failed_ms = 0;
    item->pending = (struct stopwatch){0};
    item->progress = -1;
    item->cache_bypass = r->named;
    item_status_forget_result(item);
    (void)item_status_explain(item, "Restarted", "restarted");
}

static struct reset reset_of(const struct planning *pl, size_t s, const bool *named, const bool *redone)
{
    struct reset r = {.named = named[s], .redo = named[s] || pl->pipeline->steps[s].finally};
    for (size_t i = 0; i < pl->dag.needs[s].n; i++)
        r.inputs_change = r.inputs_change || redone[pl->dag.needs[s].steps[i]];
    r.redo = r.redo || r.inputs_change;
    return r;
}

static void reset_step(struct planning *pl, size_t s, const struct reset *r)
{
    struct step_status *st = &pl->status->steps[s];
    for (size_t i = 0; i < st->n_items; i++)
        reset_item(pl, &st->items[i], r);
    st->expanded = false;
    (void)status_explain(&st->reason, &st->message, NULL, NULL);
    fanout_summarise(&pl->pipeline->steps[s], st);
}

static void mark_named(struct planning *pl, bool *named)
{
    const struct run_spec *run = pl->run;
    for (size_t i = 0; i < run->n_restart_from; i++) {
        long s = pipeline_find_step(pl->pipeline, run->restart_from[i]);
        if (s >= 0) {
            named[s] = true;
            continue;
        }
        struct plan *p = pl->plan;
        p->events = xreallocarray(p->events, p->n_events + 1, sizeof *p->events);
        p->events[p->n_events++] = (struct event){
            .reason = xstrdup("RestartUnknownStep"),
            .message = xasprintf(
                "restart %.63s names step \"%.63s\", which the pipeline does not have; it is left out",
                run->restart_id, run->restart_from[i]),
            .warning = true,
        };
    }
}

/* Items of a step that is not done: what minSuccess forgave stays forgiven. */
static bool has_failed_item(const struct step_status *st)
{
    for (size_t i = 0; i < st->n_items && !step_state_done(st->state); i++)
        if (st->items[i].state == STATE_FAILED)
            return true;
    return false;
}

void control_restart(struct planning *pl)
{
    struct run_status *status = pl->status;
    const struct run_spec *run = pl->run;
    if (!run->restart_id || text_equal(run->restart_id, status->observed_restart))
        return;
    size_t n = status->n_steps;
    _cleanup_free_ bool *named = xcalloc(n + 1, sizeof *named), *marks = xcalloc(n + 1, sizeof *marks),
                        *redone = xcalloc(n + 1, sizeof *redone);
    mark_named(pl, named);
    for (size_t s = 0; s < n; s++) {
        enum step_state state = status->steps[s].state;
        marks[s] = named[s] || state == STATE_FAILED || state == STATE_STOPPED ||
                   has_failed_item(&status->steps[s]) ||
                   (pl->pipeline->steps[s].finally && state != STATE_WAITING);
    }
    for (size_t s = 0; s < n; s++)
        if (marks[s])
            dag_mark_dependants(&pl->dag, s, marks);
    for (size_t k = 0; k < n; k++) {
        size_t s = pl->dag.order[k];
        if (!marks[s])
            continue;
        struct reset r = reset_of(pl, s, named, redone);
        redone[s] = r.redo;
        reset_step(pl, s, &r);
    }
    free(status->observed_restart);
    status->observed_restart = xstrdup(run->restart_id);
    status->stopping = RUN_STOP_NONE;
    status->out_of_time = false;
    status->phase = PHASE_RUNNING;
    status->finished_ms = 0;
    status->clock = (struct stopwatch){0};
    (void)status_explain(&status->reason, &status->message, NULL, NULL);
    planning_values_changed(pl);
}

/* --- a missing artifact ----------------------------------------------------------------------------------------- */

static void rerun_item(struct planning *pl, size_t s, int64_t index)
{
    struct step_status *st = &pl->status->steps[s];
    struct item_status *item = &st->items[index];
    if (item->cache_key)
        cache_evict(&pl->cache, pl->pipeline->steps[s].name, fanout_is(&pl->pipeline->steps[s]),
                    item->cache_key);
    item->restart++;
    item->state = STATE_WAITING;
    item->finished_ms = 0;
    item->progress = item->checkpoint_step = item->checkpoint_at_start = -1;
    item->cache_bypass = true;
    item_status_forget_result(item);
    (void)item_status_explain(item, "ArtifactMissing",
                              "runs again: a later step found that its artifact is missing");
    fanout_summarise(&pl->pipeline->steps[s], st);
    planning_values_changed(pl);
}

static bool names_output(const struct item_status *item, const char *message)
{
    const cJSON *o;
    cJSON_ArrayForEach(o, item->outputs)
    {
        if (cJSON_IsString(o) && strstr(message, o->valuestring))
            return true;
    }
    return false;
}

enum suspicion { NAMED, CACHED, ANY };

static bool suspected(const struct item_status *item, enum suspicion how, const char *message)
{
    if (!step_state_done(item->state))
        return false;
    return how == NAMED ? names_output(item, message) : how == CACHED ? item->from_run != NULL : true;
}

/* The step's message names the digest that it missed; where it does not, what came from the cache is suspected first. */
void control_rerun_producers(struct planning *pl, size_t step, const struct item_status *consumer,
                             const char *message)
{
    const struct step *def = &pl->pipeline->steps[step];
    for (size_t i = 0; i < def->n_inputs;
         i++) { /* another consumer was faster: being made again, or made again meanwhile */
        const struct step_status *producer = &pl->status->steps[def->inputs[i].from];
        if (!step_state_done(producer->state))
            return;
        for (size_t k = 0; k < producer->n_items; k++)
            if (producer->items[k].finished_ms > consumer->attempt_started_ms)
                return;
    }
    bool found = false;
    for (enum suspicion how = NAMED; how <= ANY && !found; how++) {
        for (size_t i = 0; i < def->n_inputs; i++) {
            size_t from = def->inputs[i].from;
            for (size_t k = 0; k < pl->status->steps[from].n_items; k++) {
                if (!suspected(&pl->status->steps[from].items[k], how, message))
                    continue;
                rerun_item(pl, from, (int64_t)k);
                found = true;
            }
        }
    }
}

/* --- approvals ---------------------------------------------------------------------------------------------------- */

/* The item's attempt counts the approvals it has used up, so that a restarted step asks again. */
void control_approve(struct planning *pl, size_t s)
{
    struct item_status *item = &pl->status->steps[s].items[0];
    int given = 0;
    const struct run_approval *last = NULL;
    for (size_t i = 0; i < pl->run->n_approvals; i++) {
        if (!text_equal(pl->run->approvals[i].step, pl->pipeline->steps[s].name))
            continue;
        given++;
        last = &pl->run->approvals[i];
    }
    if (!last || item->state != STATE_AWAITING_APPROVAL || given <= item->attempt)
        return;
    item->attempt = given;
    item->state = STATE_SUCCEEDED;
    item->finished_ms = pl->now_ms;
    (void)item_status_explain(item, "Approved", "approved by %s%s%s",
                              last->by && *last->by ? last->by : "somebody unnamed",
                              last->comment && *last->comment ? ": " : "",
                              last->comment ? last->comment : "");
    fanout_summarise(&pl->pipeline->steps[s], &pl->status->steps[s]);
}

/* --- stop and suspend ------------------------------------------------------------------------------------------------ */

bool control_closes(const struct planning *pl, size_t step)
{
    bool finally = pl->pipeline->steps[step].finally;
    if (pl->no_params || pl->status->stopping == RUN_STOP_NOW)
        return true;
    return !finally && (pl->failing || pl->status->stopping == RUN_STOP_GRACEFUL);
}

static void stop_running(struct planning *pl, const char *reason, const char *message, bool finally_too)
{
    for (size_t s = 0; s < pl->status->n_steps; s++) {
        if (pl->pipeline->steps[s].finally && !finally_too)
            continue;
        for (size_t i = 0; i < pl->status->steps[s].n_items; i++)
            attempt_stop(pl, &pl->status->steps[s].items[i], reason, message);
    }
}

/* --- limits ------------------------------------------------------------------------------------------------------------ */

static bool main_steps_finished(const struct planning *pl)
{
    for (size_t s = 0; s < pl->status->n_steps; s++)
        if (!pl->pipeline->steps[s].finally && !step_state_finished(pl->status->steps[s].state))
            return false;
    return true;
}

/* What runs has failed by taking too long; what waits is closed like after any failure. */
static void run_out_of_time(struct planning *pl)
{
    struct run_status *status = pl->status;
    status->out_of_time = true;
    (void)status_explain(&status->reason, &status->message, "RunDeadlineExceeded",
                         "the run took longer than limits.runSeconds = %lld",
                         (long long)(pl->pipeline->limits.run_ms / 1000));
    for (size_t s = 0; s < status->n_steps; s++) {
        struct step_status *st = &status->steps[s];
        for (size_t i = 0; i < st->n_items && !pl->pipeline->steps[s].finally; i++) {
            struct item_status *item = &st->items[i];
            if (item->state != STATE_RUNNING)
                continue;
            item->attempt_ended_ms = item->finished_ms = pl->now_ms;
            item->state = STATE_FAILED;
            item->fail = FAIL_APPLICATION;
            item->stop_at_ms = item->retry_at_ms = 0;
            (void)item_status_explain(item, status->reason, "%s", status->message);
        }
        fanout_summarise(&pl->pipeline->steps[s], st);
    }
}

static void check_gpu_hours(struct planning *pl)
{
    double limit = pl->pipeline->limits.gpu_hours * 3600, used = pl->gpu_seconds_live;
    if (limit <= 0)
        return;
    for (size_t s = 0; s < pl->status->n_steps; s++)
        for (size_t i = 0; i < pl->status->steps[s].n_items; i++)
            used += pl->status->steps[s].items[i].gpu_seconds_used;
    if (used < limit) {
        if (pl->gpus_live > 0)
            planning_wake(pl, pl->now_ms + 1 + (int64_t)((limit - used) * 1000 / (double)pl->gpus_live));
        return;
    }
    if (pl->status->stopping != RUN_STOP_NONE)
        return;
    pl->status->stopping = RUN_STOP_GRACEFUL;
    (void)status_explain(&pl->status->reason, &pl->status->message, "GpuHoursExceeded",
                         "the run has used its limits.gpuHours = %g", pl->pipeline->limits.gpu_hours);
}

void control_apply(struct planning *pl)
{
    struct run_status *status = pl->status;
    bool main_done = main_steps_finished(pl);
    if (!main_done)
        check_gpu_hours(pl);
    if (pl->run->stop > status->stopping) {
        bool first = status->stopping == RUN_STOP_NONE;
        status->stopping = pl->run->stop;
        if (first)
            (void)status_explain(&status->reason, &status->message, "StopRequested",
                                 "stopped (%s) on request",
                                 pl->run->stop == RUN_STOP_NOW ? "Now" : "Graceful");
    }
    if (status->stopping != RUN_STOP_NONE) {
        stop_running(pl, "Stopping", "being ended: the run is stopped", status->stopping == RUN_STOP_NOW);
        return;
    }
    if (!main_done && !status->out_of_time &&
        stopwatch_passed(&status->clock, pl->pipeline->limits.run_ms, pl->now_ms))
        run_out_of_time(pl);
    if (pl->run->suspend) {
        pl->suspended = true;
        stop_running(pl, "Suspended", "the run is suspended; it resumes as a new attempt", true);
    }
}
