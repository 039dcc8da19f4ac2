/* See starting.h. */
#include "operator/controller/starting.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/controller/labels.h"

enum { MINUTE_MS = 60 * 1000 };

/* --- names and copies ------------------------------------------------------------------------------------------ */

static const char *const trigger_names[] = {"", "SpecChange", "Schedule"};

const char *starting_trigger_name(enum starting_trigger t)
{
    return trigger_names[t];
}

enum starting_trigger starting_trigger_parse(const char *name)
{
    for (int t = TRIGGER_SPEC_CHANGE; t <= TRIGGER_SCHEDULE; t++)
        if (text_equal(name, trigger_names[t]))
            return t;
    return TRIGGER_NONE;
}

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static void set(char **field, const char *value)
{
    if (text_equal(*field, value))
        return;
    char *copy = dup_or_null(value); /* value may be part of *field */
    free(*field);
    *field = copy;
}

static void forget_starting(struct starting_run_record *s)
{
    free(s->name);
    free(s->hash);
    free(s->revision);
    *s = (struct starting_run_record){0};
}

static void forget_pending(struct starting_pending *p)
{
    free(p->name);
    free(p->message);
    *p = (struct starting_pending){0};
}

void starting_memory_release(struct starting_memory *m)
{
    free(m->last_hash);
    free(m->cron);
    free(m->zone);
    forget_starting(&m->starting);
    forget_pending(&m->pending);
    *m = (struct starting_memory){0};
}

void starting_decision_release(struct starting_decision *d)
{
    starting_memory_release(&d->memory);
    free(d->superseded);
    free(d->replace);
    *d = (struct starting_decision){0};
}

static void copy_memory(const struct starting_memory *from, struct starting_memory *to)
{
    *to = *from;
    to->last_hash = dup_or_null(from->last_hash);
    to->cron = dup_or_null(from->cron);
    to->zone = dup_or_null(from->zone);
    to->starting.name = dup_or_null(from->starting.name);
    to->starting.hash = dup_or_null(from->starting.hash);
    to->starting.revision = dup_or_null(from->starting.revision);
    to->pending.name = dup_or_null(from->pending.name);
    to->pending.message = dup_or_null(from->pending.message);
}

/* --- what is due ---------------------------------------------------------------------------------------------- */

struct due {
    enum starting_trigger trigger;
    int64_t scheduled_ms;
    int64_t until_ms; /* it is dropped then; 0: never */
};

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier_wake(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The newest `max` times in (after, until], oldest first. Windows that grow keep a schedule of every minute cheap after a long silence. */
static size_t missed(const struct schedule *schedule, int64_t after_ms, int64_t until_ms, int64_t *times,
                     size_t max)
{
    static const int64_t windows[] = {60 * MINUTE_MS, 24 * 60 * MINUTE_MS, 31LL * 24 * 60 * MINUTE_MS,
                                      INT64_MAX};
    size_t n = 0;
    for (size_t w = 0; w < ARRAY_SIZE(windows); w++) {
        bool all = until_ms - after_ms <= windows[w];
        int64_t at = all ? after_ms : until_ms - windows[w];
        struct err ignored = ERR_INIT;
        for (n = 0; schedule_next(schedule, at, &at, &ignored) == 0 && at <= until_ms; n++) {
            if (n >= max)
                memmove(times, times + 1, (max - 1) * sizeof *times);
            times[n < max ? n : max - 1] = at;
        }
        if (all || n >= max)
            break;
    }
    return n < max ? n : max;
}

/* The schedule's time that is due, if any. */
static bool due_time(const struct starting_spec *spec, const struct starting_memory *m, int64_t now_ms,
                     int64_t *ret_ms)
{
    int64_t after = later(later(m->since_ms, m->last_scheduled_ms), now_ms - spec->deadline_ms - 1);
    int64_t times[STARTING_CATCH_UP];
    size_t n =
        missed(&spec->schedule, after, now_ms, times, spec->catch_up == CATCH_UP_ALL ? STARTING_CATCH_UP : 1);
    if (n == 0)
        return false;
    *ret_ms = spec->catch_up == CATCH_UP_ALL ? times[0] : times[n - 1];
    return spec->catch_up != CATCH_UP_NONE || now_ms - *ret_ms <= STARTING_ON_TIME_MS;
}

/* A schedule that is new or has changed counts from now on. */
static void observe_schedule(const struct starting_spec *spec, struct starting_memory *m, int64_t now_ms)
{
    if (!spec->valid)
        return;
    const char *cron = spec->on_schedule ? spec->cron : NULL, *zone = spec->on_schedule ? spec->zone : NULL;
    if (text_equal(m->cron, cron) && text_equal(m->zone, zone))
        return;
    set(&m->cron, cron);
    set(&m->zone, zone);
    m->since_ms = cron ? now_ms : 0;
}

/* Of the newest run of ours, for a pipeline whose status was lost. */
static void recover_hash(struct starting_memory *m, const struct starting_run *runs, size_t n)
{
    const struct starting_run *newest = NULL;
    for (size_t i = 0; i < n; i++)
        if (runs[i].ours && runs[i].hash && (!newest || runs[i].created_ms > newest->created_ms))
            newest = &runs[i];
    if (!m->last_hash && newest)
        m->last_hash = xstrdup(newest->hash);
}

static struct due find_due(const struct starting_spec *spec, const struct starting_memory *m, int64_t now_ms)
{
    struct due due = {.trigger = TRIGGER_NONE};
    if (!spec->valid)
        return due;
    if (spec->on_schedule && due_time(spec, m, now_ms, &due.scheduled_ms)) {
        due.trigger = TRIGGER_SCHEDULE;
        due.until_ms =
            due.scheduled_ms + 1 +
            (spec->catch_up == CATCH_UP_NONE && STARTING_ON_TIME_MS < spec->deadline_ms ? STARTING_ON_TIME_MS
                                                                                        : spec->deadline_ms);
    } else if (spec->on_change && !text_equal(m->last_hash, spec->hash)) {
        due.trigger = TRIGGER_SPEC_CHANGE;
    }
    return due;
}

/* --- the run ---------------------------------------------------------------------------------------------------- */

static const struct starting_run *find_run(const struct starting_run *runs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(runs[i].name, name) == 0)
            return &runs[i];
    return NULL;
}

/* By a run that is not ours and will not go away by itself, such as a person's. */
static bool taken_for_good(const struct starting_run *run)
{
    return run && !run->ours && !run->going;
}

static char *other_name(const struct starting_spec *spec, char *name)
{
    char suffix[16];
    (void)snprintf(suffix, sizeof suffix, "-%.5s", spec->uid);
    char *other = text_ends_with(name, suffix) ? xstrdup(name) : label_cut(name, suffix, LIMIT_NAME);
    free(name);
    return other;
}

/* <pipeline>-<generation> or <pipeline>-<minute in UTC>; with the first digits of the pipeline's UID behind it where that
 * name is taken for good. */
static char *run_name(const struct starting_spec *spec, const struct due *due,
                      const struct starting_run *runs, size_t n)
{
    char suffix[64];
    if (due->trigger == TRIGGER_SCHEDULE) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(due->scheduled_ms, time); /* 2026-01-31T02:00:00Z */
        (void)snprintf(suffix, sizeof suffix, "-%.4s%.2s%.2s%.2s%.2s", time, time + 5, time + 8, time + 11,
                       time + 14);
    } else {
        (void)snprintf(suffix, sizeof suffix, "-%lld", (long long)spec->generation);
    }
    char *name = label_cut(spec->pipeline, suffix, LIMIT_NAME);
    if (taken_for_good(find_run(runs, n, name)))
        name = other_name(spec, name);
    return name;
}

static void wait_with(struct starting_decision *d, const struct due *due, char *name, const char *active,
                      bool replace)
{
    struct starting_pending *p = &d->memory.pending;
    if (p->name && strcmp(p->name, name) != 0)
        d->superseded = xstrdup(p->name);
    _cleanup_free_ char *message =
        xasprintf(replace ? "waits until run %s, which it replaces, has stopped"
                          : "waits until run %s has ended (concurrencyPolicy Forbid)",
                  active);
    set(&p->name, name);
    set(&p->message, message);
    p->trigger = due->trigger;
    d->wake_ms = earlier_wake(d->wake_ms, due->until_ms);
    free(name);
}

static void start_with(const struct starting_spec *spec, const char *revision, struct starting_decision *d,
                       const struct due *due, char *name)
{
    struct starting_memory *m = &d->memory;
    if (m->pending.name && strcmp(m->pending.name, name) != 0)
        d->superseded = xstrdup(m->pending.name);
    forget_pending(&m->pending);
    m->starting = (struct starting_run_record){.name = name,
                                               .trigger = due->trigger,
                                               .hash = xstrdup(spec->hash),
                                               .revision = xstrdup(revision),
                                               .scheduled_ms = due->scheduled_ms};
    set(&m->last_hash, spec->hash);
    if (due->trigger == TRIGGER_SCHEDULE)
        m->last_scheduled_ms = due->scheduled_ms;
}

/* Which of the runs keep a due one from starting: the name of one of them, or NULL; with Replace, what is to be stopped. */
static const char *in_the_way(const struct starting_spec *spec, const struct starting_run *runs, size_t n,
                              struct starting_decision *d)
{
    const char *active = NULL;
    if (spec->concurrency == CONCURRENCY_ALLOW)
        return NULL;
    d->replace = xcalloc(n + 1, sizeof *d->replace);
    for (size_t i = 0; i < n; i++) {
        if (!runs[i].ours || runs[i].finished)
            continue;
        active = runs[i].name;
        if (spec->concurrency == CONCURRENCY_REPLACE && !runs[i].stopping)
            d->replace[d->n_replace++] = i;
    }
    return active;
}

void starting_decide(const struct starting_spec *spec, const char *revision,
                     const struct starting_memory *memory, bool seen, const struct starting_run *runs,
                     size_t n_runs, int64_t now_ms, struct starting_decision *ret)
{
    *ret = (struct starting_decision){0};
    struct starting_memory *m = &ret->memory;
    copy_memory(memory, m);
    recover_hash(m, runs, n_runs);
    observe_schedule(spec, m, now_ms);
    struct err ignored = ERR_INIT;
    if (spec->valid && spec->on_schedule &&
        schedule_next(&spec->schedule, now_ms, &ret->next_scheduled_ms, &ignored) == 0)
        ret->wake_ms = ret->next_scheduled_ms;
    if (m->starting.name) {
        const struct starting_run *there = find_run(runs, n_runs, m->starting.name);
        if (!seen && !(there && there->ours)) {
            if (taken_for_good(there))
                m->starting.name = other_name(spec, m->starting.name);
            return; /* it has to be created first */
        }
        forget_starting(&m->starting);
    }
    struct due due = find_due(spec, m, now_ms);
    if (due.trigger == TRIGGER_NONE || !revision) {
        forget_pending(&m->pending);
        return;
    }
    char *name = run_name(spec, &due, runs, n_runs);
    const char *active = in_the_way(spec, runs, n_runs, ret);
    if (active)
        wait_with(ret, &due, name, active, spec->concurrency == CONCURRENCY_REPLACE);
    else
        start_with(spec, revision, ret, &due, name);
}
