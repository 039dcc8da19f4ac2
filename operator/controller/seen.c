/* API objects → what the caches hold of them. Pods are in seen_pod.c. */
#include "operator/controller/seen.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/labels.h"

const struct kube_resource PIPELINES = {API_GROUP, API_VERSION, "trainingpipelines", "TrainingPipeline"};
const struct kube_resource RUNS = {API_GROUP, API_VERSION, "trainingruns", "TrainingRun"};

static const cJSON *get(const cJSON *object, const char *key)
{
    return object ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static char *copy_of(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static int64_t number_of(const cJSON *object, const char *key, int64_t fallback)
{
    const cJSON *v = get(object, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : fallback;
}

/* A label that holds a number; absent or strange is `fallback`. */
static int64_t label_number(const cJSON *object, const char *key, int64_t fallback)
{
    struct err ignored = ERR_INIT;
    const char *text = kube_label(object, key);
    int64_t v;
    return text && text_parse_int(text, &v, &ignored) == 0 && v >= 0 && v < INT32_MAX ? v : fallback;
}

/* The object as text, without what only the API server needs. */
static char *compact(const cJSON *object)
{
    static const char *const top[] = {"apiVersion", "kind", "spec", "status", NULL};
    static const char *const kept[] = {"name",       "namespace",         "uid",    "resourceVersion",
                                       "generation", "creationTimestamp", "labels", "annotations",
                                       NULL};
    cJSON *small = json_object(), *metadata = json_object();
    for (const char *const *k = top; *k; k++) {
        if (get(object, *k))
            (void)cJSON_AddItemReferenceToObject(small, *k, cJSON_GetObjectItemCaseSensitive(object, *k));
    }
    for (const char *const *k = kept; *k; k++) {
        cJSON *v = cJSON_GetObjectItemCaseSensitive(get(object, "metadata"), *k);
        if (v)
            (void)cJSON_AddItemReferenceToObject(metadata, *k, v);
    }
    json_add(small, "metadata", metadata);
    char *text = cJSON_PrintUnformatted(small);
    cJSON_Delete(small);
    return text;
}

/* --- pipelines, runs ------------------------------------------------------------------------------------------- */

void *seen_pipeline_trim(void *ctx, const cJSON *object)
{
    struct seen_pipeline *p = xcalloc(1, sizeof *p);
    (void)ctx;
    kube_meta_init(&p->meta, object);
    p->text = compact(object);
    p->newest_revision = copy_of(text_of(get(object, "status"), "revision"));
    return p;
}

void seen_pipeline_free(void *pipeline)
{
    struct seen_pipeline *p = pipeline;
    kube_meta_release(&p->meta);
    free(p->text);
    free(p->newest_revision);
    free(p);
}

static enum run_phase phase_of(const char *name)
{
    for (int p = PHASE_PENDING; p <= PHASE_STOPPED; p++) {
        if (text_equal(name, run_phase_name((enum run_phase)p)))
            return (enum run_phase)p;
    }
    return PHASE_PENDING;
}

void *seen_run_trim(void *ctx, const cJSON *object)
{
    struct seen_run *r = xcalloc(1, sizeof *r);
    const cJSON *spec = get(object, "spec"), *status = get(object, "status");
    (void)ctx;
    kube_meta_init(&r->meta, object);
    r->pipeline = xstrdup(text_of(spec, "pipeline") ? text_of(spec, "pipeline") : "");
    r->trigger = copy_of(kube_label(object, LABEL_TRIGGER));
    r->spec_hash = copy_of(kube_annotation(object, ANNOTATION_SPEC_HASH));
    r->revision =
        copy_of(text_of(status, "revision") ? text_of(status, "revision") : text_of(spec, "revision"));
    r->phase = phase_of(text_of(status, "phase"));
    r->scheduled_ms = kube_time_ms(get(spec, "scheduledTime"));
    if (r->scheduled_ms < 0)
        r->scheduled_ms = r->meta.created_ms;
    int64_t finished = kube_time_ms(get(status, "finished"));
    r->finished_ms = finished > 0 ? finished : 0;
    r->settled =
        run_phase_finished(r->phase) && number_of(status, "observedGeneration", -1) == r->meta.generation;
    if (!r->settled)
        r->text = compact(object);
    return r;
}

void seen_run_free(void *run)
{
    struct seen_run *r = run;
    kube_meta_release(&r->meta);
    free(r->pipeline);
    free(r->trigger);
    free(r->spec_hash);
    free(r->revision);
    free(r->text);
    free(r);
}

/* --- jobs ------------------------------------------------------------------------------------------------------ */

/* "… matching FailJob rule at index 1": the only place where the API says which rule it was. */
static int rule_in(const char *message)
{
    static const char mark[] = "rule at index ";
    const char *at = message ? strstr(message, mark) : NULL;
    char digit = at ? at[sizeof mark - 1] : '\0';
    return digit >= '0' && digit <= '9' ? digit - '0' : -1; /* there are four */
}

static void take_condition(struct seen_job *j, const cJSON *conditions)
{
    static const char *const wanted[] = {"Failed", "Complete", "FailureTarget", NULL}; /* first wins */
    for (const char *const *w = wanted; *w && !j->condition; w++) {
        const cJSON *c;
        cJSON_ArrayForEach(c, conditions)
        {
            if (!text_equal(text_of(c, "type"), *w) || !text_equal(text_of(c, "status"), "True"))
                continue;
            j->condition = xstrdup(*w);
            j->message = copy_of(text_of(c, "message"));
            j->condition_ms = kube_time_ms(get(c, "lastTransitionTime"));
            break;
        }
    }
}

const char *const seen_job_unread[] = {"template", "selector", "podFailurePolicy", NULL};

void *seen_job_trim(void *ctx, const cJSON *object)
{
    struct seen_job *j = xcalloc(1, sizeof *j);
    const cJSON *spec = get(object, "spec"), *status = get(object, "status");
    (void)ctx;
    kube_meta_init(&j->meta, object);
    j->run_uid = copy_of(kube_label(object, LABEL_RUN_UID));
    j->run = copy_of(j->meta.owner_name);
    j->step = copy_of(kube_label(object, LABEL_STEP));
    j->item = label_number(object, LABEL_INDEX, 0);
    j->restart = (int)label_number(object, LABEL_RESTART, 0);
    j->attempt = (int)label_number(object, LABEL_ATTEMPT, 0);
    j->workers = number_of(spec, "parallelism", 1);
    j->suspended = cJSON_IsTrue(get(spec, "suspend"));
    j->active = number_of(status, "active", 0) + number_of(status, "terminating", 0);
    take_condition(j, get(status, "conditions"));
    j->failed_rule = rule_in(j->message);
    return j;
}

void seen_job_free(void *job)
{
    struct seen_job *j = job;
    kube_meta_release(&j->meta);
    free(j->run_uid);
    free(j->run);
    free(j->step);
    free(j->condition);
    free(j->message);
    free(j);
}
