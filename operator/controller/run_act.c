/* Jobs and Services: creating, ending, letting them expire. Each write may be repeated, and none is waited for by another run. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/metrics.h"
#include "operator/controller/progress.h"
#include "operator/controller/run-internal.h"

enum {
    ADOPT_WAIT_MS = 1000,
    TAKEN_WAIT_MS = 5000, /* the name is another's: a person has to act */
    SHOWN_MS = 10 * 1000, /* a cache that lags more has lost the write, or it was undone */
};

static struct act *add_act(struct pass *pass, enum act_kind kind, const char *name)
{
    pass->acts = grow_array(pass->acts, &pass->capacity, pass->n_acts, sizeof *pass->acts);
    struct act *a = &pass->acts[pass->n_acts++];
    *a = (struct act){.pass = pass, .kind = kind, .name = xstrdup(name)};
    return a;
}

static const struct seen_job *find_job(const struct seen_job *const *jobs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(jobs[i]->meta.name, name) == 0)
            return jobs[i];
    }
    return NULL;
}

/* --- what was done, and may not be seen yet ------------------------------------------------------------------------- */

static char *done_key(enum act_kind kind, const char *job)
{
    return xasprintf("%c%s", "cdes"[kind], job);
}

static void note_done(struct run_state *s, enum act_kind kind, const char *job)
{
    _cleanup_free_ char *key = done_key(kind, job);
    int64_t *at = xmalloc(sizeof *at);
    *at = loop_now_ms();
    (void)map_set(s->done, key, at);
}

/* Time left in which the caches may not show it; 0: it is to be done. */
static int64_t done_lately(const struct run_state *s, enum act_kind kind, const char *job)
{
    _cleanup_free_ char *key = done_key(kind, job);
    const int64_t *at = map_get(s->done, key);
    int64_t left = at ? *at + SHOWN_MS - loop_now_ms() : 0;
    return left > 0 ? left : 0;
}

static void look_again_in(struct pass *pass, int64_t ms)
{
    if (!pass->again_ms || ms < pass->again_ms)
        pass->again_ms = ms;
}

void run_state_block(struct run_state *s, const char *why)
{
    if (text_equal(s->blocked, why) || (!s->blocked && !why))
        return;
    free(s->blocked);
    s->blocked = why ? xstrdup(why) : NULL;
    s->blocked_changed = true;
}

static void refuse(struct run_state *s, const char *job, const char *why)
{
    (void)map_set(s->refused, job, xstrdup(why));
}

/* --- what is to be done ------------------------------------------------------------------------------------------- */

static void add_create(struct pass *pass, const struct pipeline *p, const struct run_spec *run,
                       const struct job *job)
{
    struct controller *c = pass->runs->c;
    const char *step = p->steps[job->step].name;
    char token[65], key[65];
    _cleanup_free_ char *url = NULL;
    struct jobs_context x = {.pipeline = p, .run = run, .ns = pass->ns, .options = c->options};
    struct err err = ERR_INIT;
    cJSON *object = NULL, *service = NULL;
    if (c->progress) {
        progress_token(c->progress, run->uid, step, job->attempt, job->item, token);
        progress_rendezvous_key(c->progress, run->uid, step, job->item, job->attempt, key);
        progress_expect(c->progress, pass->ns, run->name, run->uid, step, job->item, job->attempt);
        if (c->options->progress_url && *c->options->progress_url)
            url = progress_url(c->options->progress_url, pass->ns, run->name, step, job->item, job->attempt);
        x.progress_token = token;
        x.rendezvous_key = key;
    }
    x.progress_url = url;
    if (jobs_build(&x, job, &object, &service, &err) < 0) {
        refuse(pass->state, job->name, err.msg);
        look_again_in(pass, 1);
        return;
    }
    struct act *a = add_act(pass, ACT_CREATE, job->name);
    a->job = object;
    a->service = service;
}

static void warn(const struct pass *pass, const char *reason, const char *message)
{
    struct controller *c = pass->runs->c;
    struct kube_reference about = {.resource = &RUNS, .ns = pass->ns, .name = pass->name, .uid = pass->uid};
    if (c->events)
        recorder_event(c->events, &about, true, reason, message);
}

/* Once per Job. */
static void tell_disagreement(struct pass *pass, const struct seen_job *job)
{
    _cleanup_free_ char *key = xasprintf("!%s", job->meta.name);
    if (map_has(pass->state->done, key))
        return;
    int64_t *at = xmalloc(sizeof *at);
    *at = loop_now_ms();
    (void)map_set(pass->state->done, key, at);
    _cleanup_free_ char *message =
        xasprintf("Job %s says %s (%s), but all its pods succeeded and left a result: the result counts",
                  job->meta.name, job->condition, job->message ? job->message : "no message");
    warn(pass, "JobDisagrees", message);
}

/* Has the status recorded how this attempt ended? */
static bool recorded(const struct run_status *status, const struct pipeline *p, const struct seen_job *job)
{
    long step = job->step ? pipeline_find_step(p, job->step) : -1;
    if (step < 0 || (size_t)step >= status->n_steps || (size_t)job->item >= status->steps[step].n_items)
        return run_phase_finished(status->phase);
    const struct item_status *i = &status->steps[step].items[job->item];
    return i->attempt > job->attempt || (i->attempt == job->attempt && i->state != STATE_RUNNING);
}

/* Posts of an attempt whose end is recorded are answered 410 from now on. */
static void end_progress(struct pass *pass, const struct seen_job *job)
{
    struct controller *c = pass->runs->c;
    _cleanup_free_ char *key = done_key(ACT_EXPIRE, job->meta.name);
    if (!c->progress || !job->step || map_has(pass->state->done, key))
        return;
    progress_ended(c->progress, pass->uid, job->step, job->item, job->attempt);
    note_done(pass->state, ACT_EXPIRE, job->meta.name);
}

void acts_of_plan(struct pass *pass, const struct pipeline *p, const struct run_spec *run,
                  const struct plan *plan, const struct seen_job *const *jobs, size_t n_jobs)
{
    const struct controller *c = pass->runs->c;
    for (size_t i = 0; i < plan->n_actions; i++) {
        const struct job *job = &plan->actions[i].job;
        const struct seen_job *seen = find_job(jobs, n_jobs, job->name);
        if (plan->actions[i].kind == ACTION_START) {
            int64_t left = done_lately(pass->state, ACT_CREATE, job->name);
            if (left > 0)
                look_again_in(pass, left);
            else if (!seen && !map_has(pass->state->refused, job->name))
                add_create(pass, p, run, job);
        } else if (seen && !seen->meta.deleting && !done_lately(pass->state, ACT_DELETE, job->name)) {
            add_act(pass, ACT_DELETE, job->name)->uid = xstrdup(seen->meta.uid);
            if (c->progress)
                progress_ended(c->progress, pass->uid, p->steps[job->step].name, job->item, job->attempt);
        }
    }
    for (size_t i = 0; i < n_jobs; i++) {
        if (recorded(&plan->status, p, jobs[i]))
            end_progress(pass, jobs[i]);
        if (observing_disagrees(jobs[i], p, &plan->status))
            tell_disagreement(pass, jobs[i]);
    }
}

void acts_of_finished(struct pass *pass, const struct seen_job *const *jobs, size_t n_jobs)
{
    if (done_lately(pass->state, ACT_EXPIRE, pass->name))
        return;
    (void)add_act(pass, ACT_EXPIRE, pass->name);
    for (size_t i = 0; i < n_jobs; i++) {
        if (jobs[i]->workers > 1)
            (void)add_act(pass, ACT_DELETE_SERVICE, jobs[i]->meta.name);
    }
}

/* --- doing it -------------------------------------------------------------------------------------------------------- */

static void close_act(struct act *a)
{
    struct pass *pass = a->pass;
    if (--pass->open == 0)
        pass_finish(pass);
}

/* Whose Job is it that has the name? */
static void on_other(void *ctx, cJSON **object, struct err *failure)
{
    struct act *a = ctx;
    struct pass *pass = a->pass;
    struct kube_meta meta = {0};
    a->call = NULL;
    look_again_in(pass, ADOPT_WAIT_MS);
    if (!err_is_set(failure)) {
        kube_meta_init(&meta, *object);
        if (!text_equal(meta.owner_uid, pass->uid)) {
            _cleanup_free_ char *message = xasprintf(
                "Job %s exists already and does not belong to this run; the step waits until it is gone: kubectl delete job %s",
                a->name, a->name);
            pass->again_ms = TAKEN_WAIT_MS;
            warn(pass, "NameTaken", message);
            run_state_block(pass->state, message);
        }
        kube_meta_release(&meta);
    }
    close_act(a);
}

/* It is there already: ours, if the cache says so; else the cache, or whoever has the name, needs time. True: it is being looked at. */
static bool adopt(struct act *a)
{
    struct pass *pass = a->pass;
    const struct seen_job *job = reflectors_get(pass->runs->c->jobs, pass->ns, a->name);
    if (job && text_equal(job->meta.owner_uid, pass->uid)) {
        if (job->meta.deleting)
            look_again_in(pass, ADOPT_WAIT_MS);
        return false;
    }
    struct kube_request request = {.verb = KUBE_GET, .resource = &KUBE_JOBS, .ns = pass->ns, .name = a->name};
    a->call = kube_start(pass->runs->c->client, &request, on_other, a);
    return true;
}

static void forbidden(struct act *a, const char *why)
{
    struct pass *pass = a->pass;
    _cleanup_free_ char *message = xasprintf("Job %s: %s", a->name, why);
    warn(pass, "Forbidden", message);
    if (a->kind == ACT_CREATE)
        run_state_block(pass->state, message);
    pass->retry = true;
}

/* True: a further call is under way. */
static bool after_failure(struct act *a, const struct err *failure)
{
    struct pass *pass = a->pass;
    switch (failure->class_) {
    case ERR_EXISTS:
        return adopt(a);
    case ERR_NOTFOUND: /* deleted already; of a create: the namespace is going away */
        if (a->kind == ACT_CREATE)
            pass->retry = true;
        return false;
    case ERR_INVALID:
        if (a->kind == ACT_CREATE) {
            refuse(pass->state, a->name, failure->msg);
            look_again_in(pass, 1);
        }
        return false;
    case ERR_TERMINAL:
        forbidden(a, failure->msg);
        return false;
    default: /* a delete's precondition failed: another Job has the name now; or the server is away */
        pass->retry = failure->class_ != ERR_CONFLICT || a->kind != ACT_DELETE;
        return false;
    }
}

static void on_done(void *ctx, cJSON **object, struct err *failure)
{
    struct act *a = ctx;
    struct run_state *s = a->pass->state;
    struct controller *c = a->pass->runs->c;
    (void)object;
    a->call = NULL;
    if (err_is_set(failure)) {
        if (!after_failure(a, failure))
            close_act(a);
        return;
    }
    note_done(s, a->kind, a->name);
    if (a->kind == ACT_CREATE) {
        run_state_block(s, NULL);
        if (c->metrics && s->success_seen_ms)
            metrics_observe(c->metrics, METRIC_HANDOFF, (const char *const[3]){NULL},
                            (double)(loop_now_ms() - s->success_seen_ms) / 1000);
        s->success_seen_ms = 0;
    }
    close_act(a);
}

static void create_job(struct act *a)
{
    struct kube_request request = {.verb = KUBE_CREATE,
                                   .resource = &KUBE_JOBS,
                                   .ns = a->pass->ns,
                                   .body = a->job,
                                   .brief = true};
    a->call = kube_start(a->pass->runs->c->client, &request, on_done, a);
}

static void on_service(void *ctx, cJSON **object, struct err *failure)
{
    struct act *a = ctx;
    (void)object;
    a->call = NULL;
    if (!err_is_set(failure) || failure->class_ == ERR_EXISTS) {
        create_job(a);
        return;
    }
    if (!after_failure(a, failure))
        close_act(a);
}

static cJSON *delete_options(const char *uid)
{
    cJSON *options = json_object(), *preconditions = json_object();
    /* The Job stays, as "deleting", until its pods are gone: then nothing of the attempt runs any more. */
    json_add_string(options, "propagationPolicy", "Foreground");
    if (uid) {
        json_add_string(preconditions, "uid", uid);
        json_add(options, "preconditions", preconditions);
    } else {
        cJSON_Delete(preconditions);
    }
    return options;
}

static void start(struct act *a)
{
    struct pass *pass = a->pass;
    struct controller *c = pass->runs->c;
    _cleanup_json_ cJSON *body = NULL;
    _cleanup_free_ char *query = NULL;
    struct kube_request request = {.ns = pass->ns, .name = a->name, .resource = &KUBE_JOBS};
    switch (a->kind) {
    case ACT_CREATE:
        if (a->service) {
            request = (struct kube_request){.verb = KUBE_CREATE,
                                            .resource = &KUBE_SERVICES,
                                            .ns = pass->ns,
                                            .body = a->service,
                                            .brief = true};
            a->call = kube_start(c->client, &request, on_service, a);
        } else {
            create_job(a);
        }
        return;
    case ACT_DELETE:
        request.verb = KUBE_DELETE;
        body = delete_options(a->uid);
        break;
    case ACT_EXPIRE: /* all Jobs of the run in one request */
        request.verb = KUBE_DELETE;
        request.name = NULL;
        query = xasprintf("labelSelector=" LABEL_RUN_UID "%%3D%s", pass->uid);
        request.query = query;
        body = json_object();
        json_add_string(body, "propagationPolicy", "Background");
        break;
    case ACT_DELETE_SERVICE:
        request.verb = KUBE_DELETE;
        request.resource = &KUBE_SERVICES;
        break;
    case ACT_KINDS:
        break;
    }
    request.body = body;
    request.brief = true;
    a->call = kube_start(c->client, &request, on_done, a);
}

void acts_start(struct pass *pass)
{
    if (pass->n_acts == 0) {
        pass_finish(pass);
        return;
    }
    pass->open = pass->n_acts;
    for (size_t i = 0; i < pass->n_acts; i++)
        start(&pass->acts[i]);
}
