/* Steps that can go on: wait, skip, `when`, fan-out, cache, free slots, start. */
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/cachekey.h"
#include "operator/pipeline/fanout.h"
#include "operator/pipeline/params.h"
#include "operator/pipeline/planning.h"

static struct step_status *state_of(const struct planning *pl, size_t s)
{
    return &pl->status->steps[s];
}

static const struct step *def_of(const struct planning *pl, size_t s)
{
    return &pl->pipeline->steps[s];
}

static void finish_item(struct planning *pl, struct item_status *item, enum step_state state)
{
    item->state = state;
    item->finished_ms = pl->now_ms;
    item->retry_at_ms = 0;
}

static void repeat_start(struct planning *pl, size_t s, int64_t i);

/* --- ends without a start ----------------------------------------------------------------------------------- */

static void close_items(struct planning *pl, size_t s)
{
    struct step_status *st = state_of(pl, s);
    const char *why = pl->no_params                           ? "the parameters are wrong"
                      : pl->status->stopping != RUN_STOP_NONE ? "the run was stopped"
                      : pl->status->out_of_time               ? "the run was out of time"
                                                              : "another step has failed";
    for (size_t i = 0; i < st->n_items; i++) {
        struct item_status *item = &st->items[i];
        if (item->state == STATE_RUNNING)
            repeat_start(pl, s, (int64_t)i);
        if (step_state_finished(item->state) || item->state == STATE_RUNNING)
            continue;
        bool tried = item->state == STATE_RETRYING;
        finish_item(pl, item, STATE_STOPPED);
        (void)item_status_explain(item, "RunEnding", tried ? "not tried again: %s" : "not started: %s", why);
    }
}

static void skip_step(struct planning *pl, size_t s, const char *reason, const char *why)
{
    struct step_status *st = state_of(pl, s);
    for (size_t i = 0; i < st->n_items; i++) {
        if (step_state_finished(st->items[i].state))
            continue;
        finish_item(pl, &st->items[i], STATE_SKIPPED);
        (void)item_status_explain(&st->items[i], reason, "%s", why);
    }
}

static void fail_item(struct planning *pl, struct item_status *item, const struct err *err)
{
    finish_item(pl, item, STATE_FAILED);
    item->fail = FAIL_USER;
    (void)item_status_explain(item, err->reason[0] ? err->reason : "ConfigInvalid", "%s", err->msg);
}

static void fail_step(struct planning *pl, size_t s, const struct err *err)
{
    struct step_status *st = state_of(pl, s);
    for (size_t i = 0; i < st->n_items; i++)
        if (!step_state_finished(st->items[i].state))
            fail_item(pl, &st->items[i], err);
}

/* --- predecessors ---------------------------------------------------------------------------------------------- */

enum readiness { WAITS, SKIPS, GOES };

static bool takes_from(const struct step *def, size_t producer)
{
    for (size_t i = 0; i < def->n_inputs; i++)
        if (def->inputs[i].from == producer)
            return true;
    return false;
}

/* Why it cannot go on stands in `why`. Finally steps also outlive predecessors that failed. */
static enum readiness readiness_of(const struct planning *pl, size_t s, struct buf *why)
{
    bool waits = false;
    const char *skipped_by = NULL;
    for (size_t i = 0; i < pl->dag.needs[s].n; i++) {
        size_t need = pl->dag.needs[s].steps[i];
        const struct step_status *before = state_of(pl, need);
        if (!step_state_finished(before->state)) {
            (void)buf_addf(why, "%s%s", waits ? ", " : "waits for ", before->name);
            waits = true;
        } else if (takes_from(def_of(pl, s), need) && !step_state_done(before->state)) {
            skipped_by = before->name;
        }
    }
    if (waits)
        return WAITS;
    if (!skipped_by)
        return GOES;
    (void)buf_addf(why, "step %s, whose result it takes, has none", skipped_by);
    return SKIPS;
}

static void explain_waiting(struct step_status *st, const char *why)
{
    for (size_t i = 0; i < st->n_items; i++)
        if (st->items[i].state == STATE_WAITING || st->items[i].state == STATE_READY)
            (void)item_status_explain(&st->items[i], "Waiting", "%s", why);
}

/* --- first look at a step whose predecessors are done ------------------------------------------------------------- */

/* True: its items are known and may go on. */
static bool open_step(struct planning *pl, size_t s)
{
    const struct step *def = def_of(pl, s);
    struct step_status *st = state_of(pl, s);
    struct err err = ERR_INIT;
    struct expr_scope scope = planning_scope(pl, s, -1);
    bool go = true;
    if (def->when && expr_eval_bool(def->when, &scope, &go, &err) < 0) {
        (void)err_wrap(&err, "when");
        fail_step(pl, s, &err);
        return false;
    }
    if (!go) {
        _cleanup_free_ char *why = xasprintf("when is false: %.400s", def->when);
        skip_step(pl, s, "WhenFalse", why);
        return false;
    }
    if (fanout_expand(def, st, &scope, &err) < 0) {
        fail_step(pl, s, &err);
        return false;
    }
    return true;
}

/* --- cache --------------------------------------------------------------------------------------------------------- */

static void take_hit(struct planning *pl, size_t s, int64_t i, const cJSON *record)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    const char *run = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run"));
    const char *step = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "step"));
    const cJSON *index = cJSON_GetObjectItemCaseSensitive(record, "index"),
                *restart = cJSON_GetObjectItemCaseSensitive(record, "restart");
    finish_item(pl, item, STATE_CACHED);
    item->fail = FAIL_NONE;
    item->progress = 1;
    item->outputs = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(record, "outputs"), true);
    item->values = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(record, "values"), true);
    item->from_run = run && !text_equal(run, pl->run->uid) ? xstrdup(run) : NULL;
    item->from_step = step && !text_equal(step, def_of(pl, s)->name) ? xstrdup(step) : NULL;
    item->from_item = cJSON_IsNumber(index) ? (int64_t)index->valuedouble : 0;
    item->from_restart = cJSON_IsNumber(restart) ? (int)restart->valuedouble : 0;
    item_status_note_cache(item, "cached: same key as run %s", run ? run : "?");
    (void)item_status_explain(item, NULL, NULL);
    cache_touch(&pl->cache, def_of(pl, s)->name, fanout_is(def_of(pl, s)), item->cache_key, pl->now_ms);
    planning_values_changed(pl);
}

/* Why a step is not even looked up; NULL: it is. */
static const char *not_cacheable(const struct planning *pl, const struct step *def, const cJSON *config)
{
    if (pl->options->cache_disabled)
        return "not cached: the cache is switched off for this run";
    if (!def->cache_enabled)
        return def->kind == STEP_CONTAINER ? "not cached: cache.enabled: true is not written"
                                           : "not cached: cache.enabled is false";
    if (def->kind == STEP_CONTAINER &&
        !cachekey_image_pinned(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "image"))))
        return "not-cached: image not pinned";
    return NULL;
}

static void explain_miss(const struct planning *pl, size_t s, int64_t i, const cJSON *parts)
{
    const struct step *def = def_of(pl, s);
    struct item_status *item = &state_of(pl, s)->items[i];
    const cJSON *earlier = cache_find_earlier(&pl->cache, def->name, fanout_is(def), i);
    if (!earlier) {
        item_status_note_cache(item, "not cached: there is no earlier result");
        return;
    }
    _cleanup_free_ char *names =
        cachekey_difference(parts, cJSON_GetObjectItemCaseSensitive(earlier, "parts"));
    item_status_note_cache(item, "not cached: %s changed", *names ? names : "the form of the key");
}

/* True: the item is done. `job` is the one that would be started. */
static bool look_up(struct planning *pl, size_t s, int64_t i, const struct job *job, struct err *err)
{
    const struct step *def = def_of(pl, s);
    struct item_status *item = &state_of(pl, s)->items[i];
    _cleanup_json_ cJSON *parts = NULL;
    char key[DIGEST_HEX];
    const char *no = not_cacheable(pl, def, job->config);
    if (no) {
        item_status_note_cache(item, "%s", no);
        return false;
    }
    if (cachekey_compute(def, job, pl->options, key, &parts, err) < 0)
        return false;
    free(item->cache_key);
    item->cache_key = xstrdup(key);
    if (item->cache_bypass) {
        item_status_note_cache(item, "not cached: the step was asked for again");
        return false;
    }
    const cJSON *record = cache_find(&pl->cache, def->name, fanout_is(def), key);
    if (!record) {
        explain_miss(pl, s, i, parts);
        return false;
    }
    if (def->cache_ttl_ms > 0 && pl->now_ms - cache_record_created(record) >= def->cache_ttl_ms) {
        item_status_note_cache(item, "not cached: the earlier result is older than cache.ttlSeconds = %lld",
                               (long long)(def->cache_ttl_ms / 1000));
        return false;
    }
    take_hit(pl, s, i, record);
    return true;
}

/* --- items ------------------------------------------------------------------------------------------------------------ */

static int build(struct planning *pl, size_t s, int64_t i, int attempt, struct job *ret, struct err *err)
{
    struct expr_scope scope = planning_scope(pl, s, i);
    return jobspec_build(pl->pipeline, pl->run, pl->status, s, i, attempt, &scope, pl->options, ret, err);
}

/* A waiting item whose step may go on: cached, or ready to start. */
static void prepare_item(struct planning *pl, size_t s, int64_t i)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    struct err err = ERR_INIT;
    struct job job = {0};
    if (build(pl, s, i, item->attempt + 1, &job, &err) < 0) {
        fail_item(pl, item, &err);
        return;
    }
    bool hit = cachekey_is_pure(def_of(pl, s)) && look_up(pl, s, i, &job, &err);
    job_release(&job);
    if (err_is_set(&err))
        fail_item(pl, item, &err);
    else if (!hit)
        item->state = STATE_READY;
}

static size_t live_items(const struct step_status *st)
{
    size_t n = 0;
    for (size_t i = 0; i < st->n_items; i++)
        n += !st->items[i].attempt_over;
    return n;
}

/* The limit that is used up; NULL: there is a free slot. */
static const char *limit_reached(const struct planning *pl, size_t s)
{
    int64_t live = (int64_t)pl->live, run = pl->pipeline->limits.parallelism,
            own = def_of(pl, s)->fanout.parallelism;
    /* Its own first: that answer does not change when others start after it. */
    if (own > 0 && (int64_t)live_items(state_of(pl, s)) >= own)
        return "the step's own parallelism";
    if (run > 0 && live >= run)
        return "limits.parallelism";
    if (pl->options->parallelism > 0 && live >= pl->options->parallelism)
        return "the parallelism given for this run";
    return NULL;
}

static void start_item(struct planning *pl, size_t s, int64_t i)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    int highest = planning_highest_attempt(pl, s, i);
    int attempt = (highest > item->attempt ? highest : item->attempt) + 1;
    struct err err = ERR_INIT;
    struct job job = {0};
    if (build(pl, s, i, attempt, &job, &err) < 0) {
        fail_item(pl, item, &err);
        return;
    }
    _cleanup_free_ char *why = item->state == STATE_RETRYING ? xasprintf("attempt %d, after: %.600s", attempt,
                                                                         item->message ? item->message : "")
                                                             : xasprintf("its predecessors are done");
    if (item->state == STATE_RETRYING)
        (void)item_status_explain(item, "TriedAgain", "%s", why);
    else
        (void)item_status_explain(item, NULL, NULL);
    item->state = STATE_RUNNING;
    item->attempt = attempt;
    item->attempt_over = false;
    item->attempt_started_ms = pl->now_ms;
    item->started_ms = item->started_ms ? item->started_ms : pl->now_ms;
    item->attempt_ended_ms = item->deleting_ms = item->gang_failed_ms = item->stop_at_ms = item->retry_at_ms =
        0;
    item->checkpoint_at_start = item->checkpoint_step;
    item->pending = (struct stopwatch){0};
    stopwatch_run(&item->pending, pl->now_ms);
    planning_wake(pl, stopwatch_due(&item->pending, pl->pipeline->limits.pending_ms));
    pl->live++;
    planning_start(pl, &job, why);
}

/* Asked for, but not seen: again, under the same name. */
static void repeat_start(struct planning *pl, size_t s, int64_t i)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    struct err err = ERR_INIT;
    struct job job = {0};
    if (item->stop_at_ms || planning_find(pl, s, i, item->attempt))
        return;
    if (build(pl, s, i, item->attempt, &job, &err) == 0) {
        planning_start(pl, &job, "not seen yet");
    } else if (control_closes(pl, s)) { /* what it reads is lost and will not be made again */
        item->attempt_ended_ms = pl->now_ms;
        fail_item(pl, item, &err);
    }
}

static void try_start(struct planning *pl, size_t s, int64_t i)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    if (!item->attempt_over)
        return; /* expire() in attempt.c wakes us */
    if (item->retry_at_ms > pl->now_ms) {
        planning_wake(pl, item->retry_at_ms);
        return;
    }
    const char *limit = limit_reached(pl, s);
    if (!limit)
        start_item(pl, s, i);
    else if (item->state == STATE_READY)
        (void)item_status_explain(item, "Queued", "waits for a free slot: %s is used up", limit);
}

static void advance_item(struct planning *pl, size_t s, int64_t i)
{
    struct item_status *item = &state_of(pl, s)->items[i];
    if (def_of(pl, s)->kind == STEP_APPROVAL) {
        control_approve(pl, s);
        return;
    }
    if (item->state == STATE_WAITING && !pl->suspended)
        prepare_item(pl, s, i);
    if ((item->state == STATE_READY || item->state == STATE_RETRYING) && !pl->suspended)
        try_start(pl, s, i);
    else if (item->state == STATE_RUNNING)
        repeat_start(pl, s, i);
}

static void await_approval(struct planning *pl, size_t s)
{
    struct item_status *item = &state_of(pl, s)->items[0];
    if (item->state != STATE_WAITING)
        return;
    struct err err = ERR_INIT;
    struct job job = {0};
    if (build(pl, s, 0, 0, &job, &err) < 0) {
        fail_item(pl, item, &err);
        return;
    }
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(job.config, "message"));
    item->state = STATE_AWAITING_APPROVAL;
    item->started_ms = item->started_ms ? item->started_ms : pl->now_ms;
    (void)item_status_explain(item, "AwaitingApproval", "waits for a person's approval%s%s", text ? ": " : "",
                              text ? text : "");
    job_release(&job);
}

/* --- steps --------------------------------------------------------------------------------------------------------------- */

static void advance_step(struct planning *pl, size_t s)
{
    struct step_status *st = state_of(pl, s);
    if (step_state_finished(st->state))
        return;
    if (control_closes(pl, s)) {
        close_items(pl, s);
        return;
    }
    _cleanup_buf_ struct buf why = BUF_INIT(LIMIT_MESSAGE_BYTES);
    switch (readiness_of(pl, s, &why)) {
    case WAITS:
        explain_waiting(st, buf_failed(&why) ? "waits for many steps" : buf_str(&why));
        return;
    case SKIPS:
        if (!pl->suspended)
            skip_step(pl, s, "ProducerSkipped", buf_str(&why));
        return;
    case GOES:
        break;
    }
    if (!st->expanded && (pl->suspended || !open_step(pl, s)))
        return;
    if (def_of(pl, s)->kind == STEP_APPROVAL && !pl->suspended)
        await_approval(pl, s);
    for (size_t i = 0; i < st->n_items; i++)
        advance_item(pl, s, (int64_t)i);
}

void advance_steps(struct planning *pl, bool finally)
{
    for (size_t k = 0; k < pl->dag.n; k++) {
        size_t s = pl->dag.order[k];
        if (def_of(pl, s)->finally != finally)
            continue;
        advance_step(pl, s);
        fanout_summarise(def_of(pl, s), state_of(pl, s));
        bool failed = fanout_doomed(def_of(pl, s), state_of(pl, s));
        if (failed && !finally)
            pl->failing = true;
    }
}
