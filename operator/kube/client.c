/* Calls: a queue of those that wait, a bounded number under way, tries with back-off; see client.h. */
#include "operator/kube/client.h"

#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/kube/answer.h"
#include "operator/kube/client-internal.h"

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    RETRY_AFTER_MAX_MS = 30 * 1000,
    TOKEN_CHECK_MS = 1000,
    TOKEN_MAX = 64 * 1024,
    KUBE_BUFFER = 16 * 1024, /* objects are small; each transfer under way has one */
};

/* Metadata only, where the server can (all verbs that answer with an object). */
#define BRIEF "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

struct kube_client {
    const struct kube_config *config;
    struct loop *own_loop;
    struct loop *loop;
    struct http_client *http;
    struct kube_client_options options;
    struct kube_call *first, *last; /* all calls, oldest first */
    size_t in_flight;
    char *token; /* "Authorization: Bearer …", of token or token_file; NULL */
    struct timespec token_mtime;
    int64_t token_checked_ms; /* 0: never */
    uint64_t seed;
};

struct kube_call {
    struct kube_client *client;
    struct kube_call *prev, *next;
    enum kube_verb verb;
    const char *plural;
    char *url, *body, *what; /* what: "create jobs/x" for messages */
    const char *const *unread;
    bool raw, brief, has_turn, repeated_401;
    int tries;
    int64_t try_started_ms;
    struct backoff backoff;
    struct http_exchange *exchange;
    struct loop_timer *timer;
    struct err early; /* could not even be sent */
    void (*done)(void *ctx, cJSON **object, struct err *failure);
    void *ctx;
};

static const char *const verb_names[] = {"get", "create", "update", "patch", "apply", "delete"};
static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "PATCH", "DELETE"};
static const char *const content_types[] = {NULL,
                                            "application/json",
                                            "application/json",
                                            "application/merge-patch+json",
                                            "application/apply-patch+yaml",
                                            "application/json"};

static void free_call(struct kube_call *k);

/* --- client ---------------------------------------------------------------------------------------------- */

int kube_client_new(struct loop *loop, const struct kube_config *config,
                    const struct kube_client_options *options, struct kube_client **ret, struct err *err)
{
    struct kube_client *c = xcalloc(1, sizeof *c);
    c->config = config;
    if (options)
        c->options = *options;
    c->options.max_in_flight = c->options.max_in_flight ? c->options.max_in_flight : KUBE_IN_FLIGHT;
    c->options.timeout_ms = c->options.timeout_ms ? c->options.timeout_ms : KUBE_TIMEOUT_MS;
    struct http_config http = {.ca_file = config->ca_file,
                               .client_cert = config->client_cert,
                               .client_key = config->client_key,
                               .user_agent = c->options.user_agent,
                               .proxy = config->proxy,
                               .connect_to = config->connect_to,
                               .http2 = true,
                               /* Calls have a time-out each, watches watch over themselves. */
                               .stall_timeout_ms = 3600 * 1000,
                               .buffer_bytes = KUBE_BUFFER};
    if ((!loop && loop_new(&c->own_loop, err) < 0) ||
        http_client_new(loop ? loop : c->own_loop, &http, &c->http, err) < 0) {
        loop_free(c->own_loop);
        free(c);
        return -1;
    }
    c->loop = loop ? loop : c->own_loop;
    *ret = c;
    return 0;
}

struct kube_client *kube_client_free(struct kube_client *c)
{
    if (!c)
        return NULL;
    for (struct kube_call *k = c->first, *next; k; k = next) {
        next = k->next;
        free_call(k);
    }
    http_client_free(c->http);
    if (c->own_loop)
        loop_free(c->own_loop);
    free(c->token);
    return xfree(c);
}

const char *kube_client_namespace(const struct kube_client *c)
{
    return c->config->namespace_;
}

struct loop *kube_client_loop(const struct kube_client *c)
{
    return c->loop;
}

/* --- credentials ------------------------------------------------------------------------------------------- */

static int read_token(struct kube_client *c, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (fs_read_file(c->config->token_file, TOKEN_MAX, &text, &len, err) < 0)
        return err_wrap(err, "the token for the API server");
    while (len && strchr(" \r\n\t", text[len - 1]))
        text[--len] = '\0';
    free(c->token);
    c->token = xasprintf("Authorization: Bearer %s", text);
    return 0;
}

/* The header, or NULL if there is none to send. A file that cannot be read leaves the old token. */
static int authorization(struct kube_client *c, bool anew, const char **ret, struct err *err)
{
    if (c->config->token && !c->token)
        c->token = xasprintf("Authorization: Bearer %s", c->config->token);
    int64_t now = loop_now_ms();
    if (c->config->token_file && (anew || !c->token || now - c->token_checked_ms >= TOKEN_CHECK_MS)) {
        struct stat st;
        struct err why = ERR_INIT;
        bool changed =
            stat(c->config->token_file, &st) == 0 &&
            (st.st_mtim.tv_sec != c->token_mtime.tv_sec || st.st_mtim.tv_nsec != c->token_mtime.tv_nsec);
        if ((anew || !c->token || changed) && read_token(c, &why) == 0)
            c->token_mtime = st.st_mtim;
        c->token_checked_ms = now;
        if (!c->token) {
            *err = why;
            return -1;
        }
    }
    *ret = c->token;
    return 0;
}

/* --- one call ------------------------------------------------------------------------------------------------ */

static void start_waiting(struct kube_client *c);
static void try_now(void *ctx);

static void unlink_call(struct kube_call *k)
{
    struct kube_client *c = k->client;
    *(k->prev ? &k->prev->next : &c->first) = k->next;
    *(k->next ? &k->next->prev : &c->last) = k->prev;
    if (k->has_turn)
        c->in_flight--;
}

static void free_call(struct kube_call *k)
{
    unlink_call(k);
    (void)http_cancel(k->exchange);
    (void)loop_timer_cancel(k->timer);
    free(k->url);
    free(k->body);
    free(k->what);
    free(k);
}

static void finish(struct kube_call *k, cJSON *object, struct err *failure)
{
    struct kube_client *c = k->client;
    void (*done)(void *, cJSON **, struct err *) = k->done;
    void *ctx = k->ctx;
    free_call(k);
    start_waiting(c); /* before the callback, which may free the client */
    done(ctx, &object, failure);
    cJSON_Delete(object);
}

static void seen(struct kube_call *k, int status)
{
    struct kube_client *c = k->client;
    if (c->options.seen)
        c->options.seen(c->options.seen_ctx, verb_names[k->verb], k->plural, status,
                        loop_now_ms() - k->try_started_ms);
}

/* May it be sent again? Reads always; writes only if the server did nothing. */
static bool may_repeat(const struct kube_call *k, int status, const struct err *failure)
{
    if (failure->class_ != ERR_RETRY || k->tries >= KUBE_TRIES)
        return false;
    return k->verb == KUBE_GET || status == 429 || text_equal(failure->reason, "connect");
}

static void fail_or_repeat(struct kube_call *k, int status, int64_t wait_ms, struct err *failure)
{
    if (!may_repeat(k, status, failure)) {
        if (k->tries > 1)
            (void)err_wrap(failure, "after %d tries", k->tries);
        finish(k, NULL, failure);
        return;
    }
    int64_t delay = backoff_next_ms(&k->backoff);
    if (delay < wait_ms)
        delay = wait_ms < RETRY_AFTER_MAX_MS ? wait_ms : RETRY_AFTER_MAX_MS;
    k->timer = loop_timer_start(k->client->loop, delay, try_now, k);
}

static void on_answer(struct kube_call *k, struct http_response *response)
{
    struct err failure = ERR_INIT;
    const char *text = buf_str(&response->body);
    bool success = response->status >= 200 && response->status < 300;
    if (success && k->raw) {
        finish(k, cJSON_CreateString(text), &failure);
        return;
    }
    if (response->body.len)
        response->body.len = kube_cut_members(response->body.data, response->body.len, k->unread);
    cJSON *object = cJSON_ParseWithLength(text, response->body.len);
    if (success && object) {
        finish(k, object, &failure);
        return;
    }
    if (success) {
        (void)err_fail(&failure, ERR_RETRY, EXITCODE_UNAVAILABLE, "unreadable",
                       "%s: the answer of %zu bytes is no JSON", k->what, response->body.len);
        fail_or_repeat(k, response->status, -1, &failure);
        return;
    }
    int64_t wait = http_retry_after_ms(response, clock_system.wall_ms(clock_system.ctx));
    if (wait < 0)
        wait = kube_answer_retry_after_ms(object);
    (void)kube_answer_error(response->status, object, k->what, &failure);
    cJSON_Delete(object);
    if (response->status == 401 && !k->repeated_401 && k->client->config->token_file) {
        k->repeated_401 = true; /* the kubelet has replaced the token meanwhile */
        try_now(k);
        return;
    }
    fail_or_repeat(k, response->status, wait, &failure);
}

static void on_http(void *ctx, struct http_response *response, struct err *failure)
{
    struct kube_call *k = ctx;
    k->exchange = NULL;
    seen(k, err_is_set(failure) ? 0 : response->status);
    if (err_is_set(failure)) {
        (void)err_wrap(failure, "%s", k->what);
        fail_or_repeat(k, 0, -1, failure);
    } else {
        on_answer(k, response);
    }
}

static void report_early(void *ctx)
{
    struct kube_call *k = ctx;
    k->timer = NULL;
    struct err failure = k->early;
    finish(k, NULL, &failure);
}

static void try_now(void *ctx)
{
    struct kube_call *k = ctx;
    struct kube_client *c = k->client;
    const char *token = NULL;
    char content_type[64];
    k->timer = NULL;
    k->tries++;
    k->try_started_ms = loop_now_ms();
    const char *headers[4] = {NULL};
    size_t n = 0;
    if (authorization(c, k->repeated_401, &token, &k->early) == 0) {
        headers[n++] = k->raw ? "Accept: */*" : k->brief ? BRIEF : "Accept: application/json";
        if (token)
            headers[n++] = token;
        if (k->body) {
            (void)snprintf(content_type, sizeof content_type, "Content-Type: %s", content_types[k->verb]);
            headers[n++] = content_type;
        }
        struct http_request request = {.method = methods[k->verb],
                                       .url = k->url,
                                       .headers = headers,
                                       .body = k->body,
                                       .body_len = k->body ? strlen(k->body) : 0,
                                       .timeout_ms = c->options.timeout_ms};
        if (http_start(c->http, &request, on_http, k, &k->exchange, &k->early) == 0)
            return;
    }
    k->timer = loop_timer_start(c->loop, 0, report_early, k);
}

static void start_waiting(struct kube_client *c)
{
    for (struct kube_call *k = c->first; k && c->in_flight < (size_t)c->options.max_in_flight; k = k->next) {
        if (k->has_turn)
            continue;
        k->has_turn = true;
        c->in_flight++;
        if (!err_is_set(&k->early))
            try_now(k);
        else
            k->timer = loop_timer_start(c->loop, 0, report_early, k);
    }
}

struct kube_call *kube_start(struct kube_client *c, const struct kube_request *r,
                             void (*done)(void *ctx, cJSON **object, struct err *failure), void *ctx)
{
    struct kube_call *k = xcalloc(1, sizeof *k);
    *k = (struct kube_call){.client = c,
                            .prev = c->last,
                            .verb = r->verb,
                            .plural = r->resource->plural,
                            .raw = r->raw,
                            .brief = r->brief,
                            .unread = r->unread,
                            .done = done,
                            .ctx = ctx};
    _cleanup_buf_ struct buf url = BUF_INIT(16 * 1024);
    (void)buf_adds(&url, c->config->server);
    kube_path(r->resource, r->ns, r->name, r->sub, &url);
    if (r->query)
        (void)buf_addf(&url, "?%s", r->query);
    k->what = xasprintf("%s %s%s%s%s%s", verb_names[r->verb], r->resource->plural, r->ns ? " " : "",
                        r->ns ? r->ns : "", r->name ? "/" : "", r->name ? r->name : "");
    if (buf_check(&url, k->what, &k->early) == 0)
        k->url = buf_take(&url);
    if (r->body) {
        k->body = cJSON_PrintUnformatted(r->body);
        if (!k->body && !err_is_set(&k->early))
            (void)err_set(&k->early, ERR_TERMINAL, "%s: no memory for the body", k->what);
    }
    backoff_init(&k->backoff, BACKOFF_FIRST_MS, BACKOFF_MAX_MS, (uint64_t)(uintptr_t)k + c->seed++);
    *(c->last ? &c->last->next : &c->first) = k;
    c->last = k;
    start_waiting(c);
    return k;
}

struct kube_call *kube_cancel(struct kube_call *k)
{
    if (k) {
        struct kube_client *c = k->client;
        free_call(k);
        start_waiting(c);
    }
    return NULL;
}

/* --- watches --------------------------------------------------------------------------------------------------- */

struct kube_watch {
    struct kube_client *client;
    char *url;
    struct http_exchange *exchange;
    struct loop_timer *timer; /* silence, or what could not be started */
    int64_t silence_ms, heard_ms;
    struct err early;
    int (*sink)(void *ctx, const void *data, size_t len, struct err *err);
    void (*done)(void *ctx, struct err *failure);
    void *ctx;
};

struct kube_watch *kube_watch_cancel(struct kube_watch *w)
{
    if (w) {
        (void)http_cancel(w->exchange);
        (void)loop_timer_cancel(w->timer);
        free(w->url);
        free(w);
    }
    return NULL;
}

static void end_watch(struct kube_watch *w, const struct err *failure)
{
    void (*done)(void *, struct err *) = w->done;
    void *ctx = w->ctx;
    struct err copy = *failure;
    (void)kube_watch_cancel(w);
    done(ctx, &copy);
}

static void on_watch_end(void *ctx, struct http_response *response, struct err *failure)
{
    struct kube_watch *w = ctx;
    w->exchange = NULL;
    if (!err_is_set(failure) && response->status >= 300) {
        cJSON *status = cJSON_ParseWithLength(buf_str(&response->body), response->body.len);
        (void)kube_answer_error(response->status, status, "watch", failure);
        cJSON_Delete(status);
        if (response->status == 401)
            w->client->token_checked_ms = 0;
    }
    end_watch(w, failure);
}

static int on_watch_bytes(void *ctx, const struct http_response *response, const void *data, size_t len,
                          struct err *err)
{
    struct kube_watch *w = ctx;
    (void)response;
    w->heard_ms = loop_now_ms();
    return w->sink(w->ctx, data, len, err);
}

static void check_silence(void *ctx)
{
    struct kube_watch *w = ctx;
    w->timer = NULL;
    int64_t left = w->heard_ms + w->silence_ms - loop_now_ms();
    if (!err_is_set(&w->early) && left > 0) {
        w->timer = loop_timer_start(w->client->loop, left, check_silence, w);
        return;
    }
    if (!err_is_set(&w->early))
        (void)err_fail(&w->early, ERR_RETRY, EXITCODE_UNAVAILABLE, "silent",
                       "watch: nothing came for %lld s; the connection is taken for dead",
                       (long long)w->silence_ms / 1000);
    w->exchange = http_cancel_dead(w->exchange);
    end_watch(w, &w->early);
}

struct kube_watch *kube_watch_start(struct kube_client *c, const char *path, int64_t silence_ms,
                                    int (*sink)(void *ctx, const void *data, size_t len, struct err *err),
                                    void (*done)(void *ctx, struct err *failure), void *ctx)
{
    struct kube_watch *w = xcalloc(1, sizeof *w);
    *w = (struct kube_watch){.client = c,
                             .url = xasprintf("%s%s", c->config->server, path),
                             .silence_ms = silence_ms,
                             .heard_ms = loop_now_ms(),
                             .sink = sink,
                             .done = done,
                             .ctx = ctx};
    const char *headers[3] = {"Accept: application/json", NULL, NULL};
    if (authorization(c, false, &headers[1], &w->early) == 0) {
        struct http_request request = {.url = w->url,
                                       .headers = headers,
                                       .sink = on_watch_bytes,
                                       .sink_ctx = w};
        (void)http_start(c->http, &request, on_watch_end, w, &w->exchange, &w->early);
    }
    w->timer = loop_timer_start(c->loop, err_is_set(&w->early) ? 0 : silence_ms, check_silence, w);
    return w;
}

/* --- blocking --------------------------------------------------------------------------------------------------- */

struct waiting {
    bool finished;
    cJSON *object;
    struct err failure;
};

static void on_waited(void *ctx, cJSON **object, struct err *failure)
{
    struct waiting *w = ctx;
    w->finished = true;
    w->object = *object;
    *object = NULL;
    w->failure = *failure;
}

int kube_call_wait(struct kube_client *c, const struct kube_request *r, cJSON **ret, struct err *err)
{
    struct waiting w = {.finished = false};
    struct kube_call *k = kube_start(c, r, on_waited, &w);
    while (!w.finished) {
        if (loop_step(c->loop, -1, err) < 0) {
            (void)kube_cancel(k);
            return -1;
        }
    }
    if (err_is_set(&w.failure)) {
        *err = w.failure;
        return -1;
    }
    if (ret)
        *ret = w.object;
    else
        cJSON_Delete(w.object);
    return 0;
}
