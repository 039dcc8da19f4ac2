/* The planner's frame: see plan.h for what it promises, planning.h for its parts. */
#include "operator/pipeline/plan.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/pipeline/fanout.h"
#include "operator/pipeline/params.h"
#include "operator/pipeline/planning.h"

enum { DEFAULT_GRACE_MS = 30 * 1000 };

void plan_release(struct plan *p)
{
    run_status_release(&p->status);
    for (size_t i = 0; i < p->n_actions; i++) {
        job_release(&p->actions[i].job);
        free(p->actions[i].why);
    }
    free(p->actions);
    for (size_t i = 0; i < p->n_cache_updates; i++) {
        free(p->cache_updates[i].key);
        cJSON_Delete(p->cache_updates[i].entry);
    }
    free(p->cache_updates);
    for (size_t i = 0; i < p->n_events; i++) {
        free(p->events[i].reason);
        free(p->events[i].message);
    }
    free(p->events);
    *p = (struct plan){0};
}

/* --- what the parts share ------------------------------------------------------------------------------------- */

void planning_wake(struct planning *pl, int64_t at_ms)
{
    if (at_ms > pl->now_ms)
        pl->plan->wake_at_ms = deadline_earlier(pl->plan->wake_at_ms, at_ms);
}

int64_t planning_grace_ms(const struct planning *pl)
{
    return pl->options->grace_ms > 0 ? pl->options->grace_ms : DEFAULT_GRACE_MS;
}

void planning_values_changed(struct planning *pl)
{
    cJSON_Delete(pl->steps_scope);
    pl->steps_scope = NULL;
}

struct expr_scope planning_scope(struct planning *pl, size_t step, int64_t item)
{
    if (!pl->steps_scope)
        pl->steps_scope = jobspec_steps_scope(pl->pipeline, pl->status);
    const cJSON *axes = item >= 0 ? cJSON_GetArrayItem(pl->status->steps[step].axes, (int)item) : NULL;
    return (struct expr_scope){
        .params = pl->params,
        .steps = pl->steps_scope,
        .run_name = pl->run->name,
        .run_uid = pl->run->uid,
        .run_phase = pl->outcome ? pl->outcome : run_phase_name(PHASE_RUNNING),
        .scheduled_ms = pl->run->scheduled_ms ? pl->run->scheduled_ms : pl->run->created_ms,
        .item = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(axes, "item")),
        .matrix = axes,
    };
}

/* Observed attempts chained by step, so that looking one up does not mean reading all. */
static void index_observed(struct planning *pl)
{
    pl->first_of = xcalloc(pl->pipeline->n_steps + 1, sizeof *pl->first_of);
    pl->next_of = xcalloc(pl->observed->n + 1, sizeof *pl->next_of);
    for (size_t k = pl->observed->n; k-- > 0;) {
        size_t s = pl->observed->attempts[k].step;
        if (s >= pl->pipeline->n_steps)
            continue;
        pl->next_of[k] = pl->first_of[s];
        pl->first_of[s] = k + 1;
    }
}

const struct observed_attempt *planning_find(const struct planning *pl, size_t step, int64_t item,
                                             int attempt)
{
    const struct observed_attempt *found = NULL;
    for (size_t k = pl->first_of[step]; k; k = pl->next_of[k - 1]) {
        const struct observed_attempt *a = &pl->observed->attempts[k - 1];
        if (a->item == item && a->attempt == attempt)
            found = a; /* listed twice: the later one is newer */
    }
    return found;
}

int planning_highest_attempt(const struct planning *pl, size_t step, int64_t item)
{
    int highest = 0;
    for (size_t k = pl->first_of[step]; k; k = pl->next_of[k - 1]) {
        const struct observed_attempt *a = &pl->observed->attempts[k - 1];
        if (a->item == item && a->attempt > highest)
            highest = a->attempt;
    }
    return highest;
}

static struct action *add_action(struct planning *pl, enum action_kind kind, const char *why)
{
    struct plan *p = pl->plan;
    p->actions = xreallocarray(p->actions, p->n_actions + 1, sizeof *p->actions);
    struct action *a = &p->actions[p->n_actions++];
    *a = (struct action){.kind = kind, .why = xstrdup(why)};
    return a;
}

void planning_start(struct planning *pl, struct job *job, const char *why)
{
    for (size_t i = 0; i < pl->plan->n_actions; i++) {
        const struct job *other = &pl->plan->actions[i].job;
        if (other->step == job->step && other->item == job->item && other->attempt == job->attempt) {
            job_release(job);
            return;
        }
    }
    add_action(pl, ACTION_START, why)->job = *job;
    *job = (struct job){0};
}

/* --- what is left over ------------------------------------------------------------------------------------------- */

/* The status wants this attempt to run. */
static bool is_wanted(const struct planning *pl, const struct observed_attempt *a)
{
    const struct step_status *st = &pl->status->steps[a->step];
    if (a->item < 0 || (size_t)a->item >= st->n_items)
        return false;
    const struct item_status *item = &st->items[a->item];
    return item->state == STATE_RUNNING && item->attempt == a->attempt && !item->stop_at_ms;
}

static void stop_unwanted(struct planning *pl)
{
    size_t starts = pl->plan->n_actions;
    for (size_t k = 0; k < pl->observed->n; k++) {
        const struct observed_attempt *a = &pl->observed->attempts[k];
        if (a->step >= pl->pipeline->n_steps || a->deleting ||
            planning_find(pl, a->step, a->item, a->attempt) != a || attempt_is_over(pl, a->step, a) ||
            is_wanted(pl, a))
            continue;
        const struct step *def = &pl->pipeline->steps[a->step];
        struct action *action = add_action(pl, ACTION_STOP, "its end is in the status");
        action->job.step = a->step;
        action->job.item = a->item;
        action->job.restart = a->restart;
        action->job.attempt = a->attempt;
        action->job.fanout = fanout_is(def);
        action->job.name = plan_job_name(pl->run->name, def->name, fanout_is(def), a->item, a->attempt);
    }
    /* STOPs first: what they free may be needed. */
    size_t stops = pl->plan->n_actions - starts;
    if (starts == 0 || stops == 0)
        return;
    struct action *sorted = xcalloc(pl->plan->n_actions, sizeof *sorted);
    memcpy(sorted, pl->plan->actions + starts, stops * sizeof *sorted);
    memcpy(sorted + stops, pl->plan->actions, starts * sizeof *sorted);
    free(pl->plan->actions);
    pl->plan->actions = sorted;
}

static void count_live(struct planning *pl)
{
    pl->live = 0;
    for (size_t s = 0; s < pl->status->n_steps; s++)
        for (size_t i = 0; i < pl->status->steps[s].n_items; i++)
            pl->live += !pl->status->steps[s].items[i].attempt_over;
}

/* --- the run as a whole ----------------------------------------------------------------------------------------------- */

struct tally {
    size_t unfinished[2]; /* steps, by `finally` */
    size_t failed[2], stopped[2];
    size_t finally_begun, begun, awaiting;
};

static struct tally tally_steps(const struct planning *pl)
{
    struct tally t = {0};
    for (size_t s = 0; s < pl->status->n_steps; s++) {
        const struct step_status *st = &pl->status->steps[s];
        bool finally = pl->pipeline->steps[s].finally;
        t.unfinished[finally] += !step_state_finished(st->state);
        t.failed[finally] += st->state == STATE_FAILED;
        t.stopped[finally] += st->state == STATE_STOPPED;
        t.awaiting += st->state == STATE_AWAITING_APPROVAL;
        bool begun = st->state != STATE_WAITING;
        for (size_t i = 0; i < st->n_items; i++)
            begun = begun || st->items[i].attempt > 0;
        t.begun += begun;
        t.finally_begun += finally && begun;
    }
    return t;
}

static enum run_phase outcome_of(const struct planning *pl, const struct tally *t)
{
    if (pl->no_params || pl->status->out_of_time || t->failed[0] + t->failed[1] > 0)
        return PHASE_FAILED;
    return pl->status->stopping != RUN_STOP_NONE ? PHASE_STOPPED : PHASE_SUCCEEDED;
}

static enum run_phase phase_of(const struct planning *pl, const struct tally *t)
{
    if (t->unfinished[0] + t->unfinished[1] == 0 && pl->live == 0)
        return outcome_of(pl, t);
    if (pl->suspended)
        return PHASE_SUSPENDED;
    if (t->unfinished[0] == 0 && t->finally_begun > 0)
        return PHASE_FINALLY;
    if (pl->status->stopping != RUN_STOP_NONE)
        return PHASE_STOPPING;
    return t->begun > 0 ? PHASE_RUNNING : PHASE_PENDING;
}

static const struct item_status *first_failed(const struct step_status *st)
{
    for (size_t i = 0; i < st->n_items; i++)
        if (st->items[i].state == STATE_FAILED)
            return &st->items[i];
    return NULL;
}

/* Stays as it is while it runs out of time or is stopped: that was said when it happened. */
static void explain_run(struct planning *pl)
{
    struct run_status *status = pl->status;
    if (status->out_of_time || pl->no_params)
        return;
    for (size_t k = 0; k < status->n_steps; k++) {
        const struct step_status *st = &status->steps[pl->dag.order[k]];
        const struct item_status *item = first_failed(st);
        if (!item || !fanout_doomed(&pl->pipeline->steps[pl->dag.order[k]], st))
            continue;
        (void)status_explain(&status->reason, &status->message, "StepFailed", "step %s failed: %s", st->name,
                             item->message ? item->message : "");
        return;
    }
    if (status->stopping == RUN_STOP_NONE)
        (void)status_explain(&status->reason, &status->message, NULL, NULL);
}

/* Stands still while suspended, while all attempts wait in a queue, and while only a person is waited for. */
static bool clock_runs(const struct planning *pl, const struct tally *t)
{
    if (pl->suspended || run_phase_finished(pl->status->phase))
        return false;
    if (pl->live > 0)
        return pl->queued < pl->live;
    return t->awaiting == 0;
}

static void settle_run(struct planning *pl)
{
    struct run_status *status = pl->status;
    struct tally t = tally_steps(pl);
    explain_run(pl);
    status->phase = phase_of(pl, &t);
    if (run_phase_finished(status->phase) && status->finished_ms == 0)
        status->finished_ms = pl->now_ms;
    if (clock_runs(pl, &t))
        stopwatch_run(&status->clock, pl->now_ms);
    else
        stopwatch_stop(&status->clock, pl->now_ms);
    if (t.unfinished[0] > 0)
        planning_wake(pl, stopwatch_due(&status->clock, pl->pipeline->limits.run_ms));
}

/* --- plan --------------------------------------------------------------------------------------------------------------- */

static void resolve_params(struct planning *pl)
{
    struct err err = ERR_INIT;
    if (params_resolve(pl->pipeline, pl->run, &pl->params, &err) == 0)
        return;
    pl->no_params = true;
    (void)status_explain(&pl->status->reason, &pl->status->message, "ParametersInvalid", "%s", err.msg);
}

static void advance(struct planning *pl)
{
    bool before;
    do { /* a step that fails right here closes those before it in the order, too */
        before = pl->failing;
        advance_steps(pl, /* finally= */ false);
    } while (pl->failing != before);
    struct tally t = tally_steps(pl);
    if (t.unfinished[0] == 0) {
        pl->outcome = run_phase_name(outcome_of(pl, &t));
        advance_steps(pl, /* finally= */ true);
    } else if (pl->status->stopping == RUN_STOP_NOW || pl->no_params) {
        advance_steps(pl, true);
    }
}

static bool any_failed(const struct planning *pl)
{
    for (size_t s = 0; s < pl->status->n_steps; s++)
        if (!pl->pipeline->steps[s].finally && fanout_doomed(&pl->pipeline->steps[s], &pl->status->steps[s]))
            return true;
    return false;
}

static void make_plan(struct planning *pl)
{
    if (pl->status->started_ms == 0)
        pl->status->started_ms = pl->now_ms;
    index_observed(pl);
    control_restart(pl);
    if (!run_phase_finished(pl->status->phase)) {
        resolve_params(pl);
        attempt_observe(pl);
        for (size_t s = 0; s < pl->status->n_steps; s++)
            fanout_summarise(&pl->pipeline->steps[s], &pl->status->steps[s]);
        control_apply(pl);
        pl->failing = any_failed(pl) || pl->status->out_of_time;
        count_live(pl);
        advance(pl);
        count_live(pl);
        settle_run(pl);
    }
    stop_unwanted(pl);
}

static int check_status(const struct pipeline *p, const struct run_status *s, struct err *err)
{
    if (s->n_steps != p->n_steps)
        return err_set(err, ERR_INVALID,
                       "the status has %zu steps where the pipeline has %zu: it is of another pipeline",
                       s->n_steps, p->n_steps);
    for (size_t i = 0; i < s->n_steps; i++)
        if (!text_equal(s->steps[i].name, p->steps[i].name))
            return err_set(err, ERR_INVALID, "step %zu of the status is \"%s\", the pipeline's is \"%s\"", i,
                           s->steps[i].name, p->steps[i].name);
    return 0;
}

static int compare(const struct run_status *a, const struct run_status *b, bool *ret_differ, struct err *err)
{
    _cleanup_json_ cJSON *ja = NULL, *jb = NULL;
    if (run_status_to_json(a, &ja, err) < 0 || run_status_to_json(b, &jb, err) < 0)
        return -1;
    *ret_differ = !cJSON_Compare(ja, jb, true);
    return 0;
}

int plan(const struct pipeline *pipeline, const struct run_spec *run, const struct run_status *status,
         const struct observed *observed, const cJSON *cache, const struct plan_options *options,
         int64_t now_ms, struct plan *ret, struct err *err)
{
    _cleanup_plan_ struct plan p = {0};
    struct planning pl = {.pipeline = pipeline,
                          .run = run,
                          .observed = observed,
                          .options = options,
                          .now_ms = now_ms,
                          .plan = &p,
                          .status = &p.status,
                          .cache = {cache, &p}};
    size_t at;
    run_status_copy(status, &p.status);
    if (p.status.n_steps == 0) {
        free(p.status.steps);
        run_status_prepare(&p.status, pipeline);
    }
    if (check_status(pipeline, &p.status, err) < 0 || dag_init(&pl.dag, pipeline, &at, err) < 0)
        return -1;
    make_plan(&pl);
    dag_release(&pl.dag);
    cJSON_Delete(pl.params);
    cJSON_Delete(pl.steps_scope);
    free(pl.first_of);
    free(pl.next_of);
    if (compare(status, &p.status, &p.status_changed, err) < 0)
        return err_wrap(err, "run %s", run->name);
    events_of_difference(status, &p);
    *ret = p;
    p = (struct plan){0};
    return 0;
}
