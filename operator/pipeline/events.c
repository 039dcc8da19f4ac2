/* Events: the difference of two statuses, in sentences. */
#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/pipeline/planning.h"

enum { EVENTS_MAX = 200 }; /* a plan; the status has everything anyway */

static void add_event(struct plan *p, bool warning, const char *reason, char *message)
{
    if (p->n_events >= EVENTS_MAX) {
        free(message);
        return;
    }
    p->events = xreallocarray(p->events, p->n_events + 1, sizeof *p->events);
    p->events[p->n_events++] =
        (struct event){.reason = xstrdup(reason), .message = message, .warning = warning};
}

static void of_item(const struct step_status *st, size_t i, const struct item_status *before,
                    struct plan *plan)
{
    const struct item_status *now = &st->items[i];
    if (before && before->state == now->state && before->attempt == now->attempt)
        return;
    _cleanup_free_ char *name = st->axes ? xasprintf("%s[%zu]", st->name, i) : xstrdup(st->name);
    const char *message = now->message ? now->message : "";
    switch (now->state) {
    case STATE_WAITING:
    case STATE_READY:
    case STATE_RUNNING: /* its Job's own Events say so, and Events are half of what a run writes */
        break;
    case STATE_RETRYING:
        add_event(plan, now->fail != FAIL_NONE, "StepRetrying", xasprintf("%s: %s", name, message));
        break;
    case STATE_SUCCEEDED:
        add_event(plan, false, "StepSucceeded",
                  xasprintf("%s: succeeded%s%s", name, *message ? ": " : "", message));
        break;
    case STATE_CACHED:
        add_event(plan, false, "StepCached",
                  xasprintf("%s: %s", name, now->cache_note ? now->cache_note : "cached"));
        break;
    case STATE_SKIPPED:
        add_event(plan, false, "StepSkipped", xasprintf("%s: skipped: %s", name, message));
        break;
    case STATE_FAILED:
        add_event(plan, true, "StepFailed",
                  xasprintf("%s: failed (%s): %s", name, fail_class_name(now->fail), message));
        break;
    case STATE_STOPPED:
        add_event(plan, false, "StepStopped", xasprintf("%s: %s", name, message));
        break;
    case STATE_AWAITING_APPROVAL:
        add_event(plan, false, "AwaitingApproval", xasprintf("%s: %s", name, message));
        break;
    }
}

void events_of_difference(const struct run_status *before, struct plan *plan)
{
    const struct run_status *now = &plan->status;
    for (size_t s = 0; s < now->n_steps; s++) {
        const struct step_status *old = s < before->n_steps ? &before->steps[s] : NULL;
        for (size_t i = 0; i < now->steps[s].n_items; i++)
            of_item(&now->steps[s], i, old && i < old->n_items ? &old->items[i] : NULL, plan);
    }
    if (now->phase != before->phase && now->phase != PHASE_PENDING)
        add_event(plan, now->phase == PHASE_FAILED, "Run",
                  xasprintf("%s%s%s", run_phase_name(now->phase), now->message ? ": " : "",
                            now->message ? now->message : ""));
}
