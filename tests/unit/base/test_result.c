/* The termination message: what is written is read back, too large and cut messages are told apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/contract.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/result.h"
#include "common/base/text.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_success_there_and_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_result_ struct result r, back = {0};
    result_init(&r);
    json_add_string(r.outputs, "model", DIGEST);
    json_add_double(r.values, "auc", 0.73);
    json_add_bool(r.values, "gate_passed", true);
    r.cached = true;
    _cleanup_buf_ struct buf b = BUF_INIT(10000);
    assert_int_equal(result_format(&r, &b, &err), 0);
    assert_string_equal(b.data, "{\"cached\":true,\"outputs\":{\"model\":\"" DIGEST
                                "\"},\"values\":{\"auc\":0.73,\"gate_passed\":true}}");
    assert_int_equal(result_parse(b.data, b.len, &back, &err), 0);
    assert_true(cJSON_Compare(r.outputs, back.outputs, true));
    assert_true(cJSON_Compare(r.values, back.values, true));
    assert_true(back.cached);
    assert_false(back.failed);
}

static void test_long_errors_are_shortened_to_fit(void **state)
{
    (void)state;
    struct err err = ERR_INIT, cause = ERR_INIT;
    char text[1900];
    memset(text, '"', sizeof text - 1); /* each takes two bytes in JSON */
    memcpy(text + 1000, "ä", 2);
    text[sizeof text - 1] = '\0';
    (void)err_fail(&cause, ERR_INVALID, EXITCODE_DATA, "validation", "%s", text);
    _cleanup_result_ struct result r, back = {0};
    result_init(&r);
    result_set_error(&r, &cause);
    _cleanup_buf_ struct buf b = BUF_INIT(10000);
    assert_int_equal(result_format(&r, &b, &err), 0);
    assert_true(b.len <= LIMIT_RESULT_BYTES);
    assert_true(text_valid_utf8(b.data, b.len));
    assert_int_equal(result_parse(b.data, b.len, &back, &err), 0);
    assert_true(back.failed);
    assert_string_equal(back.error_class, "user");
    assert_string_equal(back.error_reason, "validation");
    assert_true(strlen(back.error_message) > 300);
}

static void test_classes_follow_exit_codes(void **state)
{
    (void)state;
    static const struct {
        int exit_code;
        const char *class_;
    } cases[] = {{64, "user"},           {65, "user"},           {66, "user"},
                 {78, "user"},           {69, "infrastructure"}, {74, "infrastructure"},
                 {75, "infrastructure"}, {70, "application"},    {1, "application"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err cause = ERR_INIT;
        (void)err_fail(&cause, ERR_TERMINAL, cases[i].exit_code, NULL, "x");
        _cleanup_result_ struct result r;
        result_init(&r);
        result_set_error(&r, &cause);
        assert_string_equal(r.error_class, cases[i].class_);
    }
}

static void test_too_large(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_result_ struct result r;
    result_init(&r);
    char text[2001];
    memset(text, 'x', 2000);
    text[2000] = '\0';
    json_add_string(r.values, "text", text);
    _cleanup_buf_ struct buf b = BUF_INIT(100000);
    assert_true(result_format(&r, &b, &err) < 0);
    assert_string_equal(err.reason, REASON_RESULT_TOO_LARGE);
    assert_int_equal(err_exit_code(&err), EXITCODE_DATA);
    /* In the store there is more room. */
    (void)snprintf(r.folder, sizeof r.folder, "a1-abcdefgh");
    err_clear(&err);
    assert_int_equal(result_format(&r, &b, &err), 0);
}

static void test_what_is_no_result(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "null",
        "[]",
        "{}",
        "{\"outputs\": 1}",
        "{\"outputs\": {\"a\": \"xyz\"}}",
        "{\"outputs\": {\"a b\": \"" DIGEST "\"}}",
        "{\"outputs\": {}, \"values\": {\"A\": 1}}",
        "{\"outputs\": {}, \"values\": {\"a\": [1]}}",
        "{\"outputs\": {}, \"values\": {\"a\": null}}",
        "{\"error\": 7}",
        "{\"outputs\": {}, \"folder\": 1}",
        "{\"outputs\": {\"a\": \"" DIGEST "\"}, \"val",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct err err = ERR_INIT;
        struct result r;
        if (result_parse(texts[i], strlen(texts[i]), &r, &err) == 0)
            fail_msg("accepted: %s", texts[i]);
        if (!text_equal(err.reason, REASON_RESULT_TRUNCATED) || err.class_ != ERR_INVALID)
            fail_msg("%s: expected reason %s, found %s: %s", texts[i], REASON_RESULT_TRUNCATED, err.reason,
                     err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success_there_and_back),
        cmocka_unit_test(test_long_errors_are_shortened_to_fit),
        cmocka_unit_test(test_classes_follow_exit_codes),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_what_is_no_result),
    };
    return cmocka_run_group_tests_name("result", tests, NULL, NULL);
}
