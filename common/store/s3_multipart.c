/* Files to objects: one PUT up to part_bytes, parts in parallel beyond.
 *
 * What protects a body on its way: its SHA-256 in the signature where the caller knows the file's digest and one request
 * carries it all; its CRC32C in a signed header over TLS, or where a known digest of the whole file (which readers verify)
 * stands behind it; else, over plain http, the SHA-256 of each body in its signature. Bodies are read with pread(2) once to
 * compute this, and once more by libcurl straight into its send buffer: the second pass comes from the page cache, and
 * no part is ever held in memory. A file that changes in between fails the store's check. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"
#include "common/store/xml.h"

enum {
    PARTS_MAX = 10000,
    HASH_CHUNK = 256 * 1024,
    UPLOAD_ID_MAX = 1024,
    ABORT_DEADLINE_MS = 5000,
    MIB = 1 << 20
};

struct upload {
    struct s3_store *store;
    const char *key, *path, *sha256;
    int fd;
    int64_t size, part_bytes;
    int n_parts, next_part, running;
    struct sha256 *whole; /* of what was read so far; NULL unless a digest is to be checked */
    uint32_t crc;         /* likewise */
    char upload_id[UPLOAD_ID_MAX];
    struct part_result {
        char etag[STORE_ETAG_MAX], crc[S3_CRC_TEXT_MAX];
    } * results;
    struct err failure;
};

struct slot {
    struct upload *u;
    struct s3_call *call;
    int part; /* from 0 */
    char number[16], sha256[DIGEST_HEX];
};

/* --- hashing before sending ------------------------------------------------------------------------- */

/* One pass over a range: its CRC32C, its SHA-256 if wanted, and on into the digest of the whole file. */
static int hash_range(struct upload *u, int64_t offset, int64_t size, uint32_t *ret_crc, char *ret_sha256,
                      struct err *err)
{
    _cleanup_free_ char *chunk = xmalloc(HASH_CHUNK);
    struct sha256 *own = ret_sha256 ? sha256_new() : NULL;
    uint32_t crc = 0;
    for (int64_t done = 0; done < size;) {
        size_t want = size - done < HASH_CHUNK ? (size_t)(size - done) : HASH_CHUNK;
        ssize_t n = pread(u->fd, chunk, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            sha256_free(own);
            return n < 0 ? err_errno(err, errno, "cannot read %s", u->path)
                         : err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                                    "%s was cut while it was uploaded", u->path);
        }
        crc = crc32c(crc, chunk, (size_t)n);
        if (own)
            sha256_update(own, chunk, (size_t)n);
        if (u->whole)
            sha256_update(u->whole, chunk, (size_t)n);
        done += n;
    }
    if (own) {
        uint8_t digest[SHA256_LEN];
        sha256_final(own, digest);
        hex_encode(digest, sizeof digest, ret_sha256);
    }
    *ret_crc = crc;
    return 0;
}

static bool trusts_crc(const struct upload *u)
{
    return u->store->tls || u->store->unsigned_payload || u->whole;
}

/* --- one PUT ---------------------------------------------------------------------------------------- */

static int file_changed(const struct upload *u, const char *found, struct err *err)
{
    *err = ERR_INIT;
    return err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                    "%s: its digest is %s, expected %s: it changed since it was described", u->path, found,
                    u->sha256);
}

static int put_whole(struct upload *u, struct err *err)
{
    char crc_text[S3_CRC_TEXT_MAX], digest[DIGEST_HEX];
    struct s3_request r = {.method = "PUT",
                           .key = u->key,
                           .body_from_fd = true,
                           .body_fd = u->fd,
                           .body_size = u->size,
                           .payload_sha256 = u->sha256};
    if (!u->sha256) { /* else the store compares with the digest in the signature: nothing to compute here */
        uint32_t crc;
        if (hash_range(u, 0, u->size, &crc, trusts_crc(u) ? NULL : digest, err) < 0)
            return -1;
        s3_crc32c_format(crc, crc_text);
        s3_add_header(&r, "x-amz-checksum-crc32c", crc_text);
        r.payload_sha256 = trusts_crc(u) ? SIGV4_UNSIGNED : digest;
    } else {
        s3_add_header(&r, "x-amz-meta-sha256", u->sha256);
    }
    s3_add_encryption(u->store, &r);
    failpoint("store.upload");
    failpoint("store.put.before");
    if (s3_perform(u->store, &r, NULL, err) == 0) {
        failpoint("store.put.after");
        return 0;
    }
    int64_t size;
    struct err ignored = ERR_INIT;
    if (u->sha256 && text_equal(err->reason, "transfer") &&
        sha256_file(u->path, digest, &size, &ignored) == 0 && !text_equal(digest, u->sha256))
        return file_changed(u, digest, err);
    return -1;
}

/* --- parts ------------------------------------------------------------------------------------------ */

static int create(struct upload *u, struct err *err)
{
    struct s3_request r = {.method = "POST", .key = u->key};
    s3_add_query(&r, "uploads", "");
    s3_add_header(&r, "x-amz-checksum-algorithm", "CRC32C");
    s3_add_header(&r, "x-amz-checksum-type", "FULL_OBJECT");
    if (u->sha256)
        s3_add_header(&r, "x-amz-meta-sha256", u->sha256);
    s3_add_encryption(u->store, &r);
    _cleanup_http_response_ struct http_response response;
    if (s3_perform(u->store, &r, &response, err) < 0)
        return -1;
    if (!xml_find(buf_str(&response.body), response.body.len, "UploadId", u->upload_id,
                  sizeof u->upload_id) ||
        !u->upload_id[0])
        return err_set(err, ERR_TERMINAL, "%s/%s: the store begins a multipart upload without naming it",
                       u->store->base.url, u->key);
    return 0;
}

static void start_part(struct slot *slot);

static void on_part(void *ctx, struct http_response *response, struct err *failure)
{
    struct slot *slot = ctx;
    struct upload *u = slot->u;
    slot->call = NULL;
    u->running--;
    if (err_is_set(failure)) {
        if (!err_is_set(&u->failure))
            u->failure = *failure;
        return;
    }
    struct part_result *result = &u->results[slot->part];
    _cleanup_free_ char *etag = http_header_dup(response, "ETag");
    if (!etag || strlen(etag) >= STORE_ETAG_MAX) {
        if (!err_is_set(&u->failure))
            (void)err_set(&u->failure, ERR_TERMINAL, "%s/%s: the store took part %d without a usable ETag",
                          u->store->base.url, u->key, slot->part + 1);
        return;
    }
    memcpy(result->etag, etag, strlen(etag) + 1);
    start_part(slot);
}

static int send_part(struct slot *slot, struct err *err)
{
    struct upload *u = slot->u;
    struct part_result *result = &u->results[slot->part];
    int64_t offset = slot->part * u->part_bytes, left = u->size - offset,
            size = left < u->part_bytes ? left : u->part_bytes;
    bool trusted = trusts_crc(u);
    uint32_t crc;
    /* Parts are read in order, whatever the order in which they arrive: so the whole file's digest comes along. */
    if (hash_range(u, offset, size, &crc, trusted ? NULL : slot->sha256, err) < 0)
        return -1;
    u->crc = slot->part ? crc32c_combine(u->crc, crc, (uint64_t)size) : crc;
    s3_crc32c_format(crc, result->crc);
    (void)snprintf(slot->number, sizeof slot->number, "%d", slot->part + 1);
    struct s3_request r = {.method = "PUT",
                           .key = u->key,
                           .body_from_fd = true,
                           .body_fd = u->fd,
                           .body_offset = offset,
                           .body_size = size,
                           .payload_sha256 = trusted ? SIGV4_UNSIGNED : slot->sha256};
    s3_add_query(&r, "partNumber", slot->number);
    s3_add_query(&r, "uploadId", u->upload_id);
    s3_add_header(&r, "x-amz-checksum-crc32c", result->crc);
    failpoint("store.upload");
    return s3_start(u->store, &r, on_part, slot, &slot->call, err);
}

static void start_part(struct slot *slot)
{
    struct upload *u = slot->u;
    if (err_is_set(&u->failure) || u->next_part >= u->n_parts)
        return;
    slot->part = u->next_part++;
    if (send_part(slot, &u->failure) == 0)
        u->running++;
}

static int send_parts(struct upload *u, struct err *err)
{
    int n = u->n_parts < u->store->connections ? u->n_parts : u->store->connections;
    _cleanup_free_ struct slot *slots = xcalloc((size_t)n, sizeof *slots);
    for (int i = 0; i < n; i++) {
        slots[i].u = u;
        start_part(&slots[i]);
    }
    while (u->running > 0 && !err_is_set(&u->failure))
        if (s3_step(u->store, &u->failure) < 0)
            break;
    for (int i = 0; i < n; i++)
        slots[i].call = s3_cancel(slots[i].call);
    if (err_is_set(&u->failure)) {
        *err = u->failure;
        return -1;
    }
    return 0;
}

/* The file's digest, once all parts were read. */
static int check_whole(struct upload *u, struct err *err)
{
    if (!u->whole)
        return 0;
    uint8_t digest[SHA256_LEN];
    char hex[DIGEST_HEX];
    sha256_final(steal_ptr(u->whole), digest);
    hex_encode(digest, sizeof digest, hex);
    return text_equal(hex, u->sha256) ? 0 : file_changed(u, hex, err);
}

/* A completion may answer 200 and fail in its body. */
static int accept_complete(void *ctx, const struct http_response *response, struct err *err)
{
    const struct upload *u = ctx;
    char code[S3_CODE_MAX];
    s3_error_code(response, code);
    if (!*code)
        return 0;
    return err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "unavailable",
                    "%s/%s: the store could not complete the upload: %s", u->store->base.url, u->key, code);
}

/* Is the object ours, whole? Decides after a completion whose answer was lost, and verifies every other. */
static int check_object(struct upload *u, struct err *err)
{
    struct s3_request r = {.method = "HEAD", .key = u->key};
    s3_add_header(&r, "x-amz-checksum-mode", "ENABLED");
    _cleanup_http_response_ struct http_response response;
    struct store_object o;
    uint32_t crc;
    if (s3_perform(u->store, &r, &response, err) < 0 ||
        s3_object_of(u->store, u->key, &response, &o, err) < 0)
        return -1;
    if (o.size != u->size)
        return store_err_size(err, &u->store->base, u->key, u->size, o.size);
    if (s3_crc32c_of(&response, &crc) && crc != u->crc) {
        char expected[16], found[16];
        (void)snprintf(expected, sizeof expected, "crc32c %08x", u->crc);
        (void)snprintf(found, sizeof found, "crc32c %08x", crc);
        return store_err_checksum(err, &u->store->base, u->key, expected, found);
    }
    _cleanup_free_ char *sha256 = http_header_dup(&response, "x-amz-meta-sha256");
    if (u->sha256 && sha256 && !text_equal(sha256, u->sha256))
        return store_err_checksum(err, &u->store->base, u->key, u->sha256, sha256);
    return 0;
}

static int complete(struct upload *u, struct err *err)
{
    _cleanup_buf_ struct buf xml = BUF_INIT(PARTS_MAX * 256);
    (void)buf_adds(&xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (int i = 0; i < u->n_parts; i++)
        (void)buf_addf(
            &xml,
            "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag><ChecksumCRC32C>%s</ChecksumCRC32C></Part>",
            i + 1, u->results[i].etag, u->results[i].crc);
    (void)buf_adds(&xml, "</CompleteMultipartUpload>");
    if (buf_check(&xml, "the list of parts", err) < 0)
        return -1;
    char crc[S3_CRC_TEXT_MAX];
    s3_crc32c_format(u->crc, crc);
    struct s3_request r = {.method = "POST",
                           .key = u->key,
                           .body = buf_str(&xml),
                           .body_len = xml.len,
                           .accept = accept_complete,
                           .ctx = u};
    s3_add_query(&r, "uploadId", u->upload_id);
    s3_add_header(&r, "Content-Type", "application/xml");
    s3_add_header(&r, "x-amz-checksum-crc32c", crc);
    s3_add_header(&r, "x-amz-checksum-type", "FULL_OBJECT");
    failpoint("store.put.before");
    struct err cause = ERR_INIT;
    if (s3_perform(u->store, &r, NULL, &cause) < 0) {
        if (cause.class_ != ERR_NOTFOUND) {
            *err = cause;
            return -1;
        }
        /* The upload is gone: an earlier attempt may have completed it, its answer lost. */
        if (check_object(u, err) < 0) {
            *err = cause;
            return err_wrap(err, "the multipart upload vanished, and the object is not there");
        }
        return 0;
    }
    failpoint("store.put.after");
    return check_object(u, err);
}

/* Gives back the space of the parts. Nothing can be done if this fails too; the bucket's lifecycle rule will. */
static void abort_upload(struct upload *u)
{
    struct s3_request r = {.method = "DELETE", .key = u->key};
    struct err ignored = ERR_INIT;
    s3_add_query(&r, "uploadId", u->upload_id);
    int64_t deadline = u->store->deadline_ms;
    u->store->deadline_ms = deadline < ABORT_DEADLINE_MS ? deadline : ABORT_DEADLINE_MS;
    (void)s3_perform(u->store, &r, NULL, &ignored);
    u->store->deadline_ms = deadline;
}

static int put_parts(struct upload *u, struct err *err)
{
    int64_t least = (u->size + PARTS_MAX - 1) / PARTS_MAX;
    u->part_bytes = u->store->part_bytes >= least ? u->store->part_bytes : (least + MIB - 1) / MIB * MIB;
    u->n_parts = (int)((u->size + u->part_bytes - 1) / u->part_bytes);
    if (create(u, err) < 0)
        return -1;
    u->whole = u->sha256 ? sha256_new() : NULL;
    u->results = xcalloc((size_t)u->n_parts, sizeof *u->results);
    int r = send_parts(u, err);
    if (r == 0)
        r = check_whole(u, err);
    if (r == 0)
        r = complete(u, err);
    if (r < 0)
        abort_upload(u);
    sha256_free(u->whole);
    free(u->results);
    return r;
}

int s3_put_file(struct store *s, const char *key, const char *path, const char *sha256, bool move,
                struct err *err)
{
    (void)move; /* the caller's file stays: it may be wanted again */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot open %s", path);
    struct upload u =
        {.store = s3_store_of(s), .key = key, .path = path, .sha256 = sha256, .fd = fd, .size = st.st_size};
    return st.st_size <= u.store->part_bytes ? put_whole(&u, err) : put_parts(&u, err);
}
