/* What became of the attempts: success, failure with its class, deadlines, what is still alive.
 *
 * An attempt's end is first written to the status; only then does plan.c ask for what is left of it to be stopped, and only
 * when nothing is left does the next attempt start. */
#include <stdarg.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/pipeline/cachekey.h"
#include "operator/pipeline/fanout.h"
#include "operator/pipeline/planning.h"

enum {
    WAIT_SAID_MS = 10 * 1000, /* an attempt without a running pod says why after that */
    STUCK_MS = 30 * 1000,     /* after the grace period an attempt counts as gone */
    PROGRESS_STEPS = 20,      /* progress is stored in twentieths: a bounded number of writes */
};

#define WAITING "Waiting" /* the reason while an attempt has no running pod */

/* --- shape --------------------------------------------------------------------------------------------------- */

static struct job shape_of(const struct planning *pl, size_t step)
{
    struct job shape = {0};
    jobspec_resources(&pl->pipeline->steps[step], NULL, NULL, pl->options, &shape);
    return shape;
}

static bool pod_ended(const struct observed_pod *p)
{
    return p->phase == POD_SUCCEEDED || p->phase == POD_FAILED;
}

static size_t count_ended(const struct observed_attempt *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_pods; i++)
        n += pod_ended(&a->pods[i]);
    return n;
}

static bool job_ended(const struct observed_attempt *a)
{
    return text_equal(a->job_condition, "Failed") || text_equal(a->job_condition, "Complete");
}

bool attempt_is_over(const struct planning *pl, size_t step, const struct observed_attempt *a)
{
    if (a->gone)
        return true;
    if (count_ended(a) < a->n_pods)
        return false;
    return job_ended(a) || (int64_t)a->n_pods >= shape_of(pl, step).workers;
}

/* First start and last end of its pods; 0 start: none has run. */
static int64_t run_time(const struct observed_attempt *a, int64_t now_ms, int64_t *ret_since)
{
    int64_t since = 0, until = 0;
    for (size_t i = 0; i < a->n_pods; i++) {
        const struct observed_pod *p = &a->pods[i];
        since = deadline_earlier(since, p->started_ms);
        int64_t end = p->finished_ms ? p->finished_ms : pod_ended(p) ? p->started_ms : now_ms;
        until = end > until ? end : until;
    }
    *ret_since = since;
    return since && until > since ? until - since : 0;
}

/* GPU time belongs to the pods: cpu attempts and those that never ran have none. */
static double gpu_seconds(const struct planning *pl, size_t step, const struct observed_attempt *a)
{
    struct job shape = shape_of(pl, step);
    int64_t since;
    return a && shape.gpu > 0
               ? (double)run_time(a, pl->now_ms, &since) / 1000.0 * (double)(shape.gpu * shape.workers)
               : 0;
}

/* --- ends ------------------------------------------------------------------------------------------------------ */

static void mark_ended(struct planning *pl, size_t step, struct item_status *item,
                       const struct observed_attempt *a, bool wasted)
{
    double seconds = gpu_seconds(pl, step, a);
    item->gpu_seconds_used += seconds;
    if (wasted)
        item->gpu_seconds_wasted += seconds;
    item->attempt_ended_ms = pl->now_ms;
    item->attempt_over = a ? attempt_is_over(pl, step, a) : true;
    item->gang_failed_ms = item->stop_at_ms = 0;
    item->deleting_ms = 0;
    item->pending = (struct stopwatch){0};
}

void attempt_stop(struct planning *pl, struct item_status *item, const char *reason, const char *message)
{
    if (item->state != STATE_RUNNING || item->stop_at_ms)
        return;
    item->stop_at_ms = pl->now_ms;
    (void)item_status_explain(item, reason, "%s", message);
}

static void end_stopped(struct planning *pl, size_t step, struct item_status *item,
                        const struct observed_attempt *a)
{
    mark_ended(pl, step, item, a, false);
    item->retry_at_ms = 0;
    item->state = pl->status->stopping != RUN_STOP_NONE ? STATE_STOPPED : STATE_RETRYING;
    if (item->state == STATE_STOPPED)
        item->finished_ms = pl->now_ms;
}

/* The outputs that other steps take must be there; what nobody takes may be missing. */
static bool has_needed_outputs(const struct planning *pl, size_t step, const struct result *r,
                               struct verdict *ret)
{
    for (size_t s = 0; s < pl->pipeline->n_steps; s++) {
        const struct step *consumer = &pl->pipeline->steps[s];
        for (size_t i = 0; i < consumer->n_inputs; i++) {
            const char *output = consumer->inputs[i].output;
            if (consumer->inputs[i].from != step || cJSON_HasObjectItem(r->outputs, output))
                continue;
            *ret = (struct verdict){.class_ = FAIL_APPLICATION, .reason = "output-missing"};
            (void)snprintf(ret->message, sizeof ret->message,
                           "the result lacks output \"%s\", which step %s takes", output, consumer->name);
            return false;
        }
    }
    return true;
}

static void store_in_cache(struct planning *pl, size_t step, int64_t index, struct item_status *item)
{
    const struct step *def = &pl->pipeline->steps[step];
    if (!item->cache_key)
        return;
    /* The parts are made anew, not kept in the status: nothing that went into them has changed since. */
    struct err err = ERR_INIT;
    struct job job = {0};
    _cleanup_json_ cJSON *parts = NULL;
    char key[DIGEST_HEX];
    struct expr_scope scope = planning_scope(pl, step, index);
    if (jobspec_build(pl->pipeline, pl->run, pl->status, step, index, item->attempt, &scope, pl->options,
                      &job, &err) == 0)
        (void)cachekey_compute(def, &job, pl->options, key, &parts, &err);
    job_release(&job);
    cache_put(&pl->cache, def->name, fanout_is(def), item->cache_key,
              cache_record(item, pl->run->uid, def->name, parts, pl->now_ms), pl->now_ms);
}

static void succeed(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                    const struct observed_attempt *a, struct result *r)
{
    mark_ended(pl, step, item, a, false);
    item->state = r->cached ? STATE_CACHED : STATE_SUCCEEDED;
    item->finished_ms = pl->now_ms;
    item->retry_at_ms = 0;
    item->fail = FAIL_NONE;
    item->uncharged = 0;
    item->progress = 1;
    item->cache_bypass = false;
    (void)item_status_explain(item, NULL, NULL);
    if (r->cached)
        item_status_note_cache(item, "cached: the step saw the same inputs in an earlier run");
    cJSON_Delete(item->outputs);
    cJSON_Delete(item->values);
    item->outputs = steal_ptr(r->outputs);
    item->values = steal_ptr(r->values);
    item->from_run = xfree(item->from_run);
    item->from_step = xfree(item->from_step);
    item->from_item = index;
    item->from_restart = item->restart;
    planning_values_changed(pl);
    store_in_cache(pl, step, index, item);
}

/* 1: it has succeeded; 0: not (yet); -1: it left, but what it left is no success: *ret says why. */
static int try_success(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                       const struct observed_attempt *a, struct verdict *ret)
{
    const struct observed_pod *publisher = NULL;
    for (size_t i = 0; i < a->n_pods; i++) {
        if (a->pods[i].phase != POD_SUCCEEDED)
            return 0;
        if (a->pods[i].worker == 0)
            publisher = &a->pods[i];
    }
    if (!publisher || (int64_t)a->n_pods < shape_of(pl, step).workers)
        return 0;
    _cleanup_result_ struct result r;
    retry_classify_result(publisher->message, ret, &r);
    if (ret->class_ != FAIL_NONE || !has_needed_outputs(pl, step, &r, ret))
        return -1;
    succeed(pl, step, index, item, a, &r);
    return 1;
}

/* --- failure ------------------------------------------------------------------------------------------------------- */

static bool within(int64_t budget, int charged)
{
    return budget < 0 || charged <= budget;
}

/* An attempt without progress since the one before counts; five of them in a row are no preemption any more. */
static enum fail_class class_of_preemption(struct item_status *item)
{
    if (item->checkpoint_step > item->checkpoint_at_start)
        item->progressless_preemptions = 0;
    else
        item->progressless_preemptions++;
    if (item->progressless_preemptions < RETRY_PROGRESSLESS_MAX)
        return FAIL_PREEMPTION;
    item->progressless_preemptions = 0;
    return FAIL_INFRASTRUCTURE;
}

/* False: there is no more to give. */
static bool grow_memory(const struct planning *pl, const struct step *def, struct item_status *item)
{
    int64_t now = item->memory_bytes  ? item->memory_bytes
                  : def->memory_bytes ? def->memory_bytes
                                      : pl->options->default_memory_bytes;
    if (now == 0)
        return true; /* no limit of ours was hit: the machine was short of memory */
    int64_t max = def->retry.memory_max_bytes;
    if (max > 0 && now >= max)
        return false;
    int64_t next = (int64_t)((double)now * (def->retry.memory_factor > 1 ? def->retry.memory_factor : 1));
    item->memory_bytes = max > 0 && next > max ? max : next;
    return true;
}

static bool may_retry(const struct planning *pl, const struct step *def, struct item_status *item,
                      enum fail_class class_)
{
    int charged = ++item->charged[class_];
    switch (class_) {
    case FAIL_INFRASTRUCTURE:
        return within(def->retry.infrastructure, charged);
    case FAIL_APPLICATION:
        return within(def->retry.application, charged);
    case FAIL_PREEMPTION:
        return within(def->retry.preemption, charged);
    case FAIL_MEMORY:
        return within(def->retry.memory_budget, charged) && grow_memory(pl, def, item);
    case FAIL_USER:
    case FAIL_NONE:
    case FAIL_N:
        break;
    }
    return false;
}

static void retry_later(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                        enum fail_class class_, const struct verdict *v)
{
    const struct step *def = &pl->pipeline->steps[step];
    int n = class_ == FAIL_NONE ? item->uncharged : item->charged[class_];
    int64_t wait = class_ == FAIL_PREEMPTION ? RETRY_PREEMPTION_MS
                   : class_ == FAIL_NONE && n <= 1
                       ? 0 /* nothing is known to be wrong: it was lost, not refused */
                       : retry_backoff_ms(def->retry.backoff_ms, def->retry.max_backoff_ms, n, pl->run->uid,
                                          def->name, index, item->attempt);
    item->state = STATE_RETRYING;
    item->retry_at_ms = pl->now_ms + wait;
    if (wait == 0)
        (void)item_status_explain(item, v->reason, "attempt %d: %s; tried again at once", item->attempt,
                                  v->message);
    else
        (void)item_status_explain(item, v->reason, "attempt %d: %s; tried again in %lld s", item->attempt,
                                  v->message, (long long)((wait + 999) / 1000));
}

static void fail_for_good(struct planning *pl, struct item_status *item, const struct verdict *v)
{
    item->state = STATE_FAILED;
    item->finished_ms = pl->now_ms;
    item->retry_at_ms = 0;
    if (v->class_ == FAIL_USER)
        (void)item_status_explain(item, v->reason, "%s", v->message);
    else
        (void)item_status_explain(item, v->reason,
                                  "attempt %d: %s; not tried again: the retries for class %s are used up",
                                  item->attempt, v->message, fail_class_name(item->fail));
}

static bool rerun_producers(struct planning *pl, size_t step, struct item_status *item,
                            const struct verdict *v)
{
    if (!text_equal(v->reason, REASON_ARTIFACT_MISSING) || item->missing_inputs > 0 ||
        pl->pipeline->steps[step].n_inputs == 0)
        return false;
    item->missing_inputs++;
    control_rerun_producers(pl, step, item, v->message);
    item->state = STATE_WAITING;
    item->retry_at_ms = 0;
    (void)item_status_explain(item, v->reason, "attempt %d: %s; what produced it runs once more",
                              item->attempt, v->message);
    return true;
}

static void fail(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                 const struct observed_attempt *a, const struct verdict *v)
{
    const struct step *def = &pl->pipeline->steps[step];
    enum fail_class class_ = v->class_;
    mark_ended(pl, step, item, a, true);
    if (class_ == FAIL_NONE && ++item->uncharged > RETRY_UNCHARGED_MAX)
        class_ = FAIL_INFRASTRUCTURE;
    if (class_ == FAIL_NONE) {
        retry_later(pl, step, index, item, class_, v);
        return;
    }
    if (class_ == FAIL_PREEMPTION)
        class_ = class_of_preemption(item);
    item->fail = class_;
    if (class_ == FAIL_USER && rerun_producers(pl, step, item, v))
        return;
    if (may_retry(pl, def, item, class_))
        retry_later(pl, step, index, item, class_, v);
    else
        fail_for_good(pl, item, v);
}

/* --- has it failed? ------------------------------------------------------------------------------------------------- */

#define verdict_is(...) (verdict_set(__VA_ARGS__), true)

/* Why no pod of it runs, in the scheduler's or the kubelet's words; NULL: they say nothing. */
static const char *what_is_awaited(const struct observed_attempt *a)
{
    for (size_t i = 0; i < a->n_pods; i++) {
        const struct observed_pod *p = &a->pods[i];
        if (p->phase == POD_PENDING && p->reason)
            return p->detail ? p->detail : p->reason;
    }
    return NULL;
}

/* Its own deadlines: timeoutSeconds, pendingSeconds, startSeconds. */
static bool past_deadline(struct planning *pl, size_t step, const struct item_status *item,
                          const struct observed_attempt *a, struct verdict *ret)
{
    const struct step *def = &pl->pipeline->steps[step];
    int64_t since, start_limit = pl->pipeline->limits.start_ms;
    (void)run_time(a, pl->now_ms, &since);
    if (stopwatch_passed(&item->pending, pl->pipeline->limits.pending_ms, pl->now_ms)) {
        const char *why = what_is_awaited(a);
        return verdict_is(ret, FAIL_INFRASTRUCTURE, "PendingDeadline",
                          "no pod of it ran within limits.pendingSeconds = %lld%s%.600s",
                          (long long)(pl->pipeline->limits.pending_ms / 1000), why ? ": " : "",
                          why ? why : "");
    }
    planning_wake(pl, stopwatch_due(&item->pending, pl->pipeline->limits.pending_ms));
    if (since == 0)
        return false;
    if (def->timeout_ms > 0 && pl->now_ms - since >= def->timeout_ms)
        return verdict_is(
            ret, FAIL_APPLICATION, "Timeout",
            "it ran longer than timeoutSeconds = %lld: raise it, or see in its log where it hangs",
            (long long)(def->timeout_ms / 1000));
    if (def->timeout_ms > 0)
        planning_wake(pl, since + def->timeout_ms);
    size_t started = 0;
    int64_t workers = shape_of(pl, step).workers;
    for (size_t i = 0; i < a->n_pods; i++)
        started += a->pods[i].phase != POD_PENDING;
    if (start_limit <= 0 || (int64_t)started >= workers)
        return false;
    if (pl->now_ms - since >= start_limit)
        return verdict_is(ret, FAIL_INFRASTRUCTURE, "StartDeadline",
                          "only %zu of %lld workers ran within limits.startSeconds = %lld", started,
                          (long long)workers, (long long)(start_limit / 1000));
    planning_wake(pl, since + start_limit);
    return false;
}

/* The class of a failed gang is open until all its pods have said why, or for 10 s. */
static bool gang_still_open(struct planning *pl, size_t step, struct item_status *item,
                            const struct observed_attempt *a)
{
    int64_t workers = shape_of(pl, step).workers;
    if (workers < 2 || a->gone || job_ended(a) || (int64_t)count_ended(a) >= workers)
        return false;
    if (item->gang_failed_ms == 0)
        item->gang_failed_ms = pl->now_ms;
    if (pl->now_ms - item->gang_failed_ms >= RETRY_GANG_WAIT_MS)
        return false;
    planning_wake(pl, item->gang_failed_ms + RETRY_GANG_WAIT_MS);
    return true;
}

static bool has_failed(struct planning *pl, size_t step, struct item_status *item,
                       const struct observed_attempt *a, struct verdict *ret)
{
    *ret = (struct verdict){0};
    for (size_t i = 0; i < a->n_pods; i++) {
        struct verdict v;
        retry_classify_pod(&a->pods[i], a->suspended,
                           a->created_ms ? a->created_ms : item->attempt_started_ms, pl->now_ms, &v);
        retry_merge(ret, &v);
        if (a->pods[i].phase == POD_PENDING && a->pods[i].reason)
            planning_wake(pl,
                          (a->created_ms ? a->created_ms : item->attempt_started_ms) + RETRY_IMAGE_PULL_MS);
    }
    if (ret->class_ != FAIL_NONE)
        return !gang_still_open(pl, step, item, a);
    if (text_equal(a->job_condition, "Failed") || text_equal(a->job_condition, "FailureTarget")) {
        retry_classify_rule(a->failed_rule, ret);
        return true;
    }
    if (text_equal(a->job_condition, "Complete") && count_ended(a) == a->n_pods &&
        llabs(pl->now_ms - a->completed_ms) < RETRY_LOST_WAIT_MS) {
        /* Jobs and pods are watched apart: the pod's end may still be under way to us. */
        planning_wake(pl, a->completed_ms + RETRY_LOST_WAIT_MS);
        return false;
    }
    if (a->gone || (text_equal(a->job_condition, "Complete") && count_ended(a) == a->n_pods))
        return verdict_is(ret, FAIL_NONE, "result-lost", "nothing is left of it that says how it ended");
    return past_deadline(pl, step, item, a, ret);
}

/* --- one observation --------------------------------------------------------------------------------------------------- */

static void learn(struct planning *pl, size_t step, struct item_status *item,
                  const struct observed_attempt *a)
{
    if (a->checkpoint_step > item->checkpoint_step)
        item->checkpoint_step = a->checkpoint_step;
    if (a->progress >= 0) {
        double coarse = (double)(int)(a->progress * PROGRESS_STEPS) / PROGRESS_STEPS;
        item->progress = coarse > item->progress ? coarse : item->progress;
    }
    bool has_run = false;
    for (size_t i = 0; i < a->n_pods; i++)
        has_run = has_run || a->pods[i].phase != POD_PENDING;
    if (a->suspended || has_run)
        stopwatch_stop(&item->pending, pl->now_ms);
    else
        stopwatch_run(&item->pending, pl->now_ms);
    pl->queued += a->suspended;
    struct job shape = shape_of(pl, step);
    if (shape.gpu > 0 && has_run && !attempt_is_over(pl, step, a)) {
        pl->gpu_seconds_live += gpu_seconds(pl, step, a);
        pl->gpus_live += shape.gpu * shape.workers;
    }
}

/* For people who wonder why nothing happens; said only when it takes longer than usual, for each change is a write. */
static void explain_waiting(struct planning *pl, struct item_status *item, const struct observed_attempt *a)
{
    int64_t due = (a->created_ms ? a->created_ms : item->attempt_started_ms) + WAIT_SAID_MS;
    bool ours = text_equal(item->reason, WAITING);
    if (!a->suspended && !item->pending.since_ms) {
        if (ours)
            (void)item_status_explain(item, NULL, NULL);
        return;
    }
    if (pl->now_ms < due) {
        planning_wake(pl, due);
        return;
    }
    const char *why = what_is_awaited(a);
    if (a->suspended)
        (void)item_status_explain(item, WAITING, "its queue has not let the Job go yet");
    else if (why)
        (void)item_status_explain(item, WAITING, "no pod of it runs yet: %.600s", why);
    else
        (void)item_status_explain(
            item, WAITING,
            "no pod of it runs yet: volumes and images take their time, or cannot be had; "
            "kubectl describe pod -l trainyard.dev/run-uid=%s says more",
            pl->run->uid);
}

static void observe_running(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                            const struct observed_attempt *a)
{
    struct verdict v = {0};
    learn(pl, step, item, a);
    int success = try_success(pl, step, index, item, a, &v);
    if (success > 0)
        return;
    if (item->stop_at_ms) {
        if (attempt_is_over(pl, step, a))
            end_stopped(pl, step, item, a);
    } else if (success < 0 || has_failed(pl, step, item, a, &v)) {
        fail(pl, step, index, item, a, &v);
    } else {
        explain_waiting(pl, item, a);
    }
}

/* An ended attempt: is anything of it left? A result that comes late is still a result. */
static void observe_ended(struct planning *pl, size_t step, int64_t index, struct item_status *item,
                          const struct observed_attempt *a)
{
    struct verdict v;
    if (item->state == STATE_RETRYING && a->restart == item->restart &&
        try_success(pl, step, index, item, a, &v) > 0)
        return;
    if (a->deleting && item->deleting_ms == 0 && !item->attempt_over)
        item->deleting_ms = pl->now_ms;
    item->attempt_over = item->attempt_over || attempt_is_over(pl, step, a);
}

/* Nothing was heard of an ended attempt for the grace period and half a minute: it counts as gone. One that is seen alive
 * and not being removed does not: it is still to be stopped. */
static void expire(struct planning *pl, size_t step, struct item_status *item,
                   const struct observed_attempt *a)
{
    int64_t since = item->state == STATE_RUNNING ? item->stop_at_ms : item->attempt_ended_ms;
    if (item->deleting_ms > since)
        since = item->deleting_ms;
    if (since == 0 || item->attempt_over || (a && !a->deleting))
        return;
    int64_t due = since + planning_grace_ms(pl) + STUCK_MS;
    if (pl->now_ms < due) {
        planning_wake(pl, due);
        return;
    }
    if (item->state == STATE_RUNNING)
        end_stopped(pl, step, item, NULL);
    item->attempt_over = true;
}

/* An attempt beyond what the status knows: a status write was lost. If it is of the present restart it is taken over,
 * otherwise only its number is kept and it is stopped. */
static void adopt(struct planning *pl, size_t step, struct item_status *item,
                  const struct observed_attempt *a)
{
    item->attempt = a->attempt;
    item->attempt_over = a->gone;
    item->attempt_started_ms = a->created_ms ? a->created_ms : pl->now_ms;
    item->attempt_ended_ms = item->stop_at_ms = item->gang_failed_ms = item->deleting_ms = item->retry_at_ms =
        0;
    item->pending = (struct stopwatch){0};
    if (a->restart == item->restart && pl->status->steps[step].expanded && !a->gone) {
        item->state = STATE_RUNNING;
        item->started_ms = item->started_ms ? item->started_ms : item->attempt_started_ms;
    } else {
        item->attempt_ended_ms = pl->now_ms;
    }
}

static void observe_item(struct planning *pl, size_t step, int64_t index)
{
    struct item_status *item = &pl->status->steps[step].items[index];
    int highest = planning_highest_attempt(pl, step, index);
    if (highest > item->attempt && !step_state_finished(item->state) &&
        pl->pipeline->steps[step].kind != STEP_APPROVAL)
        adopt(pl, step, item, planning_find(pl, step, index, highest));
    const struct observed_attempt *a =
        item->attempt > 0 ? planning_find(pl, step, index, item->attempt) : NULL;
    if (a && item->state == STATE_RUNNING)
        observe_running(pl, step, index, item, a);
    else if (a)
        observe_ended(pl, step, index, item, a);
    expire(pl, step, item, a);
}

void attempt_observe(struct planning *pl)
{
    for (size_t s = 0; s < pl->status->n_steps; s++)
        for (size_t i = 0; i < pl->status->steps[s].n_items; i++)
            observe_item(pl, s, (int64_t)i);
}
