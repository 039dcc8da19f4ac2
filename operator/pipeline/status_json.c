/* The JSON form of a run's status (TrainingRun.status, the local run record), both ways.
 *
 * A field equal to its default is left out. A step without fan-out carries its only item's fields itself; a fan-out has
 * "items": ranges {"from", "to", <what they share>, "each": [<what differs>]?}. */
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/status.h"

enum {
    FEW_ITEMS = 200, /* up to here messages have their full length, and the whole cannot become too large */
    MESSAGES_BYTES = 300 * 1024, /* beyond: what all messages share */
    SHORTEST_MESSAGE = 96,
    COUNT_MAX = 1000 * 1000 * 1000,
};

#define NUMBER_MAX (INT64_C(1) << 53)

/* --- writing ------------------------------------------------------------------------------------------- */

static void add_time(cJSON *o, const char *key, int64_t ms)
{
    char text[CLOCK_RFC3339_MAX];
    if (ms == 0)
        return;
    clock_format_rfc3339(ms, text);
    json_add_string(o, key, text);
}

static void add_int(cJSON *o, const char *key, int64_t value, int64_t fallback)
{
    if (value != fallback)
        json_add_int(o, key, value);
}

static void add_text(cJSON *o, const char *key, const char *text)
{
    if (text)
        json_add_string(o, key, text);
}

static void add_message(cJSON *o, const char *key, const char *text, size_t max)
{
    if (!text)
        return;
    size_t len = strlen(text);
    if (len > max) {
        len = max - 3;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
        char *cut = xasprintf("%.*s…", (int)len, text);
        json_add_string(o, key, cut);
        free(cut);
    } else {
        json_add_string(o, key, text);
    }
}

static void add_stopwatch(cJSON *o, const char *key, const struct stopwatch *w)
{
    if (w->counted_ms == 0 && w->since_ms == 0)
        return;
    cJSON *v = json_object();
    add_int(v, "countedMs", w->counted_ms, 0);
    add_time(v, "since", w->since_ms);
    json_add(o, key, v);
}

/* What neighbours in a fan-out often share. */
static void add_shared(cJSON *o, const struct item_status *i, size_t max_message)
{
    json_add_string(o, "state", step_state_name(i->state));
    add_int(o, "restart", i->restart, 0);
    add_int(o, "attempt", i->attempt, 0);
    cJSON *charged = json_object();
    for (int c = FAIL_INFRASTRUCTURE; c < FAIL_N; c++)
        add_int(charged, fail_class_name((enum fail_class)c), i->charged[c], 0);
    if (charged->child)
        json_add(o, "charged", charged);
    else
        cJSON_Delete(charged);
    add_int(o, "progresslessPreemptions", i->progressless_preemptions, 0);
    add_int(o, "uncharged", i->uncharged, 0);
    add_int(o, "missingInputs", i->missing_inputs, 0);
    add_int(o, "memoryBytes", i->memory_bytes, 0);
    if (i->fail != FAIL_NONE)
        json_add_string(o, "class", fail_class_name(i->fail));
    add_text(o, "reason", i->reason);
    add_message(o, "message", i->message, max_message);
    add_message(o, "cache", i->cache_note, max_message);
    if (i->cache_bypass)
        json_add_bool(o, "cacheBypass", true);
    if (!i->attempt_over)
        json_add_bool(o, "attemptLive", true);
}

static void add_own(cJSON *o, const struct item_status *i, int64_t index)
{
    add_time(o, "started", i->started_ms);
    add_time(o, "finished", i->finished_ms);
    add_time(o, "attemptStarted", i->attempt_started_ms);
    add_time(o, "attemptEnded", i->attempt_ended_ms);
    add_time(o, "deletingSince", i->deleting_ms);
    add_time(o, "gangFailed", i->gang_failed_ms);
    add_time(o, "stopAsked", i->stop_at_ms);
    add_time(o, "retryAt", i->retry_at_ms);
    add_stopwatch(o, "pending", &i->pending);
    if (i->progress >= 0)
        json_add_double(o, "progress", i->progress);
    add_int(o, "checkpointStep", i->checkpoint_step, -1);
    add_int(o, "checkpointAtStart", i->checkpoint_at_start, -1);
    if (i->gpu_seconds_used > 0)
        json_add_double(o, "gpuSecondsUsed", i->gpu_seconds_used);
    if (i->gpu_seconds_wasted > 0)
        json_add_double(o, "gpuSecondsWasted", i->gpu_seconds_wasted);
    if (i->outputs)
        json_add(o, "outputs", cJSON_Duplicate(i->outputs, true));
    if (i->values)
        json_add(o, "values", cJSON_Duplicate(i->values, true));
    if (step_state_done(i->state)) {
        add_text(o, "fromRun", i->from_run);
        add_text(o, "fromStep", i->from_step);
        add_int(o, "fromItem", i->from_item, index);
        add_int(o, "fromRestart", i->from_restart, i->restart);
    }
    add_text(o, "cacheKey", i->cache_key);
}

static void finish_range(cJSON *range, cJSON *each, bool each_matters, size_t last)
{
    json_add_int(range, "to", (int64_t)last);
    if (each_matters)
        json_add(range, "each", each);
    else
        cJSON_Delete(each);
}

static cJSON *items_to_json(const struct step_status *s, size_t max_message)
{
    cJSON *ranges = json_array();
    cJSON *range = NULL, *each = NULL, *shared = NULL;
    bool each_matters = false;
    for (size_t i = 0; i < s->n_items; i++) {
        cJSON *mine = json_object(), *own = json_object();
        add_shared(mine, &s->items[i], max_message);
        add_own(own, &s->items[i], (int64_t)i);
        if (shared && cJSON_Compare(shared, mine, true)) {
            cJSON_Delete(mine);
        } else {
            if (range)
                finish_range(range, each, each_matters, i - 1);
            cJSON_Delete(shared);
            shared = mine;
            range = cJSON_Duplicate(mine, true);
            json_add_int(range, "from", (int64_t)i);
            json_append(ranges, range);
            each = json_array();
            each_matters = false;
        }
        each_matters = each_matters || own->child != NULL;
        json_append(each, own);
    }
    if (range)
        finish_range(range, each, each_matters, s->n_items - 1);
    cJSON_Delete(shared);
    return ranges;
}

static cJSON *step_to_json(const struct step_status *s, size_t max_message)
{
    cJSON *o = json_object();
    json_add_string(o, "name", s->name);
    if (s->expanded)
        json_add_bool(o, "expanded", true);
    if (!s->axes && s->n_items == 1) {
        add_shared(o, &s->items[0], max_message);
        add_own(o, &s->items[0], 0);
        return o;
    }
    json_add_string(o, "state", step_state_name(s->state));
    add_text(o, "reason", s->reason);
    add_message(o, "message", s->message, max_message);
    if (s->axes)
        json_add(o, "axes", cJSON_Duplicate(s->axes, true));
    json_add(o, "items", items_to_json(s, max_message));
    return o;
}

static size_t count_items(const struct run_status *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_steps; i++)
        n += s->steps[i].n_items;
    return n;
}

int run_status_to_json(const struct run_status *s, cJSON **ret, struct err *err)
{
    size_t n = count_items(s), max_message = LIMIT_MESSAGE_BYTES;
    if (n > FEW_ITEMS)
        max_message = MESSAGES_BYTES / n > SHORTEST_MESSAGE ? MESSAGES_BYTES / n : SHORTEST_MESSAGE;
    _cleanup_json_ cJSON *o = json_object();
    json_add_string(o, "phase", run_phase_name(s->phase));
    add_text(o, "reason", s->reason);
    add_message(o, "message", s->message, LIMIT_MESSAGE_BYTES);
    add_time(o, "started", s->started_ms);
    add_time(o, "finished", s->finished_ms);
    add_stopwatch(o, "clock", &s->clock);
    if (s->stopping != RUN_STOP_NONE)
        json_add_string(o, "stopping", s->stopping == RUN_STOP_NOW ? "Now" : "Graceful");
    if (s->out_of_time)
        json_add_bool(o, "outOfTime", true);
    add_text(o, "observedRestart", s->observed_restart);
    cJSON *steps = json_array();
    json_add(o, "steps", steps);
    for (size_t i = 0; i < s->n_steps; i++)
        json_append(steps, step_to_json(&s->steps[i], max_message));
    if (n > FEW_ITEMS) {
        _cleanup_free_ char *text = cJSON_PrintUnformatted(o);
        if (!text || strlen(text) > LIMIT_STATUS_BYTES)
            return err_fail(
                err, ERR_INVALID, EXITCODE_CONFIG, "status-too-large",
                "the run's status has %zu bytes, at most %d are allowed: use fewer fan-out items, or report fewer values",
                text ? strlen(text) : (size_t)0, (int)LIMIT_STATUS_BYTES);
    }
    *ret = steal_ptr(o);
    return 0;
}

/* --- reading --------------------------------------------------------------------------------------------- */

static int get_time(const cJSON *o, const struct json_path *path, const char *key, int64_t *ret,
                    struct err *err)
{
    const char *text;
    if (json_get_string_or(o, path, key, NULL, &text, err) < 0)
        return -1;
    *ret = 0;
    if (text && clock_parse_rfc3339(text, ret, err) < 0)
        return err_wrap(err, "status: %s", key);
    return 0;
}

/* Edited by hand it may hold anything: no sum of two of these may pass an int64. */
static int get_bounded(const cJSON *o, const struct json_path *path, const char *key, int64_t fallback,
                       int64_t max, int64_t *ret, struct err *err)
{
    if (json_get_int_or(o, path, key, fallback, ret, err) < 0)
        return -1;
    if (*ret < -1 || *ret > max)
        return err_set(err, ERR_INVALID, "status: %s is %lld, expected at most %lld", key, (long long)*ret,
                       (long long)max);
    return 0;
}

static int get_int(const cJSON *o, const struct json_path *path, const char *key, int64_t fallback, int *ret,
                   struct err *err)
{
    int64_t v;
    if (get_bounded(o, path, key, fallback, COUNT_MAX, &v, err) < 0)
        return -1;
    *ret = (int)v;
    return 0;
}

static int get_text(const cJSON *o, const struct json_path *path, const char *key, char **ret,
                    struct err *err)
{
    const char *text;
    if (json_get_string_or(o, path, key, NULL, &text, err) < 0)
        return -1;
    *ret = text ? xstrdup(text) : NULL;
    return 0;
}

static int get_stopwatch(const cJSON *o, const struct json_path *path, const char *key, struct stopwatch *ret,
                         struct err *err)
{
    const cJSON *v;
    *ret = (struct stopwatch){0};
    if (json_get_object_or(o, path, key, &v, err) < 0)
        return -1;
    if (!v)
        return 0;
    struct json_path p = {.parent = path, .key = key};
    if (get_bounded(v, &p, "countedMs", 0, NUMBER_MAX, &ret->counted_ms, err) < 0)
        return -1;
    return get_time(v, &p, "since", &ret->since_ms, err);
}

static int get_name(const cJSON *o, const struct json_path *path, const char *key,
                    const char *(*name_of)(int), int n, int *ret, struct err *err)
{
    const char *text;
    if (json_get_string(o, path, key, &text, err) < 0)
        return -1;
    for (int i = 0; i < n; i++) {
        if (text_equal(text, name_of(i))) {
            *ret = i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "status: %s \"%s\" is none that this version knows", key, text);
}

static const char *state_name_of(int i)
{
    return step_state_name((enum step_state)i);
}

static const char *phase_name_of(int i)
{
    return run_phase_name((enum run_phase)i);
}

static int get_charged(const cJSON *o, const struct json_path *path, struct item_status *i, struct err *err)
{
    const cJSON *charged;
    if (json_get_object_or(o, path, "charged", &charged, err) < 0)
        return -1;
    if (!charged)
        return 0;
    struct json_path p = {.parent = path, .key = "charged"};
    for (int c = FAIL_INFRASTRUCTURE; c < FAIL_N; c++)
        if (get_int(charged, &p, fail_class_name((enum fail_class)c), 0, &i->charged[c], err) < 0)
            return -1;
    return 0;
}

static int shared_from_json(const cJSON *o, const struct json_path *path, struct item_status *i,
                            struct err *err)
{
    int state = STATE_WAITING;
    bool live;
    const char *class_;
    if (get_name(o, path, "state", state_name_of, STATE_AWAITING_APPROVAL + 1, &state, err) < 0 ||
        get_int(o, path, "restart", 0, &i->restart, err) < 0 ||
        get_int(o, path, "attempt", 0, &i->attempt, err) < 0 || get_charged(o, path, i, err) < 0 ||
        get_int(o, path, "progresslessPreemptions", 0, &i->progressless_preemptions, err) < 0 ||
        get_int(o, path, "uncharged", 0, &i->uncharged, err) < 0 ||
        get_int(o, path, "missingInputs", 0, &i->missing_inputs, err) < 0 ||
        get_bounded(o, path, "memoryBytes", 0, NUMBER_MAX, &i->memory_bytes, err) < 0 ||
        json_get_string_or(o, path, "class", "", &class_, err) < 0 ||
        get_text(o, path, "reason", &i->reason, err) < 0 ||
        get_text(o, path, "message", &i->message, err) < 0 ||
        get_text(o, path, "cache", &i->cache_note, err) < 0 ||
        json_get_bool_or(o, path, "cacheBypass", false, &i->cache_bypass, err) < 0 ||
        json_get_bool_or(o, path, "attemptLive", false, &live, err) < 0)
        return -1;
    i->state = (enum step_state)state;
    i->fail = fail_class_from_name(class_);
    i->attempt_over = !live;
    return 0;
}

static int own_from_json(const cJSON *o, const struct json_path *path, int64_t index, struct item_status *i,
                         struct err *err)
{
    const cJSON *outputs, *values;
    if (get_time(o, path, "started", &i->started_ms, err) < 0 ||
        get_time(o, path, "finished", &i->finished_ms, err) < 0 ||
        get_time(o, path, "attemptStarted", &i->attempt_started_ms, err) < 0 ||
        get_time(o, path, "attemptEnded", &i->attempt_ended_ms, err) < 0 ||
        get_time(o, path, "deletingSince", &i->deleting_ms, err) < 0 ||
        get_time(o, path, "gangFailed", &i->gang_failed_ms, err) < 0 ||
        get_time(o, path, "stopAsked", &i->stop_at_ms, err) < 0 ||
        get_time(o, path, "retryAt", &i->retry_at_ms, err) < 0 ||
        get_stopwatch(o, path, "pending", &i->pending, err) < 0 ||
        json_get_double_or(o, path, "progress", -1, &i->progress, err) < 0 ||
        get_bounded(o, path, "checkpointStep", -1, NUMBER_MAX, &i->checkpoint_step, err) < 0 ||
        get_bounded(o, path, "checkpointAtStart", -1, NUMBER_MAX, &i->checkpoint_at_start, err) < 0 ||
        json_get_double_or(o, path, "gpuSecondsUsed", 0, &i->gpu_seconds_used, err) < 0 ||
        json_get_double_or(o, path, "gpuSecondsWasted", 0, &i->gpu_seconds_wasted, err) < 0 ||
        json_get_object_or(o, path, "outputs", &outputs, err) < 0 ||
        json_get_object_or(o, path, "values", &values, err) < 0 ||
        get_text(o, path, "fromRun", &i->from_run, err) < 0 ||
        get_text(o, path, "fromStep", &i->from_step, err) < 0 ||
        get_text(o, path, "cacheKey", &i->cache_key, err) < 0)
        return -1;
    i->outputs = outputs ? cJSON_Duplicate(outputs, true) : NULL;
    i->values = values ? cJSON_Duplicate(values, true) : NULL;
    if (!step_state_done(i->state))
        return 0;
    if (get_bounded(o, path, "fromItem", index, NUMBER_MAX, &i->from_item, err) < 0)
        return -1;
    return get_int(o, path, "fromRestart", i->restart, &i->from_restart, err);
}

static int range_from_json(const cJSON *range, const struct json_path *path, struct step_status *s,
                           struct err *err)
{
    int64_t from, to;
    const cJSON *each;
    if (json_get_int(range, path, "from", &from, err) < 0 || json_get_int(range, path, "to", &to, err) < 0 ||
        json_get_array_or(range, path, "each", &each, err) < 0)
        return -1;
    if (from != (int64_t)s->n_items || to < from || to >= LIMIT_FANOUT_ITEMS ||
        (each && cJSON_GetArraySize(each) != to - from + 1))
        return err_set(
            err, ERR_INVALID,
            "status: step %s: items %lld to %lld do not follow each other, or `each` has another length",
            s->name, (long long)from, (long long)to);
    step_status_resize(s, (size_t)to + 1);
    const cJSON *own = each ? each->child : NULL;
    struct json_path p = {.parent = path, .key = "each"};
    for (int64_t i = from; i <= to; i++, own = own ? own->next : NULL)
        if (shared_from_json(range, path, &s->items[i], err) < 0 ||
            own_from_json(own, &p, i, &s->items[i], err) < 0)
            return -1;
    return 0;
}

static int step_from_json(const cJSON *o, const struct json_path *path, struct step_status *s,
                          struct err *err)
{
    const cJSON *items, *axes;
    int state = STATE_WAITING;
    if (get_text(o, path, "name", &s->name, err) < 0 ||
        json_get_bool_or(o, path, "expanded", false, &s->expanded, err) < 0 ||
        json_get_array_or(o, path, "items", &items, err) < 0 ||
        json_get_array_or(o, path, "axes", &axes, err) < 0 ||
        get_name(o, path, "state", state_name_of, STATE_AWAITING_APPROVAL + 1, &state, err) < 0)
        return -1;
    if (!s->name)
        return err_set(err, ERR_INVALID, "status: a step has no name");
    s->state = (enum step_state)state;
    if (!items) {
        step_status_resize(s, 1);
        if (shared_from_json(o, path, &s->items[0], err) < 0)
            return -1;
        return own_from_json(o, path, 0, &s->items[0], err);
    }
    s->axes = axes ? cJSON_Duplicate(axes, true) : NULL;
    if (get_text(o, path, "reason", &s->reason, err) < 0 ||
        get_text(o, path, "message", &s->message, err) < 0)
        return -1;
    step_status_resize(s, 0);
    const cJSON *range;
    struct json_path p = {.parent = path, .key = "items"};
    cJSON_ArrayForEach(range, items) if (range_from_json(range, &p, s, err) < 0) return -1;
    return 0;
}

static int steps_from_json(const cJSON *steps, const struct pipeline *p, struct run_status *s,
                           struct err *err)
{
    size_t n = (size_t)cJSON_GetArraySize(steps);
    if (n != p->n_steps)
        return err_set(err, ERR_INVALID,
                       "status: has %zu steps where the pipeline has %zu: it is of another pipeline", n,
                       p->n_steps);
    s->steps = xcalloc(n ? n : 1, sizeof *s->steps);
    s->n_steps = n;
    const cJSON *o = steps->child;
    for (size_t i = 0; i < n; i++, o = o->next) {
        struct json_path list = {.key = "steps"}, path = {.parent = &list, .index = i};
        if (step_from_json(o, &path, &s->steps[i], err) < 0)
            return -1;
        if (!text_equal(s->steps[i].name, p->steps[i].name))
            return err_set(err, ERR_INVALID, "status: step %zu is \"%s\" where the pipeline has \"%s\"", i,
                           s->steps[i].name, p->steps[i].name);
    }
    return 0;
}

int run_status_from_json(const cJSON *json, const struct pipeline *p, struct run_status *ret, struct err *err)
{
    _cleanup_run_status_ struct run_status s;
    run_status_init(&s);
    int phase = PHASE_PENDING;
    const char *stopping;
    const cJSON *steps;
    if (get_name(json, NULL, "phase", phase_name_of, PHASE_STOPPED + 1, &phase, err) < 0 ||
        get_text(json, NULL, "reason", &s.reason, err) < 0 ||
        get_text(json, NULL, "message", &s.message, err) < 0 ||
        get_time(json, NULL, "started", &s.started_ms, err) < 0 ||
        get_time(json, NULL, "finished", &s.finished_ms, err) < 0 ||
        get_stopwatch(json, NULL, "clock", &s.clock, err) < 0 ||
        json_get_string_or(json, NULL, "stopping", "", &stopping, err) < 0 ||
        json_get_bool_or(json, NULL, "outOfTime", false, &s.out_of_time, err) < 0 ||
        get_text(json, NULL, "observedRestart", &s.observed_restart, err) < 0 ||
        json_get_array_or(json, NULL, "steps", &steps, err) < 0)
        return -1;
    s.phase = (enum run_phase)phase;
    s.stopping = text_equal(stopping, "Now")        ? RUN_STOP_NOW
                 : text_equal(stopping, "Graceful") ? RUN_STOP_GRACEFUL
                                                    : RUN_STOP_NONE;
    if (steps && steps->child && steps_from_json(steps, p, &s, err) < 0)
        return -1;
    *ret = s;
    s = (struct run_status){0};
    return 0;
}
