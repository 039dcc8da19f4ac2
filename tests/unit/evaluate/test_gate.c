/* The gate's rules on synthetic scores: who passes, who does not, and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/base/json.h"
#include "stages/evaluate/comparison.h"
#include "stages/evaluate/evaluateconfig.h"

enum { N = 4000, GROUP = 10 };
static float good[N], poor[N], label[N];
static uint32_t group[N];

static int make_rows(void **state)
{
    (void)state;
    uint64_t s = 5;
    for (int i = 0; i < N; i++) {
        double u[3];
        for (int k = 0; k < 3; k++) {
            s = s * 6364136223846793005u + 1442695040888963407u;
            u[k] = (double)(s >> 11) * 0x1p-53;
        }
        label[i] = u[0] < 0.3;
        good[i] = (float)(0.6 * u[1] + 0.4 * (double)label[i]);
        poor[i] = (float)(0.9 * u[2] + 0.1 * (double)label[i]);
        group[i] = (uint32_t)(i / GROUP);
    }
    return 0;
}

/* With "baseline" in the config unless it says otherwise. */
static struct comparison compare(const char *config_text, const float *candidate, const float *baseline,
                                 bool contaminated, bool grouped)
{
    cJSON *json;
    struct err err = ERR_INIT;
    static struct evaluateconfig config; /* borrows from json, which lives as long */
    if (json_parse(config_text, strlen(config_text), 65536, &json, &err) < 0 ||
        evaluateconfig_decode(json, &config, &err) < 0)
        fail_msg("%s", err.msg);
    struct comparison_rows rows = {
        .candidate = {N, candidate, candidate, label, NULL, grouped ? group : NULL, grouped ? N / GROUP : 0}};
    if (baseline) {
        rows.baseline = rows.candidate;
        rows.baseline.logged = rows.baseline.served = baseline;
    }
    struct comparison c;
    comparison_run(&config, &rows, contaminated, 2, &c);
    cJSON_Delete(json);
    return c;
}

#define DELTA(metric, rule)                                                                      \
    "{\"metrics\":[\"" metric                                                                    \
    "\"],\"baseline\":{\"model\":\"m\",\"onMissing\":\"pass\"},\"bootstrap\":{\"samples\":200}," \
    "\"gate\":[{\"metric\":\"" metric "\"," rule "}]}"

static void rules_decide_as_documented(void **state)
{
    (void)state;
    static const struct {
        const char *name, *config;
        const float *candidate, *baseline;
        bool contaminated, grouped, passes;
        const char *why;
    } cases[] = {
        {"a better model passes a positive delta", DELTA("auc", "\"minDelta\":0.05"), good, poor, false,
         false, true, "improvement"},
        {"a worse model fails it", DELTA("auc", "\"minDelta\":0"), poor, good, false, false, false,
         "at least -"},
        {"the same model has no improvement to show", DELTA("auc", "\"minDelta\":0"), good, good, false,
         false, false, "expected above 0"},
        {"the same model passes a negative delta", DELTA("auc", "\"minDelta\":-0.001"), good, good, false,
         true, true, "improvement"},
        {"less log loss is an improvement", DELTA("logloss", "\"minDelta\":0"), good, poor, false, false,
         true, "improvement"},
        {"more log loss is not", DELTA("logloss", "\"minDelta\":0"), poor, good, false, false, false,
         "improvement"},
        {"ranking metrics compare by groups", DELTA("ndcg@10", "\"minRelativeDelta\":0.05"), good, poor,
         false, true, true, "relative"},
        {"ranking metrics without groups are undefined, not 0", DELTA("ndcg@10", "\"minDelta\":-1"), good,
         poor, false, false, false, "no group"},
        {"a contaminated comparison fails", DELTA("auc", "\"minDelta\":-1"), good, poor, true, false, false,
         "contaminated"},
        {"no baseline answers as onMissing says", DELTA("auc", "\"minDelta\":0.5"), good, NULL, false, false,
         true, "onMissing says pass"},
        {"an absolute limit holds without a baseline", DELTA("auc", "\"min\":0.99"), good, NULL, false, false,
         false, "expected at least 0.99"},
        {"an absolute limit that holds", DELTA("logloss", "\"max\":5"), good, NULL, false, false, true,
         "within"},
        {"absolute and delta in one rule must both hold", DELTA("auc", "\"min\":0.99,\"minDelta\":0"), good,
         poor, false, false, false, "0.99"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct comparison c = compare(cases[i].config, cases[i].candidate, cases[i].baseline,
                                      cases[i].contaminated, cases[i].grouped);
        if (c.gate_passed != cases[i].passes || !strstr(c.rules[0].why, cases[i].why))
            fail_msg("%s: expected %s (…%s…), found %s (%s)", cases[i].name,
                     cases[i].passes ? "passed" : "failed", cases[i].why, c.gate_passed ? "passed" : "failed",
                     c.rules[0].why);
        comparison_release(&c);
    }
}

static void equal_models_have_delta_zero(void **state)
{
    (void)state;
    struct comparison c = compare(DELTA("auc", "\"minDelta\":-1"), good, good, false, true);
    assert_true(c.metrics[0].delta == 0 && c.metrics[0].delta_low == 0 && c.metrics[0].delta_high == 0);
    comparison_release(&c);
}

static void bad_configs_name_their_field(void **state)
{
    (void)state;
    static const struct {
        const char *config, *names;
    } cases[] = {
        {"{}", "metrics"},
        {"{\"metrics\":[]}", "metrics"},
        {"{\"metrics\":[\"aux\"]}", "metrics[0]"},
        {"{\"metrics\":[\"auc\"],\"gate\":[{\"metric\":\"logloss\",\"min\":1}]}", "gate[0].metric"},
        {"{\"metrics\":[\"auc\"],\"gate\":[{\"metric\":\"auc\"}]}", "gate[0]"},
        {"{\"metrics\":[\"auc\"],\"gate\":[{\"metric\":\"auc\",\"minDelta\":0}]}", "baseline"},
        {"{\"metrics\":[\"auc\"],\"baseline\":{\"model\":\"m\",\"onMissing\":\"maybe\"}}", "onMissing"},
        {"{\"metrics\":[\"auc\"],\"metrcs\":1}", "metrcs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_json_ cJSON *json = NULL;
        struct evaluateconfig config;
        struct err err = ERR_INIT;
        assert_int_equal(json_parse(cases[i].config, strlen(cases[i].config), 65536, &json, &err), 0);
        if (evaluateconfig_decode(json, &config, &err) == 0 || err_exit_code(&err) != 78 ||
            !strstr(err.msg, cases[i].names))
            fail_msg("%s: expected exit 78 naming %s, found exit %d: %s", cases[i].config, cases[i].names,
                     err_exit_code(&err), err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_decide_as_documented),
        cmocka_unit_test(equal_models_have_delta_zero),
        cmocka_unit_test(bad_configs_name_their_field),
    };
    return cmocka_run_group_tests(tests, make_rows, NULL);
}
