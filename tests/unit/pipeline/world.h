/* A small driver for tests of plan(): pods that do what the test says, a status that goes through its JSON form at every step,
 * a cache, a clock. Attempts are looked up by step name; item 0 unless said. */
#pragma once

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/pipeline/cache.h"
#include "operator/pipeline/plan.h"
#include "tests/unit/unit.h"

enum { WORLD_PODS = 16 };

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define IMAGE "example.com/image@sha256:" DIGEST_A
#define OK_MESSAGE "{\"outputs\":{\"o\":\"" DIGEST_A "\"},\"values\":{\"v\":1}}"
#define ERROR_MESSAGE(reason, text) \
    "{\"error\":{\"class\":\"user\",\"reason\":\"" reason "\",\"message\":\"" text "\"}}"

struct world_attempt {
    struct observed_attempt a;
    struct observed_pod pods[WORLD_PODS];
    struct job job;    /* as it was asked for */
    int starts, stops; /* how often it was asked for */
};
struct world {
    struct pipeline *pipeline;
    struct run_spec run;
    struct run_status status;
    cJSON *cache;
    struct plan_options options;
    int64_t now;
    struct world_attempt *attempts;
    size_t n_attempts, capacity;
    struct plan last;
};

/* A manifest of container steps is written as their YAML, indented by four; `spec` is put before the steps. */
static inline struct pipeline *world_pipeline(const char *spec, const char *steps)
{
    char *yaml =
        xasprintf("apiVersion: trainyard.dev/v1alpha1\nkind: TrainingPipeline\nmetadata: {name: p}\nspec:\n"
                  "  store: {url: \"file:///tmp/store\"}\n%s  steps:\n%s",
                  spec, steps);
    struct pipeline *p = NULL;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    assert_ok(pipeline_decode_yaml(yaml, strlen(yaml), "test.yaml", &p, &findings, &err), &err);
    findings_release(&findings);
    free(yaml);
    return p;
}

static inline void world_init(struct world *w, const char *spec, const char *steps)
{
    *w = (struct world){.now = 1700000000000, .cache = json_object()};
    w->pipeline = world_pipeline(spec, steps);
    w->run = (struct run_spec){.name = xstrdup("r"),
                               .uid = xstrdup("uid-1"),
                               .created_ms = w->now,
                               .scheduled_ms = w->now};
    run_status_init(&w->status);
    w->options.has_cuda = true;
}

static inline void world_forget_attempts(struct world *w)
{
    for (size_t i = 0; i < w->n_attempts; i++)
        job_release(&w->attempts[i].job);
    free(w->attempts);
    w->attempts = NULL;
    w->n_attempts = w->capacity = 0;
}

/* Another run of the same pipeline: what it leaves in the cache stays. */
static inline void world_new_run(struct world *w, const char *uid)
{
    world_forget_attempts(w);
    run_status_release(&w->status);
    run_status_init(&w->status);
    free(w->run.uid);
    w->run.uid = xstrdup(uid);
}

static inline void world_release(struct world *w)
{
    world_forget_attempts(w);
    plan_release(&w->last);
    run_status_release(&w->status);
    run_spec_release(&w->run);
    pipeline_free(w->pipeline);
    cJSON_Delete(w->cache);
}

static inline size_t world_step(const struct world *w, const char *name)
{
    long s = pipeline_find_step(w->pipeline, name);
    if (s < 0)
        fail_msg("no step %s", name);
    return (size_t)s;
}

static inline struct item_status *world_item(const struct world *w, const char *name, int64_t item)
{
    struct step_status *st = &w->status.steps[world_step(w, name)];
    if ((size_t)item >= st->n_items)
        fail_msg("step %s has %zu items, item %lld was asked for", name, st->n_items, (long long)item);
    return &st->items[item];
}

/* The newest attempt of an item; NULL: none was started. */
static inline struct world_attempt *world_find(struct world *w, const char *name, int64_t item)
{
    struct world_attempt *found = NULL;
    size_t s = world_step(w, name);
    for (size_t i = 0; i < w->n_attempts; i++) {
        struct world_attempt *a = &w->attempts[i];
        if (a->a.step == s && a->a.item == item && (!found || a->a.attempt > found->a.attempt))
            found = a;
    }
    return found;
}

static inline struct world_attempt *world_attempt(struct world *w, const char *name, int64_t item)
{
    struct world_attempt *a = world_find(w, name, item);
    if (!a)
        fail_msg("step %s item %lld was never started", name, (long long)item);
    return a;
}

static inline void world_start(struct world *w, struct job *job)
{
    struct world_attempt *known = NULL;
    for (size_t i = 0; i < w->n_attempts; i++) {
        const struct observed_attempt *a = &w->attempts[i].a;
        if (a->step == job->step && a->item == job->item && a->attempt == job->attempt)
            known = &w->attempts[i];
    }
    if (known) {
        known->starts++;
        return;
    }
    w->attempts = grow_array(w->attempts, &w->capacity, w->n_attempts, sizeof *w->attempts);
    struct world_attempt *a = &w->attempts[w->n_attempts++];
    *a = (struct world_attempt){.a = OBSERVED_ATTEMPT_INIT, .job = *job, .starts = 1};
    *job = (struct job){0};
    a->a.step = a->job.step;
    a->a.item = a->job.item;
    a->a.restart = a->job.restart;
    a->a.attempt = a->job.attempt;
    a->a.created_ms = w->now;
    a->a.n_pods = (size_t)a->job.workers;
    assert_in_range(a->a.n_pods, 1, WORLD_PODS);
    for (size_t i = 0; i < a->a.n_pods; i++) {
        a->pods[i] = OBSERVED_POD_INIT;
        a->pods[i].worker = (int)i;
    }
}

static inline void world_stop(struct world *w, const struct job *job)
{
    for (size_t i = 0; i < w->n_attempts; i++) {
        struct observed_attempt *a = &w->attempts[i].a;
        if (a->step == job->step && a->item == job->item && a->attempt == job->attempt) {
            a->deleting = true;
            w->attempts[i].stops++;
            return;
        }
    }
    fail_msg("STOP of an attempt that never was: %s", job->name);
}

/* Observes everything and plans; the status takes the way through JSON. Nothing is carried out. */
static inline void world_look(struct world *w)
{
    struct err err = ERR_INIT;
    struct observed_attempt *list = xcalloc(w->n_attempts + 1, sizeof *list);
    for (size_t i = 0; i < w->n_attempts; i++) {
        list[i] = w->attempts[i].a;
        list[i].pods = w->attempts[i].pods;
    }
    struct observed observed = {.attempts = list, .n = w->n_attempts};
    plan_release(&w->last);
    assert_ok(plan(w->pipeline, &w->run, &w->status, &observed, w->cache, &w->options, w->now, &w->last,
                   &err),
              &err);
    free(list);
    _cleanup_json_ cJSON *json = NULL;
    assert_ok(run_status_to_json(&w->last.status, &json, &err), &err);
    run_status_release(&w->status);
    assert_ok(run_status_from_json(json, w->pipeline, &w->status, &err), &err);
    (void)cache_apply(w->cache, &w->last);
}

/* world_look(), then the actions. */
static inline void world_plan(struct world *w)
{
    world_look(w);
    for (size_t i = 0; i < w->last.n_actions; i++) {
        struct action *a = &w->last.actions[i];
        if (a->kind == ACTION_START)
            world_start(w, &a->job);
        else
            world_stop(w, &a->job);
    }
}

static inline void world_wait(struct world *w, int64_t ms)
{
    w->now += ms;
    world_plan(w);
}

/* All pods of the newest attempt run. */
static inline void world_runs(struct world *w, const char *name, int64_t item)
{
    struct world_attempt *a = world_attempt(w, name, item);
    for (size_t i = 0; i < a->a.n_pods; i++) {
        a->pods[i].phase = POD_RUNNING;
        a->pods[i].started_ms = w->now;
    }
}

static inline struct observed_pod *world_pod(struct world *w, const char *name, int64_t item, int worker)
{
    return &world_attempt(w, name, item)->pods[worker];
}

static inline void world_pod_ends(struct world *w, struct observed_pod *p, int exit_code, const char *message)
{
    p->phase = exit_code == 0 ? POD_SUCCEEDED : POD_FAILED;
    p->exit_code = exit_code;
    p->message = message;
    p->started_ms = p->started_ms ? p->started_ms : w->now;
    p->finished_ms = w->now;
}

/* All pods of the newest attempt end, and the run is planned. */
static inline void world_ends(struct world *w, const char *name, int64_t item, int exit_code,
                              const char *message)
{
    struct world_attempt *a = world_attempt(w, name, item);
    for (size_t i = 0; i < a->a.n_pods; i++)
        world_pod_ends(w, &a->pods[i], exit_code, message);
    world_plan(w);
}

static inline void world_succeeds(struct world *w, const char *name)
{
    world_ends(w, name, 0, 0, OK_MESSAGE);
}

static inline size_t world_count(const struct world *w, enum action_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < w->last.n_actions; i++)
        n += w->last.actions[i].kind == kind;
    return n;
}

#define assert_state(w, name, item_, expected)                                                \
    do {                                                                                      \
        const struct item_status *it_ = world_item(w, name, item_);                           \
        if (it_->state != (expected))                                                         \
            fail_msg("%s: state %s (%s: %s), expected %s", name, step_state_name(it_->state), \
                     it_->reason ? it_->reason : "-", it_->message ? it_->message : "-",      \
                     step_state_name(expected));                                              \
    } while (0)
#define assert_phase(w, expected)                                                                \
    do {                                                                                         \
        if ((w)->status.phase != (expected))                                                     \
            fail_msg("run: phase %s (%s), expected %s", run_phase_name((w)->status.phase),       \
                     (w)->status.message ? (w)->status.message : "-", run_phase_name(expected)); \
    } while (0)
#define assert_attempt(w, name, item_, expected)                                                            \
    do {                                                                                                    \
        if (world_item(w, name, item_)->attempt != (expected))                                              \
            fail_msg("%s: attempt %d, expected %d", name, world_item(w, name, item_)->attempt, (expected)); \
    } while (0)

#define SAYS(sentence, function)             \
    {                                        \
        sentence, function, NULL, NULL, NULL \
    }

/* One container step with output o and value v; `more` is put below it. */
#define STEP(name, more)                                      \
    "    - name: " name "\n      container: {image: \"" IMAGE \
    "\", outputs: [o], values: [{name: v, type: number}]}\n" more
#define FROM(step) "      inputs: [{name: i, from: " step ".o}]\n"
