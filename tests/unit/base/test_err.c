/* Errors: classes, exit codes, context in front, texts that are cut and never overflow. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/unit.h"

static void classes_decide_exit_codes(void **state)
{
    (void)state;
    static const struct {
        enum err_class class_;
        int code;
    } cases[] = {{ERR_NONE, 0},      {ERR_RETRY, 75},   {ERR_CONFLICT, 75}, {ERR_EXISTS, 70},
                 {ERR_NOTFOUND, 66}, {ERR_INVALID, 65}, {ERR_TERMINAL, 70}, {ERR_GONE, 70}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {.class_ = cases[i].class_};
        assert_int_equal(err_exit_code(&err), cases[i].code);
    }
    struct err err = ERR_INIT;
    assert_int_equal(err_fail(&err, ERR_RETRY, EXITCODE_CONFIG, "why", "n=%d", 3), -1);
    assert_int_equal(err_exit_code(&err), 78);
    assert_string_equal(err.reason, "why");
    assert_string_equal(err.msg, "n=3");
}

static void context_goes_in_front(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_int_equal(err_errno(&err, ENOENT, "cannot open %s", "x"), -1);
    assert_int_equal(err.class_, ERR_NOTFOUND);
    assert_int_equal(err_wrap(&err, "step %s", "train"), -1);
    assert_string_equal(err.msg, "step train: cannot open x: No such file or directory");
    assert_int_equal(err_exit_code(&err), EXITCODE_IO);
    err_clear(&err);
    assert_false(err_is_set(&err));
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char text[3 * ERR_MSG_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)err_set(&err, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
    (void)err_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
}

static void http_statuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum err_class class_;
    } cases[] = {{404, ERR_NOTFOUND}, {409, ERR_CONFLICT}, {412, ERR_CONFLICT}, {410, ERR_GONE},
                 {408, ERR_RETRY},    {429, ERR_RETRY},    {500, ERR_RETRY},    {503, ERR_RETRY},
                 {400, ERR_INVALID},  {403, ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(err_class_of_http(cases[i].status), cases[i].class_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_decide_exit_codes),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(http_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
