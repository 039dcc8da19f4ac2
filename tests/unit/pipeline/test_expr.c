/* The expression language: values, types, errors with their columns. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/pipeline/date.h"
#include "operator/pipeline/expr.h"

static cJSON *params, *steps;
static struct expr_scope scope;

static int set_up(void **state)
{
    (void)state;
    static const char params_text[] =
        "{\"lr\": 0.5, \"name\": \"abc\", \"on\": true, \"days\": [\"mon\", \"tue\"]}";
    static const char steps_text[] =
        "{\"eval\": {\"phase\": \"Succeeded\", \"values\": {\"gate_passed\": true, \"auc\": 0.75}},"
        " \"my-step\": {\"phase\": \"Skipped\"}, \"fan\": {\"values\": {\"rows\": [1, 2, 3]}}}";
    params = cJSON_Parse(params_text);
    steps = cJSON_Parse(steps_text);
    scope = (struct expr_scope){.params = params,
                                .steps = steps,
                                .run_name = "r-1",
                                .run_uid = "u",
                                .run_phase = "Running",
                                .scheduled_ms = INT64_C(1769824800000)};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cJSON_Delete(params);
    cJSON_Delete(steps);
    return 0;
}

/* The value as text, or the error's. Caller frees. */
static char *evaluate(const char *text)
{
    _cleanup_expr_ struct expr *e = NULL;
    _cleanup_expr_value_ struct expr_value v = {0};
    struct err err = ERR_INIT;
    if (expr_parse(text, &e, &err) < 0 || expr_eval(e, &scope, &v, &err) < 0) {
        assert_int_equal(err.class_, ERR_INVALID);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        return xstrdup(err.msg);
    }
    char number[32];
    json_format_double(v.number, number);
    return v.type == EXPR_STRING   ? xstrdup(v.string)
           : v.type == EXPR_NUMBER ? xstrdup(number)
           : v.type == EXPR_BOOL   ? xstrdup(v.boolean ? "true" : "false")
                                   : cJSON_PrintUnformatted(v.list);
}

struct sample {
    const char *text, *expected;
};

static void check_values(const struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *found = evaluate(samples[i].text);
        if (strcmp(found, samples[i].expected) != 0)
            fail_msg("%s: expected \"%s\", found \"%s\"", samples[i].text, samples[i].expected, found);
        free(found);
    }
}

static void test_values(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"7 - 2 - 1", "4"},
        {"12 / 4 / 3", "1"},
        {"7 % 4", "3"},
        {"-2 * -3", "6"},
        {"- - 2", "2"},
        {"1.5e3", "1500"},
        {"1 < 2", "true"},
        {"2 <= 1", "false"},
        {"'a' < 'b'", "true"},
        {"'a' + \"b\"", "ab"},
        {"'it\\'s' + '\\\\\\n'", "it's\\\n"},
        {"true == false", "false"},
        {"true and not false", "true"},
        {"!true || 1 == 1", "true"},
        {"not 1 == 2", "true"},
        {"true or false and false", "true"},
        {"steps.eval.values.gate_passed", "true"},
        {"steps.eval.values.auc > 0.7 and steps.eval.phase == 'Succeeded'", "true"},
        {"steps['my-step'].phase", "Skipped"},
        {"steps.fan.values.rows", "[1,2,3]"},
        {"params.lr * 2", "1"},
        {"run.name + '/' + run.phase", "r-1/Running"},
        {"run.scheduledTime", "2026-01-31T02:00:00Z"},
        {"has(params.lr)", "true"},
        {"has(params.nope)", "false"},
        {"has(steps['my-step'].values.x)", "false"},
        {"has(item)", "false"},
        {"contains('abcd', 'bc')", "true"},
        {"params.name.startsWith('ab')", "true"},
        {"'abc'.endsWith('bc')", "true"},
        {"params.days.contains('tue')", "true"},
        {"steps.fan.values.rows.contains(4)", "false"},
        {"size(params.days) == 2 and size('äö') == 2", "true"},
        {"date(run.scheduledTime, '%Y-%m-%d', '-1d')", "2026-01-30"},
        {"date('2026-01-31', '%F %T')", "2026-01-31 00:00:00"},
    };
    check_values(samples, ARRAY_SIZE(samples));
}

static void test_the_right_side_is_looked_at_only_if_it_counts(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"has(params.nope) and params.nope > 1", "false"},
        {"true or 1 / 0 > 1", "true"},
        {"false and 1 / 0 > 1", "false"},
    };
    check_values(samples, ARRAY_SIZE(samples));
}

static void test_errors_name_the_column(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"", "column 1: expected a value, found the end"},
        {"1 +", "column 4: expected a value, found the end"},
        {"(1", "column 3: expected \")\", found the end"},
        {"1 2", "column 3: expected an operator or the end, found \"2\""},
        {"'abc", "column 1: the text that begins here has no closing '"},
        {"'a\\q'", "column 3: unknown escape; known are \\\\ \\' \\\" \\n \\t"},
        {"a = 1", "column 3: a single =; equality is written =="},
        {"1 # 2", "column 3: unexpected character #"},
        {"'ä' + §", "column 7: unexpected character §"},
        {"12abc", "column 1: not a number: \"12a\""},
        {"1 < 2 < 3", "column 7: comparisons do not chain: write a < b and b < c"},
        {"1 == 'a'", "column 3: a number cannot be compared with a string"},
        {"1 + 'a'", "column 3: + needs a number, found a string"},
        {"'a' - 1", "column 5: - needs a number, found a string"},
        {"1 and true", "column 3: and needs a boolean, found a number"},
        {"not 1", "column 1: not needs a boolean, found a number"},
        {"true < false", "column 6: < does not apply to a boolean"},
        {"1 / 0", "column 3: division by zero"},
        {"1 % 0", "column 3: division by zero"},
        {"1e308 * 10", "column 7: * gives a number out of range"},
        {"params.nope", "column 1: params.nope has no value (test it with has(…) first)"},
        {"steps['my-step'].values.x == 1",
         "column 1: steps.my-step.values.x has no value (test it with has(…) first)"},
        {"hass(1)", "column 1: there is no function hass(); did you mean has()?"},
        {"has(1)", "column 1: has() takes a name, such as has(steps.train.values.steps)"},
        {"contains('a')", "column 1: too few arguments for contains(text, part)"},
        {"size('a', 'b')", "column 11: too many arguments for size(text or list)"},
        {"date('x', '%Y')", "column 1: date(): expected"},
        {"date('2026-01-31', '%Q')", "column 1: date(): the date format \"%Q\" has %Q; known are"},
        {"date('2026-01-31', '%Y', '1 day')", "column 1: date():"},
        {"date('2026-01-31', '%Y', '0s', 'Europe/Berlin')",
         "column 1: date(): expected the zone UTC, +hh:mm or -hh:mm, found \"Europe/Berlin\""},
        {"params.", "column 8: expected a name, found the end"},
        {"steps[1]", "column 7: expected a quoted name, such as ['my-step'], found \"1\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char *found = evaluate(samples[i].text);
        if (strncmp(found, samples[i].expected, strlen(samples[i].expected)) != 0)
            fail_msg("%s: expected \"%s\", found \"%s\"", samples[i].text, samples[i].expected, found);
        free(found);
    }
}

static void test_nesting_and_length_are_bounded(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct expr *e = NULL;
    char deep[LIMIT_EXPR_DEPTH * 2 + 8];
    memset(deep, '(', LIMIT_EXPR_DEPTH + 1);
    deep[LIMIT_EXPR_DEPTH + 1] = '\0';
    assert_fails(expr_parse(deep, &e, &err), &err, ERR_INVALID, "nested deeper than 32 levels");
    memset(deep, '-', LIMIT_EXPR_DEPTH + 1);
    deep[LIMIT_EXPR_DEPTH + 1] = '1';
    deep[LIMIT_EXPR_DEPTH + 2] = '\0';
    assert_fails(expr_parse(deep, &e, &err), &err, ERR_INVALID, "nested deeper than 32 levels");
    char *longest = xmalloc(LIMIT_EXPR_BYTES + 2);
    memset(longest, ' ', LIMIT_EXPR_BYTES + 1);
    longest[LIMIT_EXPR_BYTES + 1] = '\0';
    assert_fails(expr_parse(longest, &e, &err), &err, ERR_INVALID, "larger than the maximum of 4096");
    /* A long chain is not deep. */
    for (size_t i = 0; i + 1 < LIMIT_EXPR_BYTES; i += 2)
        memcpy(longest + i, "1+", 2);
    longest[LIMIT_EXPR_BYTES - 1] = '\0';
    char *found = evaluate(longest);
    assert_string_equal(found, "2048");
    free(found);
    free(longest);
}

static void test_a_condition_must_be_true_or_false(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    bool value = false;
    assert_ok(expr_eval_bool("steps.eval.values.gate_passed", &scope, &value, &err), &err);
    assert_true(value);
    assert_fails(expr_eval_bool("steps.eval.values.auc", &scope, &value, &err), &err, ERR_INVALID,
                 "expected true or false, found a number");
    assert_fails(expr_eval_bool("steps.gone.values.x", &scope, &value, &err), &err, ERR_INVALID,
                 "has no value");
}

/* --- types without values -------------------------------------------------------------------------------------------- */

static int lookup(void *ctx, const char *name, enum expr_type *ret, struct err *err)
{
    (void)ctx;
    static const struct {
        const char *name;
        enum expr_type type;
    } table[] = {{"params.n", EXPR_NUMBER},
                 {"params.s", EXPR_STRING},
                 {"params.b", EXPR_BOOL},
                 {"params.l", EXPR_LIST},
                 {"params.any", EXPR_ANY}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].name, name) == 0) {
            *ret = table[i].type;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "there is no %s", name);
}

static void test_types_are_checked_without_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum expr_type type;
        const char *error;
    } samples[] = {
        {"params.n + 1", EXPR_NUMBER, NULL},
        {"params.s + 'x'", EXPR_STRING, NULL},
        {"params.n > 1 and params.b", EXPR_BOOL, NULL},
        {"params.any > 1", EXPR_BOOL, NULL},
        {"has(params.s)", EXPR_BOOL, NULL},
        {"size(params.l)", EXPR_NUMBER, NULL},
        {"params.l.contains(1)", EXPR_BOOL, NULL},
        {"date(params.s, '%Y')", EXPR_STRING, NULL},
        {"params.n + params.s", 0,
         "column 10: + joins a number and a string: both must be strings or both numbers"},
        {"params.b > 1", 0, "column 10: a boolean cannot be compared with a number"},
        {"params.b < params.b", 0, "column 10: < does not apply to a boolean"},
        {"params.n and true", 0, "column 10: and needs a boolean, found a number"},
        {"-params.s", 0, "column 1: - needs a number, found a string"},
        {"date(params.n, '%Y')", 0, "column 1: date needs a string, found a number"},
        {"date(params.s, '%K')", 0, "column 1: date(): the date format \"%K\" has %K"},
        {"date(params.s, '%Y', '1x')", 0, "column 1: date():"},
        {"false and params.gone > 1", 0, "column 11: there is no params.gone"},
        {"has(params.gone)", 0, "column 5: there is no params.gone"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        _cleanup_expr_ struct expr *e = NULL;
        struct err err = ERR_INIT;
        enum expr_type type = EXPR_NULL;
        assert_ok(expr_parse(samples[i].text, &e, &err), &err);
        if (samples[i].error) {
            assert_fails(expr_check(e, lookup, NULL, &type, &err), &err, ERR_INVALID, samples[i].error);
        } else {
            assert_ok(expr_check(e, lookup, NULL, &type, &err), &err);
            if (type != samples[i].type)
                fail_msg("%s: expected type %d, found %d", samples[i].text, (int)samples[i].type, (int)type);
        }
    }
}

static int collect(void *ctx, const char *name, struct err *err)
{
    (void)err;
    return buf_addf(ctx, "%s ", name);
}

static void test_names_are_listed_in_dotted_form(void **state)
{
    (void)state;
    _cleanup_expr_ struct expr *e = NULL;
    _cleanup_buf_ struct buf names = BUF_INIT(1000);
    struct err err = ERR_INIT;
    assert_ok(expr_parse("has(item) and steps['a-b'].values.x > params.y", &e, &err), &err);
    assert_ok(expr_names(e, collect, &names, &err), &err);
    assert_string_equal(buf_str(&names), "item steps.a-b.values.x params.y ");
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *time, *format;
        int64_t offset_ms;
        const char *zone, *expected;
    } samples[] = {
        {"2024-02-29T23:59:59Z", "%F %T %j %u %G-W%V %y %%", 0, "UTC",
         "2024-02-29 23:59:59 060 4 2024-W09 24 %"},
        {"2024-03-01T00:00:00Z", "%F", -1000, "UTC", "2024-02-29"},
        {"2026-01-31T02:00:00Z", "%F %H:%M %z", 0, "+05:30", "2026-01-31 07:30 +0530"},
        {"2026-01-31T02:00:00Z", "%F %H %z", 0, "-03:00", "2026-01-30 23 -0300"},
        {"2026-01-01T00:00:00Z", "%G-W%V-%u", 0, "UTC", "2026-W01-4"},
        {"2027-01-01T00:00:00Z", "%G-W%V-%u", 0, "UTC", "2026-W53-5"},
        {"2024-12-30T00:00:00Z", "%G-W%V-%u", 0, "UTC", "2025-W01-1"},
        {"1969-12-31T23:59:59Z", "%F %T %s", 0, "UTC", "1969-12-31 23:59:59 -1"},
        {"2026-12-31T00:00:00Z", "%j", 0, "UTC", "365"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        int64_t ms;
        char text[DATE_TEXT_MAX];
        struct err err = ERR_INIT;
        assert_ok(date_parse_time(samples[i].time, &ms, &err), &err);
        assert_ok(date_format(ms, samples[i].format, samples[i].offset_ms, samples[i].zone, text, &err),
                  &err);
        assert_string_equal(text, samples[i].expected);
    }
    struct err err = ERR_INIT;
    char text[DATE_TEXT_MAX];
    assert_fails(date_format(INT64_MAX, "%Y", 0, "UTC", text, &err), &err, ERR_INVALID,
                 "out of the years 1 to 9998");
    assert_fails(date_format(INT64_MAX, "%Y", 1, "UTC", text, &err), &err, ERR_INVALID, "out of range");
    assert_fails(date_format(0, "%", 0, "UTC", text, &err), &err, ERR_INVALID, "known are");
    assert_fails(date_format(0, "%Y", 0, "+25:00", text, &err), &err, ERR_INVALID,
                 "expected the zone UTC, +hh:mm or -hh:mm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_the_right_side_is_looked_at_only_if_it_counts),
        cmocka_unit_test(test_errors_name_the_column),
        cmocka_unit_test(test_nesting_and_length_are_bounded),
        cmocka_unit_test(test_a_condition_must_be_true_or_false),
        cmocka_unit_test(test_types_are_checked_without_values),
        cmocka_unit_test(test_names_are_listed_in_dotted_form),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
