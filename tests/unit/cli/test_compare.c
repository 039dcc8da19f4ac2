/* Two runs side by side: what differs, found and shown. */
#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/compare.h"
#include "operator/cli/describe.h"
#include "tests/unit/unit.h"

static cJSON *parse(const char *text)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;
    assert_ok(json_parse(text, strlen(text), 1 << 20, &j, &err), &err);
    return j;
}

static void trees_are_compared_leaf_by_leaf(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *
        a = parse(
           "{\"seed\":1,\"same\":{\"x\":1},\"features\":[{\"name\":\"price\",\"clip\":[0,1]},{\"name\":\"old\"}],\"list\":[1,2],\"gone\":true}"),
       *b = parse(
           "{\"seed\":2,\"same\":{\"x\":1},\"features\":[{\"name\":\"new\"},{\"name\":\"price\",\"clip\":[0,0.9]}],\"list\":[1,2,3],\"kind\":{\"y\":1}}"),
       *found = json_array(),
       *expected = parse("[{\"path\":\"t.seed\",\"a\":1,\"b\":2},"
                         "{\"path\":\"t.features[price].clip[1]\",\"a\":1,\"b\":0.9},"
                         "{\"path\":\"t.features[old]\",\"a\":{\"name\":\"old\"}},"
                         "{\"path\":\"t.features[new]\",\"b\":{\"name\":\"new\"}},"
                         "{\"path\":\"t.list[2]\",\"b\":3},"
                         "{\"path\":\"t.gone\",\"a\":true},"
                         "{\"path\":\"t.kind\",\"b\":{\"y\":1}}]");
    compare_trees("t", a, b, found);
    _cleanup_free_ char *text = cJSON_PrintUnformatted(found);
    if (!cJSON_Compare(found, expected, true))
        fail_msg("%s", text);
    _cleanup_json_ cJSON *none = json_array();
    compare_trees("t", a, a, none);
    compare_trees("t", NULL, NULL, none);
    assert_int_equal(cJSON_GetArraySize(none), 0);
}

static struct record *run(const char *name, const char *lr, const char *image, const char *status)
{
    struct err err = ERR_INIT;
    struct record *r = NULL;
    _cleanup_free_ char *object = xasprintf(
        "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingRun\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\",\"uid\":\"u\"},"
        "\"spec\":{\"pipeline\":\"p\",\"parameters\":[{\"name\":\"lr\",\"value\":\"%s\"}]},\"status\":%s}",
        name, lr, status);
    _cleanup_free_ char *revision = xasprintf(
        "{\"data\":{\"spec\":{\"parameters\":[{\"name\":\"lr\",\"type\":\"number\"},{\"name\":\"day\",\"type\":\"string\",\"default\":\"x\"}],"
        "\"steps\":[{\"name\":\"fit\",\"container\":{\"image\":\"%s\",\"outputs\":[\"model\"],\"values\":[{\"name\":\"auc\",\"type\":\"number\"}]}}]}}}",
        image);
    _cleanup_json_ cJSON *o = parse(object), *v = parse(revision);
    assert_ok(clusterrun_decode(o, v, NULL, &r, &err), &err);
    return r;
}

#define FIT(auc, digest)                                                                                                                                                      \
    "{\"phase\":\"Succeeded\",\"started\":\"2026-01-01T00:00:00Z\",\"finished\":\"2026-01-01T00:01:00Z\",\"steps\":[{\"name\":\"fit\",\"state\":\"Succeeded\",\"attempt\":1," \
    "\"started\":\"2026-01-01T00:00:00Z\",\"finished\":\"2026-01-01T00:00:42Z\",\"outputs\":{\"model\":\"" digest                                                             \
    "\"},\"values\":{\"auc\":" auc "}}]}"

static void runs_are_shown_side_by_side(void **state)
{
    (void)state;
    _cleanup_record_ struct record *a = run("r-1", "0.1", "fit:1", FIT("0.75", "sha256:a")),
                                   *b = run("r-2", "0.2", "fit:2", FIT("0.8", "sha256:b"));
    _cleanup_json_ cJSON *run_a = describe_run(a, NULL), *run_b = describe_run(b, NULL),
                         *c = compare_runs(a, run_a, b, run_b);
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
    struct ui_style style = {.width = 80, .height = 24, .unicode = true};
    compare_text(c, &style, &out);
    assert_string_equal(buf_str(&out), "RUN       r-1        r-2\n"
                                       "in        ns         ns\n"
                                       "pipeline  p          p\n"
                                       "phase     Succeeded  Succeeded\n"
                                       "took      1:00       1:00\n"
                                       "\n"
                                       "PARAMETER  A    B\n"
                                       "lr         0.1  0.2\n"
                                       "(1 more: equal)\n"
                                       "\n"
                                       "STEP  A          TIME  B          TIME  CONFIG   OUTPUTS\n"
                                       "fit   Succeeded  42 s  Succeeded  42 s  differs  differ\n"
                                       "\n"
                                       "CONFIG                A      B\n"
                                       "fit: container.image  fit:1  fit:2\n"
                                       "\n"
                                       "VALUE    A     B    B - A\n"
                                       "fit.auc  0.75  0.8  +0.05\n");
}

static void a_run_equals_itself(void **state)
{
    (void)state;
    _cleanup_record_ struct record *a = run("r-1", "0.1", "fit:1", FIT("0.75", "sha256:a"));
    _cleanup_json_ cJSON *run_a = describe_run(a, NULL), *c = compare_runs(a, run_a, a, run_a);
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
    struct ui_style style = {.width = 80, .height = 24};
    compare_text(c, &style, &out);
    assert_contains(buf_str(&out), "PARAMETER: all 2 are equal\n");
    assert_contains(buf_str(&out), "42 s  equal   equal\n");
    assert_contains(buf_str(&out), "fit.auc  0.75  0.75  =\n");
    assert_null(strstr(buf_str(&out), "CONFIG  A"));
}

static void steps_of_only_one_run_are_named(void **state)
{
    (void)state;
    _cleanup_record_ struct record *
        a = run("r-1", "0.1", "fit:1", FIT("0.75", "sha256:a")),
       *b = run(
           "r-2", "0.1", "fit:1",
           "{\"phase\":\"Failed\",\"message\":\"fell\",\"steps\":[{\"name\":\"other\",\"state\":\"Failed\"}]}");
    _cleanup_json_ cJSON *run_a = describe_run(a, NULL), *run_b = describe_run(b, NULL),
                         *c = compare_runs(a, run_a, b, run_b);
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(c, "steps");
    assert_int_equal(cJSON_GetArraySize(steps), 2);
    assert_string_equal(cluster_text(cJSON_GetArrayItem(steps, 0), "only", NULL), "a");
    assert_string_equal(cluster_text(cJSON_GetArrayItem(steps, 1), "only", NULL), "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_compared_leaf_by_leaf),
        cmocka_unit_test(runs_are_shown_side_by_side),
        cmocka_unit_test(a_run_equals_itself),
        cmocka_unit_test(steps_of_only_one_run_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
