/* The `featurize:` block: what is read from it, and what each mistake is answered with. */
#include "tests/unit/unit.h"

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "stages/featurize/featurizeconfig.h"

static const char good[] =
    "{\"seed\":17,\"rowKey\":[\"s\",\"i\"],\"dedupe\":{\"keep\":\"last\",\"orderBy\":[\"time\"]},\"where\":\"x > 1\",\"label\":{\"column\":\"y\",\"type\":\"binary\"},"
    "\"group\":\"s\",\"time\":\"time\",\"carry\":[\"c\"],\"split\":{\"by\":\"time\",\"validation\":\"2d\",\"test\":\"36h\",\"boundary\":\"day\",\"timeZone\":\"UTC\"},"
    "\"trainSampling\":{\"negatives\":0.5},\"features\":["
    "{\"name\":\"p\",\"sql\":\"ln(1 + p)\",\"numeric\":{\"impute\":\"median\",\"clip\":[0.01,0.99],\"scale\":\"standard\"}},"
    "{\"name\":\"a\",\"column\":\"a\",\"categorical\":{\"vocabulary\":{\"minCount\":5}}},"
    "{\"name\":\"b\",\"column\":\"b\",\"categorical\":{\"values\":{\"from\":1,\"to\":3}},\"servingValue\":1},"
    "{\"name\":\"ab\",\"cross\":[\"a\",\"b\"],\"categorical\":{\"hash\":{\"buckets\":64}}}],"
    "\"shards\":{\"rows\":4096,\"order\":\"rowKey\"}}";

static int parse(const char *text, struct featurizeconfig *ret, cJSON **ret_tree, struct err *err)
{
    *ret_tree = NULL;
    assert_ok(json_parse(text, strlen(text), 1 << 20, ret_tree, err), err);
    return featurizeconfig_parse(*ret_tree, ret, err);
}

static void a_whole_block_is_read(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *tree = NULL;
    _cleanup_featurizeconfig_ struct featurizeconfig c = {0};
    assert_ok(parse(good, &c, &tree, &err), &err);
    assert_int_equal(c.seed, 17);
    assert_int_equal(c.row_key.n, 2);
    assert_true(c.dedupe && c.keep_last);
    assert_int_equal(c.label_type, LABEL_BINARY);
    assert_int_equal(c.split.by, SPLIT_TIME);
    assert_int_equal(c.split.validation_ms, 2 * 86400000);
    assert_int_equal(c.split.test_ms, 36 * 3600000);
    assert_true(c.negatives == 0.5);
    assert_int_equal(c.n_features, 4);
    assert_int_equal(c.features[0].impute, IMPUTE_MEDIAN);
    assert_true(c.features[0].clip_high == 0.99);
    assert_int_equal(c.features[1].min_count, 5);
    assert_int_equal(c.features[1].max_size, 100000);
    assert_int_equal(c.features[3].cross.n, 2);
    assert_int_equal(c.shard_rows, 4096);
    assert_false(c.hashed_order);
}

static void each_mistake_has_its_message(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"\"seed\":17", "\"sede\":17", "sede"},
        {"\"rowKey\":[\"s\",\"i\"]", "\"rowKey\":[]", "featurize.rowKey: missing or empty"},
        {"\"rowKey\":[\"s\",\"i\"]", "\"rowKey\":[\"s\",\"s\"]", "featurize.rowKey[1]: 's' stands twice"},
        {"\"keep\":\"last\"", "\"keep\":\"some\"",
         "featurize.dedupe.keep: 'some' is unknown, expected one of: first, last"},
        {"\"type\":\"binary\"", "\"type\":\"text\"", "binary, class, number, relevance"},
        {"\"column\":\"y\",", "\"column\":\"y\",\"sql\":\"y\",",
         "featurize.label: expected exactly one of column, sql"},
        {"\"by\":\"time\"", "\"by\":\"luck\"", "time, hash, column, folds"},
        {"\"validation\":\"2d\"", "\"validation\":\"two\"", "two"},
        {"\"validation\":\"2d\",", "", "validation is missing"},
        {"\"time\":\"time\",", "", "needs featurize.time"},
        {"\"by\":\"time\"", "\"by\":\"hash\"", "'2d' is no share"},
        {"\"by\":\"time\"", "\"by\":\"folds\"", "folds"},
        {"\"by\":\"time\"", "\"by\":\"column\"", "by: column needs column"},
        {"\"negatives\":0.5", "\"negatives\":0", "negatives is 0"},
        {"\"clip\":[0.01,0.99]", "\"clip\":[0.99,0.01]",
         "featurize.features[0].numeric.clip: expected two quantiles"},
        {"\"impute\":\"median\"", "\"impute\":\"magic\"", "none, mean, median, zero"},
        {"\"sql\":\"ln(1 + p)\",", "", "featurize.features[0]: expected exactly one of column, sql, cross"},
        {"\"minCount\":5", "\"minCount\":0", "expected minCount"},
        {"\"name\":\"b\"", "\"name\":\"a\"", "a second feature named 'a'"},
        {"\"cross\":[\"a\",\"b\"]", "\"cross\":[\"a\",\"p\"]",
         "'p' is numeric, expected a categorical feature"},
        {"\"cross\":[\"a\",\"b\"]", "\"cross\":[\"a\",\"q\"]", "'q' is no feature"},
        {"{\"hash\":{\"buckets\":64}}", "{\"vocabulary\":{}}", "a cross is hashed"},
        {"\"categorical\":{\"vocabulary\":{\"minCount\":5}}", "\"sequence\":{\"maxLength\":3}",
         "sequence and tensor features are not available"},
        {"\"rows\":4096", "\"rows\":0", "rows is 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        const char *at = strstr(good, cases[i].from);
        assert_non_null(at);
        _cleanup_free_ char *text =
            xasprintf("%.*s%s%s", (int)(at - good), good, cases[i].to, at + strlen(cases[i].from));
        _cleanup_json_ cJSON *tree = NULL;
        struct featurizeconfig c = {0};
        if (parse(text, &c, &tree, &err) == 0) {
            featurizeconfig_release(&c);
            fail_msg("accepted: %s", cases[i].to);
        }
        assert_contains(err.msg, cases[i].message);
        if (err_exit_code(&err) != EXITCODE_CONFIG)
            fail_msg("%s: exit %d, expected 78", cases[i].to, err_exit_code(&err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_block_is_read),
        cmocka_unit_test(each_mistake_has_its_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
