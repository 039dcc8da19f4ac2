/* One pass over a run; see run.h. The Jobs are run_act.c's, what belongs to what is run_index.c's. */
#include "operator/controller/run.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/controller/progress.h"
#include "operator/controller/revisions.h"
#include "operator/controller/run-internal.h"
#include "operator/controller/run_status.h"

enum {
    OWN_WRITE_WAIT_MS = 10 * 1000, /* the cache should have it long before */
    PROGRESS_MS = 15 * 1000,
    MISSING_MS = 30 * 1000, /* a pipeline that is not there yet */
};

/* --- a pass's life --------------------------------------------------------------------------------------------------- */

static struct pass *pass_new(struct runs *r, struct run_state *s, const struct seen_run *run)
{
    struct pass *pass = xcalloc(1, sizeof *pass);
    *pass = (struct pass){.runs = r,
                          .state = s,
                          .key = xstrdup(s->key),
                          .ns = xstrdup(run->meta.ns),
                          .name = xstrdup(run->meta.name),
                          .uid = xstrdup(run->meta.uid),
                          .pipeline = xstrdup(run->pipeline)};
    s->pass = pass;
    r->busy++;
    return pass;
}

static void pass_free(struct pass *pass)
{
    (void)kube_cancel(pass->call);
    for (size_t i = 0; i < pass->n_acts; i++) {
        struct act *a = &pass->acts[i];
        (void)kube_cancel(a->call);
        cJSON_Delete(a->job);
        cJSON_Delete(a->service);
        free(a->name);
        free(a->uid);
    }
    plan_release(&pass->plan);
    run_status_release(&pass->before);
    pass->state->pass = NULL;
    pass->runs->busy--;
    free(pass->acts);
    free(pass->key);
    free(pass->ns);
    free(pass->name);
    free(pass->uid);
    free(pass->pipeline);
    free(pass->pipeline_uid);
    free(pass);
}

void pass_finish(struct pass *pass)
{
    struct runs *r = pass->runs;
    struct queue *queue = r->c->run_queue;
    _cleanup_free_ char *key = pass->key;
    int64_t again_ms = pass->again_ms;
    bool retry = pass->retry, there = reflectors_get(r->c->runs, pass->ns, pass->name) != NULL;
    pass->key = NULL;
    pass_free(pass);
    if (!there) {
        run_state_forget(r, key);
        queue_done(queue, key);
        return;
    }
    if (retry)
        queue_retry(queue, key);
    else
        queue_done(queue, key);
    if (again_ms > 0)
        queue_add_after(queue, key, again_ms);
}

struct runs *runs_free(struct runs *r)
{
    if (!r)
        return NULL;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(r->states, &i, &key, &value);) {
        struct run_state *s = value;
        if (s->pass)
            pass_free(s->pass);
    }
    cachemap_free(r->cache);
    map_free(r->states);
    map_free(r->jobs_of_run);
    map_free(r->pods_of_job);
    map_free(r->key_of_uid);
    return xfree(r);
}

/* --- the status ------------------------------------------------------------------------------------------------------- */

static void publish(struct pass *pass)
{
    struct controller *c = pass->runs->c;
    struct kube_reference about = {.resource = &RUNS, .ns = pass->ns, .name = pass->name, .uid = pass->uid};
    for (size_t i = 0; c->events && i < pass->plan.n_events; i++) {
        const struct event *e = &pass->plan.events[i];
        recorder_event(c->events, &about, e->warning, e->reason, e->message);
    }
    run_metrics_written(c, pass->ns, pass->pipeline, &pass->before, &pass->plan.status, &pass->news);
    if (pass->pipeline_uid)
        cachemap_apply(pass->runs->cache, pass->ns, pass->pipeline, pass->pipeline_uid, &pass->plan);
}

static void on_status(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *pass = ctx;
    pass->call = NULL;
    if (err_is_set(failure)) {
        /* Somebody was faster, or it is gone: the cache will say what. A reply that was lost may hide a write, which the cache shows too. */
        pass->retry = failure->class_ != ERR_NOTFOUND;
        if (failure->class_ == ERR_INVALID || failure->class_ == ERR_TERMINAL) {
            struct kube_reference about = {.resource = &RUNS,
                                           .ns = pass->ns,
                                           .name = pass->name,
                                           .uid = pass->uid};
            if (pass->runs->c->events)
                recorder_event(pass->runs->c->events, &about, true, "StatusNotWritten", failure->msg);
        }
        pass_finish(pass);
        return;
    }
    struct kube_meta meta;
    kube_meta_init(&meta, *object);
    free(pass->state->written);
    pass->state->written = xstrdup(meta.resource_version);
    pass->state->blocked_changed = false;
    kube_meta_release(&meta);
    bool acts = pass->n_acts > 0;
    if (acts)
        acts_start(pass); /* first: the next step waits for it, nobody for the Events */
    publish(pass);
    if (!acts)
        pass_finish(pass);
}

/* Takes status. */
static void write_status(struct pass *pass, cJSON *object, cJSON *status)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    json_add(object, "status", status);
    struct kube_request request = {.verb = KUBE_UPDATE,
                                   .resource = &RUNS,
                                   .ns = pass->ns,
                                   .name = pass->name,
                                   .sub = "status",
                                   .body = object,
                                   .brief = true};
    pass->call = kube_start(pass->runs->c->client, &request, on_status, pass);
}

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *v = o ? cJSON_GetObjectItemCaseSensitive(o, key) : NULL;
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

/* --- what was seen ---------------------------------------------------------------------------------------------------- */

struct look { /* for the callbacks of observing */
    struct runs *runs;
    struct run_state *state;
    bool fold; /* progress goes to the status this time */
};

static bool was_seen(void *ctx, const char *job)
{
    const struct look *l = ctx;
    return map_has(l->state->seen, job);
}

static const char *why_refused(void *ctx, const char *job)
{
    const struct look *l = ctx;
    return map_get(l->state->refused, job);
}

static bool heard(void *ctx, const char *step, int64_t item, int attempt, double *ret_fraction,
                  int64_t *ret_checkpoint)
{
    const struct look *l = ctx;
    const struct progress_attempt *a =
        l->runs->c->progress ? progress_get(l->runs->c->progress, l->state->uid, step, item, attempt) : NULL;
    if (!a)
        return false;
    *ret_checkpoint = a->checkpoint_step;
    if (l->fold && a->fraction >= 0)
        *ret_fraction = a->fraction;
    return true;
}

static void note_seen(struct run_state *s, const struct seen_job *const *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)map_set(s->seen, jobs[i]->meta.name, NULL);
}

static void expect_progress(struct pass *pass, const struct seen_job *const *jobs, size_t n)
{
    struct controller *c = pass->runs->c;
    for (size_t i = 0; c->progress && i < n; i++) {
        if (!jobs[i]->condition && !jobs[i]->meta.deleting)
            progress_expect(c->progress, pass->ns, pass->name, pass->uid, jobs[i]->step, jobs[i]->item,
                            jobs[i]->attempt);
    }
}

/* --- planning ------------------------------------------------------------------------------------------------------------ */

static void look_again_at(struct pass *pass, int64_t now_ms, int64_t at_ms)
{
    int64_t in = at_ms > now_ms ? at_ms - now_ms : 1;
    if (at_ms && (!pass->again_ms || in < pass->again_ms))
        pass->again_ms = in;
}

static void look_again(struct pass *pass, int64_t now_ms, int64_t lost_at_ms)
{
    const struct plan *plan = &pass->plan;
    look_again_at(pass, now_ms, plan->wake_at_ms);
    look_again_at(pass, now_ms, lost_at_ms);
    if (plan->status.phase == PHASE_RUNNING && (!pass->again_ms || pass->again_ms > PROGRESS_MS))
        pass->again_ms = PROGRESS_MS;
}

/* Everything about the run is at hand: plan, write, act. `object` is the run as the cache has it. */
static int decide(struct pass *pass, cJSON *object, const struct run_spec *run, const struct pipeline *p,
                  const char *revision, const struct seen_run *seen, const cJSON *cache, struct err *err)
{
    struct controller *c = pass->runs->c;
    struct run_state *s = pass->state;
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(object, "status");
    int64_t now_ms = c->clock->wall_ms(c->clock->ctx), mono_ms = loop_now_ms();
    struct run_status *status = &pass->before;
    run_status_init(status);
    if (before && cJSON_GetObjectItemCaseSensitive(before, "steps")) {
        if (run_status_from_json(before, p, status, err) < 0)
            return err_wrap(err, "status");
    }
    size_t n_jobs, n_pods;
    _cleanup_free_ const struct seen_job **jobs = run_jobs(pass->runs, s->uid, &n_jobs);
    _cleanup_free_ const struct seen_pod **pods = run_pods(pass->runs, jobs, n_jobs, &n_pods);
    note_seen(s, jobs, n_jobs);
    expect_progress(pass, jobs, n_jobs);
    struct look look = {.runs = pass->runs, .state = s, .fold = mono_ms - s->progress_ms >= PROGRESS_MS};
    if (look.fold)
        s->progress_ms = mono_ms;
    struct observing_source source = {.jobs = jobs,
                                      .n_jobs = n_jobs,
                                      .pods = pods,
                                      .n_pods = n_pods,
                                      .run_name = run->name,
                                      .now_ms = now_ms,
                                      .was_seen = was_seen,
                                      .refused = why_refused,
                                      .progress = heard,
                                      .ctx = &look};
    _cleanup_observing_ struct observing observing;
    observing_init(&observing, &source, p, status);
    struct plan_options options = {.has_cuda = true, .grace_ms = c->options->grace_seconds * 1000};
    if (plan(p, run, status, &observing.observed, cache, &options, now_ms, &pass->plan, err) < 0)
        return -1;
    const struct plan *plan = &pass->plan;
    run_news_find(p, status, &plan->status, now_ms, &pass->news);
    run_metrics_count_steps(&plan->status, s->steps);
    const cJSON *observed = before ? cJSON_GetObjectItemCaseSensitive(before, "observedGeneration") : NULL;
    cJSON *after = NULL;
    if (plan->status_changed || s->blocked_changed || !cJSON_IsNumber(observed) ||
        (int64_t)observed->valuedouble != seen->meta.generation) {
        struct run_status_extra extra = {.revision = revision,
                                         .generation = seen->meta.generation,
                                         .suspended = run->suspend,
                                         .blocked = s->blocked,
                                         .unverified = run->n_approvals && !c->options->approvals_verified,
                                         .previous = before,
                                         .now_ms = now_ms};
        if (run_status_object(&plan->status, &extra, &after, err) < 0)
            return -1;
    }
    acts_of_plan(pass, p, run, plan, jobs, n_jobs);
    look_again(pass, now_ms, observing.look_again_ms);
    if (after)
        write_status(pass, object, after);
    else
        acts_start(pass);
    return 0;
}

/* The run cannot be looked at: its status says what it waits for, once. */
static void wait_for(struct pass *pass, cJSON *object, const struct run_spec *run,
                     const struct seen_run *seen, const char *reason, const char *message)
{
    struct controller *c = pass->runs->c;
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(object, "status");
    pass->again_ms = MISSING_MS;
    if (before && cJSON_HasObjectItem(before, "steps")) { /* it keeps what is known of them */
        struct kube_reference about = {.resource = &RUNS,
                                       .ns = pass->ns,
                                       .name = pass->name,
                                       .uid = pass->uid};
        if (c->events)
            recorder_event(c->events, &about, true, reason, message);
        pass_finish(pass);
        return;
    }
    const cJSON *observed = before ? cJSON_GetObjectItemCaseSensitive(before, "observedGeneration") : NULL;
    if (text_equal(text_of(before, "reason"), reason) && text_equal(text_of(before, "message"), message) &&
        cJSON_IsNumber(observed) && (int64_t)observed->valuedouble == seen->meta.generation) {
        pass_finish(pass);
        return;
    }
    struct run_status_extra extra = {.generation = seen->meta.generation,
                                     .stopped = run->stop != RUN_STOP_NONE,
                                     .previous = before,
                                     .now_ms = c->clock->wall_ms(c->clock->ctx)};
    write_status(pass, object, run_status_waiting(&extra, reason, message));
}

static void look_at(struct pass *pass, const struct seen_run *seen)
{
    struct controller *c = pass->runs->c;
    struct err err = ERR_INIT;
    struct findings findings = {0};
    _cleanup_json_ cJSON *object = cJSON_Parse(seen->text);
    struct run_spec run = {0};
    const struct pipeline *p = NULL;
    const cJSON *cache = NULL;
    if (!object) {
        pass->retry = true;
        pass_finish(pass);
        return;
    }
    if (run_decode_json(object, &run, &findings, &err) < 0) {
        findings_release(&findings);
        wait_for(pass, object, &run, seen, "InvalidRun", err.msg);
        return;
    }
    findings_release(&findings);
    const struct seen_pipeline *pipeline = reflectors_get(c->pipelines, pass->ns, run.pipeline);
    const char *earlier = text_of(cJSON_GetObjectItemCaseSensitive(object, "status"), "revision");
    _cleanup_free_ char *revision = NULL;
    if (earlier || run.revision || (pipeline && pipeline->newest_revision))
        revision = xstrdup(earlier ? earlier : run.revision ? run.revision : pipeline->newest_revision);
    if (pipeline)
        pass->pipeline_uid = xstrdup(pipeline->meta.uid);
    _cleanup_free_ char *why = NULL;
    if (!revision) {
        why = pipeline ? xasprintf("pipeline %s has no valid spec yet: see kubectl describe tp %s",
                                   run.pipeline, run.pipeline)
                       : xasprintf("there is no TrainingPipeline %s in namespace %s", run.pipeline, pass->ns);
        wait_for(pass, object, &run, seen, pipeline ? "PipelineNotReady" : "PipelineNotFound", why);
    } else if (revisions_get(c->revisions, pass->ns, revision, pass->key, &p, &err) < 0) {
        wait_for(pass, object, &run, seen,
                 err.class_ == ERR_NOTFOUND ? "RevisionNotFound" : "RevisionUnreadable", err.msg);
    } else if (!p || !cachemap_get(pass->runs->cache, pass->ns, run.pipeline, pass->key, &cache)) {
        pass_finish(pass); /* woken when it is there */
    } else if (decide(pass, object, &run, p, revision, seen, cache, &err) < 0) {
        wait_for(pass, object, &run, seen, "CannotPlan", err.msg);
    }
    run_spec_release(&run);
}

static void run_wake_key(void *ctx, const char *key)
{
    struct controller *c = ctx;
    queue_add(c->run_queue, key);
}

static bool waits_for_own_write(const struct run_state *s, const struct seen_run *run)
{
    return s->written && !kube_version_at_least(run->meta.resource_version, s->written);
}

/* Nothing is left to decide. Its Jobs stay for a while, for their pods' logs, and then go in one request: a time to live in each Job would be a
 * write for every step. */
static void settle(struct runs *r, struct run_state *s, const struct seen_run *run)
{
    struct controller *c = r->c;
    struct pass *pass = pass_new(r, s, run);
    size_t n;
    _cleanup_free_ const struct seen_job **jobs = run_jobs(r, s->uid, &n);
    _cleanup_free_ char *key = xstrdup(s->key);
    int64_t left = run->finished_ms + c->options->ttl_seconds * 1000 - c->clock->wall_ms(c->clock->ctx);
    if (n > 0 && left <= 0)
        acts_of_finished(pass, jobs, n);
    else if (n > 0)
        pass->again_ms = left;
    acts_start(pass);
    if (n == 0)
        run_state_forget(r, key);
}

void run_process(void *controller, const char *key)
{
    struct controller *c = controller;
    struct runs *r = c->runs_known;
    const char *slash = strchr(key, '/');
    _cleanup_free_ char *ns = xstrndup(key, (size_t)(slash - key));
    const struct seen_run *run = reflectors_get(c->runs, ns, slash + 1);
    if (!r->cache)
        r->cache = cachemap_new(c->loop, c->client, run_wake_key, c);
    if (!run || run->meta.deleting) {
        run_state_forget(r, key);
        queue_done(c->run_queue, key);
        return;
    }
    struct run_state *s = run_state_get(r, run);
    if (waits_for_own_write(s, run)) {
        s->deferred = true;
        queue_done(c->run_queue, key); /* the cache's event brings it back */
        queue_add_after(c->run_queue, key, OWN_WRITE_WAIT_MS);
        return;
    }
    s->deferred = false;
    if (run->settled)
        settle(r, s, run);
    else
        look_at(pass_new(r, s, run), run);
}
