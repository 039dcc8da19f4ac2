/* HTTP over libcurl: see http.h. Each exchange is one easy handle in the loop's multi handle; handles are reused. */
#include "common/http/http.h"

#include <errno.h>
#include <inttypes.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cli.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/http/loop-internal.h"

enum { MAX_IDLE_HANDLES = 16, SOCKETS_KNOWN = 16 };

struct http_client {
    struct loop *loop;
    bool own_loop;
    char *ca_file, *client_cert, *client_key, *user_agent, *proxy;
    struct curl_slist *connect_to;
    struct http_config config; /* numbers only */
    CURL *idle[MAX_IDLE_HANDLES];
    size_t n_idle;
    size_t in_flight;
    struct {
        int fd;
        ino_t inode; /* tells a socket from a later one of the same number */
    } socket[SOCKETS_KNOWN];
    size_t n_sockets; /* ever opened; the oldest are forgotten. Only with http2 */
};

struct http_exchange {
    struct loop_transfer transfer; /* first: the loop's view */
    struct http_client *client;
    struct http_request request;
    struct http_response response;
    CURL *easy;
    struct curl_slist *headers;
    int64_t sent;            /* of the body */
    int64_t moved, moved_ms; /* bytes both ways, and when they last grew */
    struct err callback_err; /* set inside libcurl's callbacks */
    char curl_text[CURL_ERROR_SIZE];
    void (*done)(void *ctx, struct http_response *response, struct err *failure);
    void *ctx;
};

/* --- sockets ----------------------------------------------------------------------------------------- */

static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_client *c = ctx;
    struct stat st;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (fstat(fd, &st) == 0) {
        c->socket[c->n_sockets % SOCKETS_KNOWN].inode = st.st_ino;
        c->socket[c->n_sockets++ % SOCKETS_KNOWN].fd = fd;
    }
    return fd;
}

/* libcurl keeps a multiplexed connection on which an exchange has timed out, and would put all later ones onto it, for as long
 * as the kernel takes it for alive (a quarter of an hour). With their sockets shut, it finds its connections closed. */
static void cut_connections(struct http_client *c)
{
    struct stat st;
    for (size_t i = 0; i < c->n_sockets && i < SOCKETS_KNOWN; i++) {
        if (fstat(c->socket[i].fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == c->socket[i].inode)
            (void)shutdown(c->socket[i].fd, SHUT_RDWR);
    }
    c->n_sockets = 0;
}

/* --- client ----------------------------------------------------------------------------------------- */

int http_client_new(struct loop *loop, const struct http_config *config, struct http_client **ret,
                    struct err *err)
{
    struct loop *own = NULL;
    if (!loop && loop_new(&own, err) < 0)
        return -1;
    struct http_client *c = xcalloc(1, sizeof *c);
    c->loop = loop ? loop : own;
    c->own_loop = !loop;
    c->ca_file = config->ca_file ? xstrdup(config->ca_file) : NULL;
    c->client_cert = config->client_cert ? xstrdup(config->client_cert) : NULL;
    c->client_key = config->client_key ? xstrdup(config->client_key) : NULL;
    c->user_agent =
        config->user_agent ? xstrdup(config->user_agent) : xasprintf("trainyard/%s", trainyard_version);
    c->proxy = config->proxy ? xstrdup(config->proxy) : NULL;
    c->connect_to = config->connect_to ? curl_slist_append(NULL, config->connect_to) : NULL;
    c->config = *config;
    c->config.connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : 10000;
    c->config.stall_timeout_ms = config->stall_timeout_ms ? config->stall_timeout_ms : 30000;
    c->config.max_connections = config->max_connections ? config->max_connections : 16;
    c->config.buffer_bytes = config->buffer_bytes ? config->buffer_bytes : 64 * 1024;
    if (c->own_loop) {
        (void)curl_multi_setopt(loop_curl(own), CURLMOPT_MAX_TOTAL_CONNECTIONS,
                                (long)c->config.max_connections);
        (void)curl_multi_setopt(loop_curl(own), CURLMOPT_MAXCONNECTS, (long)c->config.max_connections);
    }
    *ret = c;
    return 0;
}

struct http_client *http_client_free(struct http_client *c)
{
    if (!c)
        return NULL;
    if (c->in_flight)
        BUG("http_client_free with %zu exchanges under way", c->in_flight);
    while (c->n_idle)
        curl_easy_cleanup(c->idle[--c->n_idle]);
    if (c->own_loop)
        loop_free(c->loop);
    free(c->ca_file);
    free(c->client_cert);
    free(c->client_key);
    free(c->user_agent);
    free(c->proxy);
    curl_slist_free_all(c->connect_to);
    free(c);
    return NULL;
}

struct loop *http_client_loop(struct http_client *c)
{
    return c->loop;
}

/* --- libcurl's callbacks ---------------------------------------------------------------------------- */

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    size_t len = size * n;
    if (len > 5 && memcmp(data, "HTTP/", 5) == 0) { /* a new response: after 100 Continue, after a redirect */
        buf_reset(&x->response.headers);
        x->response.status = 0;
        return len;
    }
    size_t trimmed = len;
    while (trimmed > 0 && (data[trimmed - 1] == '\r' || data[trimmed - 1] == '\n'))
        trimmed--;
    if (trimmed == 0)
        return len;
    if (buf_add(&x->response.headers, data, trimmed) < 0 || buf_addc(&x->response.headers, '\n') < 0) {
        (void)err_set(&x->callback_err, ERR_INVALID, "%s: response headers larger than %d bytes",
                      x->request.url, LIMIT_HTTP_HEADER_BYTES);
        return 0;
    }
    return len;
}

static void fetch_status(struct http_exchange *x)
{
    long status = 0;
    (void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    x->response.status = (int)status;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    size_t len = size * n;
    if (x->response.status == 0)
        fetch_status(x);
    bool success = x->response.status >= 200 && x->response.status < 300;
    if (success && x->request.sink)
        return x->request.sink(x->request.sink_ctx, &x->response, data, len, &x->callback_err) < 0 ? 0 : len;
    if (buf_add(&x->response.body, data, len) < 0) {
        (void)err_set(&x->callback_err, ERR_INVALID,
                      "%s: the response's body is larger than the maximum of %zu bytes", x->request.url,
                      x->response.body.max);
        return 0;
    }
    return len;
}

static int64_t body_size(const struct http_request *r)
{
    return r->body_from_fd ? r->body_size : (int64_t)r->body_len;
}

static size_t on_read(char *ret, size_t size, size_t n, void *ctx)
{
    struct http_exchange *x = ctx;
    const struct http_request *r = &x->request;
    int64_t left = body_size(r) - x->sent;
    size_t len = size * n < (uint64_t)left ? size * n : (size_t)left;
    if (len == 0)
        return 0;
    if (!r->body_from_fd) {
        memcpy(ret, (const char *)r->body + x->sent, len);
    } else {
        ssize_t got;
        do {
            got = pread(r->body_fd, ret, len, (off_t)(r->body_offset + x->sent));
        } while (got < 0 && errno == EINTR);
        if (got <= 0) {
            if (got < 0)
                (void)err_errno(&x->callback_err, errno, "cannot read the file being uploaded to %s", r->url);
            else
                (void)err_fail(&x->callback_err, ERR_TERMINAL, EXITCODE_IO, "short",
                               "the file being uploaded to %s ends at byte %" PRId64 ": it was cut meanwhile",
                               r->url, r->body_offset + x->sent);
            return CURL_READFUNC_ABORT;
        }
        len = (size_t)got;
    }
    x->sent += (int64_t)len;
    return len;
}

/* libcurl rewinds when a reused connection turns out to be dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http_exchange *x = ctx;
    if (origin != SEEK_SET || offset < 0 || offset > body_size(&x->request))
        return CURL_SEEKFUNC_FAIL;
    x->sent = offset;
    return CURL_SEEKFUNC_OK;
}

/* libcurl's own low-speed limit looks at an average, and so notices late. */
static int on_progress(void *ctx, curl_off_t download_total, curl_off_t downloaded, curl_off_t upload_total,
                       curl_off_t uploaded)
{
    struct http_exchange *x = ctx;
    int64_t now = loop_now_ms();
    (void)download_total, (void)upload_total;
    if (downloaded + uploaded != x->moved) {
        x->moved = downloaded + uploaded;
        x->moved_ms = now;
    }
    if (now - x->moved_ms < x->client->config.stall_timeout_ms)
        return 0;
    (void)err_fail(&x->callback_err, ERR_RETRY, EXITCODE_UNAVAILABLE, "timeout",
                   "%s: stalled: nothing moved for %" PRId64 " ms, after %" PRId64 " bytes", x->request.url,
                   now - x->moved_ms, x->moved);
    return 1;
}

/* --- one exchange ----------------------------------------------------------------------------------- */

/* Class and exit code of a failed transfer. */
static void set_curl_error(const struct http_exchange *x, CURLcode code, struct err *err)
{
    const char *text = x->curl_text[0] ? x->curl_text : curl_easy_strerror(code);
    const char *url = x->request.url;
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "url", "%s is not a usable URL: %s", url, text);
        return;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "tls",
                       "%s: the server's certificate is not trusted: %s; name the right CA bundle (now: %s)",
                       url, text, x->client->ca_file ? x->client->ca_file : "the system's");
        return;
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "tls", "%s: a TLS file cannot be used: %s", url,
                       text);
        return;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_FAILED_INIT:
        (void)err_fail(err, ERR_TERMINAL, EXITCODE_UNAVAILABLE, "http", "%s: %s", url, text);
        return;
    case CURLE_OPERATION_TIMEDOUT:
        (void)err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "timeout", "%s: %s", url, text);
        return;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        (void)err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "connect", "%s: %s", url, text);
        return;
    default: /* resets, truncated bodies, protocol trouble: all may pass */
        (void)err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "http", "%s: %s", url, text);
        return;
    }
}

static void give_back(struct http_client *c, CURL *easy)
{
    curl_easy_reset(easy); /* it points into the exchange; its connection stays with the multi handle */
    if (c->n_idle < MAX_IDLE_HANDLES)
        c->idle[c->n_idle++] = easy;
    else
        curl_easy_cleanup(easy);
}

static void free_exchange(struct http_exchange *x)
{
    give_back(x->client, x->easy);
    curl_slist_free_all(x->headers);
    http_response_release(&x->response);
    x->client->in_flight--;
    free(x);
}

static void on_done(struct loop_transfer *t, CURLcode code)
{
    struct http_exchange *x = (struct http_exchange *)t;
    struct err failure = ERR_INIT;
    if (code == CURLE_OK)
        fetch_status(x);
    else if (err_is_set(&x->callback_err))
        failure = x->callback_err;
    else
        set_curl_error(x, code, &failure);
    if (text_equal(failure.reason, "timeout"))
        cut_connections(x->client);
    void (*done)(void *, struct http_response *, struct err *) = x->done;
    void *ctx = x->ctx;
    struct http_response response = x->response;
    x->response = (struct http_response){0};
    free_exchange(x); /* before the callback, which may free the client */
    done(ctx, &response, &failure);
    http_response_release(&response);
}

static int add_header(struct http_exchange *x, const char *line)
{
    struct curl_slist *list = curl_slist_append(x->headers, line);
    if (!list)
        return -1;
    x->headers = list;
    return 0;
}

static int set_headers(struct http_exchange *x, struct err *err)
{
    int r = add_header(x, "Expect:"); /* no waiting for 100 Continue */
    for (const char *const *h = x->request.headers; h && *h && r == 0; h++)
        r = add_header(x, *h);
    return r == 0 ? 0 : err_set(err, ERR_TERMINAL, "%s: no memory for headers", x->request.url);
}

static void set_body(struct http_exchange *x)
{
    const struct http_request *r = &x->request;
    bool has_body = r->body_from_fd || r->body;
    const char *method = r->method ? r->method : "GET";
    if (text_equal(method, "HEAD"))
        (void)curl_easy_setopt(x->easy, CURLOPT_NOBODY, 1L);
    if (has_body || text_equal(method, "PUT") || text_equal(method, "POST")) {
        /* Uploads through the read callback; a POST is one as well, under its own name. */
        (void)curl_easy_setopt(x->easy, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(x->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)body_size(r));
        (void)curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, on_read);
        (void)curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
        (void)curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, on_seek);
        (void)curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
        (void)curl_easy_setopt(x->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)x->client->config.buffer_bytes);
    }
    (void)curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, text_equal(method, "HEAD") ? NULL : method);
}

static void set_limits(struct http_exchange *x)
{
    const struct http_config *config = &x->client->config;
    CURL *e = x->easy;
    (void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)config->connect_timeout_ms);
    /* Its check makes libcurl come by each second, and with it on_progress(), which is stricter. */
    (void)curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(config->stall_timeout_ms / 1000 + 10));
    (void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)x->request.timeout_ms);
    (void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, x->request.max_redirects > 0 ? 1L : 0L);
    (void)curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)x->request.max_redirects);
    (void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)config->buffer_bytes);
    (void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                           (long)(config->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
}

static void set_options(struct http_exchange *x)
{
    const struct http_client *c = x->client;
    CURL *e = x->easy;
    set_limits(x);
    (void)curl_easy_setopt(e, CURLOPT_PRIVATE, (char *)&x->transfer);
    (void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->curl_text);
    (void)curl_easy_setopt(e, CURLOPT_URL, x->request.url);
    (void)curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L); /* what was signed is what goes out */
    (void)curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
    (void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
    (void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    (void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    (void)curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(e, CURLOPT_XFERINFODATA, x);
    /* One connection for all, also for those that start before it stands. Without TLS nothing says beforehand that it can be shared. */
    if (c->config.http2 && text_starts_with(x->request.url, "https:"))
        (void)curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
    if (c->config.http2) {
        (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
        (void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, (void *)c);
    }
    if (c->proxy)
        (void)curl_easy_setopt(e, CURLOPT_PROXY, c->proxy);
    if (c->connect_to)
        (void)curl_easy_setopt(e, CURLOPT_CONNECT_TO, c->connect_to);
    if (c->ca_file) {
        (void)curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
        (void)curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    }
    if (c->client_cert) {
        (void)curl_easy_setopt(e, CURLOPT_SSLCERT, c->client_cert);
        (void)curl_easy_setopt(e, CURLOPT_SSLKEY, c->client_key);
    }
}

int http_start(struct http_client *c, const struct http_request *r,
               void (*done)(void *ctx, struct http_response *response, struct err *failure), void *ctx,
               struct http_exchange **ret, struct err *err)
{
    CURL *easy = c->n_idle ? c->idle[--c->n_idle] : curl_easy_init();
    if (!easy)
        return err_set(err, ERR_TERMINAL, "libcurl gives no handle");
    struct http_exchange *x = xcalloc(1, sizeof *x);
    *x = (struct http_exchange){.transfer = {.done = on_done},
                                .client = c,
                                .request = *r,
                                .easy = easy,
                                .moved_ms = loop_now_ms(),
                                .done = done,
                                .ctx = ctx};
    c->in_flight++;
    http_response_init(&x->response);
    x->response.body.max = r->max_body ? r->max_body : LIMIT_HTTP_BODY_BYTES;
    if (set_headers(x, err) < 0) {
        free_exchange(x);
        return -1;
    }
    x->request.headers = NULL;
    set_body(x);
    set_options(x);
    CURLMcode code = curl_multi_add_handle(loop_curl(c->loop), easy);
    if (code != CURLM_OK) {
        free_exchange(x);
        return err_set(err, ERR_TERMINAL, "libcurl: %s", curl_multi_strerror(code));
    }
    if (ret)
        *ret = x;
    return 0;
}

struct http_exchange *http_cancel(struct http_exchange *x)
{
    if (x) {
        (void)curl_multi_remove_handle(loop_curl(x->client->loop), x->easy);
        free_exchange(x);
    }
    return NULL;
}

struct http_exchange *http_cancel_dead(struct http_exchange *x)
{
    if (x)
        cut_connections(x->client);
    return http_cancel(x);
}

/* --- blocking --------------------------------------------------------------------------------------- */

struct blocking {
    bool finished;
    struct http_response *response;
    struct err *err;
};

static void finish_blocking(void *ctx, struct http_response *response, struct err *failure)
{
    struct blocking *b = ctx;
    b->finished = true;
    *b->response = *response;
    *response = (struct http_response){0};
    if (err_is_set(failure))
        *b->err = *failure;
}

int http_perform(struct http_client *c, const struct http_request *r, struct http_response *ret,
                 struct err *err)
{
    if (!c->own_loop)
        BUG("http_perform(%s) inside a shared loop would run other callbacks", r->url);
    struct blocking b = {.response = ret, .err = err};
    struct http_exchange *x;
    http_response_init(ret);
    if (http_start(c, r, finish_blocking, &b, &x, err) < 0)
        return -1;
    while (!b.finished)
        if (loop_step(c->loop, -1, err) < 0) {
            if (!b.finished)
                http_cancel(x);
            return -1;
        }
    return err_is_set(err) ? -1 : 0;
}
