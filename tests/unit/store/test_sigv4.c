/* The examples of the S3 documentation ("Examples: Signature Calculations in AWS Signature Version 4"): bucket
 * examplebucket, us-east-1, Fri 24 May 2013 00:00 GMT, and the documentation's own example credentials. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/store/sigv4.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct vector {
    const char *name, *method, *path, *payload, *signature, *signed_headers;
    struct sigv4_pair headers[4], query[2];
};

static const struct vector vectors[] = {
    {.name = "GET Object, a range",
     .method = "GET",
     .path = "/test.txt",
     .payload = EMPTY,
     .headers = {{"Range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}},
     .signed_headers = "host;range;x-amz-content-sha256;x-amz-date",
     .signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {.name = "PUT Object",
     .method = "PUT",
     .path = "/test%24file.text",
     .payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
     .headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                 {"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
                 {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
     .signed_headers = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
     .signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {.name = "GET Bucket Lifecycle",
     .method = "GET",
     .path = "/",
     .payload = EMPTY,
     .headers = {{"x-amz-content-sha256", EMPTY}},
     .query = {{"lifecycle", ""}},
     .signed_headers = "host;x-amz-content-sha256;x-amz-date",
     .signature = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {.name = "GET Bucket (list objects)",
     .method = "GET",
     .path = "/",
     .payload = EMPTY,
     .headers = {{"X-Amz-Content-SHA256", EMPTY}},
     .query = {{"prefix", "J"}, {"max-keys", "2"}},
     .signed_headers = "host;x-amz-content-sha256;x-amz-date",
     .signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t count(const struct sigv4_pair *pairs, size_t max)
{
    size_t n = 0;
    while (n < max && pairs[n].name)
        n++;
    return n;
}

static void published_examples_are_reproduced(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int64_t time_ms;
    assert_int_equal(clock_parse_rfc3339("2013-05-24T00:00:00Z", &time_ms, &err), 0);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *v = &vectors[i];
        struct sigv4_request r = {
            .method = v->method,
            .host = "examplebucket.s3.amazonaws.com",
            .path = v->path,
            .query = v->query,
            .n_query = count(v->query, 2),
            .headers = v->headers,
            .n_headers = count(v->headers, 4),
            .payload_sha256 = v->payload,
            .region = "us-east-1",
            .service = "s3",
            .access_key_id = "AKIAIOSFODNN7EXAMPLE",
            .secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            .time_ms = time_ms,
        };
        _cleanup_buf_ struct buf found = BUF_INIT(4096);
        _cleanup_buf_ struct buf expected = BUF_INIT(4096);
        char date[SIGV4_DATE_MAX];
        assert_int_equal(sigv4_sign(&r, &found, date, &err), 0);
        (void)buf_addf(
            &expected,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s",
            v->signed_headers, v->signature);
        assert_string_equal(date, "20130524T000000Z");
        if (strcmp(buf_str(&found), buf_str(&expected)) != 0)
            fail_msg("%s:\nexpected %s\nfound    %s", v->name, buf_str(&expected), buf_str(&found));
    }
}

static void the_put_example_hashes_its_own_payload(void **state)
{
    (void)state;
    char digest[DIGEST_HEX];
    sha256_hex("Welcome to Amazon S3.", 21, digest);
    assert_string_equal(digest, vectors[1].payload);
}

static void queries_are_sorted_after_encoding(void **state)
{
    (void)state;
    static const struct sigv4_pair query[] = {{"prefix", "a b/ü+~"},
                                              {"list-type", "2"},
                                              {"continuation-token", "x=="},
                                              {"a", ""}};
    _cleanup_buf_ struct buf found = BUF_INIT(1000);
    assert_int_equal(sigv4_query(query, 4, &found), 0);
    assert_string_equal(buf_str(&found),
                        "a=&continuation-token=x%3D%3D&list-type=2&prefix=a%20b%2F%C3%BC%2B~");
}

static void header_values_are_trimmed_and_folded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct sigv4_request r = {.method = "GET",
                              .host = "h",
                              .path = "/",
                              .payload_sha256 = EMPTY,
                              .region = "r",
                              .service = "s3",
                              .access_key_id = "k",
                              .secret_access_key = "s",
                              .time_ms = 0,
                              .n_headers = 1};
    const struct sigv4_pair plain = {"x-a", "1 2"}, spaced = {"X-A", "  1   2 "};
    _cleanup_buf_ struct buf a = BUF_INIT(1000);
    _cleanup_buf_ struct buf b = BUF_INIT(1000);
    char date[SIGV4_DATE_MAX];
    r.headers = &plain;
    assert_int_equal(sigv4_sign(&r, &a, date, &err), 0);
    r.headers = &spaced;
    assert_int_equal(sigv4_sign(&r, &b, date, &err), 0);
    assert_string_equal(buf_str(&a), buf_str(&b));
    assert_string_equal(date, "19700101T000000Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_examples_are_reproduced),
        cmocka_unit_test(the_put_example_hashes_its_own_payload),
        cmocka_unit_test(queries_are_sorted_after_encoding),
        cmocka_unit_test(header_values_are_trimmed_and_folded),
    };
    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
