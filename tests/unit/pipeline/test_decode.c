/* Manifest → struct pipeline, TrainingRun → struct run_spec. */
#include "tests/unit/pipeline/manifest.h"

#include "common/base/json.h"

static struct pipeline *click_ranker(void)
{
    char *text = manifest_with(CLICK_RANKER, NULL, NULL);
    struct pipeline *p = manifest_decode(text);
    free(text);
    return p;
}

static void test_the_documented_manifest_decodes(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = click_ranker();
    assert_string_equal(p->name, "click-ranker");
    assert_string_equal(p->namespace_, "ranking");
    assert_null(p->revision_annotation);
    assert_int_equal(p->n_parameters, 2);
    assert_string_equal(p->parameters[1].name, "epochs");
    assert_int_equal(p->parameters[1].type, PARAM_INTEGER);
    assert_string_equal(p->parameters[1].fallback, "3");
    assert_int_equal(p->limits.run_ms, 21600000);
    assert_int_equal(p->limits.parallelism, 8);
    assert_true(p->limits.gpu_hours == 40);
    assert_string_equal(cJSON_GetObjectItem(p->store, "url")->valuestring, "s3://ml-artifacts/click-ranker");
    assert_string_equal(cJSON_GetObjectItem(p->registry, "url")->valuestring, "s3://ml-models");
    assert_int_equal(p->n_steps, 6);
    static const enum step_kind kinds[] = {STEP_DATA_VALIDATE, STEP_FEATURIZE, STEP_TRAIN_DDP,
                                           STEP_EVALUATE,      STEP_REGISTER,  STEP_CONTAINER};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(p->steps[i].kind, kinds[i]);
}

static void test_a_step_has_what_was_written_and_the_defaults(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = click_ranker();
    const struct step *train = &p->steps[2];
    assert_int_equal(pipeline_find_step(p, "train"), 2);
    assert_int_equal(pipeline_find_step(p, "trains"), -1);
    assert_int_equal(train->workers, 8);
    assert_int_equal(train->min_workers, 8);
    assert_int_equal(train->gpu, 1);
    assert_int_equal(train->cpu_milli, 8000);
    assert_int_equal(train->memory_bytes, INT64_C(32) << 30);
    assert_int_equal(train->retry.preemption, -1);
    assert_int_equal(train->retry.infrastructure, 5);
    assert_int_equal(train->retry.application, 2);
    assert_int_equal(train->retry.memory_budget, 2);
    assert_true(train->retry.memory_factor == 1.5);
    assert_int_equal(train->retry.memory_max_bytes, INT64_C(64) << 30);
    assert_int_equal(train->retry.backoff_ms, 10000);
    assert_int_equal(train->retry.max_backoff_ms, 300000);
    assert_true(train->cache_enabled);
    assert_int_equal(train->cache_ttl_ms, INT64_C(2592000) * 1000);
    assert_string_equal(train->queue_name, "gpu-queue");
    assert_non_null(train->pod_template);
    assert_int_equal(train->n_inputs, 1);
    assert_string_equal(train->inputs[0].name, "features");
    assert_int_equal(train->inputs[0].from, 1);
    assert_string_equal(train->inputs[0].output, "features");
    const struct step *validate = &p->steps[0];
    assert_int_equal(validate->scratch_bytes, INT64_C(20) << 30);
    assert_int_equal(validate->workers, 1);
    assert_int_equal(validate->min_workers, 1);
    assert_int_equal(validate->retry.application, 2); /* a default below an absent mapping */
    assert_false(validate->cache_enabled);
    const cJSON *level = cJSON_GetObjectItem(cJSON_GetObjectItem(validate->body, "volume"), "level");
    assert_string_equal(level->valuestring, "error");
    assert_true(p->steps[5].finally);
    assert_string_equal(p->steps[4].when, "steps.evaluate.values.gate_passed");
}

static void test_values_follow_from_the_body(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = click_ranker();
    static const struct {
        size_t step;
        const char *names;
    } expected[] = {
        {0, "rows partitions warnings newest_partition max_drift newest_time "},
        {1, "train_rows validation_rows test_rows features "},
        {2, "best_epoch steps validation_loss validation_auc validation_logloss "},
        {3, "gate_passed auc logloss ndcg_at_10 delta_auc delta_logloss delta_ndcg_at_10 baseline_version "},
        {4, "version created "},
        {5, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        char names[512] = "";
        const struct step *s = &p->steps[expected[i].step];
        for (size_t k = 0; k < s->n_values; k++)
            (void)snprintf(names + strlen(names), sizeof names - strlen(names), "%s ", s->values[k].name);
        assert_string_equal(names, expected[i].names);
    }
    assert_string_equal(p->steps[0].outputs[0], "snapshot");
    assert_string_equal(p->steps[0].outputs[2], "report");
    assert_null(p->steps[0].outputs[3]);
    assert_null(p->steps[5].outputs[0]);
    assert_string_equal(step_kind_body_key(STEP_TRAIN_DDP), "trainDdp");
    assert_string_equal(step_kind_program(STEP_TRAIN_DDP), "train-ddp");
    assert_null(step_kind_program(STEP_APPROVAL));
}

/* --- hash --------------------------------------------------------------------------------------------------------------- */

static void test_the_hash_changes_with_what_a_run_depends_on(void **state)
{
    (void)state;
    static const struct {
        const char *name, *from, *to;
        bool same;
    } samples[] = {
        {"a comment", "# artifacts; seen by stages only", "# other words", true},
        {"a default written out", "workers: 8", "finally: false\n      workers: 8", true},
        {"a default below an absent mapping written out", "scratch: {size: 20Gi}",
         "scratch: {size: 20Gi}\n      retry: {application: 2, memory: {factor: 1.5}}", true},
        {"the schedule", "0 2 * * *", "0 3 * * *", true},
        {"retention", "successful: 5", "successful: 6", true},
        {"limits", "parallelism: 8", "parallelism: 9", true},
        {"metadata", "namespace: ranking", "namespace: other", true},
        {"a field of a step", "patience: 1", "patience: 2", false},
        {"a parameter's default", "default: \"3\"", "default: \"4\"", false},
        {"the store", "ml-artifacts", "other-artifacts", false},
        {"the registry", "ml-models", "other-models", false},
        {"a step's resources", "gpu: 1", "gpu: 2", false},
    };
    _cleanup_pipeline_ struct pipeline *original = click_ranker();
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char *text = manifest_with(CLICK_RANKER, samples[i].from, samples[i].to);
        _cleanup_pipeline_ struct pipeline *p = manifest_decode(text);
        if ((strcmp(p->hash, original->hash) == 0) != samples[i].same)
            fail_msg("%s: expected %s hash, found %s and %s", samples[i].name,
                     samples[i].same ? "the same" : "another", original->hash, p->hash);
        free(text);
    }
}

static void test_an_api_object_decodes_like_the_file(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *p = click_ranker();
    _cleanup_json_ cJSON *object = json_object();
    json_add_string(object, "apiVersion", "trainyard.dev/v1alpha1");
    json_add_string(object, "kind", "TrainingPipeline");
    json_add(object, "metadata", cJSON_Duplicate(p->metadata, true));
    json_add(object, "spec",
             cJSON_Duplicate(p->spec, true)); /* with the defaults, as the API server has them */
    struct findings findings = {0};
    struct err err = ERR_INIT;
    _cleanup_pipeline_ struct pipeline *again = NULL;
    assert_ok(pipeline_decode_json(object, &again, &findings, &err), &err);
    assert_string_equal(again->hash, p->hash);
    assert_int_equal(again->n_steps, p->n_steps);
    findings_release(&findings);
}

/* --- errors ---------------------------------------------------------------------------------------------------------------- */

static void test_errors_have_path_line_and_suggestion(void **state)
{
    (void)state;
    static const struct {
        const char *name, *from, *to, *expected;
    } samples[] = {
        {"another version", "trainyard.dev/v1alpha1", "trainyard.dev/v1",
         "1: apiVersion: expected trainyard.dev/v1alpha1, found \"trainyard.dev/v1\""},
        {"another kind", "kind: TrainingPipeline", "kind: Pipeline",
         "2: kind: expected TrainingPipeline, found \"Pipeline\""},
        {"no name", "{name: click-ranker, namespace: ranking}", "{namespace: ranking}",
         "3: metadata.name: expected 1 to 63 lower-case letters, digits and hyphens, found nothing"},
        {"a name with capitals", "name: click-ranker,", "name: Click_Ranker,",
         "3: metadata.name: expected 1 to 63 lower-case letters, digits and hyphens, found \"Click_Ranker\""},
        {"a typo in metadata", "namespace: ranking", "namespaces: ranking",
         "3: metadata.namespaces: unknown field; did you mean \"namespace\"?"},
        {"a typo at the top", "\nspec:", "\nspecs:", "4: specs: unknown field; did you mean \"spec\"?"},
        {"a typo in a step", "\n      workers: 8", "\n      worker: 8",
         "spec.steps[2].worker: unknown field; did you mean \"workers\"?"},
        {"a typo in a body", "earlyStopping:", "earlyStoping:",
         "spec.steps[2].trainDdp.earlyStoping: unknown field; did you mean \"earlyStopping\"?"},
        {"null", "region: eu-west-1", "region: ~",
         "8: spec.store.region: has no value (null): give it one or leave the field out"},
        {"a word of truth", "restoreBest: true", "restoreBest: yes",
         "spec.steps[2].trainDdp.earlyStopping.restoreBest: yes is a truth value in YAML 1.1"},
        {"a reference in a choice", "device: auto", "device: $(params.day)",
         "spec.steps[2].trainDdp.device: expected one of auto, cpu, cuda, found \"$(params.day)\"; references go into the step's set: {field: trainDdp.device, value: \"$(params.day)\"}"},
        {"a reference in a number", "lr: 0.002, betas", "lr: $(params.lr), betas",
         "adamw.lr: expected a number, found \"$(params.lr)\"; references go into the step's set: {field: trainDdp.optimizers.dense.adamw.lr, value: \"$(params.lr)\"}"},
        {"two bodies", "register: {model", "approval: {message: x}\n      register: {model",
         "spec.steps[4]: expected exactly one of the fields dataValidate, featurize, trainDdp, evaluate, register, container, approval; found register, approval"},
        {"a quantity without sense", "memory: 32Gi", "memory: 32 GB",
         "spec.steps[2].resources.memory: \"32 GB\" does not match"},
        {"a step's name twice", "- name: features\n", "- name: validate\n",
         "spec.steps[1]: name \"validate\" occurs already in spec.steps[0]: it must be unique"},
        {"a schema error hides none of its kind", "epochs: $(params.epochs)", "epochs: 0",
         "spec.steps[2].trainDdp.epochs: expected at least 1, found 0"},
        {"a store of another kind", "s3://ml-artifacts/click-ranker", "gs://bucket",
         "6: spec.store.url: \"gs://bucket\" does not match"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char *text = manifest_with(CLICK_RANKER, samples[i].from, samples[i].to);
        struct findings findings = {0};
        struct err err = ERR_INIT;
        struct pipeline *p = NULL;
        if (pipeline_decode_yaml(text, strlen(text), "p.yaml", &p, &findings, &err) == 0)
            fail_msg("%s: succeeded", samples[i].name);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        assert_true(strncmp(err.msg, "p.yaml:", 7) == 0);
        assert_true(findings.items[0].line > 0);
        char *found = findings_text(&findings);
        if (!strstr(found, samples[i].expected))
            fail_msg("%s: expected \"%s\" in:\n%s", samples[i].name, samples[i].expected, found);
        free(found);
        free(text);
        findings_release(&findings);
    }
}

static void test_all_findings_are_reported_and_counted(void **state)
{
    (void)state;
    char *text = manifest_with(CLICK_RANKER, "lr: 0.002, betas", "lr: -1, beta");
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct pipeline *p = NULL;
    assert_fails(pipeline_decode_yaml(text, strlen(text), "p.yaml", &p, &findings, &err), &err, ERR_INVALID,
                 "(and 1 more)");
    assert_int_equal(findings.n, 2);
    free(text);
    findings_release(&findings);
}

static void test_findings_are_bounded(void **state)
{
    (void)state;
    struct findings findings = {0};
    for (int i = 0; i < 1000; i++)
        findings_add(&findings, "x", i, false, "wrong %d", i);
    assert_int_equal(findings.n, 201);
    assert_string_equal(findings.items[200].message, "more than 200 findings: the others are not shown");
    findings_release(&findings);
}

/* --- runs --------------------------------------------------------------------------------------------------------------------- */

static void test_the_documented_run_decodes(void **state)
{
    (void)state;
    char *text = manifest_with("tests/vectors/manifest/click-ranker-run.yaml", NULL, NULL);
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct run_spec run = {0};
    assert_ok(run_decode_yaml(text, strlen(text), "r.yaml", &run, &findings, &err), &err);
    assert_string_equal(run.name, "click-ranker-manual-1");
    assert_string_equal(run.pipeline, "click-ranker");
    assert_int_equal(run.n_params, 1);
    assert_string_equal(run.params[0].name, "epochs");
    assert_string_equal(run.params[0].value, "5");
    assert_int_equal(run.stop, RUN_STOP_NONE);
    assert_false(run.suspend);
    run_spec_release(&run);
    findings_release(&findings);
    free(text);
}

static void test_a_run_has_its_control_fields(void **state)
{
    (void)state;
    static const char text[] =
        "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingRun\",\"metadata\":{\"name\":\"r\",\"uid\":\"u-1\",\"creationTimestamp\":\"2026-01-31T02:00:00Z\"},"
        "\"spec\":{\"pipeline\":\"p\",\"suspend\":true,\"stop\":\"Graceful\",\"restart\":{\"id\":\"again\",\"from\":[\"a\",\"b\"]},"
        "\"approvals\":[{\"step\":\"ask\",\"by\":\"ann\",\"comment\":\"fine\"}]}}";
    _cleanup_json_ cJSON *object = cJSON_Parse(text);
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct run_spec run = {0};
    assert_ok(run_decode_json(object, &run, &findings, &err), &err);
    assert_string_equal(run.uid, "u-1");
    assert_true(run.suspend);
    assert_int_equal(run.stop, RUN_STOP_GRACEFUL);
    assert_string_equal(run.restart_id, "again");
    assert_int_equal(run.n_restart_from, 2);
    assert_string_equal(run.restart_from[1], "b");
    assert_string_equal(run.approvals[0].by, "ann");
    assert_int_equal(run.created_ms, INT64_C(1769824800000));
    assert_int_equal(run.scheduled_ms, run.created_ms);
    run_spec_release(&run);
    cJSON_SetValuestring(cJSON_GetObjectItem(cJSON_GetObjectItem(object, "spec"), "stop"), "Slow");
    assert_fails(run_decode_json(object, &run, &findings, &err), &err, ERR_INVALID,
                 "spec.stop: expected one of Graceful, Now, found \"Slow\"");
    findings_release(&findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_documented_manifest_decodes),
        cmocka_unit_test(test_a_step_has_what_was_written_and_the_defaults),
        cmocka_unit_test(test_values_follow_from_the_body),
        cmocka_unit_test(test_the_hash_changes_with_what_a_run_depends_on),
        cmocka_unit_test(test_an_api_object_decodes_like_the_file),
        cmocka_unit_test(test_errors_have_path_line_and_suggestion),
        cmocka_unit_test(test_all_findings_are_reported_and_counted),
        cmocka_unit_test(test_findings_are_bounded),
        cmocka_unit_test(test_the_documented_run_decodes),
        cmocka_unit_test(test_a_run_has_its_control_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
