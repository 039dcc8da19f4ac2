/* Conditions and columns; see run_status.h. */
#include "operator/controller/run_status.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/text.h"

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *v = o ? cJSON_GetObjectItemCaseSensitive(o, key) : NULL;
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static const cJSON *condition_before(const cJSON *status, const char *type)
{
    const cJSON *c, *list = status ? cJSON_GetObjectItemCaseSensitive(status, "conditions") : NULL;
    cJSON_ArrayForEach(c, list)
    {
        if (text_equal(text_of(c, "type"), type))
            return c;
    }
    return NULL;
}

static void add_condition(cJSON *list, const struct run_status_extra *x, const char *type, bool holds,
                          const char *reason, const char *message)
{
    const char *status = holds ? "True" : "False";
    const cJSON *before = condition_before(x->previous, type);
    const char *since = text_of(before, "lastTransitionTime");
    char now[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(x->now_ms / 1000 * 1000, now);
    cJSON *c = json_object();
    json_add_string(c, "type", type);
    json_add_string(c, "status", status);
    json_add_int(c, "observedGeneration", x->generation);
    json_add_string(c, "lastTransitionTime",
                    since && text_equal(text_of(before, "status"), status) ? since : now);
    json_add_string(c, "reason", reason);
    json_add_string(c, "message", message ? message : "");
    json_append(list, c);
}

static cJSON *conditions_of(const struct run_status_extra *x, enum run_phase phase, const char *why,
                            const char *message)
{
    cJSON *list = json_array();
    bool finished = run_phase_finished(phase);
    const char *name = run_phase_name(phase);
    const char *reason = why && *why ? why : name;
    const char *note =
        x->unverified ? "approvals unverified: no policy of the cluster checks who approves" : message;
    add_condition(list, x, "Complete", phase == PHASE_SUCCEEDED, reason, message);
    add_condition(list, x, "Failed", phase == PHASE_FAILED, reason, message);
    add_condition(list, x, "Finished", finished, finished ? name : "NotFinished", message);
    add_condition(list, x, "Progressing", !finished && phase != PHASE_SUSPENDED, reason, note);
    add_condition(list, x, "Suspended", x->suspended && !finished,
                  x->suspended ? "Suspended" : "NotSuspended", NULL);
    return list;
}

/* The step that a person would name when asked where the run is. */
static const struct step_status *current_step(const struct run_status *s)
{
    static const enum step_state order[] = {STATE_RUNNING, STATE_AWAITING_APPROVAL, STATE_RETRYING,
                                            STATE_FAILED, STATE_READY};
    for (size_t o = 0; o < ARRAY_SIZE(order); o++) {
        for (size_t i = 0; i < s->n_steps; i++) {
            if (s->steps[i].state == order[o])
                return &s->steps[i];
        }
    }
    return NULL;
}

/* What that person would add: why it waits, is tried again, or failed. */
static const char *note_of(const struct run_status *s, const struct step_status *at, const char *blocked)
{
    if (s->message && *s->message)
        return s->message;
    if (!at || run_phase_finished(s->phase))
        return NULL;
    if (blocked)
        return blocked;
    for (size_t i = 0; i < at->n_items; i++) {
        if (at->items[i].message && at->items[i].state == at->state)
            return at->items[i].message;
    }
    return at->message;
}

static void add_columns(cJSON *status, const struct run_status *s, const char *blocked)
{
    char progress[64];
    size_t finished = 0;
    const struct step_status *at = current_step(s);
    const char *note = note_of(s, at, blocked);
    for (size_t i = 0; i < s->n_steps; i++)
        finished += step_state_done(s->steps[i].state) || s->steps[i].state == STATE_SKIPPED;
    (void)snprintf(progress, sizeof progress, "%zu/%zu", finished, s->n_steps);
    json_add_string(status, "progress", progress);
    if (at && s->phase != PHASE_SUCCEEDED)
        json_add_string(status, "step", at->name);
    if (note)
        json_add_string(status, "note", note);
}

static void add_extra(cJSON *status, const struct run_status_extra *x)
{
    json_add_int(status, "observedGeneration", x->generation);
    if (x->revision)
        json_add_string(status, "revision", x->revision);
}

int run_status_object(const struct run_status *status, const struct run_status_extra *extra, cJSON **ret,
                      struct err *err)
{
    cJSON *object;
    if (run_status_to_json(status, &object, err) < 0)
        return -1;
    add_extra(object, extra);
    add_columns(object, status, extra->blocked);
    json_add(object, "conditions", conditions_of(extra, status->phase, status->reason, status->message));
    *ret = object;
    return 0;
}

cJSON *run_status_waiting(const struct run_status_extra *extra, const char *reason, const char *message)
{
    enum run_phase phase = extra->stopped ? PHASE_STOPPED : PHASE_PENDING;
    char now[CLOCK_RFC3339_MAX];
    cJSON *object = json_object();
    json_add_string(object, "phase", run_phase_name(phase));
    json_add_string(object, "reason", reason);
    json_add_string(object, "message", message);
    json_add_string(object, "note", message);
    if (extra->stopped) {
        clock_format_rfc3339(extra->now_ms, now);
        json_add_string(object, "finished", now);
    }
    add_extra(object, extra);
    json_add(object, "conditions", conditions_of(extra, phase, reason, message));
    return object;
}
