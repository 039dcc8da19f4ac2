/* Objects to files.
 *
 * Up to part_bytes: one GET that resumes where it broke. Larger: ranges of part_bytes, several at once, each of which
 * resumes by itself. Every request pins the ETag. The file grows under another name and is renamed once it was verified:
 * by the caller's SHA-256, else by the object's CRC32C where the store knows one, always by its size. A mismatch is
 * fetched once more, for it may have happened on the way. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"

/* libcurl hands out 16 KiB at a time; the page cache takes larger writes at less than half the price. */
enum { WRITE_BUFFER = 256 * 1024 };

struct range; /* one request's piece */

struct download {
    struct s3_store *store;
    const char *key;
    const char *expect_sha256;
    int64_t expect_size; /* -1: any */
    int fd;
    struct store_object object; /* size and ETag, once known */
    bool known, has_crc;
    uint32_t expected_crc;
    struct range *ranges; /* the slots */
    uint32_t *crcs;       /* of each piece */
    int64_t n_pieces, next_piece;
    int running;
    struct err failure; /* of the first piece that failed */
};

struct range {
    struct download *d;
    struct s3_call *call;
    int64_t piece, offset, len, done; /* len -1: to the end, of an object not looked at before */
    uint32_t crc;
    bool resuming; /* this attempt asked for the rest only */
    char *buffer;  /* what is not in the file yet, and not counted in done and crc */
    size_t buffered;
    char header[64];
};

static int write_at(int fd, const char *data, size_t len, int64_t offset, const char *what, struct err *err)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot write the copy of %s", what);
        data += n;
        len -= (size_t)n;
        offset += n;
    }
    return 0;
}

static int flush(struct range *g, struct err *err)
{
    size_t len = g->buffered;
    g->buffered = 0;
    if (write_at(g->d->fd, g->buffer, len, g->offset + g->done, g->d->key, err) < 0)
        return -1;
    if (!g->d->expect_sha256) /* else the digest decides */
        g->crc = crc32c(g->crc, g->buffer, len);
    g->done += (int64_t)len;
    return 0;
}

static void prepare(void *ctx, struct s3_request *r)
{
    struct range *g = ctx;
    if (flush(g, &g->d->failure) < 0) /* what the last attempt still brought; fetch() sees the failure */
        g->done = 0;
    r->n_headers = 1; /* x-amz-checksum-mode stays */
    g->resuming = g->done > 0;
    if (g->offset + g->done > 0 || (g->len >= 0 && g->len < g->d->object.size)) {
        if (g->len >= 0)
            (void)snprintf(g->header, sizeof g->header, "bytes=%" PRId64 "-%" PRId64, g->offset + g->done,
                           g->offset + g->len - 1);
        else
            (void)snprintf(g->header, sizeof g->header, "bytes=%" PRId64 "-", g->done);
        s3_add_header(r, "Range", g->header);
    }
    if (g->d->known)
        s3_add_header(r, "If-Match", g->d->object.etag);
}

/* The first answer says what the object is. */
static int learn(struct download *d, const struct http_response *response, struct err *err)
{
    if (d->known)
        return 0;
    if (s3_object_of(d->store, d->key, response, &d->object, err) < 0)
        return -1;
    d->known = true;
    if (d->expect_size >= 0 && d->object.size != d->expect_size)
        return store_err_size(err, &d->store->base, d->key, d->expect_size, d->object.size);
    d->has_crc = response->status == 200 && s3_crc32c_of(response, &d->expected_crc);
    return 0;
}

static int sink(void *ctx, const struct http_response *response, const void *data, size_t len,
                struct err *err)
{
    struct range *g = ctx;
    struct download *d = g->d;
    if (learn(d, response, err) < 0)
        return -1;
    if (response->status == 200 && g->offset > 0)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "range", "%s/%s: the store ignores ranges",
                        d->store->base.url, d->key);
    if (response->status == 200 && g->resuming) { /* the range was ignored: all over again */
        g->resuming = false;
        g->done = 0;
        g->crc = 0;
    }
    int64_t most = g->len >= 0 ? g->len : d->object.size;
    if ((int64_t)(g->buffered + len) > most - g->done)
        return err_fail(err, ERR_RETRY, EXITCODE_IO, "size",
                        "%s/%s: the answer is longer than the %" PRId64 " bytes expected", d->store->base.url,
                        d->key, most);
    for (const char *from = data; len > 0;) {
        size_t n = len < WRITE_BUFFER - g->buffered ? len : WRITE_BUFFER - g->buffered;
        memcpy(g->buffer + g->buffered, from, n);
        g->buffered += n;
        from += n;
        len -= n;
        if (g->buffered == WRITE_BUFFER && flush(g, err) < 0)
            return -1;
    }
    s3_call_progress(g->call);
    return 0;
}

static int accept(void *ctx, const struct http_response *response, struct err *err)
{
    struct range *g = ctx;
    struct download *d = g->d;
    if (learn(d, response, err) < 0 || flush(g, err) < 0)
        return -1;
    int64_t expected = g->len >= 0 ? g->len : d->object.size;
    if (g->done != expected)
        return err_fail(err, ERR_RETRY, EXITCODE_IO, "size",
                        "%s/%s: %" PRId64 " bytes came, expected %" PRId64, d->store->base.url, d->key,
                        g->done, expected);
    return 0;
}

static void start_next(struct range *g);

static void on_done(void *ctx, struct http_response *response, struct err *failure)
{
    struct range *g = ctx;
    struct download *d = g->d;
    (void)response;
    g->call = NULL;
    d->running--;
    if (err_is_set(failure)) {
        if (!err_is_set(&d->failure))
            d->failure = *failure;
        return;
    }
    d->crcs[g->piece] = g->crc;
    start_next(g);
}

static void start_next(struct range *g)
{
    struct download *d = g->d;
    if (err_is_set(&d->failure) || d->next_piece >= d->n_pieces)
        return;
    g->piece = d->next_piece++;
    g->done = 0;
    g->crc = 0;
    g->buffered = 0;
    if (d->known) {
        g->offset = g->piece * d->store->part_bytes;
        g->len = d->object.size - g->offset < d->store->part_bytes ? d->object.size - g->offset
                                                                   : d->store->part_bytes;
    } else {
        g->offset = 0;
        g->len = -1;
    }
    struct s3_request r =
        {.method = "GET", .key = d->key, .prepare = prepare, .sink = sink, .accept = accept, .ctx = g};
    s3_add_header(&r, "x-amz-checksum-mode", "ENABLED");
    if (s3_start(d->store, &r, on_done, g, &g->call, &d->failure) == 0)
        d->running++;
}

/* All pieces, several at once, into d->fd. */
static int fetch(struct download *d, struct err *err)
{
    int slots = d->n_pieces < d->store->connections ? (int)d->n_pieces : d->store->connections;
    d->ranges = xcalloc((size_t)slots, sizeof *d->ranges);
    d->crcs = xcalloc((size_t)d->n_pieces, sizeof *d->crcs);
    d->next_piece = 0;
    d->failure = ERR_INIT;
    for (int i = 0; i < slots; i++) {
        d->ranges[i].d = d;
        d->ranges[i].buffer = xmalloc(WRITE_BUFFER);
        start_next(&d->ranges[i]);
    }
    while (d->running > 0 && !err_is_set(&d->failure))
        if (s3_step(d->store, &d->failure) < 0)
            break;
    for (int i = 0; i < slots; i++) {
        s3_cancel(d->ranges[i].call);
        free(d->ranges[i].buffer);
    }
    d->running = 0;
    d->ranges = xfree(d->ranges);
    if (!err_is_set(&d->failure))
        return 0;
    *err = d->failure;
    return -1;
}

static int verify(struct download *d, const char *path, struct err *err)
{
    if (d->expect_sha256) { /* from the page cache: pieces arrive in any order, a digest needs theirs */
        char found[DIGEST_HEX];
        int64_t size;
        if (sha256_file(path, found, &size, err) < 0)
            return -1;
        return text_equal(found, d->expect_sha256)
                   ? 0
                   : store_err_checksum(err, &d->store->base, d->key, d->expect_sha256, found);
    }
    if (!d->has_crc)
        return 0;
    uint32_t crc = d->crcs[0];
    for (int64_t i = 1; i < d->n_pieces; i++) {
        int64_t left = d->object.size - i * d->store->part_bytes;
        crc = crc32c_combine(crc, d->crcs[i],
                             (uint64_t)(left < d->store->part_bytes ? left : d->store->part_bytes));
    }
    char expected[16], found[16];
    (void)snprintf(expected, sizeof expected, "crc32c %08x", d->expected_crc);
    (void)snprintf(found, sizeof found, "crc32c %08x", crc);
    return crc == d->expected_crc ? 0 : store_err_checksum(err, &d->store->base, d->key, expected, found);
}

static int once(struct download *d, const char *path, struct err *err)
{
    int r = fetch(d, err);
    if (r == 0 && ftruncate(d->fd, (off_t)d->object.size) < 0)
        r = err_errno(err, errno, "cannot set the size of %s", path);
    if (r == 0)
        r = verify(d, path, err);
    d->crcs = xfree(d->crcs);
    return r;
}

static int changed(struct download *d, const char *etag, struct err *err)
{
    *err = ERR_INIT;
    return store_err_changed(err, &d->store->base, d->key, etag, "another");
}

/* Large objects, and those of unknown size, are looked at first. */
static int look(struct download *d, const char *etag, struct err *err)
{
    struct s3_store *s = d->store;
    if (etag && strlen(etag) >= STORE_ETAG_MAX)
        return err_set(err, ERR_INVALID, "%s/%s: the ETag to pin is too long", s->base.url, d->key);
    if (d->expect_size >= 0 && d->expect_size <= s->part_bytes && !etag)
        return 0;
    struct s3_request r = {.method = "HEAD", .key = d->key};
    s3_add_header(&r, "x-amz-checksum-mode", "ENABLED");
    _cleanup_http_response_ struct http_response response;
    if (s3_perform(s, &r, &response, err) < 0 || learn(d, &response, err) < 0)
        return -1;
    if (etag && !text_equal(etag, d->object.etag))
        return store_err_changed(err, &s->base, d->key, etag, d->object.etag);
    d->n_pieces = (d->object.size + s->part_bytes - 1) / s->part_bytes;
    if (d->n_pieces == 0)
        d->n_pieces = 1;
    return 0;
}

static int fetch_verified(struct download *d, const char *path, const char *etag, struct err *err)
{
    if (look(d, etag, err) < 0)
        return -1;
    char pinned[STORE_ETAG_MAX] = "";
    for (int tries = 0;; tries++) {
        struct err cause = ERR_INIT;
        int r = once(d, path, &cause);
        if (d->known && !*pinned)
            memcpy(pinned, d->object.etag, sizeof pinned);
        if (r == 0)
            return 0;
        bool size_right = d->expect_size < 0 || d->object.size == d->expect_size;
        if (text_equal(cause.reason, "checksum") && size_right && tries == 0)
            continue;
        *err = cause;
        return text_equal(cause.reason, "precondition") ? changed(d, pinned, err) : -1;
    }
}

int s3_get_file(struct store *s, const char *key, const char *path, const char *expect_sha256,
                int64_t expect_size, const char *etag, struct err *err)
{
    char suffix[9];
    random_name(suffix, 8);
    _cleanup_free_ char *temporary = xasprintf("%s.part-%s", path, suffix);
    _cleanup_close_ int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_errno(err, errno, "cannot create %s", temporary);
    struct download d = {.store = s3_store_of(s),
                         .key = key,
                         .expect_sha256 = expect_sha256,
                         .expect_size = expect_size,
                         .fd = fd,
                         .n_pieces = 1};
    int r = fetch_verified(&d, temporary, etag, err);
    if (r == 0 && rename(temporary, path) < 0)
        r = err_errno(err, errno, "cannot rename %s to %s", temporary, path);
    if (r < 0)
        (void)unlink(temporary);
    return r;
}
