/* The s3:// back end: opening, and the requests whose bodies fit into memory. */
#include <inttypes.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"

enum {
    DEADLINE_MS = 120 * 1000,
    CONNECTIONS = 4,
    CONNECTIONS_MAX = 64,
    STALL_MS = 30 * 1000,
    CONNECT_MS = 10 * 1000
};
enum { PART_BYTES = 16 << 20, TRANSFER_BUFFER = 512 * 1024 };

/* --- reading an answer ------------------------------------------------------------------------------ */

int s3_object_of(const struct s3_store *s, const char *key, const struct http_response *response,
                 struct store_object *ret, struct err *err)
{
    struct store_object o = {.mtime_ms = http_date_ms(response, "Last-Modified")};
    _cleanup_free_ char *range = http_header_dup(response, "Content-Range"); /* bytes 0-9/443 */
    _cleanup_free_ char *length = http_header_dup(response, "Content-Length");
    _cleanup_free_ char *etag = http_header_dup(response, "ETag");
    const char *size = range && strchr(range, '/') ? strchr(range, '/') + 1 : length;
    if (!size || text_parse_int(size, &o.size, err) < 0 || !etag || strlen(etag) >= STORE_ETAG_MAX) {
        err_clear(err);
        return err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "s3",
                        "%s/%s: the answer lacks a usable size or ETag", s->base.url, key);
    }
    memcpy(o.etag, etag, strlen(etag) + 1);
    *ret = o;
    return 0;
}

/* --- head, get, range ------------------------------------------------------------------------------- */

int s3_head(struct store *s, const char *key, struct store_object *ret, struct err *err)
{
    struct s3_request r = {.method = "HEAD", .key = key};
    _cleanup_http_response_ struct http_response response;
    if (s3_perform(s3_store_of(s), &r, &response, err) < 0)
        return -1;
    return s3_object_of(s3_store_of(s), key, &response, ret, err);
}

/* A body that does not have the checksum its answer names was damaged on the way. */
static int accept_body(void *ctx, const struct http_response *response, struct err *err)
{
    const char *key = ctx;
    uint32_t expected, found;
    if (!s3_crc32c_of(response, &expected) || response->status != 200)
        return 0;
    found = crc32c(0, buf_str(&response->body), response->body.len);
    return found == expected ? 0
                             : err_fail(err, ERR_RETRY, EXITCODE_IO, "checksum",
                                        "%s: the body's CRC32C is %08x, expected %08x", key, found, expected);
}

static int s3_get(struct store *s, const char *key, size_t max, char **ret, size_t *ret_len, char *ret_etag,
                  struct err *err)
{
    struct s3_request r = {.method = "GET",
                           .key = key,
                           .max_body = max,
                           .accept = accept_body,
                           .ctx = (void *)key};
    s3_add_header(&r, "x-amz-checksum-mode", "ENABLED");
    _cleanup_http_response_ struct http_response response;
    if (s3_perform(s3_store_of(s), &r, &response, err) < 0)
        return -1;
    if (ret_etag) {
        _cleanup_free_ char *etag = http_header_dup(&response, "ETag");
        if (!etag || strlen(etag) >= STORE_ETAG_MAX)
            return err_set(err, ERR_TERMINAL, "%s/%s: the answer has no usable ETag", s->url, key);
        memcpy(ret_etag, etag, strlen(etag) + 1);
    }
    *ret_len = response.body.len;
    *ret = buf_take(&response.body);
    return 0;
}

struct range_read {
    const struct s3_store *store;
    const char *key;
    char *to;
    int64_t offset;
    size_t len, done;
    char header[64];
};

static void prepare_range(void *ctx, struct s3_request *r)
{
    struct range_read *g = ctx;
    (void)snprintf(g->header, sizeof g->header, "bytes=%" PRId64 "-%" PRId64, g->offset,
                   g->offset + (int64_t)g->len - 1);
    g->done = 0;
    s3_add_header(r, "Range", g->header);
}

static int sink_range(void *ctx, const struct http_response *response, const void *data, size_t len,
                      struct err *err)
{
    struct range_read *g = ctx;
    if (response->status != 206)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "range",
                        "%s/%s: the store ignores ranges (HTTP %d)", g->store->base.url, g->key,
                        response->status);
    if (len > g->len - g->done)
        return err_set(err, ERR_TERMINAL, "%s/%s: the store answers with more than the %zu bytes asked for",
                       g->store->base.url, g->key, g->len);
    memcpy(g->to + g->done, data, len);
    g->done += len;
    return 0;
}

static int s3_get_range(struct store *s, const char *key, int64_t offset, size_t len, void *ret,
                        struct err *err)
{
    struct range_read g = {.store = s3_store_of(s), .key = key, .to = ret, .offset = offset, .len = len};
    struct s3_request r = {.method = "GET",
                           .key = key,
                           .prepare = prepare_range,
                           .sink = sink_range,
                           .ctx = &g};
    if (s3_perform(s3_store_of(s), &r, NULL, err) < 0)
        return -1;
    if (g.done < len)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "short",
                        "%s/%s ends at byte %" PRId64 ", expected %" PRId64, s->url, key,
                        offset + (int64_t)g.done, offset + (int64_t)len);
    return 0;
}

/* --- put and delete --------------------------------------------------------------------------------- */

void s3_add_encryption(const struct s3_store *s, struct s3_request *r)
{
    if (s->sse)
        s3_add_header(r, "x-amz-server-side-encryption", s->sse);
    if (s->sse_key_id)
        s3_add_header(r, "x-amz-server-side-encryption-aws-kms-key-id", s->sse_key_id);
}

/* A lost condition, in the words of store.h. */
static int lost(struct store *s, const char *key, enum store_condition cond, const char *if_match_etag,
                struct err *err)
{
    struct err cause = *err;
    *err = ERR_INIT;
    if (cond == STORE_IF_NONE)
        return err_fail(err, ERR_EXISTS, 0, "exists", "%s/%s exists already", s->url, key);
    return err_fail(err, ERR_CONFLICT, 0, "conflict",
                    "%s/%s was changed by another writer: its ETag is not %s any more (%s)", s->url, key,
                    if_match_etag, cause.msg);
}

static int s3_put(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
                  const char *if_match_etag, char *ret_etag, struct err *err)
{
    char crc[S3_CRC_TEXT_MAX];
    struct s3_request r = {.method = "PUT",
                           .key = key,
                           .body = data ? data : "",
                           .body_len = len,
                           .conditional = cond != STORE_ALWAYS};
    s3_crc32c_format(crc32c(0, r.body, len), crc);
    s3_add_header(&r, "x-amz-checksum-crc32c", crc);
    s3_add_encryption(s3_store_of(s), &r);
    if (cond == STORE_IF_NONE)
        s3_add_header(&r, "If-None-Match", "*");
    if (cond == STORE_IF_MATCH)
        s3_add_header(&r, "If-Match", if_match_etag);
    failpoint("store.upload");
    failpoint(cond == STORE_ALWAYS ? "store.put.before" : "store.cas.before");
    _cleanup_http_response_ struct http_response response;
    if (s3_perform(s3_store_of(s), &r, &response, err) < 0) {
        bool gone = cond == STORE_IF_MATCH && err->class_ == ERR_NOTFOUND;
        return cond != STORE_ALWAYS && (err->class_ == ERR_CONFLICT || gone)
                   ? lost(s, key, cond, if_match_etag, err)
                   : -1;
    }
    failpoint(cond == STORE_ALWAYS ? "store.put.after" : "store.cas.after");
    if (ret_etag) {
        _cleanup_free_ char *etag = http_header_dup(&response, "ETag");
        if (!etag || strlen(etag) >= STORE_ETAG_MAX)
            return err_set(err, ERR_TERMINAL, "%s/%s: the answer has no usable ETag", s->url, key);
        memcpy(ret_etag, etag, strlen(etag) + 1);
    }
    return 0;
}

static int s3_remove(struct store *s, const char *key, struct err *err)
{
    struct s3_request r = {.method = "DELETE", .key = key};
    if (s3_perform(s3_store_of(s), &r, NULL, err) == 0)
        return 0;
    if (err->class_ != ERR_NOTFOUND)
        return -1;
    err_clear(err);
    return 0;
}

/* Writes one object conditionally, twice: a store that takes both does not honour the condition. */
static int s3_probe(struct store *s, struct err *err)
{
    static const char key[] = STORE_INTERNAL "/probe";
    for (int i = 0; i < 2; i++) {
        struct err attempt = ERR_INIT;
        if (s3_put(s, key, "probe\n", 6, STORE_IF_NONE, NULL, NULL, &attempt) == 0)
            continue;
        if (attempt.class_ == ERR_EXISTS)
            return 0;
        *err = attempt;
        return err_wrap(err, "cannot find out whether the store has conditional writes");
    }
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "conditional-writes",
        "%s: the store ignores If-None-Match, so that two writers could overwrite each other: a store with conditional writes is needed",
        s->url);
}

/* --- life ------------------------------------------------------------------------------------------- */

static char *s3_local_path(const struct store *s, const char *key)
{
    (void)s, (void)key;
    return NULL;
}

static void s3_free(struct store *base)
{
    struct s3_store *s = s3_store_of(base);
    http_client_free(s->http);
    credentials_free(s->credentials);
    free(s->scheme);
    free(s->host);
    free(s->bucket_path);
    free(s->bucket);
    free(s->prefix);
    free(s->region);
    free(s->sse);
    free(s->sse_key_id);
    free(s);
}

/* "https://host[:port]" → scheme and host; a path behind it is no endpoint. */
static int split_endpoint(const char *endpoint, char **ret_scheme, char **ret_host, struct err *err)
{
    const char *rest = text_starts_with(endpoint, "https://")  ? endpoint + 8
                       : text_starts_with(endpoint, "http://") ? endpoint + 7
                                                               : NULL;
    size_t len = rest ? strcspn(rest, "/") : 0;
    if (len == 0 || (rest[len] == '/' && rest[len + 1]) || strpbrk(rest, "@?# "))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store-endpoint",
                        "store endpoint \"%s\": expected http[s]://host[:port]", endpoint);
    *ret_scheme = xstrndup(endpoint, (size_t)(rest - endpoint) - 3);
    *ret_host = xstrndup(rest, len);
    /* The Host header leaves out the scheme's own port, and so does the signature. */
    const char *own = text_equal(*ret_scheme, "https") ? ":443" : ":80";
    if (text_ends_with(*ret_host, own))
        (*ret_host)[len - strlen(own)] = '\0';
    return 0;
}

static int set_address(struct s3_store *s, const struct store_config *config, struct err *err)
{
    _cleanup_free_ char *aws = xasprintf("https://s3.%s.amazonaws.com%s", s->region,
                                         text_starts_with(s->region, "cn-") ? ".cn" : "");
    _cleanup_free_ char *host = NULL;
    if (split_endpoint(config->endpoint ? config->endpoint : aws, &s->scheme, &host, err) < 0)
        return -1;
    s->tls = text_equal(s->scheme, "https");
    /* Wildcard certificates cover one label, so a bucket with a dot needs the path. Own endpoints rarely have wildcards. */
    bool virtual_hosted =
        config->addressing == STORE_ADDRESSING_VIRTUAL ||
        (config->addressing == STORE_ADDRESSING_AUTO && !config->endpoint && !strchr(s->bucket, '.'));
    s->host = virtual_hosted ? xasprintf("%s.%s", s->bucket, host) : steal_ptr(host);
    s->bucket_path = virtual_hosted ? xstrdup("") : xasprintf("/%s", s->bucket);
    return 0;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int s3_store_open(const struct store_config *config, const struct uri *uri, struct store **ret,
                  struct err *err)
{
    static const struct store_ops ops = {
        .free = s3_free,
        .probe = s3_probe,
        .get = s3_get,
        .get_file = s3_get_file,
        .get_range = s3_get_range,
        .head = s3_head,
        .put = s3_put,
        .put_file = s3_put_file,
        .remove = s3_remove,
        .list = s3_list,
        .local_path = s3_local_path,
    };
    struct s3_store *s = xcalloc(1, sizeof *s);
    s->base.ops = &ops;
    s->clock = config->clock ? config->clock : &clock_system;
    s->bucket = xstrdup(uri->bucket);
    s->prefix = xstrdup(uri->prefix);
    s->region = xstrdup(config->region ? config->region : "us-east-1");
    s->sse = config->sse ? xstrdup(config->sse) : NULL;
    s->sse_key_id = config->sse_key_id ? xstrdup(config->sse_key_id) : NULL;
    s->deadline_ms = config->deadline_ms > 0 ? config->deadline_ms : DEADLINE_MS;
    s->part_bytes = config->part_bytes > 0 ? config->part_bytes : PART_BYTES;
    s->connections =
        config->connections > 0 ? (int)smaller(config->connections, CONNECTIONS_MAX) : CONNECTIONS;
    s->unsigned_payload = config->unsigned_payload;
    struct http_config http = {
        .ca_file = config->ca_file,
        .http2 = false, /* one connection for all parts would be slower than several */
        .connect_timeout_ms = smaller(CONNECT_MS, s->deadline_ms / 2),
        .stall_timeout_ms = smaller(STALL_MS, s->deadline_ms / 3),
        .max_connections = s->connections + 1,
        .buffer_bytes = TRANSFER_BUFFER,
    };
    if (set_address(s, config, err) < 0 || credentials_new(config, &s->credentials, err) < 0 ||
        http_client_new(NULL, &http, &s->http, err) < 0) {
        s3_free(&s->base);
        return -1;
    }
    *ret = &s->base;
    return 0;
}
