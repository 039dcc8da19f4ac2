/* What an answer of an S3 store means. */
#include "common/store/s3-internal.h"

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/store/xml.h"

void s3_error_code(const struct http_response *response, char ret[static S3_CODE_MAX])
{
    if (!xml_find(buf_str(&response->body), response->body.len, "Error/Code", ret, S3_CODE_MAX))
        ret[0] = '\0';
}

static bool is_one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++)
        if (text_equal(code, *codes))
            return true;
    return false;
}

static int fail(const struct s3_store *s, const struct s3_request *r, const struct http_response *response,
                const char *code, struct err *err, enum err_class class_, int exit_code, const char *reason,
                const char *advice)
{
    char message[512];
    if (!xml_find(buf_str(&response->body), response->body.len, "Error/Message", message, sizeof message))
        message[0] = '\0';
    (void)err_fail(err, class_, exit_code, reason, "%s %s%s%s: HTTP %d%s%s%s%s%s%s", r->method, s->base.url,
                   r->key ? "/" : "", r->key ? r->key : "", response->status, *code ? " " : "", code,
                   *message ? ": " : "", message, *advice ? "; " : "", advice);
    return -1;
}

/* The answer names the bucket's region when ours is wrong. */
static bool wrong_region(const struct s3_store *s, const struct http_response *response, char *advice,
                         size_t advice_size)
{
    char region[64];
    _cleanup_free_ char *header = http_header_dup(response, "x-amz-bucket-region");
    if (header)
        (void)snprintf(region, sizeof region, "%s", header);
    else if (!xml_find(buf_str(&response->body), response->body.len, "Error/Region", region, sizeof region))
        return false;
    if (!*region || text_equal(region, s->region))
        return false;
    (void)snprintf(advice, advice_size,
                   "the bucket is in region %s, the store is configured for %s: set region", region,
                   s->region);
    return true;
}

static bool is_refusal(int status, const char *code)
{
    static const char *const refused[] = {"AccessDenied",
                                          "InvalidAccessKeyId",
                                          "SignatureDoesNotMatch",
                                          "AuthorizationHeaderMalformed",
                                          "AccountProblem",
                                          "XAdminUserNotFound",
                                          NULL};
    return status == 401 || status == 403 || is_one_of(code, refused);
}

static enum s3_verdict judge_refused(const struct s3_store *s, const struct s3_request *r,
                                     const struct http_response *response, const char *code, struct err *err)
{
    static const char *const expired[] = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired",
                                          "InvalidToken", NULL};
    static const char *const transfer[] = {"RequestTimeout",
                                           "IncompleteBody",
                                           "BadDigest",
                                           "XAmzContentChecksumMismatch",
                                           "XAmzContentSHA256Mismatch",
                                           "InvalidPart",
                                           NULL};
    if (text_equal(code, "RequestTimeTooSkewed")) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "clock",
                   "set this machine's clock");
        return S3_SKEWED;
    }
    if (is_one_of(code, expired)) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
                   "renew the session token");
        return S3_EXPIRED;
    }
    if (is_one_of(code, transfer)) { /* what arrived is not what we sent */
        (void)fail(s, r, response, code, err, ERR_RETRY, EXITCODE_UNAVAILABLE, "transfer", "");
        return S3_AGAIN;
    }
    char advice[256];
    if (wrong_region(s, response, advice, sizeof advice)) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "region", advice);
        return S3_FAILED;
    }
    if (is_refusal(response->status, code)) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
                   "check the access key, its secret, and what its policy allows for this bucket and key");
        /* HEAD answers carry no code: an expired token looks like any refusal. */
        return text_equal(r->method, "HEAD") ? S3_EXPIRED : S3_FAILED;
    }
    (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "s3",
               "the store does not take this request");
    return text_equal(r->method, "HEAD") && response->status == 400 ? S3_EXPIRED : S3_FAILED;
}

enum s3_verdict s3_judge(const struct s3_store *s, const struct s3_request *r,
                         const struct http_response *response, struct err *err)
{
    int status = response->status;
    if (status >= 200 && status < 300)
        return S3_OK;
    char code[S3_CODE_MAX];
    s3_error_code(response, code);
    if (status == 501) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "s3",
                   "the store does not implement this: another one is needed");
        return S3_FAILED;
    }
    if (status >= 500 || status == 429 || status == 408 || text_equal(code, "SlowDown")) {
        (void)fail(s, r, response, code, err, ERR_RETRY, EXITCODE_UNAVAILABLE, "unavailable", "");
        return S3_AGAIN;
    }
    if (text_equal(code, "NoSuchBucket")) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "no-such-bucket",
                   "create the bucket, or correct the store's URL");
        return S3_FAILED;
    }
    static const char *const missing[] = {"", "NoSuchKey", "NoSuchVersion", "NoSuchUpload", "NotFound", NULL};
    if (status == 404 &&
        is_one_of(code, missing)) { /* some stores answer 404 to an unknown access key, too */
        (void)(r->key && !text_equal(code, "NoSuchUpload")
                   ? store_err_missing(err, &s->base, r->key)
                   : fail(s, r, response, code, err, ERR_NOTFOUND, 0, "not-found", ""));
        return S3_FAILED;
    }
    if (status == 412) {
        (void)fail(s, r, response, code, err, ERR_CONFLICT, 0, "precondition", "");
        return S3_FAILED;
    }
    if (status == 409) { /* another writer is at work on this very key: its outcome decides ours */
        (void)fail(s, r, response, code, err, ERR_CONFLICT, 0, "conflict", "");
        return r->conditional ? S3_AGAIN : S3_FAILED;
    }
    if (status == 416) {
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_DATA, "short",
                   "the object is shorter than the range asked for");
        return S3_FAILED;
    }
    if (status < 400) {
        char advice[256] = "the store answers with a redirect: correct endpoint, region or addressing";
        (void)wrong_region(s, response, advice, sizeof advice);
        (void)fail(s, r, response, code, err, ERR_INVALID, EXITCODE_CONFIG, "region", advice);
        return S3_FAILED;
    }
    return judge_refused(s, r, response, code, err);
}
