/* Store URLs and percent-encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/text.h"
#include "common/store/uri.h"

static void good_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool local;
        const char *path, *bucket, *prefix;
    } table[] = {
        {"file:///data/x", true, "/data/x", NULL, NULL},
        {"file:///data/x//", true, "/data/x", NULL, NULL},
        {"file:///", true, "/", NULL, NULL},
        {"file:///a b%20c", true, "/a b%20c", NULL, NULL},
        {"s3://bucket", false, NULL, "bucket", ""},
        {"s3://my.bucket-1/", false, NULL, "my.bucket-1", ""},
        {"s3://bucket/a/b/", false, NULL, "bucket", "a/b"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct err err = ERR_INIT;
        _cleanup_uri_ struct uri u = {0};
        if (uri_parse(table[i].text, &u, &err) < 0)
            fail_msg("%s: %s", table[i].text, err.msg);
        assert_int_equal(u.local, table[i].local);
        if (!text_equal(u.path, table[i].path) || !text_equal(u.bucket, table[i].bucket) ||
            !text_equal(u.prefix, table[i].prefix))
            fail_msg("%s: found path %s, bucket %s, prefix %s", table[i].text, u.path, u.bucket, u.prefix);
    }
}

static void bad_urls(void **state)
{
    (void)state;
    static const char *const table[] = {"",
                                        "/data",
                                        "file:/data",
                                        "file://host/data",
                                        "file://",
                                        "s3:bucket",
                                        "s3://",
                                        "s3://ab",
                                        "s3://Bucket/x",
                                        "s3://-bucket",
                                        "s3://bucket/../x",
                                        "s3://bucket/a//b",
                                        "https://x/y",
                                        "gs://bucket/x"};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct err err = ERR_INIT;
        struct uri u = {0};
        if (uri_parse(table[i], &u, &err) == 0)
            fail_msg("%s: expected an error", table[i]);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        assert_non_null(strstr(err.msg, "expected file:///absolute/path or s3://bucket[/prefix]"));
    }
}

static void encoding(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT(100);
    assert_int_equal(uri_encode(&b, "aZ09-._~/ +=$%\xc3\xbc", true), 0);
    assert_string_equal(buf_str(&b), "aZ09-._~/%20%2B%3D%24%25%C3%BC");
    buf_reset(&b);
    assert_int_equal(uri_encode(&b, "a/b", false), 0);
    assert_string_equal(buf_str(&b), "a%2Fb");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_urls), cmocka_unit_test(bad_urls),
                                       cmocka_unit_test(encoding)};
    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
