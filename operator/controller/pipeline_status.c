/* See pipeline_status.h. */
#include "operator/controller/pipeline_status.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/kube/resource.h"

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static char *read_text(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsString(v) ? xstrdup(v->valuestring) : NULL;
}

static int64_t read_time(const cJSON *object, const char *key)
{
    int64_t ms = kube_time_ms(get(object, key));
    return ms > 0 ? ms : 0;
}

static void add_text(cJSON *object, const char *key, const char *value)
{
    if (value)
        json_add_string(object, key, value);
}

static void add_time(cJSON *object, const char *key, int64_t ms)
{
    char text[CLOCK_RFC3339_MAX];
    if (!ms)
        return;
    clock_format_rfc3339(ms, text);
    json_add_string(object, key, text);
}

static void set(char **field, const char *value)
{
    if (text_equal(*field, value))
        return;
    free(*field);
    *field = value ? xstrdup(value) : NULL;
}

void pipeline_status_release(struct pipeline_status *s)
{
    free(s->ready_message);
    free(s->current_run);
    free(s->last_run);
    free(s->last_phase);
    free(s->last_successful);
    free(s->revision);
    free(s->observed_control);
    starting_memory_release(&s->memory);
    *s = (struct pipeline_status){0};
}

static void read_memory(const cJSON *status, struct starting_memory *m)
{
    const cJSON *schedule = get(status, "schedule"), *starting = get(status, "starting"),
                *pending = get(status, "pending");
    m->last_hash = read_text(status, "lastHash");
    m->last_scheduled_ms = read_time(status, "lastScheduled");
    m->cron = read_text(schedule, "cron");
    m->zone = read_text(schedule, "timeZone");
    m->since_ms = read_time(schedule, "since");
    _cleanup_free_ char *trigger = read_text(starting, "trigger"),
                        *pending_trigger = read_text(pending, "trigger");
    m->starting = (struct starting_run_record){.name = read_text(starting, "name"),
                                               .trigger = starting_trigger_parse(trigger),
                                               .hash = read_text(starting, "hash"),
                                               .revision = read_text(starting, "revision"),
                                               .scheduled_ms = read_time(starting, "scheduledTime")};
    m->pending = (struct starting_pending){.name = read_text(pending, "name"),
                                           .trigger = starting_trigger_parse(pending_trigger),
                                           .message = read_text(pending, "message")};
}

void pipeline_status_read(const cJSON *status, struct pipeline_status *ret)
{
    const cJSON *last = get(status, "lastRun"), *observed = get(status, "observedGeneration"), *condition;
    *ret = (struct pipeline_status){.current_run = read_text(status, "currentRun"),
                                    .last_run = read_text(last, "name"),
                                    .last_phase = read_text(last, "phase"),
                                    .last_finished_ms = read_time(last, "finishedAt"),
                                    .last_successful = read_text(status, "lastSuccessful"),
                                    .revision = read_text(status, "revision"),
                                    .observed_control = read_text(status, "observedControl"),
                                    .next_scheduled_ms = read_time(status, "nextScheduled")};
    ret->observed_generation = cJSON_IsNumber(observed) ? (int64_t)observed->valuedouble : 0;
    cJSON_ArrayForEach(condition, get(status, "conditions"))
    {
        const cJSON *type = get(condition, "type"), *value = get(condition, "status");
        if (!cJSON_IsString(type) || strcmp(type->valuestring, "Ready") != 0)
            continue;
        ret->ready = cJSON_IsString(value) && strcmp(value->valuestring, "True") == 0;
        free(ret->ready_message);
        ret->ready_message = read_text(condition, "message");
        ret->ready_since_ms = read_time(condition, "lastTransitionTime");
    }
    read_memory(status, &ret->memory);
}

static void write_memory(const struct starting_memory *m, cJSON *status)
{
    add_text(status, "lastHash", m->last_hash);
    add_time(status, "lastScheduled", m->last_scheduled_ms);
    if (m->cron) {
        cJSON *schedule = json_object();
        add_text(schedule, "cron", m->cron);
        add_text(schedule, "timeZone", m->zone);
        add_time(schedule, "since", m->since_ms);
        json_add(status, "schedule", schedule);
    }
    if (m->starting.name) {
        cJSON *starting = json_object();
        add_text(starting, "name", m->starting.name);
        add_text(starting, "trigger", starting_trigger_name(m->starting.trigger));
        add_text(starting, "hash", m->starting.hash);
        add_text(starting, "revision", m->starting.revision);
        add_time(starting, "scheduledTime", m->starting.scheduled_ms);
        json_add(status, "starting", starting);
    }
    if (m->pending.name) {
        cJSON *pending = json_object();
        add_text(pending, "name", m->pending.name);
        add_text(pending, "trigger", starting_trigger_name(m->pending.trigger));
        add_text(pending, "message", m->pending.message);
        json_add(status, "pending", pending);
    }
}

cJSON *pipeline_status_write(const struct pipeline_status *s)
{
    cJSON *status = json_object(), *conditions = json_array(), *ready = json_object();
    json_add_int(status, "observedGeneration", s->observed_generation);
    json_add_string(ready, "type", "Ready");
    json_add_string(ready, "status", s->ready ? "True" : "False");
    json_add_int(ready, "observedGeneration", s->observed_generation);
    add_time(ready, "lastTransitionTime", s->ready_since_ms);
    json_add_string(ready, "reason", s->ready ? "Valid" : "Invalid");
    add_text(ready, "message", s->ready_message);
    json_append(conditions, ready);
    json_add(status, "conditions", conditions);
    add_text(status, "currentRun", s->current_run);
    if (s->last_run) {
        cJSON *last = json_object();
        add_text(last, "name", s->last_run);
        add_text(last, "phase", s->last_phase);
        add_time(last, "finishedAt", s->last_finished_ms);
        json_add(status, "lastRun", last);
    }
    add_text(status, "lastSuccessful", s->last_successful);
    add_text(status, "revision", s->revision);
    add_text(status, "observedControl", s->observed_control);
    add_time(status, "nextScheduled", s->next_scheduled_ms);
    write_memory(&s->memory, status);
    return status;
}

void pipeline_status_observe(struct pipeline_status *s, const struct pipeline_status_run *runs, size_t n)
{
    const struct pipeline_status_run *current = NULL, *last = NULL, *successful = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct pipeline_status_run *r = &runs[i];
        if (!run_phase_finished(r->phase)) {
            if (!current || r->created_ms > current->created_ms ||
                (r->created_ms == current->created_ms && strcmp(r->name, current->name) > 0))
                current = r;
            continue;
        }
        if (!last || r->finished_ms > last->finished_ms)
            last = r;
        if (r->phase == PHASE_SUCCEEDED && (!successful || r->finished_ms > successful->finished_ms))
            successful = r;
    }
    set(&s->current_run, current ? current->name : NULL);
    if (last && last->finished_ms >= s->last_finished_ms) {
        set(&s->last_run, last->name);
        set(&s->last_phase, run_phase_name(last->phase));
        s->last_finished_ms = last->finished_ms;
    }
    if (successful)
        set(&s->last_successful, successful->name);
}

bool pipeline_status_set_ready(struct pipeline_status *s, bool ready, const char *message, int64_t generation,
                               int64_t now_ms)
{
    bool turned = s->ready != ready || !s->ready_since_ms,
         changed = turned || !text_equal(s->ready_message, message);
    if (turned)
        s->ready_since_ms = now_ms / 1000 * 1000;
    s->ready = ready;
    s->observed_generation = generation;
    set(&s->ready_message, message);
    return changed;
}
