/* Fan-out of steps: see fanout.h. */
#include "operator/pipeline/fanout.h"

#include "common/base/limits.h"
#include "operator/pipeline/params.h"

bool fanout_is(const struct step *step)
{
    return step->fanout.n_axes > 0 || step->fanout.from != NULL;
}

int fanout_expand(const struct step *step, struct step_status *s, const struct expr_scope *scope,
                  struct err *err)
{
    if (!fanout_is(step)) {
        s->expanded = true;
        return 0;
    }
    cJSON *items = NULL;
    if (params_fanout_items(step, scope, &items, err) < 0)
        return -1;
    size_t n = (size_t)cJSON_GetArraySize(items);
    if (n > LIMIT_FANOUT_ITEMS) {
        cJSON_Delete(items);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "fan-out-too-large",
                        "step %s fans out to %zu items, at most %d are allowed", step->name, n,
                        (int)LIMIT_FANOUT_ITEMS);
    }
    step_status_resize(s, n);
    cJSON_Delete(s->axes);
    s->axes = items;
    s->expanded = true;
    return 0;
}

struct tally {
    size_t by_state[STATE_AWAITING_APPROVAL + 1];
    size_t n;
};

static struct tally count(const struct step_status *s)
{
    struct tally t = {.n = s->n_items};
    for (size_t i = 0; i < s->n_items; i++)
        t.by_state[s->items[i].state]++;
    return t;
}

static int64_t allowed_failures(const struct step *step, size_t n)
{
    return step->fanout.min_success < 0 || !fanout_is(step) ? 0 : (int64_t)n - step->fanout.min_success;
}

bool fanout_doomed(const struct step *step, const struct step_status *s)
{
    struct tally t = count(s);
    return (s->expanded || !fanout_is(step)) ? (int64_t)t.by_state[STATE_FAILED] > allowed_failures(step, t.n)
                                             : t.by_state[STATE_FAILED] > 0;
}

static enum step_state finished_state(const struct step *step, const struct step_status *s,
                                      const struct tally *t)
{
    if (fanout_doomed(step, s))
        return STATE_FAILED;
    if (t->by_state[STATE_STOPPED] > 0)
        return STATE_STOPPED;
    if (t->n > 0 && t->by_state[STATE_SKIPPED] == t->n)
        return STATE_SKIPPED;
    if (t->n > 0 && t->by_state[STATE_CACHED] == t->n)
        return STATE_CACHED;
    return STATE_SUCCEEDED;
}

void fanout_summarise(const struct step *step, struct step_status *s)
{
    static const enum step_state order[] = {STATE_RUNNING, STATE_RETRYING, STATE_READY,
                                            STATE_AWAITING_APPROVAL, STATE_WAITING};
    struct tally t = count(s);
    enum step_state state = finished_state(step, s, &t);
    for (size_t i = sizeof order / sizeof *order; i-- > 0;)
        if (t.by_state[order[i]] > 0)
            state = order[i];
    if (!s->expanded && fanout_is(step) && !step_state_finished(state))
        state = STATE_WAITING;
    s->state = state;
    if (!s->axes)
        return;
    size_t done = t.by_state[STATE_SUCCEEDED] + t.by_state[STATE_CACHED];
    if (fanout_doomed(step, s))
        (void)status_explain(&s->reason, &s->message, "ItemsFailed", "%zu of %zu items have failed, %lld may",
                             t.by_state[STATE_FAILED], t.n,
                             (long long)(allowed_failures(step, t.n) > 0 ? allowed_failures(step, t.n) : 0));
    else
        (void)status_explain(&s->reason, &s->message, NULL, "%zu of %zu items are done", done, t.n);
}
