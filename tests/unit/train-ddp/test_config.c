/* The trainDdp body: defaults, every field's errors by path, what this version does not have yet. */
#include "tests/unit/unit.h"

#include "common/base/json.h"
#include "stages/train-ddp/config.h"

#define BODY(more) "{\"batch\":{\"global\":64},\"network\":{\"logistic\":{}}" more "}"

/* The tree must outlive the config, which borrows from it. */
static int decode(const char *text, cJSON **tree, struct train_config *ret, struct err *err)
{
    cJSON_Delete(*tree);
    *tree = cJSON_Parse(text);
    assert_non_null(*tree);
    return train_config_decode(*tree, ret, err);
}

static void defaults_are_those_of_the_manifest(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct train_config c;
    _cleanup_json_ cJSON *tree = NULL;
    assert_ok(decode(BODY(""), &tree, &c, &err), &err);
    assert_int_equal(c.epochs, 1);
    assert_int_equal(c.checkpoint_seconds, 1200);
    assert_int_equal(c.checkpoint_keep, 3);
    assert_int_equal(c.collective_timeout_ms, 10000);
    assert_int_equal(c.bucket_bytes, 4194304);
    assert_int_equal(c.validate_epochs, 1);
    assert_true(c.measure[METRIC_LOSS] && !c.measure[METRIC_AUC] && !c.early_stopping);
    assert_string_equal(c.isa, "native");
    assert_ok(
        decode(
            BODY(
                ",\"validation\":{\"every\":\"500 steps\",\"metrics\":[\"auc\"]},\"earlyStopping\":{\"metric\":\"auc\"},"
                "\"checkpoint\":{\"everySteps\":7,\"keep\":2}"),
            &tree, &c, &err),
        &err);
    assert_int_equal(c.validate_every, 500);
    assert_int_equal(c.checkpoint_steps, 7);
    assert_int_equal(c.checkpoint_seconds, 0);
    assert_true(c.early_stopping && c.restore_best && c.patience == 1);
}

static void errors_name_the_field(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"network\":{\"logistic\":{}}}", "batch"},
        {"{\"batch\":{},\"network\":{\"logistic\":{}}}", "batch.global"},
        {"{\"batch\":{\"global\":0},\"network\":{\"logistic\":{}}}", "batch.global: expected 1 to"},
        {"{\"batch\":{\"global\":8}}", "network"},
        {BODY(",\"epoch\":3"), "epoch"},
        {BODY(",\"epochs\":0"), "epochs: expected 1 to"},
        {BODY(",\"precision\":\"bf16\""), "precision: expected fp32"},
        {BODY(",\"collective\":{\"wire\":\"bf16\"}"), "collective.wire: expected fp32"},
        {BODY(",\"collective\":{\"timeoutSeconds\":0}"), "collective.timeoutSeconds"},
        {BODY(",\"validation\":{\"every\":\"often\",\"metrics\":[\"auc\"]}"), "validation.every"},
        {BODY(",\"validation\":{\"metrics\":[\"ndcg@10\"]}"), "validation.metrics"},
        {BODY(",\"validation\":{\"metrics\":[\"auc\"]},\"earlyStopping\":{\"metric\":\"logloss\"}"),
         "earlyStopping.metric: expected one of validation.metrics"},
        {BODY(",\"loss\":{\"mse\":{}},\"validation\":{\"metrics\":[\"logloss\"]}"), "logloss needs bce"},
        {BODY(",\"checkpoint\":{\"everySteps\":5,\"everySeconds\":5}"), "everySeconds or everySteps"},
        {BODY(",\"determinism\":{\"level\":\"avx2\"}"), "level"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct train_config c;
        _cleanup_json_ cJSON *tree = NULL;
        int r = decode(cases[i].text, &tree, &c, &err);
        if (r >= 0 || err_exit_code(&err) != EXITCODE_CONFIG)
            fail_msg("%s: exit %d, expected %d: %s", cases[i].text, err_exit_code(&err), EXITCODE_CONFIG,
                     err.msg);
        assert_contains(err.msg, cases[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_manifest),
        cmocka_unit_test(errors_name_the_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
