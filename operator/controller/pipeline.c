/* See pipeline.h. */
#include "operator/controller/pipeline.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "operator/controller/metrics.h"
#include "operator/controller/pipeline-internal.h"
#include "operator/controller/retention.h"
#include "operator/controller/revisions.h"

enum {
    PRUNE_DELAY_MS = 10 * 1000,  /* a run that has just chosen a revision is in the cache by then */
    MAX_WAKE_MS = 5 * 60 * 1000, /* the wall clock may be set */
    TAKEN_MS = 5 * 1000,         /* a name that is taken is looked at again */
    DELETE_AT_ONCE = 20,         /* runs in one pass */
};

struct pipelines {
    struct controller *c;
    struct map *states;
};

/* --- states ------------------------------------------------------------------------------------------------------- */

static struct pass *pass_free(struct pass *p)
{
    if (!p)
        return NULL;
    kube_cancel(p->call);
    free(p->runs);
    pipeline_status_release(&p->status);
    starting_decision_release(&p->decision);
    for (size_t i = 0; i < p->n_actions; i++)
        pipeline_action_release(&p->actions[i]);
    free(p->actions);
    free(p);
    return NULL;
}

static void state_free(void *p)
{
    struct state *s = p;
    pass_free(s->pass);
    pipeline_view_release(&s->view);
    free(s->key);
    free(s->ns);
    free(s->name);
    free(s->written_version);
    free(s->made_revision);
    free(s->seen_run);
    free(s->control_done);
    free(s->last_event);
    free(s);
}

struct pipelines *pipelines_new(struct controller *c)
{
    struct pipelines *p = xcalloc(1, sizeof *p);
    p->c = c;
    p->states = map_new(1000 * 1000, state_free);
    return p;
}

struct pipelines *pipelines_free(struct pipelines *p)
{
    if (!p)
        return NULL;
    map_free(p->states);
    free(p);
    return NULL;
}

size_t pipeline_busy(const struct controller *c)
{
    size_t n = 0;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(c->pipelines_known->states, &i, &key, &value);)
        n += ((struct state *)value)->pass != NULL;
    return n;
}

static struct state *state_of(struct controller *c, const char *key)
{
    struct state *s = map_get(c->pipelines_known->states, key);
    if (s)
        return s;
    const char *slash = strchr(key, '/');
    s = xcalloc(1, sizeof *s);
    s->c = c;
    s->key = xstrdup(key);
    s->ns = xstrndup(key, (size_t)(slash - key));
    s->name = xstrdup(slash + 1);
    s->prune = true; /* another process may have left something */
    s->prune_at_ms = loop_now_ms() + PRUNE_DELAY_MS;
    (void)map_set(c->pipelines_known->states, key, s);
    return s;
}

void pipeline_prune_later(struct state *s)
{
    s->prune = true;
    s->prune_at_ms = loop_now_ms() + PRUNE_DELAY_MS;
}

void pipeline_set(char **field, const char *value)
{
    char *copy = value ? xstrdup(value) : NULL;
    free(*field);
    *field = copy;
}

/* --- what wakes a pipeline ------------------------------------------------------------------------------------------ */

void pipeline_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct kube_meta *m =
        now ? &((const struct seen_pipeline *)now)->meta : &((const struct seen_pipeline *)old)->meta;
    _cleanup_free_ char *key = xasprintf("%s/%s", m->ns, m->name);
    queue_add(c->pipeline_queue, key);
}

void pipeline_run_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct seen_run *before = old, *after = now, *any = after ? after : before;
    if (!any->pipeline)
        return;
    if (before && after && before->phase == after->phase && before->meta.deleting == after->meta.deleting &&
        before->finished_ms == after->finished_ms && before->settled == after->settled &&
        text_equal(before->meta.owner_uid, after->meta.owner_uid))
        return; /* progress of a run is no concern of its pipeline */
    _cleanup_free_ char *key = xasprintf("%s/%s", any->meta.ns, any->pipeline);
    struct state *s = map_get(c->pipelines_known->states, key);
    if (s && after && !before && after->trigger && text_equal(after->meta.owner_uid, s->view.uid))
        pipeline_set(&s->seen_run, after->meta.name);
    if (s && !after)
        pipeline_prune_later(s);
    queue_add(c->pipeline_queue, key);
}

/* --- one look: its parts --------------------------------------------------------------------------------------------------------- */

void pipeline_say(struct state *s, bool warning, const char *reason, const char *message)
{
    const struct kube_reference about = {&PIPELINES, s->ns, s->name, s->view.uid};
    recorder_event(s->c->events, &about, warning, reason, message);
}

void pipeline_end(struct pass *p, bool retry)
{
    struct state *s = p->s;
    struct queue *queue = s->c->pipeline_queue;
    _cleanup_free_ char *key = xstrdup(s->key);
    metrics_observe(s->c->metrics, METRIC_RECONCILE, (const char *[3]){"pipeline"},
                    (double)(loop_now_ms() - p->began_ms) / 1000);
    int64_t wake = p->wake_ms, now = s->c->clock->wall_ms(s->c->clock->ctx);
    s->pass = pass_free(p);
    if (retry) {
        queue_retry(queue, key);
        return;
    }
    queue_done(queue, key);
    int64_t delay = wake ? (wake > now ? wake - now : 0) : INT64_MAX;
    if (s->prune) {
        int64_t until = s->prune_at_ms - loop_now_ms();
        delay = until < delay ? (until > 0 ? until : 0) : delay;
    }
    if (delay != INT64_MAX)
        queue_add_after(queue, key, delay < MAX_WAKE_MS ? delay : MAX_WAKE_MS);
}

/* A call failed: what a retry cannot mend by itself is told to people, once. */
void pipeline_failed(struct pass *p, const char *what, const struct err *failure)
{
    struct state *s = p->s;
    _cleanup_free_ char *message = xasprintf("%s: %s", what, failure->msg);
    bool theirs = failure->class_ == ERR_INVALID || failure->class_ == ERR_TERMINAL;
    if (theirs && !text_equal(s->last_event, message)) {
        log_warn("pipeline cannot go on", "pipeline", s->key, "error", message, NULL);
        pipeline_say(s, true, "CannotGoOn", message);
        pipeline_set(&s->last_event, message);
    } else {
        log_debug("pipeline is looked at again", "pipeline", s->key, "error", message, NULL);
    }
    pipeline_end(p, true);
}

static bool is_ours(const struct state *s, const struct seen_run *run)
{
    return run->trigger && text_equal(run->meta.owner_uid, s->view.uid);
}

struct collect {
    struct pass *pass;
    size_t capacity;
};

static bool collect_run(void *ctx, const void *trimmed)
{
    struct collect *c = ctx;
    const struct seen_run *run = trimmed;
    struct pass *p = c->pass;
    if (!text_equal(run->pipeline, p->s->name) || !text_equal(run->meta.ns, p->s->ns))
        return true;
    p->runs = grow_array(p->runs, &c->capacity, p->n_runs, sizeof *p->runs);
    p->runs[p->n_runs++] = run;
    return true;
}

/* Whether run.spec asks it to stop. */
static bool is_stopping(const struct seen_run *run)
{
    if (!run->text || run->phase == PHASE_STOPPING)
        return run->phase == PHASE_STOPPING;
    struct err ignored = ERR_INIT;
    _cleanup_json_ cJSON *object = NULL;
    if (json_parse(run->text, strlen(run->text), LIMIT_KUBE_OBJECT_BYTES, &object, &ignored) < 0)
        return false;
    return cJSON_IsString(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "spec"), "stop"));
}

static void observe_runs(struct pass *p)
{
    _cleanup_free_ struct pipeline_status_run *runs = xcalloc(p->n_runs + 1, sizeof *runs);
    size_t n = 0;
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct seen_run *r = p->runs[i];
        if (r->trigger && !is_ours(p->s, r))
            continue; /* an earlier pipeline's */
        runs[n++] = (struct pipeline_status_run){.name = r->meta.name,
                                                 .phase = r->phase,
                                                 .created_ms = r->meta.created_ms,
                                                 .finished_ms = r->finished_ms};
    }
    pipeline_status_observe(&p->status, runs, n);
}

static void decide_starting(struct pass *p, int64_t now_ms)
{
    struct state *s = p->s;
    struct starting_spec spec = pipeline_view_starting(&s->view, s->name);
    _cleanup_free_ struct starting_run *runs = xcalloc(p->n_runs + 1, sizeof *runs);
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct seen_run *r = p->runs[i];
        bool ours = is_ours(s, r);
        runs[i] = (struct starting_run){.name = r->meta.name,
                                        .hash = r->spec_hash,
                                        .ours = ours,
                                        .going = !ours && (r->meta.deleting || r->meta.owner_uid),
                                        .finished = run_phase_finished(r->phase),
                                        .stopping = spec.concurrency == CONCURRENCY_REPLACE && is_stopping(r),
                                        .created_ms = r->meta.created_ms};
    }
    bool seen = text_equal(s->seen_run, p->status.memory.starting.name) && s->seen_run;
    /* The revision that runs use is one that is known to be there. */
    const char *revision =
        s->view.valid && text_equal(s->made_revision, s->view.revision) ? s->view.revision : NULL;
    starting_decide(&spec, revision, &p->status.memory, seen, runs, p->n_runs, now_ms, &p->decision);
    starting_memory_release(&p->status.memory);
    p->status.memory = p->decision.memory;
    p->decision.memory = (struct starting_memory){0};
    p->status.next_scheduled_ms = p->decision.next_scheduled_ms;
    p->wake_ms = p->decision.wake_ms;
}

static struct pipeline_action *add_action(struct pass *p, enum pipeline_action_kind kind)
{
    p->actions = xreallocarray(p->actions, p->n_actions + 1, sizeof *p->actions);
    p->actions[p->n_actions] = (struct pipeline_action){.kind = kind};
    return &p->actions[p->n_actions++];
}

static void plan_retention(struct pass *p, int64_t now_ms)
{
    struct state *s = p->s;
    if (!s->view.valid || p->status.memory.starting.name)
        return;
    _cleanup_free_ struct retention_run *runs = xcalloc(p->n_runs + 1, sizeof *runs);
    _cleanup_free_ size_t *list = xcalloc(p->n_runs + 1, sizeof *list);
    for (size_t i = 0; i < p->n_runs; i++) {
        const struct seen_run *r = p->runs[i];
        runs[i] = (struct retention_run){.name = r->meta.name,
                                         .ours = is_ours(s, r) && !r->meta.deleting,
                                         .finished = run_phase_finished(r->phase),
                                         .succeeded = r->phase == PHASE_SUCCEEDED,
                                         .kept = !r->settled,
                                         .finished_ms = r->finished_ms};
    }
    int64_t wake = 0;
    size_t n = retention_decide(runs, p->n_runs, &s->view.retention, now_ms, list, &wake);
    for (size_t i = 0; i < n && i < DELETE_AT_ONCE; i++) {
        const struct seen_run *r = p->runs[list[i]];
        struct pipeline_action *a = add_action(p, ACTION_DELETE_RUN);
        a->name = xstrdup(r->meta.name);
        a->uid = xstrdup(r->meta.uid);
        a->version = xstrdup(r->meta.resource_version);
    }
    if (n > DELETE_AT_ONCE)
        wake = now_ms + 1;
    if (wake && (!p->wake_ms || wake < p->wake_ms))
        p->wake_ms = wake;
}

static bool run_names(const struct pass *p, const char *name)
{
    for (size_t i = 0; i < p->n_runs; i++)
        if (strcmp(p->runs[i]->meta.name, name) == 0)
            return true;
    return false;
}

/* What there is to do once the status is recorded. */
static void plan_actions(struct pass *p, const struct starting_memory *recorded, int64_t now_ms)
{
    struct state *s = p->s;
    if (recorded->starting.name && !run_names(p, recorded->starting.name)) {
        struct pipeline_action *a = add_action(p, ACTION_CREATE_RUN);
        a->name = xstrdup(recorded->starting.name);
        a->body = pipeline_action_run(s->ns, s->name, s->view.uid, &recorded->starting);
    }
    if (recorded->starting.name && p->n_actions == 0 && (!p->wake_ms || p->wake_ms > now_ms + TAKEN_MS))
        p->wake_ms = now_ms + TAKEN_MS; /* another's run has the name */
    for (size_t i = 0; i < p->decision.n_replace; i++) {
        struct pipeline_action *a = add_action(p, ACTION_STOP_RUN);
        a->name = xstrdup(p->runs[p->decision.replace[i]]->meta.name);
        a->body = pipeline_action_stop(p->runs[p->decision.replace[i]]->meta.uid);
    }
    _cleanup_free_ char *control = pipeline_action_control_key(s->view.control);
    if (control && !text_equal(control, p->status.observed_control)) {
        const char *run = pipeline_action_control_run(s->view.control);
        if (run_names(p, run)) {
            struct pipeline_action *a = add_action(p, ACTION_CONTROL);
            a->name = xstrdup(run);
            a->body = cJSON_Duplicate(s->view.control, true);
            a->uid = steal_ptr(control);
        }
    }
    plan_retention(p, now_ms);
    if (s->prune && loop_now_ms() >= s->prune_at_ms && s->view.valid)
        add_action(p, ACTION_PRUNE);
}

/* --- calls ------------------------------------------------------------------------------------------------------------ */

static void look(struct state *s);

void pipeline_call(struct pass *p, const struct kube_request *r,
                   void (*done)(void *ctx, cJSON **object, struct err *failure))
{
    free(p->runs); /* the cache goes on changing */
    p->runs = NULL;
    p->n_runs = 0;
    p->call = kube_start(p->s->c->client, r, done, p);
}

void pipeline_again(struct pass *p)
{
    struct state *s = p->s;
    s->pass = pass_free(p);
    look(s);
}

/* --- the look ---------------------------------------------------------------------------------------------------------- */

static void forget(struct state *s)
{
    struct controller *c = s->c;
    _cleanup_free_ char *key = xstrdup(s->key);
    static const enum metric of_pipeline[] = {METRIC_SAMPLES_PER_SECOND,  METRIC_CHECKPOINT_SECONDS,
                                              METRIC_CHECKPOINT_AGE,      METRIC_DATA_WAIT_RATIO,
                                              METRIC_VALIDATION_FAILURES, METRIC_DATA_AGE,
                                              METRIC_TIME_TO_TRAIN};
    for (size_t i = 0; i < ARRAY_SIZE(of_pipeline); i++)
        metrics_forget(c->metrics, of_pipeline[i], (const char *[3]){s->ns, s->name});
    (void)map_remove(c->pipelines_known->states, key);
    queue_done(c->pipeline_queue, key);
    queue_forget(c->pipeline_queue, key);
}

/* Another object of the same name: nothing that was known of the first is true of it. */
static void renew(struct state *s, const char *uid)
{
    if (!s->view.uid || text_equal(s->view.uid, uid))
        return;
    pipeline_set(&s->written_version, NULL);
    pipeline_set(&s->made_revision, NULL);
    pipeline_set(&s->seen_run, NULL);
    pipeline_set(&s->control_done, NULL);
    pipeline_prune_later(s);
}

/* True if the revision of the present spec is known to be there, or there is none to keep. */
static bool revision_is_kept(struct pass *p)
{
    struct state *s = p->s;
    if (!s->view.valid)
        return true;
    if (!text_equal(s->made_revision, s->view.revision)) {
        if (!text_equal(p->status.revision, s->view.revision))
            return false;
        pipeline_set(&s->made_revision, s->view.revision);
        pipeline_prune_later(s);
    }
    s->view.pipeline = pipeline_free(s->view.pipeline);
    pipeline_set(&p->status.revision, s->view.revision);
    return true;
}

static void decide_and_act(struct pass *p, const cJSON *object)
{
    struct state *s = p->s;
    int64_t now_ms = s->c->clock->wall_ms(s->c->clock->ctx);
    const cJSON *recorded = cJSON_GetObjectItemCaseSensitive(object, "status");
    pipeline_status_read(recorded, &p->status);
    if (!revision_is_kept(p)) {
        pipeline_keep_revision(p);
        return;
    }
    reflectors_each(s->c->runs, collect_run, &(struct collect){.pass = p});
    (void)pipeline_status_set_ready(&p->status, s->view.valid, s->view.message, s->view.generation, now_ms);
    observe_runs(p);
    decide_starting(p, now_ms);
    if (s->control_done)
        pipeline_set(&p->status.observed_control, s->control_done);
    cJSON *status = pipeline_status_write(&p->status);
    if (!recorded || !cJSON_Compare(recorded, status, true)) {
        pipeline_write_status(p, object, status);
        return;
    }
    cJSON_Delete(status);
    plan_actions(p, &p->status.memory, now_ms);
    pipeline_next_action(p);
}

static void look(struct state *s)
{
    struct controller *c = s->c;
    const struct seen_pipeline *seen = reflectors_get(c->pipelines, s->ns, s->name);
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *object = NULL;
    if (!seen) {
        forget(s);
        return;
    }
    renew(s, seen->meta.uid);
    bool behind =
        s->written_version && !kube_version_at_least(seen->meta.resource_version, s->written_version);
    if (behind || seen->meta.deleting) {
        queue_done(c->pipeline_queue, s->key); /* what is missing comes as a change */
        return;
    }
    if (json_parse(seen->text, strlen(seen->text), LIMIT_KUBE_OBJECT_BYTES, &object, &err) < 0)
        BUG("a cached pipeline is no JSON: %s", err.msg);
    s->pass = xcalloc(1, sizeof *s->pass);
    s->pass->s = s;
    s->pass->began_ms = loop_now_ms();
    (void)pipeline_view_update(&s->view, object);
    decide_and_act(s->pass, object);
}

void pipeline_process(void *controller, const char *key)
{
    look(state_of(controller, key));
}
