/* One S3 request: built, signed, sent, and sent again while it makes sense.
 *
 * Each attempt is signed afresh (time and credentials may have changed). What is retried: failures of the exchange,
 * 5xx, 429, 408, damaged bodies, 409 of a conditional write; once each: a clock that is off (corrected by the answer's
 * Date) and an expired token (read or exchanged anew). The deadline counts from the start, or from the last time bytes
 * came through. */
#include "common/base/alloc.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"

enum {
    BACKOFF_FIRST_MS = 50,
    BACKOFF_MAX_MS = 5000,
    BAD_BODIES_MAX = 3,
    CONFLICTS_MAX = 4,
    URL_MAX = 16 * 1024
};

struct s3_call {
    struct s3_store *store;
    struct s3_request request;
    void (*done)(void *ctx, struct http_response *response, struct err *failure);
    void *ctx;
    int64_t deadline; /* loop_now_ms() */
    struct backoff backoff;
    int bad_bodies, conflicts;
    bool refreshed, corrected;
    char payload_sha256[DIGEST_HEX];
    struct http_exchange *exchange;
    struct loop_timer *timer;
    char *url; /* of the attempt under way */
};

void s3_add_query(struct s3_request *r, const char *name, const char *value)
{
    if (r->n_query == S3_PAIRS_MAX)
        BUG("too many query parameters");
    r->query[r->n_query++] = (struct sigv4_pair){name, value};
}

void s3_add_header(struct s3_request *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (text_equal(r->headers[i].name, name)) { /* a later attempt's value */
            r->headers[i].value = value;
            return;
        }
    if (r->n_headers == S3_PAIRS_MAX)
        BUG("too many headers");
    r->headers[r->n_headers++] = (struct sigv4_pair){name, value};
}

static void free_call(struct s3_call *c)
{
    loop_timer_cancel(c->timer);
    http_cancel(c->exchange);
    free(c->url);
    free(c);
}

struct s3_call *s3_cancel(struct s3_call *c)
{
    if (c)
        free_call(c);
    return NULL;
}

void s3_call_progress(struct s3_call *c)
{
    c->deadline = loop_now_ms() + c->store->deadline_ms;
}

static void finish(struct s3_call *c, struct http_response *response, struct err *failure)
{
    void (*done)(void *, struct http_response *, struct err *) = c->done;
    void *ctx = c->ctx;
    free_call(c);
    done(ctx, response, failure);
}

/* --- one attempt ------------------------------------------------------------------------------------ */

static int path_of(const struct s3_store *s, const char *key, struct buf *out)
{
    (void)buf_adds(out, s->bucket_path);
    if (!key)
        return *s->bucket_path ? 0 : buf_addc(out, '/');
    (void)buf_addc(out, '/');
    if (*s->prefix) {
        (void)uri_encode(out, s->prefix, true);
        (void)buf_addc(out, '/');
    }
    return uri_encode(out, key, true);
}

/* Fills `lines` with "Name: value" strings, one after the other. */
static int sign(struct s3_call *c, const char *path, struct buf *lines, struct err *err)
{
    struct s3_store *s = c->store;
    struct s3_request r = c->request; /* with what every request carries */
    struct credential_values keys;
    if (credentials_get(s->credentials, &keys, err) < 0)
        return -1;
    const char *payload = r.payload_sha256 ? r.payload_sha256 : c->payload_sha256;
    s3_add_header(&r, "x-amz-content-sha256", payload);
    if (keys.session_token)
        s3_add_header(&r, "x-amz-security-token", keys.session_token);
    struct sigv4_request to_sign = {.method = r.method,
                                    .host = s->host,
                                    .path = path,
                                    .query = r.query,
                                    .n_query = r.n_query,
                                    .headers = r.headers,
                                    .n_headers = r.n_headers,
                                    .payload_sha256 = payload,
                                    .region = s->region,
                                    .service = "s3",
                                    .access_key_id = keys.access_key_id,
                                    .secret_access_key = keys.secret_access_key,
                                    .time_ms = s->clock->wall_ms(s->clock->ctx) + s->skew_ms};
    _cleanup_buf_ struct buf authorization = BUF_INIT(8192);
    char date[SIGV4_DATE_MAX];
    if (sigv4_sign(&to_sign, &authorization, date, err) < 0)
        return -1;
    for (size_t i = 0; i < r.n_headers; i++) {
        (void)buf_addf(lines, "%s: %s", r.headers[i].name, r.headers[i].value);
        (void)buf_add(lines, "", 1);
    }
    (void)buf_addf(lines, "x-amz-date: %s", date);
    (void)buf_add(lines, "", 1);
    (void)buf_addf(lines, "Authorization: %s", buf_str(&authorization));
    (void)buf_add(lines, "", 1);
    return buf_check(lines, "the request's headers", err);
}

static void on_http(void *ctx, struct http_response *response, struct err *failure);

static int attempt(struct s3_call *c, struct err *err)
{
    struct s3_store *s = c->store;
    if (c->request.prepare)
        c->request.prepare(c->request.ctx, &c->request);
    const struct s3_request *r = &c->request;
    _cleanup_buf_ struct buf path = BUF_INIT(URL_MAX);
    _cleanup_buf_ struct buf url = BUF_INIT(URL_MAX);
    _cleanup_buf_ struct buf lines = BUF_INIT(128 * 1024);
    (void)path_of(s, r->key, &path);
    (void)buf_addf(&url, "%s://%s%s%s", s->scheme, s->host, buf_str(&path), r->n_query ? "?" : "");
    (void)sigv4_query(r->query, r->n_query, &url);
    if (buf_check(&url, "the request's URL", err) < 0 || sign(c, buf_str(&path), &lines, err) < 0)
        return -1;
    const char *headers[S3_PAIRS_MAX + 6];
    size_t n = 0;
    for (const char *line = lines.data; line < lines.data + lines.len; line += strlen(line) + 1)
        headers[n++] = line;
    headers[n] = NULL;
    free(c->url);
    c->url = buf_take(&url);
    int64_t left = c->deadline - loop_now_ms();
    struct http_request request = {.method = r->method,
                                   .url = c->url,
                                   .headers = headers,
                                   .body = r->body,
                                   .body_len = r->body_len,
                                   .body_from_fd = r->body_from_fd,
                                   .body_fd = r->body_fd,
                                   .body_offset = r->body_offset,
                                   .body_size = r->body_size,
                                   .timeout_ms = left > 1000 ? left : 1000,
                                   .max_body = r->max_body,
                                   .sink = r->sink,
                                   .sink_ctx = r->ctx};
    return http_start(s->http, &request, on_http, c, &c->exchange, err);
}

static void on_timer(void *ctx)
{
    struct s3_call *c = ctx;
    struct err err = ERR_INIT;
    c->timer = NULL;
    if (attempt(c, &err) < 0)
        finish(c, NULL, &err);
}

/* Waits and tries again; beyond the deadline `failure` is final. */
static void again(struct s3_call *c, int64_t least_ms, struct err *failure)
{
    int64_t delay = backoff_next_ms(&c->backoff);
    if (delay < least_ms)
        delay = least_ms;
    if (loop_now_ms() + delay >= c->deadline) {
        (void)err_wrap(failure, "gave up after %u attempts", c->backoff.attempt);
        finish(c, NULL, failure);
        return;
    }
    c->timer = loop_timer_start(http_client_loop(c->store->http), delay, on_timer, c);
}

static bool correct_clock(struct s3_call *c, const struct http_response *response)
{
    int64_t theirs = http_date_ms(response, "Date");
    if (c->corrected || theirs < 0)
        return false;
    c->corrected = true;
    c->store->skew_ms = theirs - c->store->clock->wall_ms(c->store->clock->ctx);
    return true;
}

static void on_answer(struct s3_call *c, struct http_response *response)
{
    struct err err = ERR_INIT;
    int64_t wait = http_retry_after_ms(response, c->store->clock->wall_ms(c->store->clock->ctx));
    switch (s3_judge(c->store, &c->request, response, &err)) {
    case S3_OK:
        if (c->request.accept && c->request.accept(c->request.ctx, response, &err) < 0) {
            if (err.class_ == ERR_RETRY && c->bad_bodies++ < BAD_BODIES_MAX)
                break;
            finish(c, NULL, &err);
            return;
        }
        finish(c, response, &err);
        return;
    case S3_AGAIN:
        /* A conflict ends when the other writer ends; a damaged upload is not worth the whole deadline. */
        if ((response->status == 409 && c->conflicts++ >= CONFLICTS_MAX) ||
            (response->status == 400 && c->bad_bodies++ >= BAD_BODIES_MAX)) {
            finish(c, NULL, &err);
            return;
        }
        break;
    case S3_SKEWED:
        if (correct_clock(c, response))
            break;
        finish(c, NULL, &err);
        return;
    case S3_EXPIRED:
        if (!c->refreshed && (credentials_forget(c->store->credentials) || correct_clock(c, response))) {
            c->refreshed = true;
            break;
        }
        finish(c, NULL, &err);
        return;
    case S3_FAILED:
        finish(c, NULL, &err);
        return;
    }
    again(c, wait, &err);
}

static void on_http(void *ctx, struct http_response *response, struct err *failure)
{
    struct s3_call *c = ctx;
    c->exchange = NULL;
    if (!err_is_set(failure))
        on_answer(c, response);
    else if (failure->class_ == ERR_RETRY)
        again(c, 0, failure);
    else
        finish(c, NULL, failure);
}

int s3_start(struct s3_store *s, const struct s3_request *r,
             void (*done)(void *ctx, struct http_response *response, struct err *failure), void *ctx,
             struct s3_call **ret, struct err *err)
{
    struct s3_call *c = xcalloc(1, sizeof *c);
    *c = (struct s3_call){.store = s,
                          .request = *r,
                          .done = done,
                          .ctx = ctx,
                          .deadline = loop_now_ms() + s->deadline_ms};
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    backoff_init(&c->backoff, BACKOFF_FIRST_MS, BACKOFF_MAX_MS, seed);
    if (!r->payload_sha256)
        sha256_hex(r->body ? r->body : "", r->body_len, c->payload_sha256);
    if (attempt(c, err) < 0) {
        free_call(c);
        return -1;
    }
    if (ret)
        *ret = c;
    return 0;
}

/* --- blocking --------------------------------------------------------------------------------------- */

struct blocking {
    bool finished;
    struct http_response response;
    struct err failure;
};

static void on_blocking(void *ctx, struct http_response *response, struct err *failure)
{
    struct blocking *b = ctx;
    b->finished = true;
    b->failure = *failure;
    if (response) {
        b->response = *response;
        *response = (struct http_response){0};
    }
}

int s3_step(struct s3_store *s, struct err *err)
{
    return loop_step(http_client_loop(s->http), -1, err);
}

int s3_perform(struct s3_store *s, const struct s3_request *r, struct http_response *ret, struct err *err)
{
    struct blocking b = {0};
    struct s3_call *call;
    if (ret)
        http_response_init(ret);
    if (s3_start(s, r, on_blocking, &b, &call, err) < 0)
        return -1;
    while (!b.finished)
        if (s3_step(s, err) < 0) {
            if (!b.finished)
                s3_cancel(call);
            return -1;
        }
    if (err_is_set(&b.failure)) {
        *err = b.failure;
        return -1;
    }
    if (ret)
        *ret = b.response;
    else
        http_response_release(&b.response);
    return 0;
}
