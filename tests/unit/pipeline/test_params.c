/* Parameters of a run, references in text and bodies, set, fan-out. */
#include "tests/unit/pipeline/manifest.h"

#include "common/base/json.h"
#include "operator/pipeline/params-internal.h"

#define HEAD "apiVersion: trainyard.dev/v1alpha1\nkind: TrainingPipeline\nmetadata: {name: p}\nspec:\n"

static const char pipeline_text[] = HEAD
    "  parameters:\n"
    "    - {name: s, type: string, default: text}\n"
    "    - {name: i, type: integer, default: \"3\"}\n"
    "    - {name: num, type: number}\n"
    "    - {name: b, type: boolean, default: \"true\"}\n"
    "    - {name: l, type: list, default: '[\"x\", \"y\"]'}\n"
    "    - {name: day, default: \"$(date(run.scheduledTime, '%F', '-1d'))\"}\n"
    "  steps:\n"
    "    - name: c\n"
    "      set: [{field: container.runAsUser, value: $(params.i)}, {field: container.env, value: '[]'}]\n"
    "      container:\n"
    "        image: x\n"
    "        workingDir: /$(params.s)/$(run.name)\n"
    "        args: [\"$(params.s)\", \"$(HOME)\", \"$$(params.s)\", \"day=$(params.day)\"]\n"
    "        env: [{name: A, value: \"$(params.l)\"}]\n"
    "    - name: v\n"
    "      dataValidate:\n"
    "        source: {uri: \"$$(params.s)/$(params.i)\", window: $(params.i)}\n"
    "        checks: [{name: k, sql: \"a = $(params.s) and b in $(params.l) and c < $(params.num)\"}]\n"
    "    - name: m\n"
    "      matrix: {axes: {a: [\"1\", \"2\"], b: [\"$(params.s)\", w, z]}}\n"
    "      container: {image: x, args: [\"$(matrix.a)\", \"$(matrix.b)\"]}\n"
    "    - name: f\n"
    "      foreach: {from: $(params.l)}\n"
    "      container: {image: x, args: [\"$(item)\"]}\n";

static struct run_spec run_with(const char *name, const char *value)
{
    static struct run_param params[2];
    static char n_name[] = "num", n_value[] = "0.5";
    params[0] = (struct run_param){n_name, n_value};
    params[1] = (struct run_param){(char *)name, (char *)value};
    return (struct run_spec){.name = (char *)"r-1",
                             .uid = (char *)"u",
                             .scheduled_ms = INT64_C(1769824800000),
                             .params = params,
                             .n_params = name ? 2 : 1};
}

static char *json_text(const cJSON *v)
{
    struct buf out = BUF_INIT(1 << 20);
    struct err err = ERR_INIT;
    assert_ok(json_canonical(v, &out, &err), &err);
    return buf_take(&out);
}

static void test_parameters_are_typed(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(pipeline_text);
    struct run_spec run = run_with("i", "-7");
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *values = NULL;
    assert_ok(params_resolve(p, &run, &values, &err), &err);
    char *text = json_text(values);
    assert_string_equal(
        text, "{\"b\":true,\"day\":\"2026-01-30\",\"i\":-7,\"l\":[\"x\",\"y\"],\"num\":0.5,\"s\":\"text\"}");
    free(text);
}

static void test_wrong_parameters_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *expected;
    } samples[] = {
        {"i", "3.5", "parameter \"i\": expected a whole number, found \"3.5\""},
        {"i", "99999999999999999",
         "parameter \"i\": expected a whole number of at most 2^53, found \"99999999999999999\""},
        {"i", "", "parameter \"i\": expected a whole number, found \"\""},
        {"b", "yes", "parameter \"b\": expected true or false, found \"yes\""},
        {"l", "x,y",
         "parameter \"l\": expected a JSON array of strings, such as [\"a\", \"b\"], found \"x,y\""},
        {"l", "[1]", "parameter \"l\": expected a JSON array of strings"},
        {"dya", "x", "the pipeline has no parameter \"dya\"; did you mean \"day\"?"},
        {"unheard", "x", "the pipeline has no parameter \"unheard\"; its spec.parameters lists those it has"},
    };
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(pipeline_text);
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct run_spec run = run_with(samples[i].name, samples[i].value);
        struct err err = ERR_INIT;
        cJSON *values = NULL;
        if (params_resolve(p, &run, &values, &err) == 0)
            fail_msg("%s=%s: succeeded", samples[i].name, samples[i].value);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        assert_contains(err.msg, samples[i].expected);
    }
    struct run_spec run = run_with(NULL, NULL);
    run.n_params = 0;
    struct err err = ERR_INIT;
    cJSON *values = NULL;
    assert_fails(params_resolve(p, &run, &values, &err), &err, ERR_INVALID,
                 "parameter \"num\": it has no default, so the run must give it: num=…");
}

static void test_text_with_references(void **state)
{
    (void)state;
    cJSON *params = cJSON_Parse(
        "{\"s\": \"it's $(HOME)\", \"n\": 0.1, \"i\": 12345678, \"b\": false, \"l\": [\"a'b\", 2, true]}");
    const struct expr_scope scope = {.params = params, .run_name = "r"};
    static const struct {
        const char *text;
        enum reference_use use;
        const char *expected;
    } samples[] = {
        {"plain", REFERENCE_PLAIN, "plain"},
        {"", REFERENCE_PLAIN, ""},
        {"$(params.n)/$(params.i)/$(params.b)", REFERENCE_PLAIN, "0.1/12345678/false"},
        {"$(params.s)", REFERENCE_PLAIN, "it's $(HOME)"},
        {"$(params.l)", REFERENCE_PLAIN, "[\"a'b\",2,true]"},
        {"$(HOME) $$(HOME) $ $", REFERENCE_PLAIN, "$(HOME) $$(HOME) $ $"},
        {"$$(params.n)", REFERENCE_PLAIN, "$(params.n)"},
        {"$$(params.n)", REFERENCE_KUBERNETES, "$$(params.n)"},
        {"$(params.s) $(HOME)", REFERENCE_KUBERNETES, "it's $$(HOME) $(HOME)"},
        {"a = $(params.s) and $(params.b)", REFERENCE_SQL, "a = 'it''s $(HOME)' and false"},
        {"a in $(params.l)", REFERENCE_SQL, "a in ('a''b', 2, true)"},
        {"'it''s' = $(run.name)", REFERENCE_SQL, "'it''s' = 'r'"},
        {"$(date('2026-01-31', '%d)(', '0s'))", REFERENCE_PLAIN, "31)("},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char *found = NULL;
        struct err err = ERR_INIT;
        assert_ok(params_insert(samples[i].text, samples[i].use, &scope, &found, &err), &err);
        assert_string_equal(found, samples[i].expected);
        free(found);
    }
    char *found = NULL;
    struct err err = ERR_INIT;
    assert_fails(params_insert("a = '$(run.name)'", REFERENCE_SQL, &scope, &found, &err), &err, ERR_INVALID,
                 "$(run.name) stands within quotes in SQL: remove the quotes");
    assert_fails(params_insert("a = \"$(run.name)\"", REFERENCE_SQL, &scope, &found, &err), &err, ERR_INVALID,
                 "stands within quotes in SQL");
    assert_fails(params_substitute("$(params.x)", &scope, &found, &err), &err, ERR_INVALID,
                 "$(params.x): column 1: params.x has no value");
    assert_fails(params_substitute("$(params.n", &scope, &found, &err), &err, ERR_INVALID, "has no closing");
    assert_fails(params_substitute("$(params.n == 1)", &scope, &found, &err), &err, ERR_INVALID,
                 "only a name or date(…) may stand in $(…)");
    cJSON_Delete(params);
}

static void test_bodies_are_resolved_set_and_checked(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(pipeline_text);
    struct run_spec run = run_with("s", "a'$(b");
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *params = NULL;
    assert_ok(params_resolve(p, &run, &params, &err), &err);
    const struct expr_scope scope = {.params = params,
                                     .run_name = run.name,
                                     .scheduled_ms = run.scheduled_ms};
    static const struct {
        size_t step;
        const char *expected;
    } samples[] = {
        {0,
         "{\"args\":[\"a'$$(b\",\"$(HOME)\",\"$$(params.s)\",\"day=2026-01-30\"],\"checkpoint\":false,\"env\":[],\"image\":\"x\",\"runAsUser\":3,\"workingDir\":\"/a'$(b/r-1\"}"},
        {1,
         "{\"checks\":[{\"level\":\"error\",\"name\":\"k\",\"sql\":\"a = 'a''$(b' and b in ('x', 'y') and c < 0.5\"}],\"source\":{\"format\":\"auto\",\"uri\":\"$(params.s)/3\",\"window\":3}}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        _cleanup_json_ cJSON *body = NULL;
        assert_ok(params_resolve_body(p, &p->steps[samples[i].step], &scope, &body, &err), &err);
        char *text = json_text(body);
        assert_string_equal(text, samples[i].expected);
        free(text);
    }
}

static void test_what_is_set_must_fit_the_schema(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(pipeline_text);
    struct run_spec run = run_with("i", "-7");
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *params = NULL;
    cJSON *body = NULL;
    assert_ok(params_resolve(p, &run, &params, &err), &err);
    const struct expr_scope scope = {.params = params, .run_name = run.name};
    assert_fails(
        params_resolve_body(p, &p->steps[0], &scope, &body, &err), &err, ERR_INVALID,
        "step \"c\" with its references replaced: spec.steps[0].container.runAsUser: expected at least 1, found -7");
    assert_fails(params_resolve_body(p, &p->steps[1], &scope, &body, &err), &err, ERR_INVALID,
                 "spec.steps[1].dataValidate.source.window: expected at least 1, found -7");
    assert_fails(params_resolve_body(p, &p->steps[3], &scope, &body, &err), &err, ERR_INVALID,
                 "step \"f\": container: args: [0]: $(item): column 1: item has no value");
}

static void test_fanouts_are_counted_with_the_last_axis_fastest(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(pipeline_text);
    struct run_spec run = run_with(NULL, NULL);
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *params = NULL;
    assert_ok(params_resolve(p, &run, &params, &err), &err);
    const struct expr_scope scope = {.params = params};
    static const char *const expected[] = {
        [0] = "[{}]",
        [2] =
            "[{\"a\":\"1\",\"b\":\"text\"},{\"a\":\"1\",\"b\":\"w\"},{\"a\":\"1\",\"b\":\"z\"},{\"a\":\"2\",\"b\":\"text\"},{\"a\":\"2\",\"b\":\"w\"},{\"a\":\"2\",\"b\":\"z\"}]",
        [3] = "[{\"item\":\"x\"},{\"item\":\"y\"}]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        if (!expected[i])
            continue;
        _cleanup_json_ cJSON *items = NULL;
        assert_ok(params_fanout_items(&p->steps[i], &scope, &items, &err), &err);
        char *text = json_text(items);
        assert_string_equal(text, expected[i]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters_are_typed),
        cmocka_unit_test(test_wrong_parameters_are_refused),
        cmocka_unit_test(test_text_with_references),
        cmocka_unit_test(test_bodies_are_resolved_set_and_checked),
        cmocka_unit_test(test_what_is_set_must_fit_the_schema),
        cmocka_unit_test(test_fanouts_are_counted_with_the_last_axis_fastest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
