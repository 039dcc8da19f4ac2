/* Numbers, quantities, UTF-8, nearest words, parts. */
#include "common/base/text.h"
#include "tests/unit/unit.h"

static void whole_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-7", -7},
                {"007", 7},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    struct err err = ERR_INIT;
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(text_parse_int(good[i].text, &v, &err), &err);
        assert_int_equal(v, good[i].value);
    }
    static const char *const bad[] = {"", " 1", "1 ", "+1", "1.0", "0x10", "-", "--1", "9223372036854775808"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(text_parse_int(bad[i], &v, &err), &err, ERR_INVALID, "expected a whole number");
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},  {"1.5", 1.5},     {"-1e-3", -0.001}, {".5", 0.5},
                {"+2", 2}, {"1e308", 1e308}, {"5e-324", 5e-324}};
    struct err err = ERR_INIT;
    double v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(text_parse_double(good[i].text, &v, &err), &err);
        assert_true(v == good[i].value);
    }
    static const char *const bad[] = {"",      " 1",   "1,5", "inf", "nan",     "0x1p3",
                                      "1e999", "1.5x", "-",   ".",   "infinity"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(text_parse_double(bad[i], &v, &err), &err, ERR_INVALID, "expected a number");
}

static void quantities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool milli;
        int64_t value;
    } good[] = {
        {"20Gi", false, 21474836480},
        {"500M", false, 500000000},
        {"1.5", true, 1500},
        {"250m", true, 250},
        {"2", true, 2000},
        {"1", false, 1},
        {"1.5Ki", false, 1536},
        {"0", false, 0},
        {"1e3", false, 1000},
        {"12E2", false, 1200},
        {"1E", false, 1000000000000000000},
        {"100m", false, 1},
        {"1.1", false, 2},
        {"0.0001", true, 1},
        {"7Ei", false, 8070450532247928832},
        {"9223372036854775807", false, INT64_MAX},
    };
    struct err err = ERR_INIT;
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(text_parse_quantity(good[i].text, good[i].milli, &v, &err), &err);
        assert_int_equal(v, good[i].value);
    }
    static const char *const bad[] =
        {"", "Gi", "-1", "1 Gi", "1gi", "1.2.3", ".", "8Ei", "1e", "1e123", "9223372036854775808", "1mm"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(text_parse_quantity(bad[i], false, &v, &err), &err, ERR_INVALID, "expected a quantity");
}

static void utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc3\xa4",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xef\xbf\xbf",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(text_valid_utf8(good[i], strlen(good[i])));
    static const char *const bad[] = {
        "\x80",
        "\xc3",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xed\xa0\x80", /* surrogate */
        "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xe2\x82",
        "a\xffz",
        "\xe2\x28\xa1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(text_valid_utf8(bad[i], strlen(bad[i])));
    assert_true(text_valid_utf8("a\0b", 3));
    assert_int_equal(text_utf8_length("\xe2\x82\xac!", 4), 3);
    assert_int_equal(text_utf8_length("", 0), 0);
}

static void nearest_word(void **state)
{
    (void)state;
    static const char *const words[] = {"workers", "threads", "store", "seed", "epochs", NULL};
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        {"worker", "workers"}, {"wrokers", "workers"},
        {"Store", "store"},    {"sotre", "store"},
        {"sed", "seed"},       {"epoch", "epochs"},
        {"xyz", NULL},         {"", NULL},
        {"dataset", NULL},     {"a", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *found = text_nearest(cases[i].word, words);
        if (!text_equal(found, cases[i].nearest))
            fail_msg("\"%s\": nearest is %s, expected %s", cases[i].word, found ? found : "none",
                     cases[i].nearest ? cases[i].nearest : "none");
    }
}

static void parts_and_ends(void **state)
{
    (void)state;
    const char *cursor = "a,,bc,", *part;
    size_t len;
    static const char *const expected[] = {"a", "", "bc", ""};
    for (size_t i = 0; i < 4; i++) {
        assert_true(text_next_part(&cursor, ',', &part, &len));
        assert_int_equal(len, strlen(expected[i]));
        assert_memory_equal(part, expected[i], len);
    }
    assert_false(text_next_part(&cursor, ',', &part, &len));
    assert_true(text_starts_with("abc", "ab"));
    assert_false(text_starts_with("a", "ab"));
    assert_true(text_ends_with("model.onnx", ".onnx"));
    assert_false(text_ends_with("x", ".onnx"));
    assert_true(text_equal(NULL, NULL));
    assert_false(text_equal("a", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers), cmocka_unit_test(numbers),      cmocka_unit_test(quantities),
        cmocka_unit_test(utf8),          cmocka_unit_test(nearest_word), cmocka_unit_test(parts_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
