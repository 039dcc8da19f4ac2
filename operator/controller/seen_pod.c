/* A pod as the planner sees it. Containers work one after the other: init containers in their order, then the main one; sidecars (init
 * containers that restart always) do not count. The first that failed decides, else the main one. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/controller/labels.h"
#include "operator/controller/seen.h"

static const cJSON *get(const cJSON *object, const char *key)
{
    return object ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsString(v) && *v->valuestring ? v->valuestring : NULL;
}

static char *copy_of(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

static int64_t time_of(const cJSON *object, const char *key)
{
    int64_t ms = kube_time_ms(get(object, key));
    return ms > 0 ? ms : 0;
}

static const cJSON *condition_of(const cJSON *status, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, get(status, "conditions"))
    {
        if (text_equal(text_of(c, "type"), type))
            return c;
    }
    return NULL;
}

static bool is_sidecar(const cJSON *pod, const char *name)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, get(get(pod, "spec"), "initContainers"))
    {
        if (text_equal(text_of(c, "name"), name))
            return text_equal(text_of(c, "restartPolicy"), "Always");
    }
    return false;
}

struct containers {
    const cJSON *decides; /* its `terminated`; NULL: nothing has ended */
    const cJSON *waiting; /* of the one that is next */
    bool failed, begun, running;
    int64_t started_ms, finished_ms;
};

static void look_at(struct containers *c, const cJSON *status)
{
    const cJSON *state = get(status, "state"), *ended = get(state, "terminated"),
                *running = get(state, "running");
    const cJSON *code = get(ended, "exitCode");
    if (!ended && !running && !c->waiting)
        c->waiting = get(state, "waiting");
    if (!ended && !running)
        return;
    c->begun = true;
    c->running = c->running || running;
    int64_t started = time_of(ended ? ended : running, "startedAt");
    if (!c->started_ms || (started && started < c->started_ms))
        c->started_ms = started;
    if (!ended)
        return;
    int64_t finished = time_of(ended, "finishedAt");
    if (finished > c->finished_ms)
        c->finished_ms = finished;
    if (c->failed)
        return;
    c->decides = ended;
    c->failed = cJSON_IsNumber(code) && code->valuedouble != 0;
}

static struct containers containers_of(const cJSON *pod)
{
    struct containers c = {.decides = NULL};
    const cJSON *status = get(pod, "status"), *one;
    cJSON_ArrayForEach(one, get(status, "initContainerStatuses"))
    {
        if (!is_sidecar(pod, text_of(one, "name")))
            look_at(&c, one);
    }
    const cJSON *inits_decide = c.failed ? c.decides : NULL;
    if (!inits_decide)
        c.decides = NULL; /* an init container that succeeded has no result */
    cJSON_ArrayForEach(one, get(status, "containerStatuses")) look_at(&c, one);
    return c;
}

static enum pod_phase phase_of(const char *phase, bool begun)
{
    if (text_equal(phase, "Succeeded"))
        return POD_SUCCEEDED;
    if (text_equal(phase, "Failed"))
        return POD_FAILED;
    /* While init containers work the API still says Pending. */
    return text_equal(phase, "Pending") && !begun ? POD_PENDING : POD_RUNNING;
}

static void why_waiting(struct observed_pod *v, const cJSON *status, const struct containers *c)
{
    static const char *const ordinary[] = {"ContainerCreating", "PodInitializing", NULL};
    const cJSON *scheduled = condition_of(status, "PodScheduled");
    const char *reason = text_of(c->waiting, "reason");
    for (const char *const *o = ordinary; reason && *o; o++) {
        if (strcmp(reason, *o) == 0)
            reason = NULL;
    }
    if (reason) {
        v->reason = copy_of(reason);
        v->detail = copy_of(text_of(c->waiting, "message"));
    } else if (text_equal(text_of(scheduled, "status"), "False")) {
        v->reason = copy_of(text_of(scheduled, "reason"));
        v->detail = copy_of(text_of(scheduled, "message"));
    }
}

static void why_disrupted(struct observed_pod *v, const cJSON *status)
{
    const cJSON *disrupted = condition_of(status, "DisruptionTarget");
    if (!text_equal(text_of(disrupted, "status"), "True"))
        return;
    v->disruption = copy_of(text_of(disrupted, "reason"));
    if (!v->detail)
        v->detail = copy_of(text_of(disrupted, "message"));
}

static void why_ended(struct observed_pod *v, const cJSON *status, const struct containers *c, bool deleted)
{
    const cJSON *code = get(c->decides, "exitCode");
    v->exit_code = cJSON_IsNumber(code) ? code->valueint : -1;
    /* The pod's own reason (Evicted, DeadlineExceeded) says more than how its container took it. */
    v->reason =
        copy_of(text_of(status, "reason") ? text_of(status, "reason") : text_of(c->decides, "reason"));
    v->message = copy_of(text_of(c->decides, "message"));
    v->detail = copy_of(text_of(status, "message"));
    why_disrupted(v, status);
    /* Somebody deleted it, and it ended by the signal: that is not the program's fault. */
    if (deleted && !v->disruption && (v->exit_code == SIGTERM + 128 || v->exit_code == SIGKILL + 128) &&
        !text_equal(v->reason, "OOMKilled")) {
        v->disruption = xstrdup("PodDeleted");
        if (!v->detail)
            v->detail = xstrdup("it was deleted while it worked");
    }
    v->finished_ms = c->finished_ms;
}

/* Of its specification only the init containers' names and restart policies are read. */
const char *const seen_pod_unread[] = {"containers",        ANNOTATION_CONFIG,
                                       ANNOTATION_INPUTS,   ANNOTATION_STORE,
                                       ANNOTATION_REGISTRY, "volumes",
                                       "volumeMounts",      "env",
                                       "command",           "args",
                                       "tolerations",       "resources",
                                       "securityContext",   NULL};

void *seen_pod_trim(void *ctx, const cJSON *object)
{
    struct seen_pod *p = xcalloc(1, sizeof *p);
    const cJSON *status = get(object, "status");
    struct containers c = containers_of(object);
    struct err ignored = ERR_INIT;
    int64_t worker = 0;
    (void)ctx;
    kube_meta_init(&p->meta, object);
    p->job_uid = copy_of(p->meta.owner_uid);
    p->run_uid = copy_of(kube_label(object, LABEL_RUN_UID));
    p->view = OBSERVED_POD_INIT;
    const char *index = kube_annotation(object, "batch.kubernetes.io/job-completion-index");
    if (index && text_parse_int(index, &worker, &ignored) == 0 && worker >= 0 && worker < INT32_MAX)
        p->view.worker = (int)worker;
    p->kill_ms = time_of(get(object, "metadata"), "deletionTimestamp");
    p->view.phase = phase_of(text_of(status, "phase"), c.begun);
    p->view.started_ms = c.started_ms;
    /* Between init containers: the next one's image may be impossible to get. */
    if (p->view.phase == POD_RUNNING && !c.running && text_equal(text_of(status, "phase"), "Pending")) {
        why_waiting(&p->view, status, &c);
        if (p->view.reason)
            p->view.phase = POD_PENDING;
        return p;
    }
    if (p->view.phase == POD_SUCCEEDED || p->view.phase == POD_FAILED)
        why_ended(&p->view, status, &c, text_of(get(object, "metadata"), "deletionTimestamp") != NULL);
    else if (p->view.phase == POD_PENDING)
        why_waiting(&p->view, status, &c);
    if (p->kill_ms && p->view.phase == POD_RUNNING)
        why_disrupted(&p->view, status); /* should its node never say how it ended */
    return p;
}

void seen_pod_free(void *pod)
{
    struct seen_pod *p = pod;
    kube_meta_release(&p->meta);
    free(p->job_uid);
    free(p->run_uid);
    free((char *)p->view.reason);
    free((char *)p->view.disruption);
    free((char *)p->view.message);
    free((char *)p->view.detail);
    free(p);
}
