/* Which Jobs are a run's and which pods a Job's, kept by the reflectors' events, so that a look costs what the run has and not what the cluster has. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/controller/run-internal.h"

enum { MANY = 1 << 22 };

static char *key_of(const struct kube_meta *m)
{
    return xasprintf("%s/%s", m->ns, m->name);
}

/* --- sets of keys ------------------------------------------------------------------------------------------------- */

static void free_set(void *set)
{
    map_free(set);
}

static void set_add(struct map *sets, const char *owner, const char *key)
{
    struct map *set = map_get(sets, owner);
    if (!set) {
        set = map_new(MANY, NULL);
        (void)map_set(sets, owner, set);
    }
    (void)map_set(set, key, NULL);
}

static void set_remove(struct map *sets, const char *owner, const char *key)
{
    struct map *set = map_get(sets, owner);
    if (set && map_remove(set, key) && map_size(set) == 0)
        (void)map_remove(sets, owner);
}

static const void *look_up(const struct reflectors *cache, const char *key)
{
    const char *slash = strchr(key, '/');
    _cleanup_free_ char *ns = xstrndup(key, (size_t)(slash - key));
    return reflectors_get(cache, ns, slash + 1);
}

/* --- states ---------------------------------------------------------------------------------------------------------- */

static void state_free(void *value)
{
    struct run_state *s = value;
    map_free(s->seen);
    map_free(s->refused);
    map_free(s->done);
    free(s->blocked);
    free(s->key);
    free(s->uid);
    free(s->written);
    free(s);
}

struct runs *runs_new(struct controller *c)
{
    struct runs *r = xcalloc(1, sizeof *r);
    r->c = c;
    r->states = map_new(MANY, state_free);
    r->jobs_of_run = map_new(MANY, free_set);
    r->pods_of_job = map_new(MANY, free_set);
    r->key_of_uid = map_new(MANY, free);
    return r;
}

void run_state_forget(struct runs *r, const char *key)
{
    struct run_state *s = map_get(r->states, key);
    if (!s || s->pass)
        return;
    (void)map_remove(r->key_of_uid, s->uid);
    (void)map_remove(r->states, key);
}

void runs_count_steps(const struct runs *r, size_t ret[static RUN_METRICS_STATES])
{
    const char *key;
    void *value;
    memset(ret, 0, RUN_METRICS_STATES * sizeof *ret);
    for (size_t i = 0; map_next(r->states, &i, &key, &value);)
        for (size_t k = 0; k < RUN_METRICS_STATES; k++)
            ret[k] += ((const struct run_state *)value)->steps[k];
}

struct run_state *run_state_get(struct runs *r, const struct seen_run *run)
{
    _cleanup_free_ char *key = key_of(&run->meta);
    struct run_state *s = map_get(r->states, key);
    if (s && strcmp(s->uid, run->meta.uid) != 0) {
        run_state_forget(r, key);
        s = map_get(r->states, key);
    }
    if (s)
        return s;
    s = xcalloc(1, sizeof *s);
    *s = (struct run_state){.key = xstrdup(key),
                            .uid = xstrdup(run->meta.uid),
                            .seen = map_new(MANY, NULL),
                            .refused = map_new(MANY, free),
                            .done = map_new(MANY, free)};
    (void)map_set(r->states, key, s);
    (void)map_set(r->key_of_uid, s->uid, xstrdup(key));
    return s;
}

const struct seen_job **run_jobs(const struct runs *r, const char *run_uid, size_t *ret_n)
{
    const struct map *set = map_get(r->jobs_of_run, run_uid);
    const struct seen_job **list = xcalloc((set ? map_size(set) : 0) + 1, sizeof *list);
    const char *key;
    void *unused;
    *ret_n = 0;
    for (size_t i = 0; set && map_next(set, &i, &key, &unused);) {
        const struct seen_job *job = look_up(r->c->jobs, key);
        if (job)
            list[(*ret_n)++] = job;
    }
    return list;
}

const struct seen_pod **run_pods(const struct runs *r, const struct seen_job *const *jobs, size_t n_jobs,
                                 size_t *ret_n)
{
    const struct seen_pod **list = NULL;
    size_t capacity = 0;
    *ret_n = 0;
    for (size_t j = 0; j < n_jobs; j++) {
        const struct map *set = map_get(r->pods_of_job, jobs[j]->meta.uid);
        const char *key;
        void *unused;
        for (size_t i = 0; set && map_next(set, &i, &key, &unused);) {
            const struct seen_pod *pod = look_up(r->c->pods, key);
            if (!pod)
                continue;
            list = grow_array(list, &capacity, *ret_n, sizeof *list);
            list[(*ret_n)++] = pod;
        }
    }
    return list;
}

/* --- events of the caches ------------------------------------------------------------------------------------------------ */

void run_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct seen_run *before = old, *after = now;
    _cleanup_free_ char *key = key_of(after ? &after->meta : &before->meta);
    if (!after) {
        run_state_forget(c->runs_known, key);
        queue_forget(c->run_queue, key);
        return;
    }
    /* Our own write says nothing new, unless a pass waits for it. */
    const struct run_state *s = map_get(c->runs_known->states, key);
    if (s && !s->deferred && !after->settled && text_equal(s->written, after->meta.resource_version))
        return;
    /* Ten thousand settled runs need no look at each start. */
    if (before || !after->settled)
        queue_add(c->run_queue, key);
}

/* A pod that ended is what the next step waits for; the rest comes in bursts, and is looked at together. That a Job or pod is there,
 * or that a Job is complete whose pods told us before, changes nothing by itself: it is looked at in case it is the last we hear. */
enum { SOON_MS = 100, LATER_MS = 1000 };

/* Most events of a Job are counters that nobody asks for. */
static bool same_job(const struct seen_job *a, const struct seen_job *b)
{
    return a && b && a->meta.deleting == b->meta.deleting && a->suspended == b->suspended &&
           text_equal(a->condition, b->condition) && a->failed_rule == b->failed_rule;
}

static bool same_pod(const struct seen_pod *a, const struct seen_pod *b)
{
    const struct observed_pod *x = &a->view, *y = &b->view;
    return a->meta.deleting == b->meta.deleting && a->kill_ms == b->kill_ms && x->phase == y->phase &&
           x->exit_code == y->exit_code && x->started_ms == y->started_ms &&
           x->finished_ms == y->finished_ms && text_equal(x->reason, y->reason) &&
           text_equal(x->detail, y->detail) && text_equal(x->disruption, y->disruption) &&
           text_equal(x->message, y->message);
}

void run_job_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct seen_job *job = now ? now : old;
    if (!job->run_uid || !job->run)
        return;
    _cleanup_free_ char *key = key_of(&job->meta), *run_key = xasprintf("%s/%s", job->meta.ns, job->run);
    if (now)
        set_add(c->runs_known->jobs_of_run, job->run_uid, key);
    else
        set_remove(c->runs_known->jobs_of_run, job->run_uid, key);
    const struct seen_job *after = now;
    bool nothing_new = after && !after->meta.deleting && (!old || text_equal(after->condition, "Complete"));
    if (!same_job(old, now))
        queue_add_after(c->run_queue, run_key, nothing_new ? LATER_MS : SOON_MS);
}

void run_pod_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct seen_pod *before = old, *after = now, *pod = after ? after : before;
    if (!pod->job_uid || !pod->run_uid)
        return;
    _cleanup_free_ char *key = key_of(&pod->meta);
    if (after)
        set_add(c->runs_known->pods_of_job, pod->job_uid, key);
    else
        set_remove(c->runs_known->pods_of_job, pod->job_uid, key);
    const char *run_key = map_get(c->runs_known->key_of_uid, pod->run_uid);
    struct run_state *s = run_key ? map_get(c->runs_known->states, run_key) : NULL;
    if (!run_key || (before && after && same_pod(before, after)))
        return;
    bool ended = after && (after->view.phase == POD_SUCCEEDED || after->view.phase == POD_FAILED);
    if (s && ended && after->view.phase == POD_SUCCEEDED && (!before || before->view.phase != POD_SUCCEEDED))
        s->success_seen_ms = loop_now_ms();
    bool nothing_new = after && !before && after->view.phase == POD_PENDING && !after->view.reason;
    queue_add_after(c->run_queue, run_key, ended ? 0 : nothing_new ? LATER_MS : SOON_MS);
}

void run_wake_uid(void *controller, const char *run_uid)
{
    struct controller *c = controller;
    const char *key = map_get(c->runs_known->key_of_uid, run_uid);
    if (key)
        queue_add(c->run_queue, key);
}

size_t run_busy(const struct controller *c)
{
    return c->runs_known->busy;
}
