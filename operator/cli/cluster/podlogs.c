#include "operator/cli/cluster/podlogs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { POLL_MS = 1000, SELECTOR_MAX = 1024, CHUNK_BYTES = 32 * 1024 * 1024 };

static const char default_container[] = "kubectl.kubernetes.io/default-container";

/* A pod of the attempt. */
struct source {
    char *pod, *container, *prefix;
    int64_t worker;
    bool done;
    char *told; /* why there was nothing yet, as last said; NULL */
    struct podlogs_position position;
};

struct sources {
    struct source *items;
    size_t n, capacity;
};

static void sources_release(struct sources *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->items[i].pod);
        free(s->items[i].container);
        free(s->items[i].prefix);
        free(s->items[i].told);
    }
    free(s->items);
}

/* --- pods ---------------------------------------------------------------------------------------------------- */

const char *podlogs_container(const cJSON *pod)
{
    const char *named = kube_annotation(pod, default_container);
    const cJSON *spec = cJSON_GetObjectItemCaseSensitive(pod, "spec"),
                *containers = cJSON_GetObjectItemCaseSensitive(spec, "containers");
    return named ? named : cluster_text(cJSON_GetArrayItem(containers, 0), "name", NULL);
}

bool podlogs_ended(const cJSON *pod, const char *container)
{
    static const char *const lists[] = {"containerStatuses", "initContainerStatuses", NULL};
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(pod, "status"), *s;
    const char *phase = cluster_text(pod, "status", "phase");
    if (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0)
        return true;
    for (const char *const *list = lists; *list; list++) {
        cJSON_ArrayForEach(s, cJSON_GetObjectItemCaseSensitive(status, *list))
        {
            if (strcmp(cluster_text(s, "name", NULL), container) == 0)
                return cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(s, "state"), "terminated");
        }
    }
    return false;
}

struct search {
    const struct podlogs_request *request;
    struct sources *found;
};

static int add_pod(void *ctx, const cJSON *pod, struct err *err)
{
    const struct search *search = ctx;
    const char *index = kube_annotation(pod, "batch.kubernetes.io/job-completion-index");
    struct err ignored = ERR_INIT;
    int64_t worker = 0;
    (void)err;
    if (index && text_parse_int(index, &worker, &ignored) < 0)
        return 0;
    if (search->request->worker >= 0 && worker != search->request->worker)
        return 0;
    struct sources *l = search->found;
    l->items = grow_array(l->items, &l->capacity, l->n, sizeof *l->items);
    l->items[l->n++] = (struct source){.pod = xstrdup(cluster_text(pod, "metadata", "name")),
                                       .container = xstrdup(podlogs_container(pod)),
                                       .worker = worker};
    return 0;
}

static int by_worker(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    return x->worker < y->worker ? -1 : x->worker > y->worker;
}

static int find_pods(const struct cluster *c, const struct podlogs_request *q, struct sources *found,
                     struct err *err)
{
    char selector[SELECTOR_MAX], index[64] = "";
    struct search search = {.request = q, .found = found};
    if (q->item >= 0)
        (void)snprintf(index, sizeof index, ",%s=%" PRId64, CLUSTER_LABEL_INDEX, q->item);
    (void)snprintf(selector, sizeof selector, "%s=%s,%s=%s,%s=%" PRId64 "%s", CLUSTER_LABEL_RUN_UID,
                   q->run_uid, CLUSTER_LABEL_STEP, q->step, CLUSTER_LABEL_ATTEMPT, q->attempt, index);
    if (cluster_list(c, &KUBE_PODS, false, selector, add_pod, &search, err) < 0)
        return -1;
    if (found->n > 1)
        qsort(found->items, found->n, sizeof *found->items, by_worker);
    for (size_t i = 0; i < found->n; i++)
        found->items[i].prefix =
            found->n > 1 ? xasprintf("[%" PRId64 "] ", found->items[i].worker) : xstrdup("");
    return 0;
}

/* --- lines ------------------------------------------------------------------------------------------------------ */

/* Neither before the position, nor of its time and already counted. Moves the position. */
static bool is_new(struct podlogs_position *p, const char *time, size_t len, int64_t *seen)
{
    char text[sizeof p->time];
    if (len >= sizeof text) /* no time at all */
        return true;
    memcpy(text, time, len);
    text[len] = '\0';
    int order = strcmp(text, p->time);
    if (order < 0)
        return false;
    if (order == 0) {
        if (++*seen <= p->count)
            return false;
        p->count = *seen;
        return true;
    }
    memcpy(p->time, text, sizeof text);
    p->count = *seen = 1;
    return true;
}

void podlogs_take(struct podlogs_position *p, const char *text, const char *prefix, struct buf *out)
{
    int64_t seen = 0;
    while (*text) {
        size_t n = strcspn(text, "\n"), time = strcspn(text, " \n");
        if (is_new(p, text, time, &seen)) {
            size_t skip = time < n ? time + 1 : time;
            (void)buf_addf(out, "%s%.*s\n", prefix, (int)(n - skip), text + skip);
        }
        text += n + (text[n] == '\n');
    }
}

static int print(const struct buf *out, struct err *err)
{
    if (buf_failed(out))
        return buf_check(out, "the log", err);
    if (fwrite(buf_str(out), 1, out->len, stdout) != out->len || fflush(stdout) != 0)
        return err_errno(err, errno, "cannot write to standard output");
    return 0;
}

static int read_log(const struct cluster *c, const struct source *s, const char *more, cJSON **ret,
                    struct err *err)
{
    _cleanup_buf_ struct buf query = BUF_INIT(SELECTOR_MAX);
    (void)buf_adds(&query, "container=");
    cluster_escape(s->container, &query);
    (void)buf_addf(&query, "&limitBytes=%d%s", CHUNK_BYTES, more);
    if (*s->position.time) {
        (void)buf_adds(&query, "&sinceTime=");
        cluster_escape(s->position.time, &query);
    }
    return cluster_call(c,
                        &(struct kube_request){.verb = KUBE_GET,
                                               .resource = &KUBE_PODS,
                                               .ns = c->ns,
                                               .name = s->pod,
                                               .sub = "log",
                                               .query = buf_str(&query),
                                               .raw = true},
                        ret, err);
}

/* An empty log: of a container that wrote nothing so far, or that has not started. */
static int explain_empty(const struct cluster *c, const struct source *s, struct err *err)
{
    _cleanup_json_ cJSON *pod = NULL;
    const char *why = "";
    if (cluster_get(c, &KUBE_PODS, s->pod, &pod, err) < 0)
        return -1;
    if (strcmp(cluster_text(pod, "status", "phase"), "Pending") != 0) {
        (void)fprintf(stderr, "the log of pod %s is empty so far\n", s->pod);
        return 0;
    }
    const char *scheduled = cluster_condition(pod, "PodScheduled", &why);
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "not-started", "pod %s has not started: %s%s%s",
                    s->pod,
                    scheduled && strcmp(scheduled, "True") == 0 ? "its containers are being made"
                                                                : "no node has taken it",
                    *why ? ": " : "", why);
}

/* The whole log as it is now. */
static int print_now(const struct cluster *c, const struct source *s, struct err *err)
{
    _cleanup_json_ cJSON *text = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT((size_t)CHUNK_BYTES * 4);
    if (read_log(c, s, "", &text, err) < 0) {
        if (err->class_ == ERR_INVALID) { /* "container … is waiting to start: …" */
            err->class_ = ERR_RETRY;
            err->exit_code = EXITCODE_TEMPFAIL;
        }
        return -1;
    }
    const char *line = cJSON_IsString(text) ? text->valuestring : "";
    size_t all = strlen(line);
    for (; *line;) {
        size_t n = strcspn(line, "\n");
        (void)buf_addf(&out, "%s%.*s\n", s->prefix, (int)n, line);
        line += n + (line[n] == '\n');
    }
    if (all >= CHUNK_BYTES)
        (void)fprintf(stderr, "the log of pod %s is longer: its first %d MiB are shown\n", s->pod,
                      CHUNK_BYTES >> 20);
    return all == 0 ? explain_empty(c, s, err) : print(&out, err);
}

/* "waiting to start: ImagePullBackOff": once for each reason. */
static void tell_once(struct source *s, const char *text)
{
    if (text_equal(s->told, text))
        return;
    (void)fprintf(stderr, "%s\n", text);
    free(s->told);
    s->told = xstrdup(text);
}

/* What came since the last look. Waiting containers and short failures are looked at again later. */
static int print_new(const struct cluster *c, struct source *s, struct err *err)
{
    _cleanup_json_ cJSON *pod = NULL, *text = NULL;
    _cleanup_buf_ struct buf out = BUF_INIT((size_t)CHUNK_BYTES * 4);
    struct err why = ERR_INIT;
    if (cluster_get(c, &KUBE_PODS, s->pod, &pod, &why) < 0) {
        s->done = why.class_ == ERR_NOTFOUND;
        if (s->done || why.class_ == ERR_RETRY)
            return 0;
        *err = why;
        return -1;
    }
    bool ended = podlogs_ended(pod, s->container);
    if (read_log(c, s, "&timestamps=true", &text, &why) < 0) {
        s->done = ended && why.class_ != ERR_RETRY;
        if (why.class_ != ERR_TERMINAL) {
            tell_once(s, why.msg);
            return 0;
        }
        *err = why;
        return -1;
    }
    size_t len = cJSON_IsString(text) ? strlen(text->valuestring) : 0;
    if (len > 0)
        podlogs_take(&s->position, text->valuestring, s->prefix, &out);
    s->done = ended && len < CHUNK_BYTES;
    return print(&out, err);
}

static int follow(const struct cluster *c, struct sources *sources, struct err *err)
{
    for (;;) {
        size_t open = 0;
        for (size_t i = 0; i < sources->n; i++) {
            if (!sources->items[i].done && print_new(c, &sources->items[i], err) < 0)
                return -1;
            open += !sources->items[i].done;
        }
        if (open == 0)
            return 0;
        clock_system.sleep_ms(clock_system.ctx, POLL_MS);
    }
}

int podlogs_print(const struct cluster *c, const struct podlogs_request *q, bool *ret_found, struct err *err)
{
    CLEANUP(sources_release) struct sources sources = {0};
    if (find_pods(c, q, &sources, err) < 0)
        return -1;
    *ret_found = sources.n > 0;
    if (q->follow)
        return follow(c, &sources, err);
    for (size_t i = 0; i < sources.n; i++) {
        if (print_now(c, &sources.items[i], err) < 0)
            return -1;
    }
    return 0;
}
