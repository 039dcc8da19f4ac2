/* The s3:// back end's own parts.
 *   s3.c            opening, small requests
 *   s3_request.c    one request with signing and retries, in the store's private loop
 *   s3_error.c      what an answer means: done, again, or which error
 *   s3_download.c   objects to files: ranged in parallel, resumed, verified
 *   s3_multipart.c  files to objects: one PUT, or parts in parallel
 *   s3_list.c       listings */
#pragma once

#include "common/http/http.h"
#include "common/store/credentials.h"
#include "common/store/sigv4.h"
#include "common/store/store-internal.h"

enum { S3_CODE_MAX = 64, S3_PAIRS_MAX = 16 };

struct s3_store {
    struct store base;
    struct http_client *http; /* with a private loop */
    struct credentials *credentials;
    const struct clock *clock;
    char *scheme, *host; /* as in URL and Host header */
    char *bucket_path;   /* "" (virtual-hosted) or "/bucket" */
    char *bucket, *prefix, *region, *sse, *sse_key_id;
    bool tls, unsigned_payload;
    int64_t deadline_ms, part_bytes, skew_ms;
    int connections;
};

static inline struct s3_store *s3_store_of(const struct store *s)
{
    return (struct s3_store *)s;
}

/* One request. Everything it points to stays valid until it has ended. */
struct s3_request {
    const char *method;
    const char *key; /* below the store's prefix; NULL: the bucket itself */
    struct sigv4_pair query[S3_PAIRS_MAX], headers[S3_PAIRS_MAX];
    size_t n_query, n_headers;
    const void *body; /* memory, or a range of a file */
    size_t body_len;
    bool body_from_fd;
    int body_fd;
    int64_t body_offset, body_size;
    const char *payload_sha256; /* NULL: computed from `body` */
    size_t max_body;
    bool conditional; /* 409 and 412 are answers, not errors to look into */
    /* Before each attempt: may change headers (a resumed range). */
    void (*prepare)(void *ctx, struct s3_request *r);
    int (*sink)(void *ctx, const struct http_response *response, const void *data, size_t len,
                struct err *err);
    /* A 2xx answer: is it whole and right? ERR_RETRY: once more (a few times). */
    int (*accept)(void *ctx, const struct http_response *response, struct err *err);
    void *ctx;
};

void s3_add_query(struct s3_request *r, const char *name, const char *value);
void s3_add_header(struct s3_request *r, const char *name, const char *value);

struct s3_call; /* opaque: a request under way */

/* Starts it; `done` runs once, with a 2xx response or an error. Retries happen inside. */
int s3_start(struct s3_store *s, const struct s3_request *r,
             void (*done)(void *ctx, struct http_response *response, struct err *failure), void *ctx,
             struct s3_call **ret, struct err *err);
struct s3_call *s3_cancel(struct s3_call *c); /* NULL allowed; returns NULL */
/* Bytes came through: the deadline starts anew. */
void s3_call_progress(struct s3_call *c);
/* Blocking. `ret` (may be NULL) is released by the caller also after a failure. */
int s3_perform(struct s3_store *s, const struct s3_request *r, struct http_response *ret, struct err *err);
/* One turn of the store's loop. */
int s3_step(struct s3_store *s, struct err *err);

/* <Error><Code> of an answer; "" if there is none. */
void s3_error_code(const struct http_response *response, char ret[static S3_CODE_MAX]);
enum s3_verdict { S3_OK, S3_AGAIN, S3_FAILED, S3_SKEWED, S3_EXPIRED };
/* What an answer means; sets err except for S3_OK. */
enum s3_verdict s3_judge(const struct s3_store *s, const struct s3_request *r,
                         const struct http_response *response, struct err *err);

/* The object's fields from the headers of GET or HEAD (Content-Range counts); missing ones are ERR_RETRY. */
int s3_object_of(const struct s3_store *s, const char *key, const struct http_response *response,
                 struct store_object *ret, struct err *err);
/* The whole object's CRC32C, if the answer carries it. */
bool s3_crc32c_of(const struct http_response *response, uint32_t *ret);
enum { S3_CRC_TEXT_MAX = 16 };
void s3_crc32c_format(uint32_t crc, char ret[static S3_CRC_TEXT_MAX]); /* base64, big-endian */
/* CRC of A‖B from those of A and B and the length of B (zlib's method: appending zeros is a linear map). */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b);

void s3_add_encryption(const struct s3_store *s, struct s3_request *r);
int s3_head(struct store *s, const char *key, struct store_object *ret, struct err *err);
int s3_get_file(struct store *s, const char *key, const char *path, const char *expect_sha256,
                int64_t expect_size, const char *etag, struct err *err);
int s3_put_file(struct store *s, const char *key, const char *path, const char *sha256, bool move,
                struct err *err);
int s3_list(struct store *s, const char *prefix,
            int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
            struct err *err);
