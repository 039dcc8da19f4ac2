/* See progress.h. */
#include "operator/controller/progress.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/base/text.h"

#define PROGRESS_PATH "/v1/progress/"
enum {
    MAX_ATTEMPTS = 64 * 1024,
    KEPT_ENDED = 8 * 1024, /* of those that have ended, so that their posts are told so */
    MIN_INTERVAL_MS = 100, /* stages post at most twice a second */
};

struct entry {
    char *path; /* "<ns>/<run>/<step>/<index>/<attempt>" */
    char *uid_key, *run_uid, *ns, *run, *step;
    int64_t index;
    int attempt;
    bool ended;
    char token[DIGEST_HEX];
    struct progress_attempt view;
    int64_t training_step; /* of the last post that named one */
};

struct progress {
    uint8_t *key;
    size_t len;
    void (*wake)(void *ctx, const char *run_uid);
    void *ctx;
    struct map *by_path; /* owns */
    struct map *by_uid;
    size_t n_ended;
};

static void entry_free(void *p)
{
    struct entry *e = p;
    free(e->path);
    free(e->uid_key);
    free(e->run_uid);
    free(e->ns);
    free(e->run);
    free(e->step);
    free(e);
}

struct progress *progress_new(const void *key, size_t len, void (*wake)(void *ctx, const char *run_uid),
                              void *ctx)
{
    struct progress *p = xcalloc(1, sizeof *p);
    p->key = xmalloc(len);
    memcpy(p->key, key, len);
    p->len = len;
    p->wake = wake;
    p->ctx = ctx;
    p->by_path = map_new(MAX_ATTEMPTS, entry_free);
    p->by_uid = map_new(MAX_ATTEMPTS, NULL);
    return p;
}

struct progress *progress_free(struct progress *p)
{
    if (!p)
        return NULL;
    map_free(p->by_uid);
    map_free(p->by_path);
    free(p->key);
    free(p);
    return NULL;
}

/* HMAC-SHA-256 in hex over the purpose and the names, separated by newlines, which no name holds. */
static void sign(const struct progress *p, const char *purpose, const char *run_uid, const char *step,
                 int attempt, int64_t index, char ret[static 65])
{
    uint8_t mac[SHA256_LEN];
    _cleanup_free_ char *text = xasprintf("%s\n%s\n%s\n%d\n%" PRId64, purpose, run_uid, step, attempt, index);
    hmac_sha256(p->key, p->len, text, strlen(text), mac);
    hex_encode(mac, sizeof mac, ret);
}

void progress_token(const struct progress *p, const char *run_uid, const char *step, int attempt,
                    int64_t index, char ret[static 65])
{
    sign(p, "progress", run_uid, step, attempt, index, ret);
}

void progress_rendezvous_key(const struct progress *p, const char *run_uid, const char *step, int64_t index,
                             int attempt, char ret[static 65])
{
    sign(p, "rendezvous", run_uid, step, attempt, index, ret);
}

char *progress_url(const char *base, const char *ns, const char *run, const char *step, int64_t index,
                   int attempt)
{
    return xasprintf("%s" PROGRESS_PATH "%s/%s/%s/%" PRId64 "/%d", base, ns, run, step, index, attempt);
}

/* --- attempts --------------------------------------------------------------------------------------------------- */

static char *uid_key(const char *run_uid, const char *step, int64_t index, int attempt)
{
    return xasprintf("%s/%s/%" PRId64 "/%d", run_uid, step, index, attempt);
}

static void remove_entry(struct progress *p, struct entry *e)
{
    p->n_ended -= e->ended;
    (void)map_remove(p->by_uid, e->uid_key);
    (void)map_remove(p->by_path, e->path);
}

void progress_expect(struct progress *p, const char *ns, const char *run, const char *run_uid,
                     const char *step, int64_t index, int attempt)
{
    _cleanup_free_ char *path = xasprintf("%s/%s/%s/%" PRId64 "/%d", ns, run, step, index, attempt);
    struct entry *e = map_get(p->by_path, path);
    if (e && strcmp(e->run_uid, run_uid) == 0)
        return;
    if (e)
        remove_entry(p, e); /* of an earlier run of this name */
    if (map_size(p->by_path) >= MAX_ATTEMPTS)
        return; /* its posts are refused, which costs nothing but the bar */
    e = xcalloc(1, sizeof *e);
    *e = (struct entry){.path = xstrdup(path),
                        .uid_key = uid_key(run_uid, step, index, attempt),
                        .run_uid = xstrdup(run_uid),
                        .ns = xstrdup(ns),
                        .run = xstrdup(run),
                        .step = xstrdup(step),
                        .index = index,
                        .attempt = attempt,
                        .training_step = -1,
                        .view = {.fraction = -1,
                                 .checkpoint_step = -1,
                                 .samples_per_second = -1,
                                 .data_wait_ratio = -1,
                                 .checkpoint_seconds = -1}};
    progress_token(p, run_uid, step, attempt, index, e->token);
    (void)map_set(p->by_path, path, e);
    (void)map_set(p->by_uid, e->uid_key, e);
}

static void drop_oldest_ended(struct progress *p)
{
    const char *key;
    void *value;
    for (size_t i = 0; map_next(p->by_path, &i, &key, &value);) {
        if (((struct entry *)value)->ended) {
            remove_entry(p, value);
            return;
        }
    }
}

void progress_ended(struct progress *p, const char *run_uid, const char *step, int64_t index, int attempt)
{
    _cleanup_free_ char *key = uid_key(run_uid, step, index, attempt);
    struct entry *e = map_get(p->by_uid, key);
    if (!e || e->ended)
        return;
    e->ended = true;
    if (++p->n_ended > KEPT_ENDED)
        drop_oldest_ended(p);
}

const struct progress_attempt *progress_get(const struct progress *p, const char *run_uid, const char *step,
                                            int64_t index, int attempt)
{
    _cleanup_free_ char *key = uid_key(run_uid, step, index, attempt);
    const struct entry *e = map_get(p->by_uid, key);
    return e && e->view.heard_ms ? &e->view : NULL;
}

void progress_each(const struct progress *p,
                   void (*each)(void *ctx, const char *ns, const char *run, const char *step,
                                const struct progress_attempt *attempt),
                   void *ctx)
{
    const char *key;
    void *value;
    for (size_t i = 0; map_next(p->by_path, &i, &key, &value);) {
        const struct entry *e = value;
        if (!e->ended && e->view.heard_ms)
            each(ctx, e->ns, e->run, e->step, &e->view);
    }
}

/* --- posts --------------------------------------------------------------------------------------------------------- */

static bool number(const cJSON *object, const char *key, double *ret)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble) || fabs(v->valuedouble) > 9e15)
        return false;
    *ret = v->valuedouble;
    return true;
}

/* What of the steps' time since the last post went by waiting for rows. */
static void read_waiting(struct entry *e, const cJSON *metrics, int64_t now_ms)
{
    double step, latency_ms;
    if (!number(metrics, "step", &step) || step < 0)
        return;
    if (number(metrics, "data_loading_latency_ms", &latency_ms) && e->training_step >= 0 &&
        now_ms > e->view.heard_ms && step > (double)e->training_step)
        e->view.data_wait_ratio = fmin(1, fmax(0, (step - (double)e->training_step) * latency_ms /
                                                      (double)(now_ms - e->view.heard_ms)));
    e->training_step = (int64_t)step;
}

static int read_post(struct progress *p, struct entry *e, const char *body, size_t len, int64_t now_ms)
{
    _cleanup_json_ cJSON *j = NULL;
    struct err ignored = ERR_INIT;
    double v, checkpoint = -1;
    if (json_parse(body, len, LIMIT_PROGRESS_BYTES, &j, &ignored) < 0 || !cJSON_IsObject(j))
        return 400;
    if (number(j, "rank", &v) && v != 0)
        return 204; /* one voice an attempt */
    const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(j, "metrics");
    if (number(j, "fraction", &v) && v >= 0)
        e->view.fraction = fmin(v, 1);
    if (number(metrics, "training_throughput_samples_per_sec", &v) && v >= 0)
        e->view.samples_per_second = v;
    if (number(metrics, "checkpoint_duration_ms", &v) && v >= 0)
        e->view.checkpoint_seconds = v / 1000;
    if (number(j, "checkpoint_step", &v))
        checkpoint = v;
    if (number(metrics, "checkpoint_step", &v))
        checkpoint = fmax(checkpoint, v);
    read_waiting(e, metrics, now_ms);
    e->view.heard_ms = now_ms;
    if ((int64_t)checkpoint > e->view.checkpoint_step) {
        e->view.checkpoint_step = (int64_t)checkpoint;
        e->view.checkpoint_heard_ms = now_ms;
        p->wake(p->ctx, e->run_uid);
    }
    return 204;
}

void progress_handle(struct progress *p, const struct listener_request *request, struct listener_reply *reply)
{
    int64_t now = loop_now_ms();
    if (!text_starts_with(request->path, PROGRESS_PATH)) {
        reply->status = 404;
        return;
    }
    if (strcmp(request->method, "POST") != 0) {
        reply->status = 405;
        return;
    }
    struct entry *e = map_get(p->by_path, request->path + strlen(PROGRESS_PATH));
    if (!e) {
        reply->status = 404; /* a new leader may not have looked at the run yet */
        (void)buf_adds(&reply->body, "no such attempt is known\n");
    } else if (!listener_bearer_is(request, e->token)) {
        reply->status = 401;
        (void)buf_adds(&reply->body, "expected the bearer token of this attempt\n");
    } else if (e->ended) {
        reply->status = 410;
        (void)buf_adds(&reply->body, "this attempt has ended\n");
    } else if (e->view.heard_ms && now - e->view.heard_ms < MIN_INTERVAL_MS) {
        reply->status = 429;
        (void)buf_adds(&reply->body, "at most ten posts a second\n");
    } else {
        reply->status = read_post(p, e, request->body, request->body_len, now);
        if (reply->status == 400)
            (void)buf_adds(&reply->body, "expected {\"fraction\", \"message\", \"metrics\"}\n");
    }
}
