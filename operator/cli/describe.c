#include "operator/cli/describe.h"

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/local/workers.h"
#include "operator/cli/location.h"

static const char report_file[] = "report.html";

static void add_time(cJSON *o, const char *key, int64_t ms)
{
    char text[CLOCK_RFC3339_MAX];
    if (ms == 0)
        return;
    clock_format_rfc3339(ms, text);
    json_add_string(o, key, text);
}

static void add_text(cJSON *o, const char *key, const char *value)
{
    if (value && *value)
        json_add_string(o, key, value);
}

/* --- places --------------------------------------------------------------------------------------- */

static char *step_prefix(const char *uid, const struct step_status *s, int64_t item, int restart)
{
    if (s->axes)
        return xasprintf(LAYOUT_RUNS "/%s/%s/%" PRId64 "/g%d", uid, s->name, item, restart);
    return xasprintf(LAYOUT_RUNS "/%s/%s/g%d", uid, s->name, restart);
}

char *describe_step_prefix(const struct record *r, size_t step, size_t item)
{
    const struct step_status *s = &r->status.steps[step];
    return step_prefix(r->spec.uid, s, (int64_t)item, s->items[item].restart);
}

char *describe_log_path(const struct record *r, size_t step, size_t item, int attempt, int rank)
{
    const struct step_status *s = &r->status.steps[step];
    if (attempt == 0)
        attempt = s->items[item].attempt;
    if (attempt == 0 || !r->dir)
        return NULL;
    _cleanup_free_ char *job = plan_job_name(r->spec.name, s->name, s->axes != NULL, (int64_t)item, attempt);
    _cleanup_free_ char *dir = workers_attempt_dir(r, job);
    _cleanup_free_ char *log = workers_log_name(rank);
    return fs_join(dir, log);
}

/* Appends the report at `key` if there is one: a path that a browser opens, or the object's URL. */
static void add_report(struct store *store, const char *key, cJSON *reports)
{
    struct err err = ERR_INIT;
    struct store_object head = {0};
    _cleanup_free_ char *local = store_local_path(store, key);
    if (local ? !fs_exists(local) : store_head(store, key, &head, &err) < 0)
        return;
    store_object_release(&head);
    _cleanup_free_ char *url = local ? NULL : fs_join(store_url(store), key);
    json_append(reports, cJSON_CreateString(local ? local : url));
}

static void add_reports_of_result(struct store *store, const char *prefix, const char *output, cJSON *reports)
{
    _cleanup_free_ char *key = xasprintf("%s/result.json", prefix);
    _cleanup_free_ char *text = NULL;
    size_t len;
    struct err err = ERR_INIT;
    _cleanup_result_ struct result result = {0};
    if (store_get(store, key, LIMIT_RESULT_OBJECT_BYTES, &text, &len, NULL, &err) < 0 ||
        result_parse(text, len, &result, &err) < 0)
        return;
    /* result_parse() is for messages: the folder is the object's own. */
    _cleanup_json_ cJSON *object = NULL;
    struct err err2 = ERR_INIT;
    if (json_parse(text, len, LIMIT_RESULT_OBJECT_BYTES, &object, &err2) < 0)
        return;
    const char *folder = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "folder"));
    if (!folder || !fs_safe_relative(folder))
        return;
    _cleanup_free_ char *report = xasprintf("%s/%s/%s/%s", prefix, folder, output, report_file);
    add_report(store, report, reports);
}

/* Outputs named report, of this run or of the run that the cache pointed to; after a failure what the stage kept beside its log. */
static void add_reports(const struct record *r, struct store *store, size_t step, size_t item, cJSON *reports)
{
    static const char output[] = "report";
    const struct step_status *s = &r->status.steps[step];
    const struct item_status *i = &s->items[item];
    if (!store)
        return;
    if (step_state_done(i->state) && cJSON_HasObjectItem(i->outputs, output)) {
        _cleanup_free_ char *prefix =
            step_prefix(i->from_run ? i->from_run : r->spec.uid, s,
                        i->from_run ? i->from_item : (int64_t)item, i->from_restart);
        add_reports_of_result(store, prefix, output, reports);
    } else if (i->state == STATE_FAILED && i->attempt > 0) {
        _cleanup_free_ char *prefix = describe_step_prefix(r, step, item);
        _cleanup_free_ char *key = xasprintf("%s/logs/a%d-%s/%s", prefix, i->attempt, output, report_file);
        add_report(store, key, reports);
    }
}

/* --- JSON ------------------------------------------------------------------------------------------ */

static bool is_cached(const struct record *r, const struct step_status *s)
{
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(r->usage, s->name);
    return s->state == STATE_CACHED ||
           (s->state == STATE_SUCCEEDED && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(usage, "memoised")));
}

static void describe_item(const struct record *r, size_t step, size_t item, cJSON *o)
{
    const struct item_status *i = &r->status.steps[step].items[item];
    json_add_int(o, "attempts", i->attempt);
    add_time(o, "started", i->started_ms);
    add_time(o, "finished", i->finished_ms);
    if (i->started_ms && i->finished_ms)
        json_add_double(o, "seconds", (double)(i->finished_ms - i->started_ms) / 1000);
    add_text(o, "class",
             i->fail != FAIL_NONE && i->state != STATE_SUCCEEDED ? fail_class_name(i->fail) : NULL);
    if (i->state == STATE_RUNNING && i->progress >= 0)
        json_add_double(o, "progress", i->progress);
    add_text(o, "cacheNote", i->cache_note);
    json_add(o, "outputs", i->outputs ? cJSON_Duplicate(i->outputs, true) : json_object());
    json_add(o, "values", i->values ? cJSON_Duplicate(i->values, true) : json_object());
    _cleanup_free_ char *log = describe_log_path(r, step, item, 0, 0);
    if (log && fs_exists(log))
        json_add_string(o, "log", log);
}

static cJSON *describe_step(const struct record *r, struct store *store, size_t step)
{
    const struct step_status *s = &r->status.steps[step];
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(r->usage, s->name), *m;
    const struct item_status *first = s->n_items ? &s->items[0] : NULL;
    cJSON *o = json_object(), *reports = json_array();
    for (size_t i = 1; i < s->n_items; i++) {
        if (s->items[i].state == STATE_FAILED && first->state != STATE_FAILED)
            first = &s->items[i]; /* the first failure speaks */
    }
    json_add_string(o, "name", s->name);
    json_add_string(o, "state", step_state_name(s->state));
    json_add_bool(o, "cached", is_cached(r, s));
    if (r->pipeline->steps[step].kind == STEP_REGISTER)
        add_text(o, "model",
                 cJSON_GetStringValue(
                     cJSON_GetObjectItemCaseSensitive(r->pipeline->steps[step].body, "model")));
    add_text(o, "reason", s->reason ? s->reason : first ? first->reason : NULL);
    add_text(o, "message", s->message ? s->message : first ? first->message : NULL);
    if (first && !s->axes)
        describe_item(r, step, 0, o);
    for (size_t i = 0; i < s->n_items; i++)
        add_reports(r, store, step, i, reports);
    if (s->axes) {
        cJSON *items = json_array();
        int attempts = 0;
        for (size_t i = 0; i < s->n_items; i++) {
            cJSON *item = json_object();
            json_add_int(item, "index", (int64_t)i);
            json_add(item, "axes", cJSON_Duplicate(cJSON_GetArrayItem(s->axes, (int)i), true));
            json_add_string(item, "state", step_state_name(s->items[i].state));
            add_text(item, "reason", s->items[i].reason);
            add_text(item, "message", s->items[i].message);
            describe_item(r, step, i, item);
            json_append(items, item);
            attempts = s->items[i].attempt > attempts ? s->items[i].attempt : attempts;
        }
        json_add_int(o, "attempts", attempts);
        json_add(o, "items", items);
    }
    json_add(o, "reports", reports);
    cJSON_ArrayForEach(m, usage)
    {
        if (strcmp(m->string, "memoised") != 0)
            json_add(o, m->string, cJSON_Duplicate(m, true));
    }
    return o;
}

cJSON *describe_run(const struct record *r, struct store *store)
{
    cJSON *o = json_object(), *params = json_object(), *steps = json_array();
    const struct run_status *s = &r->status;
    json_add_string(o, "name", r->spec.name);
    json_add_string(o, "uid", r->spec.uid);
    json_add_string(o, "pipeline", r->pipeline->name);
    json_add_string(o, "phase", run_phase_name(s->phase));
    add_text(o, "reason", s->reason);
    add_text(o, "message", s->message);
    add_time(o, "created", r->spec.created_ms);
    add_time(o, "scheduledTime", r->spec.scheduled_ms);
    add_time(o, "started", s->started_ms);
    add_time(o, "finished", s->finished_ms);
    if (s->started_ms && s->finished_ms)
        json_add_double(o, "seconds", (double)(s->finished_ms - s->started_ms) / 1000);
    json_add_string(o, "store", location_url(r->options.store));
    add_text(o, "directory", r->dir);
    add_text(o, "namespace", r->namespace_);
    for (size_t i = 0; i < r->spec.n_params; i++)
        json_add_string(params, r->spec.params[i].name, r->spec.params[i].value);
    json_add(o, "parameters", params);
    for (size_t i = 0; i < s->n_steps; i++)
        json_append(steps, describe_step(r, store, i));
    json_add(o, "steps", steps);
    return o;
}
