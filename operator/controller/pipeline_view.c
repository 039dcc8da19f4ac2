/* See pipeline_view.h. */
#include "operator/controller/pipeline_view.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/labels.h"
#include "operator/controller/revisions.h"
#include "operator/controller/zones.h"
#include "operator/kube/resource.h"

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static int64_t int_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

void pipeline_view_release(struct pipeline_view *v)
{
    free(v->uid);
    free(v->code_revision);
    free(v->message);
    free(v->revision);
    pipeline_free(v->pipeline);
    free(v->cron);
    free(v->zone);
    cJSON_Delete(v->control);
    *v = (struct pipeline_view){0};
}

/* What only a cluster minds. */
static void check_cluster(const cJSON *spec, struct findings *findings)
{
    static const char *const stores[] = {"store", "registry"};
    for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
        const char *url = text_of(get(spec, stores[i]), "url");
        char path[32];
        (void)snprintf(path, sizeof path, "spec.%s.url", stores[i]);
        if (url && text_starts_with(url, "file:"))
            findings_add(
                findings, path, 0, false,
                "expected s3://bucket/prefix, found \"%.80s\": in a cluster pods share no file system", url);
    }
    if (!get(spec, "store"))
        findings_add(findings, "spec.store", 0, false,
                     "required in a cluster: expected {url: s3://bucket/prefix, credentialsSecret: name}");
}

static void read_schedule(struct pipeline_view *v, const cJSON *spec, struct findings *findings)
{
    static const char *const policies[] = {"Forbid", "Allow", "Replace"};
    static const char *const catch_ups[] = {"Latest", "None", "All"};
    const cJSON *schedule = get(spec, "schedule"), *on;
    cJSON_ArrayForEach(on, get(spec, "runOn"))
    {
        v->on_change |= cJSON_IsString(on) && text_equal(on->valuestring, "SpecChange");
        v->on_schedule |= cJSON_IsString(on) && text_equal(on->valuestring, "Schedule");
    }
    v->on_schedule = v->on_schedule && schedule;
    if (!schedule)
        return;
    v->cron = xstrdup(text_of(schedule, "cron") ? text_of(schedule, "cron") : "");
    v->zone = xstrdup(text_of(schedule, "timeZone") ? text_of(schedule, "timeZone") : "UTC");
    v->deadline_ms = int_of(schedule, "startingDeadlineSeconds") * 1000;
    for (int i = 0; i < 3; i++) {
        if (text_equal(text_of(schedule, "concurrencyPolicy"), policies[i]))
            v->concurrency = (enum concurrency)i;
        if (text_equal(text_of(schedule, "catchUp"), catch_ups[i]))
            v->catch_up = (enum catch_up)i;
    }
    struct err err = ERR_INIT;
    if (schedule_parse_in(v->cron, v->zone, &zones, &v->schedule, &err) < 0)
        findings_add(findings, strstr(err.reason, "zone") ? "spec.schedule.timeZone" : "spec.schedule.cron",
                     0, false, "%s", err.msg);
}

/* Errors first, then warnings; what does not fit is counted. */
static char *sentence(const struct findings *findings)
{
    char text[VIEW_MESSAGE_MAX + 1] = "";
    size_t used = 0, left = 0;
    for (int warnings = 0; warnings < 2; warnings++) {
        for (size_t i = 0; i < findings->n; i++) {
            const struct finding *f = &findings->items[i];
            if (f->warning != (warnings == 1))
                continue;
            _cleanup_free_ char *one =
                xasprintf("%s%s%s%s%s", used ? "; " : "", f->warning ? "warning: " : "", f->path,
                          *f->path ? ": " : "", f->message);
            size_t n = strlen(one);
            if (left || used + n > VIEW_MESSAGE_MAX - 40) {
                if (!used) { /* a single one that is too long is cut between characters */
                    n = VIEW_MESSAGE_MAX - 40;
                    while (n && ((unsigned char)one[n] & 0xc0) == 0x80)
                        n--;
                    memcpy(text, one, n);
                    used = n;
                    continue;
                }
                left++;
                continue;
            }
            memcpy(text + used, one, n);
            used += n;
        }
    }
    text[used] = '\0';
    if (left)
        (void)snprintf(text + used, sizeof text - used, "; and %zu more", left);
    return xstrdup(used ? text : "the spec is valid");
}

static bool any_error(const struct findings *findings)
{
    for (size_t i = 0; i < findings->n; i++)
        if (!findings->items[i].warning)
            return true;
    return false;
}

static void decode(struct pipeline_view *v, const cJSON *object)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    _cleanup_pipeline_ struct pipeline *p = NULL;
    if (pipeline_decode_json(object, &p, &findings, &err) < 0 && findings.n == 0)
        findings_add(&findings, "", 0, false, "%s", err.msg);
    if (p) {
        const cJSON *retention = get(p->spec, "retention");
        check_cluster(p->spec, &findings);
        read_schedule(v, p->spec, &findings);
        v->retention = (struct retention_limits){.successful = int_of(retention, "successful"),
                                                 .failed = int_of(retention, "failed"),
                                                 .max_age_ms = int_of(retention, "maxAgeSeconds") * 1000};
    }
    v->valid = p && !any_error(&findings);
    v->message = sentence(&findings);
    if (v->valid) {
        memcpy(v->hash, p->hash, sizeof v->hash);
        v->revision = revision_name(p);
        v->pipeline = steal_ptr(p);
    }
    findings_release(&findings);
}

bool pipeline_view_update(struct pipeline_view *v, const cJSON *object)
{
    const cJSON *metadata = get(object, "metadata");
    const char *uid = text_of(metadata, "uid"), *code = kube_annotation(object, ANNOTATION_REVISION);
    int64_t generation = int_of(metadata, "generation");
    if (v->uid && text_equal(v->uid, uid) && v->generation == generation &&
        text_equal(v->code_revision, code))
        return false;
    pipeline_view_release(v);
    v->uid = xstrdup(uid ? uid : "");
    v->code_revision = code ? xstrdup(code) : NULL;
    v->generation = generation;
    const cJSON *control = get(get(object, "spec"), "control");
    v->control = cJSON_IsObject(control) ? cJSON_Duplicate(control, true) : NULL;
    decode(v, object);
    return true;
}

struct starting_spec pipeline_view_starting(const struct pipeline_view *v, const char *name)
{
    return (struct starting_spec){.pipeline = name,
                                  .uid = v->uid,
                                  .generation = v->generation,
                                  .valid = v->valid,
                                  .hash = v->hash,
                                  .on_change = v->on_change,
                                  .on_schedule = v->on_schedule,
                                  .cron = v->cron,
                                  .zone = v->zone,
                                  .schedule = v->schedule,
                                  .concurrency = v->concurrency,
                                  .catch_up = v->catch_up,
                                  .deadline_ms = v->deadline_ms};
}
