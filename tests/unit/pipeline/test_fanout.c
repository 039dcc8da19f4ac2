/* foreach and matrix: items, parallelism, minSuccess, lists for consumers. */
#include "operator/pipeline/fanout.h"

#include "tests/unit/pipeline/world.h"

#define EACH(options) "      foreach: {items: [\"x\", \"y\", \"z\"]" options "}\n"

static void each_item_is_a_job(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "",
               "    - name: a\n      foreach: {items: [\"x\", \"y\"]}\n      container: {image: \"" IMAGE
               "\", args: [\"$(item)\"]}\n");
    world_plan(&w);
    assert_int_equal(w.n_attempts, 2);
    assert_string_equal(w.attempts[0].job.name, "r-a-0-a1");
    assert_string_equal(w.attempts[1].job.name, "r-a-1-a1");
    assert_true(w.attempts[1].job.fanout);
    _cleanup_free_ char *config = cJSON_PrintUnformatted(w.attempts[1].job.config);
    assert_contains(config, "\"args\":[\"y\"]");
    world_release(&w);
}

static void a_matrix_counts_its_last_axis_fastest(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "",
               "    - name: a\n      matrix: {axes: {lr: [\"1\", \"2\"], net: [\"p\", \"q\"]}}\n"
               "      container: {image: \"" IMAGE "\", args: [\"$(matrix.lr)$(matrix.net)\"]}\n");
    world_plan(&w);
    static const char *const expected[] = {"1p", "1q", "2p", "2q"};
    assert_int_equal(w.n_attempts, 4);
    for (size_t i = 0; i < 4; i++) {
        const cJSON *args = cJSON_GetObjectItem(w.attempts[i].job.config, "args");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(args, 0)), expected[i]);
    }
    world_release(&w);
}

static void consumers_get_ordered_lists(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH("")) STEP("b", FROM("a")));
    world_plan(&w);
    for (int64_t i = 2; i >= 0; i--) /* the order of ends does not matter */
        world_ends(&w, "a", i, 0,
                   i == 1 ? "{\"outputs\":{\"o\":\"" DIGEST_B "\"},\"values\":{\"v\":2}}" : OK_MESSAGE);
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_string_equal(inputs, "{\"i\":[{\"digest\":\"" DIGEST_A
                                "\",\"run\":\"uid-1\",\"step\":\"a\",\"index\":0,\"restart\":0},"
                                "{\"digest\":\"" DIGEST_B
                                "\",\"run\":\"uid-1\",\"step\":\"a\",\"index\":1,\"restart\":0},"
                                "{\"digest\":\"" DIGEST_A
                                "\",\"run\":\"uid-1\",\"step\":\"a\",\"index\":2,\"restart\":0}]}");
    _cleanup_json_ cJSON *scope = jobspec_steps_scope(w.pipeline, &w.status);
    _cleanup_free_ char *values =
        cJSON_PrintUnformatted(cJSON_GetObjectItem(cJSON_GetObjectItem(scope, "a"), "values"));
    assert_string_equal(values, "{\"v\":[1,2,1]}");
    world_release(&w);
}

static void a_fan_out_has_its_own_parallelism(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH(", parallelism: 1")) STEP("b", ""));
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_state(&w, "a", 1, STATE_READY);
    assert_contains(world_item(&w, "a", 1)->message, "the step's own parallelism");
    assert_state(&w, "b", 0, STATE_RUNNING);
    world_ends(&w, "a", 0, 0, OK_MESSAGE);
    assert_state(&w, "a", 1, STATE_RUNNING);
    assert_state(&w, "a", 2, STATE_READY);
    world_release(&w);
}

static void min_success_forgives_failures(void **state)
{
    (void)state;
    static const struct {
        const char *says, *options;
        int failures;
        enum step_state expected;
        enum run_phase phase;
    } cases[] = {
        {"without it one failure is too many", "", 1, STATE_FAILED, PHASE_FAILED},
        {"one may fail", ", minSuccess: 2", 1, STATE_SUCCEEDED, PHASE_SUCCEEDED},
        {"two may not", ", minSuccess: 2", 2, STATE_FAILED, PHASE_FAILED},
        {"all may", ", minSuccess: 0", 3, STATE_SUCCEEDED, PHASE_SUCCEEDED},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char *steps =
            xasprintf(STEP("a", "      foreach: {items: [\"x\", \"y\", \"z\"]%s}\n"), cases[c].options);
        struct world w;
        world_init(&w, "", steps);
        world_plan(&w);
        for (int64_t i = 0; i < 3; i++)
            world_ends(&w, "a", i, i < cases[c].failures ? 65 : 0, i < cases[c].failures ? NULL : OK_MESSAGE);
        if (w.status.steps[0].state != cases[c].expected || w.status.phase != cases[c].phase)
            fail_msg("%s: step %s, run %s; expected %s, %s", cases[c].says,
                     step_state_name(w.status.steps[0].state), run_phase_name(w.status.phase),
                     step_state_name(cases[c].expected), run_phase_name(cases[c].phase));
        world_release(&w);
        free(steps);
    }
}

static void failed_items_are_left_out_of_the_list(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH(", minSuccess: 1")) STEP("b", FROM("a")));
    world_plan(&w);
    world_ends(&w, "a", 0, 65, NULL);
    world_ends(&w, "a", 1, 0, OK_MESSAGE);
    world_ends(&w, "a", 2, 65, NULL);
    const cJSON *list = cJSON_GetObjectItem(world_attempt(&w, "b", 0)->job.inputs, "i");
    assert_int_equal(cJSON_GetArraySize(list), 1);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "index")), 1);
    world_release(&w);
}

static void a_doomed_fan_out_starts_no_more_items(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH(", parallelism: 2")));
    world_plan(&w);
    world_ends(&w, "a", 0, 65, NULL);
    assert_state(&w, "a", 2, STATE_STOPPED);
    assert_state(&w, "a", 1, STATE_RUNNING);
    world_ends(&w, "a", 1, 0, OK_MESSAGE);
    assert_phase(&w, PHASE_FAILED);
    assert_string_equal(w.status.steps[0].message, "1 of 3 items have failed, 0 may");
    world_release(&w);
}

static void a_list_from_a_parameter(void **state)
{
    (void)state;
    struct world w;
    static const char spec[] = "  parameters: [{name: days, type: list, default: '[\"mon\", \"tue\"]'}]\n";
    world_init(&w, spec,
               "    - name: a\n      foreach: {from: \"$(params.days)\"}\n      container: {image: \"" IMAGE
               "\", outputs: [o]}\n" STEP("b", FROM("a")));
    world_plan(&w);
    assert_int_equal(w.n_attempts, 2);
    w.run.params = xcalloc(1, sizeof *w.run.params);
    w.run.params[0] = (struct run_param){.name = xstrdup("days"), .value = xstrdup("[]")};
    w.run.n_params = 1;
    world_new_run(&w, "uid-2");
    world_plan(&w); /* no items: done at once, with an empty list */
    assert_int_equal(w.status.steps[0].state, STATE_SUCCEEDED);
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_string_equal(inputs, "{\"i\":[]}");
    world_release(&w);
}

static void a_restart_redoes_only_the_items_that_failed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH("")));
    world_plan(&w);
    world_ends(&w, "a", 0, 0, OK_MESSAGE);
    world_ends(&w, "a", 1, 65, NULL);
    world_ends(&w, "a", 2, 0, OK_MESSAGE);
    w.run.restart_id = xstrdup("one");
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_state(&w, "a", 1, STATE_RUNNING);
    assert_attempt(&w, "a", 1, 2);
    world_ends(&w, "a", 1, 0, OK_MESSAGE);
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void a_skipped_fan_out_skips_all(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", EACH("") "      when: \"false\"\n") STEP("b", FROM("a")));
    world_plan(&w);
    assert_int_equal(w.status.steps[0].state, STATE_SKIPPED);
    assert_state(&w, "b", 0, STATE_SKIPPED);
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("each item is a Job of its own", each_item_is_a_job),
        SAYS("a matrix counts its last axis fastest", a_matrix_counts_its_last_axis_fastest),
        SAYS("consumers get ordered lists", consumers_get_ordered_lists),
        SAYS("a fan-out has its own parallelism", a_fan_out_has_its_own_parallelism),
        SAYS("minSuccess forgives failures", min_success_forgives_failures),
        SAYS("failed items are left out of the list", failed_items_are_left_out_of_the_list),
        SAYS("a doomed fan-out starts no more items", a_doomed_fan_out_starts_no_more_items),
        SAYS("a list may come from a parameter, and be empty", a_list_from_a_parameter),
        SAYS("a restart redoes only the items that failed", a_restart_redoes_only_the_items_that_failed),
        SAYS("a skipped fan-out skips all", a_skipped_fan_out_skips_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
