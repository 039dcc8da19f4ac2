/* The run's database in memory: see status.h. Its JSON form is in status_json.c. */
#include "operator/pipeline/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"

static const char *const state_names[] = {
    [STATE_WAITING] = "Waiting",     [STATE_READY] = "Ready",
    [STATE_RUNNING] = "Running",     [STATE_RETRYING] = "Retrying",
    [STATE_SUCCEEDED] = "Succeeded", [STATE_CACHED] = "Cached",
    [STATE_SKIPPED] = "Skipped",     [STATE_FAILED] = "Failed",
    [STATE_STOPPED] = "Stopped",     [STATE_AWAITING_APPROVAL] = "AwaitingApproval",
};
static const char *const phase_names[] = {
    [PHASE_PENDING] = "Pending",   [PHASE_RUNNING] = "Running", [PHASE_SUSPENDED] = "Suspended",
    [PHASE_STOPPING] = "Stopping", [PHASE_FINALLY] = "Finally", [PHASE_SUCCEEDED] = "Succeeded",
    [PHASE_FAILED] = "Failed",     [PHASE_STOPPED] = "Stopped",
};

const char *step_state_name(enum step_state s)
{
    return state_names[s];
}

bool step_state_done(enum step_state s)
{
    return s == STATE_SUCCEEDED || s == STATE_CACHED;
}

bool step_state_finished(enum step_state s)
{
    return step_state_done(s) || s == STATE_SKIPPED || s == STATE_FAILED || s == STATE_STOPPED;
}

const char *run_phase_name(enum run_phase p)
{
    return phase_names[p];
}

bool run_phase_finished(enum run_phase p)
{
    return p == PHASE_SUCCEEDED || p == PHASE_FAILED || p == PHASE_STOPPED;
}

/* --- items ----------------------------------------------------------------------------------------- */

void item_status_init(struct item_status *i)
{
    *i = (struct item_status){.progress = -1,
                              .checkpoint_step = -1,
                              .checkpoint_at_start = -1,
                              .attempt_over = true};
}

void item_status_release(struct item_status *i)
{
    i->reason = xfree(i->reason);
    i->message = xfree(i->message);
    i->cache_note = xfree(i->cache_note);
    cJSON_Delete(i->outputs);
    cJSON_Delete(i->values);
    i->outputs = i->values = NULL;
    i->from_run = xfree(i->from_run);
    i->from_step = xfree(i->from_step);
    i->cache_key = xfree(i->cache_key);
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static cJSON *dup_json(const cJSON *v)
{
    return v ? cJSON_Duplicate(v, true) : NULL;
}

static void item_status_copy(const struct item_status *from, struct item_status *ret)
{
    *ret = *from;
    ret->reason = dup_or_null(from->reason);
    ret->message = dup_or_null(from->message);
    ret->cache_note = dup_or_null(from->cache_note);
    ret->outputs = dup_json(from->outputs);
    ret->values = dup_json(from->values);
    ret->from_run = dup_or_null(from->from_run);
    ret->from_step = dup_or_null(from->from_step);
    ret->cache_key = dup_or_null(from->cache_key);
}

/* At most LIMIT_MESSAGE_BYTES of valid UTF-8 without control characters: a step's own words may hold anything. */
static char *clean_text(const char *text)
{
    static const char mark[] = "…";
    size_t len = strlen(text), n = 0;
    char *out = xmalloc(LIMIT_MESSAGE_BYTES + 1);
    for (size_t i = 0; i < len;) {
        size_t seq = text_utf8_length(text + i, len - i);
        bool good = seq > 0 && (unsigned char)text[i] >= 0x20 && text[i] != 0x7f;
        size_t add = good ? seq : 1;
        size_t room = LIMIT_MESSAGE_BYTES - (i + add < len ? sizeof mark - 1 : 0);
        if (n + add > room) {
            memcpy(out + n, mark, sizeof mark - 1);
            n += sizeof mark - 1;
            break;
        }
        if (good)
            memcpy(out + n, text + i, add);
        else
            out[n] = text[i] == '\n' || text[i] == '\t' ? ' ' : '?';
        n += add;
        i += good ? seq : (seq > 1 ? seq : 1);
    }
    out[n] = '\0';
    return out;
}

static bool replace_text(char **place, char *value)
{
    if (text_equal(*place, value)) {
        free(value);
        return false;
    }
    free(*place);
    *place = value;
    return true;
}

bool status_explain(char **reason, char **message, const char *new_reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool changed = status_vexplain(reason, message, new_reason, fmt, ap);
    va_end(ap);
    return changed;
}

bool status_vexplain(char **reason, char **message, const char *new_reason, const char *fmt, va_list ap)
{
    char *clean = NULL;
    if (fmt) {
        char raw[2 * LIMIT_MESSAGE_BYTES];
        (void)vsnprintf(raw, sizeof raw, fmt, ap);
        clean = clean_text(raw);
    }
    bool changed = replace_text(reason, dup_or_null(new_reason));
    return replace_text(message, clean) || changed;
}

bool item_status_explain(struct item_status *i, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool changed = status_vexplain(&i->reason, &i->message, reason, fmt, ap);
    va_end(ap);
    return changed;
}

void item_status_note_cache(struct item_status *i, const char *fmt, ...)
{
    char *no_reason = NULL;
    va_list ap;
    va_start(ap, fmt);
    (void)status_vexplain(&no_reason, &i->cache_note, NULL, fmt, ap);
    va_end(ap);
}

void item_status_forget_result(struct item_status *i)
{
    cJSON_Delete(i->outputs);
    cJSON_Delete(i->values);
    i->outputs = i->values = NULL;
    i->from_run = xfree(i->from_run);
    i->from_step = xfree(i->from_step);
    i->from_item = i->from_restart = 0;
    i->cache_note = xfree(i->cache_note);
    i->cache_key = xfree(i->cache_key);
}

/* --- runs -------------------------------------------------------------------------------------------- */

void run_status_init(struct run_status *s)
{
    *s = (struct run_status){.phase = PHASE_PENDING};
}

static void step_status_release(struct step_status *s)
{
    free(s->name);
    free(s->reason);
    free(s->message);
    for (size_t i = 0; i < s->n_items; i++)
        item_status_release(&s->items[i]);
    free(s->items);
    cJSON_Delete(s->axes);
}

void run_status_release(struct run_status *s)
{
    free(s->reason);
    free(s->message);
    free(s->observed_restart);
    for (size_t i = 0; i < s->n_steps; i++)
        step_status_release(&s->steps[i]);
    free(s->steps);
    *s = (struct run_status){0};
}

static void step_status_copy(const struct step_status *from, struct step_status *ret)
{
    *ret = *from;
    ret->name = dup_or_null(from->name);
    ret->reason = dup_or_null(from->reason);
    ret->message = dup_or_null(from->message);
    ret->axes = dup_json(from->axes);
    ret->items = xcalloc(from->n_items ? from->n_items : 1, sizeof *ret->items);
    for (size_t i = 0; i < from->n_items; i++)
        item_status_copy(&from->items[i], &ret->items[i]);
}

void run_status_copy(const struct run_status *from, struct run_status *ret)
{
    *ret = *from;
    ret->reason = dup_or_null(from->reason);
    ret->message = dup_or_null(from->message);
    ret->observed_restart = dup_or_null(from->observed_restart);
    ret->steps = xcalloc(from->n_steps ? from->n_steps : 1, sizeof *ret->steps);
    for (size_t i = 0; i < from->n_steps; i++)
        step_status_copy(&from->steps[i], &ret->steps[i]);
}

void run_status_prepare(struct run_status *s, const struct pipeline *p)
{
    s->steps = xcalloc(p->n_steps ? p->n_steps : 1, sizeof *s->steps);
    s->n_steps = p->n_steps;
    for (size_t i = 0; i < p->n_steps; i++) {
        s->steps[i].name = xstrdup(p->steps[i].name);
        step_status_resize(&s->steps[i], 1);
    }
}

void step_status_resize(struct step_status *s, size_t n)
{
    for (size_t i = n; i < s->n_items; i++)
        item_status_release(&s->items[i]);
    s->items = xreallocarray(s->items, n ? n : 1, sizeof *s->items);
    for (size_t i = s->n_items; i < n; i++)
        item_status_init(&s->items[i]);
    s->n_items = n;
}
