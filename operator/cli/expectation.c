#include "operator/cli/expectation.h"

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"

enum { ROUNDS_MAX = LIMIT_STEPS + 10 };

/* Attempts that the play pretends to see. */
struct play {
    struct observed_attempt *attempts;
    struct observed_pod **pods;
    char **messages;
    size_t n, capacity, pods_capacity, messages_capacity;
};

static void play_release(struct play *y)
{
    for (size_t i = 0; i < y->n; i++) {
        free(y->pods[i]);
        free(y->messages[i]);
    }
    free(y->attempts);
    free(y->pods);
    free(y->messages);
}

static bool looks_outside(enum step_kind kind)
{
    return kind == STEP_DATA_VALIDATE || kind == STEP_EVALUATE || kind == STEP_REGISTER;
}

static const struct item_status *previous_item(const struct run_status *previous, const char *step,
                                               int64_t item)
{
    for (size_t i = 0; previous && i < previous->n_steps; i++) {
        const struct step_status *s = &previous->steps[i];
        if (strcmp(s->name, step) == 0)
            return (size_t)item < s->n_items && step_state_done(s->items[item].state) ? &s->items[item]
                                                                                      : NULL;
    }
    return NULL;
}

static bool is_played(const struct play *y, const struct job *job)
{
    for (size_t i = 0; i < y->n; i++) {
        if (y->attempts[i].step == job->step && y->attempts[i].item == job->item &&
            y->attempts[i].attempt == job->attempt)
            return true;
    }
    return false;
}

/* The attempt succeeded with the earlier results; without them it runs for ever. */
static int play_attempt(struct play *y, const struct job *job, const struct item_status *earlier,
                        int64_t now_ms, struct err *err)
{
    size_t workers = job->workers > 0 ? (size_t)job->workers : 1, i = y->n;
    char *message = NULL;
    if (earlier) {
        struct result r = {.outputs = earlier->outputs, .values = earlier->values};
        _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_BYTES);
        if (result_format(&r, &text, err) < 0)
            return -1;
        message = buf_take(&text);
    }
    y->attempts = grow_array(y->attempts, &y->capacity, i, sizeof *y->attempts);
    y->pods = grow_array(y->pods, &y->pods_capacity, i, sizeof *y->pods);
    y->messages = grow_array(y->messages, &y->messages_capacity, i, sizeof *y->messages);
    y->messages[i] = message;
    y->pods[i] = xcalloc(workers, sizeof **y->pods);
    for (size_t w = 0; w < workers; w++) {
        struct observed_pod *pod = &y->pods[i][w];
        *pod = OBSERVED_POD_INIT;
        pod->worker = (int)w;
        pod->phase = earlier ? POD_SUCCEEDED : POD_RUNNING;
        pod->exit_code = earlier ? 0 : -1;
        pod->message = w == 0 ? message : NULL;
        pod->started_ms = now_ms;
        pod->finished_ms = earlier ? now_ms : 0;
    }
    struct observed_attempt *a = &y->attempts[i];
    *a = OBSERVED_ATTEMPT_INIT;
    a->step = job->step;
    a->item = job->item;
    a->restart = job->restart;
    a->attempt = job->attempt;
    a->created_ms = now_ms;
    a->pods = y->pods[i];
    a->n_pods = workers;
    y->n++;
    return 0;
}

static char *sentence(const struct pipeline *p, const struct step_status *s, size_t index,
                      const struct run_status *previous)
{
    enum step_kind kind = p->steps[index].kind;
    const char *note = s->n_items && s->items[0].cache_note ? s->items[0].cache_note : "";
    bool assumed = looks_outside(kind) && previous_item(previous, s->name, 0);
    switch (s->state) {
    case STATE_CACHED:
        return xasprintf("does not start (%s)", *note ? note : "cached");
    case STATE_SKIPPED:
        return xasprintf("skipped%s%s", s->message ? ": " : "", s->message ? s->message : "");
    case STATE_AWAITING_APPROVAL:
        return xstrdup("waits for a person's approval");
    case STATE_SUCCEEDED:
    case STATE_RUNNING:
        if (assumed)
            return xstrdup("starts, looks at what it reads, and answers at once if that has not changed");
        return xasprintf("works%s%s%s", *note ? " (" : "", note, *note ? ")" : "");
    default:
        return xstrdup("follows from the steps before it");
    }
}

int expectation(const struct pipeline *p, const struct run_spec *run, const struct plan_options *options,
                const cJSON *cache, const struct run_status *previous, int64_t now_ms, cJSON **ret,
                struct err *err)
{
    CLEANUP(play_release) struct play y = {0};
    _cleanup_run_status_ struct run_status status;
    bool moved = true;
    run_status_init(&status);
    for (int round = 0; moved && round < ROUNDS_MAX; round++) {
        _cleanup_plan_ struct plan step = {0};
        struct observed seen = {.attempts = y.attempts, .n = y.n};
        if (plan(p, run, &status, &seen, cache, options, now_ms, &step, err) < 0)
            return -1;
        run_status_release(&status);
        status = step.status;
        run_status_init(&step.status);
        moved = false;
        for (size_t i = 0; i < step.n_actions; i++) {
            const struct job *job = &step.actions[i].job;
            if (step.actions[i].kind != ACTION_START || is_played(&y, job))
                continue;
            bool outside = looks_outside(p->steps[job->step].kind);
            if (play_attempt(&y, job,
                             outside ? previous_item(previous, p->steps[job->step].name, job->item) : NULL,
                             now_ms, err) < 0)
                return -1;
            moved = true;
        }
        now_ms += 1000;
    }
    cJSON *all = json_object();
    for (size_t i = 0; i < status.n_steps; i++) {
        _cleanup_free_ char *text = sentence(p, &status.steps[i], i, previous);
        json_add_string(all, status.steps[i].name, text);
    }
    *ret = all;
    return 0;
}
