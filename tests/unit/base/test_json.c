/* JSON: what the strict parser refuses, field paths in errors, canonical printing on RFC 8785's own vectors. */
#include <math.h>

#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "tests/unit/unit.h"

enum { MAX = 1 << 20 };

static cJSON *parse(const char *text)
{
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    assert_ok(json_parse(text, strlen(text), MAX, &tree, &err), &err);
    return tree;
}

static void strict_where_cjson_is_lenient(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "byte 0: expected a value, found the end"},
        {"  ", "byte 2: expected a value, found the end"},
        {"{} x", "byte 3: expected nothing after the document, found 'x'"},
        {"{}{}", "byte 2: expected nothing after the document, found '{'"},
        {"\xef\xbb\xbf{}", "byte 0: expected a value, found byte 0xef"},
        {"01", "byte 1: expected no digit after a leading 0"},
        {"-01", "byte 2"},
        {"1.", "byte 2: expected a digit, found the end"},
        {".5", "byte 0: expected a value, found '.'"},
        {"+1", "byte 0"},
        {"1e", "byte 2"},
        {"-", "byte 1"},
        {"1e999", "byte 0: expected a number that fits a double"},
        {"[-1e999]", "byte 1: expected a number that fits a double"},
        {"[0.1111111111111111111111111111111111111111111111111111111111111111]", "at most 63 characters"},
        {"NaN", "byte 0"},
        {"Infinity", "byte 0"},
        {"nul", "byte 0: expected a value"},
        {"truex", "byte 4"},
        {"'a'", "byte 0"},
        {"\"a", "byte 2: expected a closing quote"},
        {"\"a\nb\"", "byte 2: expected no unescaped control character in a text, found byte 0x0a"},
        {"\"\t\"", "byte 1"},
        {"\"\\x\"", "byte 2: expected an escape"},
        {"\"\\u12g4\"", "byte 5: expected four hexadecimal digits"},
        {"\"\\u0000\"", "byte 1: expected a text without NUL characters"},
        {"\"\\ud800\"", "byte 1: expected a pair of surrogates"},
        {"\"\\ud800\\u0041\"", "byte 1: expected a pair of surrogates"},
        {"\"\\udc00\"", "byte 1: expected a pair of surrogates"},
        {"\"\xff\"", "byte 1: expected valid UTF-8, found byte 0xff"},
        {"\"\xed\xa0\x80\"", "byte 1: expected valid UTF-8"},
        {"[1,]", "byte 3: expected a value"},
        {"[1 2]", "byte 3: expected ',' or ']'"},
        {"{\"a\":1,}", "byte 7: expected a quoted text"},
        {"{\"a\" 1}", "byte 5: expected ':'"},
        {"{a:1}", "byte 1: expected a quoted text"},
        {"[1}", "byte 2: expected ',' or ']', found '}'"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "byte 13: duplicate key \"a\""},
        {"{\"x\":{\"a\":1,\"\\u0061\":3}}", "byte 12: duplicate key \"a\""},
        {"// c\n1", "byte 0"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;
        cJSON *tree = NULL;
        assert_fails(json_parse(bad[i].text, strlen(bad[i].text), MAX, &tree, &err), &err, ERR_INVALID,
                     bad[i].message);
        assert_null(tree);
    }
    struct err err = ERR_INIT;
    cJSON *tree;
    assert_fails(json_parse("[1]\0", 4, MAX, &tree, &err), &err, ERR_INVALID,
                 "byte 3: expected nothing after the document");
    assert_fails(json_parse("\"a\0b\"", 5, MAX, &tree, &err), &err, ERR_INVALID,
                 "byte 2: expected no unescaped control");
    assert_fails(json_parse("[1,2,3]", 7, 6, &tree, &err), &err, ERR_INVALID,
                 "7 bytes: larger than the maximum of 6");
    assert_fails(json_parse_file("/nonexistent/x.json", MAX, &tree, &err), &err, ERR_NOTFOUND,
                 "/nonexistent/x.json");
}

static void nesting_up_to_the_limit(void **state)
{
    (void)state;
    char text[2 * (LIMIT_JSON_DEPTH + 1) + 1];
    for (int depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct err err = ERR_INIT;
        cJSON *tree = NULL;
        int r = json_parse(text, 2 * (size_t)depth, MAX, &tree, &err);
        assert_int_equal(r, depth > LIMIT_JSON_DEPTH ? -1 : 0);
        if (r == 0) {
            _cleanup_buf_ struct buf out = BUF_INIT(MAX);
            assert_ok(json_canonical(tree, &out, &err), &err);
            assert_int_equal(out.len, 2 * (size_t)depth);
        } else {
            assert_contains(err.msg, "byte 64: nested deeper than 64 levels");
        }
        cJSON_Delete(tree);
    }
}

static void accepts_what_is_valid(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
    } good[] = {
        {" null ", "null"},
        {"[true,false]", "[true,false]"},
        {"\"\\u00e4\\ud83d\\ude00\\/\\\"\"", "\"\xc3\xa4\xf0\x9f\x98\x80/\\\"\""},
        {"{\"b\":{},\"a\":[ ]}", "{\"a\":[],\"b\":{}}"},
        {"-0", "0"},
        {"1E+2", "100"},
        {"\"\\u001f\\b\\u007f\"", "\"\\u001f\\b\x7f\""},
        {"{\"a\":1,\"A\":2}", "{\"A\":2,\"a\":1}"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct err err = ERR_INIT;
        _cleanup_json_ cJSON *tree = parse(good[i].text);
        _cleanup_buf_ struct buf out = BUF_INIT(MAX);
        assert_ok(json_canonical(tree, &out, &err), &err);
        assert_string_equal(buf_str(&out), good[i].canonical);
    }
}

static void getters_name_the_field(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *o =
        parse("{\"s\":\"x\",\"n\":3,\"f\":1.5,\"big\":\"9007199254740993\",\"b\":true,\"o\":{},\"a\":[],"
              "\"z\":null,\"huge\":1e300}");
    struct json_path spec = {.key = "spec"}, steps = {.parent = &spec, .key = "steps"},
                     step = {.parent = &steps, .index = 3};
    struct err err = ERR_INIT;
    const char *s;
    int64_t n;
    double d;
    bool b;
    const cJSON *c;
    assert_ok(json_get_string(o, &step, "s", &s, &err), &err);
    assert_string_equal(s, "x");
    assert_ok(json_get_int(o, &step, "n", &n, &err), &err);
    assert_int_equal(n, 3);
    assert_ok(json_get_int(o, &step, "big", &n, &err), &err);
    assert_int_equal(n, 9007199254740993);
    assert_ok(json_get_double(o, &step, "n", &d, &err), &err);
    assert_true(d == 3);
    assert_ok(json_get_bool(o, &step, "b", &b, &err), &err);
    assert_true(b);
    assert_ok(json_get_object(o, &step, "o", &c, &err), &err);
    assert_ok(json_get_array(o, &step, "a", &c, &err), &err);
    assert_fails(json_get_string(o, &step, "n", &s, &err), &err, ERR_INVALID,
                 "spec.steps[3].n: expected a text, found the number 3");
    assert_fails(json_get_int(o, &step, "f", &n, &err), &err, ERR_INVALID,
                 "spec.steps[3].f: expected a whole number, found the number 1.5");
    assert_fails(json_get_int(o, &step, "s", &n, &err), &err, ERR_INVALID, "found the text \"x\"");
    assert_fails(json_get_int(o, &step, "huge", &n, &err), &err, ERR_INVALID,
                 "as a text when beyond 2^53, found the number 1e+300");
    assert_fails(json_get_bool(o, &step, "z", &b, &err), &err, ERR_INVALID,
                 "expected true or false, found null");
    assert_fails(json_get_double(o, &step, "b", &d, &err), &err, ERR_INVALID,
                 "expected a number, found true");
    assert_fails(json_get_object(o, NULL, "a", &c, &err), &err, ERR_INVALID,
                 "a: expected an object, found a list");
    assert_int_equal(json_get_array(o, &step, "no", &c, &err), -1);
    assert_string_equal(err.msg, "spec.steps[3].no: required, but missing; expected a list");
    assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
    err_clear(&err);
    assert_ok(json_get_string_or(o, &step, "no", "dflt", &s, &err), &err);
    assert_string_equal(s, "dflt");
    assert_ok(json_get_int_or(o, &step, "no", -5, &n, &err), &err);
    assert_int_equal(n, -5);
    assert_ok(json_get_object_or(o, &step, "no", &c, &err), &err);
    assert_null(c);
    assert_fails(json_get_bool_or(o, &step, "s", true, &b, &err), &err, ERR_INVALID,
                 "expected true or false");
    assert_fails(json_get_array_or(o, &step, "o", &c, &err), &err, ERR_INVALID,
                 "expected a list, found an object");
}

static void unknown_fields_get_a_suggestion(void **state)
{
    (void)state;
    static const char *const keys[] = {"workers", "seed", NULL};
    _cleanup_json_ cJSON *good = parse("{\"seed\":1}"), *typo = parse("{\"wrokers\":1}"),
                         *other = parse("{\"not.known\":1}");
    struct json_path spec = {.key = "spec"};
    struct err err = ERR_INIT;
    assert_ok(json_only_keys(good, &spec, keys, &err), &err);
    assert_fails(json_only_keys(typo, &spec, keys, &err), &err, ERR_INVALID,
                 "spec.wrokers: unknown field; did you mean \"workers\"?");
    assert_fails(json_only_keys(other, &spec, keys, &err), &err, ERR_INVALID,
                 "spec[\"not.known\"]: unknown field; known here: workers, seed");
}

static void long_paths_are_cut(void **state)
{
    (void)state;
    struct json_path paths[200];
    for (size_t i = 0; i < 200; i++)
        paths[i] = (struct json_path){.parent = i ? &paths[i - 1] : NULL, .key = "abcde"};
    char text[JSON_PATH_MAX];
    json_path_format(&paths[199], text);
    assert_int_equal(strlen(text), JSON_PATH_MAX - 1);
    assert_string_equal(text + strlen(text) - 3, "…");
    json_path_format(&paths[1], text);
    assert_string_equal(text, "abcde.abcde");
    json_path_format(NULL, text);
    assert_string_equal(text, "");
}

static double from_bits(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void numbers_as_rfc8785_appendix_b(void **state)
{
    (void)state;
    static const struct {
        uint64_t bits;
        const char *text;
    } cases[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "0"},
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
        {0x3d30000000000000,
         "5.684341886080802e-14"}, /* 2^-44: the nearest 16 digits do not read back, their successor does */
    };
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_format_double(from_bits(cases[i].bits), text);
        assert_string_equal(text, cases[i].text);
    }
}

static void any_number_reads_back(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252;
    char text[32];
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double v = from_bits(x), back = 0;
        if (!isfinite(v))
            continue;
        json_format_double(v, text);
        struct err err = ERR_INIT;
        assert_ok(text_parse_double(text, &back, &err), &err);
        if (back != v)
            fail_msg("%s reads back as %.17g, expected %.17g", text, back, v);
    }
}

static void keys_sorted_by_utf16_units(void **state)
{
    (void)state;
    /* RFC 8785, section 3.2.3 */
    _cleanup_json_ cJSON *tree =
        parse("{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With "
              "Dagesh\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
              "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}");
    _cleanup_buf_ struct buf out = BUF_INIT(MAX);
    struct err err = ERR_INIT;
    assert_ok(json_canonical(tree, &out, &err), &err);
    assert_string_equal(
        buf_str(&out),
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\",\"\xc3\xb6\":\"Latin Small Letter O With "
        "Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\",\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\","
        "\"\xef\xac\xb3\":\"Hebrew Letter Dalet With Dagesh\"}");
}

static void canonical_refuses_what_has_no_form(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *nan_tree = json_object(), *twice = json_object(), *bytes = json_object();
    _cleanup_buf_ struct buf out = BUF_INIT(MAX), small = BUF_INIT(3);
    json_add_double(nan_tree, "x", (double)NAN);
    assert_fails(json_canonical(nan_tree, &out, &err), &err, ERR_INVALID, "not finite");
    json_add_int(twice, "k", 1);
    json_add_int(twice, "k", 2);
    assert_fails(json_canonical(twice, &out, &err), &err, ERR_INVALID, "duplicate key \"k\"");
    json_add_string(bytes, "x", "\xff");
    assert_fails(json_canonical(bytes, &out, &err), &err, ERR_INVALID, "valid UTF-8");
    _cleanup_json_ cJSON *ok = parse("[1,2,3]");
    assert_fails(json_canonical(ok, &small, &err), &err, ERR_INVALID, "larger than 3 bytes");
}

static void building_and_pretty_printing(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "n", 9007199254740992);
    json_add_int(o, "big", 9007199254740993);
    json_add_int64_string(o, "id", 7);
    json_add_bool(o, "b", false);
    json_add(o, "none", cJSON_CreateNull());
    cJSON *list = json_array();
    json_append(list, cJSON_CreateNumber(0.1));
    json_append(list, json_object());
    json_add(o, "list", list);
    json_add(o, "empty", json_array());
    _cleanup_buf_ struct buf out = BUF_INIT(MAX);
    assert_int_equal(json_pretty(o, &out), 0);
    assert_string_equal(
        buf_str(&out),
        "{\n  \"n\": 9007199254740992,\n  \"big\": \"9007199254740993\",\n  \"id\": \"7\",\n"
        "  \"b\": false,\n  \"none\": null,\n  \"list\": [\n    0.1,\n    {}\n  ],\n  \"empty\": []\n}\n");
    struct err err = ERR_INIT;
    char digest[DIGEST_HEX], expected[DIGEST_HEX];
    _cleanup_json_ cJSON *small = parse("{\"b\":1,\"a\":2}");
    assert_ok(json_digest(small, digest, &err), &err);
    sha256_hex("{\"a\":2,\"b\":1}", 13, expected);
    assert_string_equal(digest, expected);
}

static void quoting_never_yields_invalid_json(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF_INIT(MAX);
    assert_int_equal(json_quote(&out, "a\xff\"\\\n\x01\0z", 8), 0);
    assert_string_equal(buf_str(&out), "\"a\xef\xbf\xbd\\\"\\\\\\n\\u0001\\u0000z\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_where_cjson_is_lenient),
        cmocka_unit_test(nesting_up_to_the_limit),
        cmocka_unit_test(accepts_what_is_valid),
        cmocka_unit_test(getters_name_the_field),
        cmocka_unit_test(unknown_fields_get_a_suggestion),
        cmocka_unit_test(long_paths_are_cut),
        cmocka_unit_test(numbers_as_rfc8785_appendix_b),
        cmocka_unit_test(any_number_reads_back),
        cmocka_unit_test(keys_sorted_by_utf16_units),
        cmocka_unit_test(canonical_refuses_what_has_no_form),
        cmocka_unit_test(building_and_pretty_printing),
        cmocka_unit_test(quoting_never_yields_invalid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
