/* The pure parts of the s3:// back end: combined CRCs, pages of listings, what answers mean. */
#include "tests/unit/unit.h"

#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"
#include "common/store/s3_list.h"

static void crcs_of_pieces_combine_to_the_crc_of_all(void **state)
{
    (void)state;
    enum { LEN = 100003 };
    static uint8_t data[LEN];
    uint32_t x = 12345;
    for (size_t i = 0; i < LEN; i++)
        data[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    uint32_t all = crc32c(0, data, LEN);
    assert_int_equal(all, crc32c_portable(0, data, LEN));
    for (size_t len = 12280; len < 12300; len++) /* where the instruction begins to work in lanes */
        assert_int_equal(crc32c(7, data + 3, len), crc32c_portable(7, data + 3, len));
    static const size_t cuts[] = {0, 1, 7, 8, 4096, 65536, LEN - 1, LEN};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        uint32_t a = crc32c(0, data, cuts[i]), b = crc32c(0, data + cuts[i], LEN - cuts[i]);
        uint32_t found = crc32c_combine(a, b, LEN - cuts[i]);
        if (found != all)
            fail_msg("cut at %zu: expected %08x, found %08x", cuts[i], all, found);
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* the check value of CRC-32C */
}

static void response_with(struct http_response *r, int status, const char *headers, const char *body)
{
    http_response_init(r);
    r->status = status;
    (void)buf_adds(&r->headers, headers);
    (void)buf_adds(&r->body, body);
}

static void crcs_travel_as_base64(void **state)
{
    (void)state;
    char text[S3_CRC_TEXT_MAX];
    s3_crc32c_format(0xe3069283, text);
    assert_string_equal(text, "4waSgw==");
    static const struct {
        const char *headers;
        bool usable;
    } table[] = {
        {"x-amz-checksum-crc32c: 4waSgw==\n", true},
        {"x-amz-checksum-crc32c: 4waSgw==\nx-amz-checksum-type: FULL_OBJECT\n", true},
        {"x-amz-checksum-crc32c: 4waSgw==\nx-amz-checksum-type: COMPOSITE\n", false},
        {"x-amz-checksum-crc32c: 4waSgw==-3\n", false},
        {"x-amz-checksum-crc32c: ????\n", false},
        {"x-amz-checksum-crc32c: 4waS\n", false},
        {"x-amz-checksum-crc32: 4waSgw==\n", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct http_response r;
        uint32_t crc = 0;
        response_with(&r, 200, table[i].headers, "");
        bool usable = s3_crc32c_of(&r, &crc);
        if (usable != table[i].usable || (usable && crc != 0xe3069283))
            fail_msg("%s: usable %d, %08x", table[i].headers, usable, crc);
        http_response_release(&r);
    }
}

static int note(void *ctx, const struct store_object *o, struct err *err)
{
    (void)err;
    (void)buf_addf(ctx, "%s=%lld@%lld%s ", o->key, (long long)o->size, (long long)o->mtime_ms, o->etag);
    return 0;
}

static void pages_are_read(void **state)
{
    (void)state;
    static const char page[] =
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><KeyCount>2</KeyCount>"
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
        "<Contents><Key>a&lt;b</Key><LastModified>1970-01-01T00:00:02.500Z</LastModified><ETag>&quot;e1&quot;</ETag><Size>5</Size><Owner><ID>x</ID></Owner></Contents>"
        "<Contents><Size>7</Size><Key>c</Key></Contents></ListBucketResult>";
    struct err err = ERR_INIT;
    struct s3_page p;
    _cleanup_buf_ struct buf found = BUF_INIT(1000);
    assert_ok(s3_list_page(page, strlen(page), note, &found, &p, &err), &err);
    assert_string_equal(buf_str(&found), "a<b=5@2500\"e1\" c=7@0 ");
    assert_true(p.truncated);
    assert_string_equal(p.next, "t&1");
    free(p.next);
}

static void broken_pages_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", "root element"},
        {"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
         "without a NextContinuationToken"},
        {"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>", "without"},
        {"<ListBucketResult><Contents><Key>a</Key><Size>x</Size></Contents></ListBucketResult>", "Size"},
        {"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>", "Size"},
        {"<ListBucketResult><Contents><Key>a</Key><Key>b</Key></Contents></ListBucketResult>", "second Key"},
        {"<ListBucketResult><Contents><Key>a</Key><LastModified>yesterday</LastModified></Contents></ListBucketResult>",
         "LastModified"},
        {"<ListBucketResult><Contents>", "ends within"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err err = ERR_INIT;
        struct s3_page p;
        _cleanup_buf_ struct buf found = BUF_INIT(1000);
        assert_fails(s3_list_page(table[i].text, strlen(table[i].text), note, &found, &p, &err), &err,
                     ERR_INVALID, table[i].says);
    }
}

static void answers_mean_what_they_say(void **state)
{
    (void)state;
#define CODE(c) "<Error><Code>" c "</Code><Message>m</Message></Error>"
    static const struct {
        const char *method;
        int status;
        const char *headers, *body;
        enum s3_verdict verdict;
        enum err_class class_;
        int exit_code;
        const char *reason;
    } table[] = {
        {"GET", 200, "", "", S3_OK, ERR_NONE, 0, ""},
        {"GET", 503, "", CODE("SlowDown"), S3_AGAIN, ERR_RETRY, 69, "unavailable"},
        {"GET", 500, "", "<html>", S3_AGAIN, ERR_RETRY, 69, "unavailable"},
        {"GET", 429, "", "", S3_AGAIN, ERR_RETRY, 69, "unavailable"},
        {"PUT", 400, "", CODE("BadDigest"), S3_AGAIN, ERR_RETRY, 69, "transfer"},
        {"PUT", 400, "", CODE("RequestTimeout"), S3_AGAIN, ERR_RETRY, 69, "transfer"},
        {"PUT", 501, "", CODE("NotImplemented"), S3_FAILED, ERR_INVALID, 78, "s3"},
        {"GET", 404, "", CODE("NoSuchKey"), S3_FAILED, ERR_NOTFOUND, 66, "not-found"},
        {"HEAD", 404, "", "", S3_FAILED, ERR_NOTFOUND, 66, "not-found"},
        {"PUT", 404, "", CODE("NoSuchBucket"), S3_FAILED, ERR_INVALID, 78, "no-such-bucket"},
        {"PUT", 404, "", CODE("InvalidAccessKeyId"), S3_FAILED, ERR_INVALID, 78, "credentials"},
        {"PUT", 403, "", CODE("AccessDenied"), S3_FAILED, ERR_INVALID, 78, "credentials"},
        {"PUT", 403, "", CODE("SignatureDoesNotMatch"), S3_FAILED, ERR_INVALID, 78, "credentials"},
        {"HEAD", 403, "", "", S3_EXPIRED, ERR_INVALID, 78, "credentials"},
        {"GET", 403, "", CODE("RequestTimeTooSkewed"), S3_SKEWED, ERR_INVALID, 78, "clock"},
        {"GET", 400, "", CODE("ExpiredToken"), S3_EXPIRED, ERR_INVALID, 78, "credentials"},
        {"PUT", 412, "", CODE("PreconditionFailed"), S3_FAILED, ERR_CONFLICT, 75, "precondition"},
        {"PUT", 409, "", CODE("OperationAborted"), S3_FAILED, ERR_CONFLICT, 75, "conflict"},
        {"GET", 416, "", CODE("InvalidRange"), S3_FAILED, ERR_INVALID, 65, "short"},
        {"GET", 301, "x-amz-bucket-region: eu-west-1\n", CODE("PermanentRedirect"), S3_FAILED, ERR_INVALID,
         78, "region"},
        {"PUT", 400, "", "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
         S3_FAILED, ERR_INVALID, 78, "region"},
    };
    const struct s3_store s = {.base.url = (char *)"s3://b", .region = (char *)"us-east-1"};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err err = ERR_INIT;
        struct http_response response;
        response_with(&response, table[i].status, table[i].headers, table[i].body);
        struct s3_request r = {.method = table[i].method, .key = "k"};
        enum s3_verdict verdict = s3_judge(&s, &r, &response, &err);
        http_response_release(&response);
        if (verdict != table[i].verdict || err.class_ != table[i].class_ ||
            err_exit_code(&err) != table[i].exit_code || strcmp(err.reason, table[i].reason) != 0)
            fail_msg("%d %s: found verdict %d, %s, exit %d, reason %s", table[i].status, table[i].body,
                     verdict, err_class_name(err.class_), err_exit_code(&err), err.reason);
    }
    struct err err = ERR_INIT;
    struct http_response response;
    response_with(&response, 409, "", CODE("ConditionalRequestConflict"));
    assert_int_equal(s3_judge(&s, &(struct s3_request){.method = "PUT", .key = "k", .conditional = true},
                              &response, &err),
                     S3_AGAIN);
    http_response_release(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crcs_of_pieces_combine_to_the_crc_of_all),
        cmocka_unit_test(crcs_travel_as_base64),
        cmocka_unit_test(pages_are_read),
        cmocka_unit_test(broken_pages_are_errors),
        cmocka_unit_test(answers_mean_what_they_say),
    };
    return cmocka_run_group_tests_name("s3 parts", tests, NULL, NULL);
}
