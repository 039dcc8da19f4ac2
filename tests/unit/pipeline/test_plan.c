/* plan(): the course of a run, step by step. Attempts that end badly are in test_attempts.c, restart, stop, suspend and approvals are in test_control.c. */
#include "tests/unit/pipeline/world.h"

static const char chain[] = STEP("a", "") STEP("b", FROM("a")) STEP("c", FROM("b"));
static const char side_by_side[] = STEP("a", "") STEP("b", "");

/* --- the way to success ------------------------------------------------------------------------------------- */

static void steps_start_in_order(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_state(&w, "b", 0, STATE_WAITING);
    assert_string_equal(world_item(&w, "b", 0)->message, "waits for a");
    assert_string_equal(world_attempt(&w, "a", 0)->job.name, "r-a-a1");
    assert_phase(&w, PHASE_RUNNING);
    world_succeeds(&w, "a");
    world_succeeds(&w, "b");
    assert_phase(&w, PHASE_RUNNING);
    world_succeeds(&w, "c");
    assert_phase(&w, PHASE_SUCCEEDED);
    assert_int_equal(w.status.finished_ms, w.now);
    assert_int_equal(w.last.wake_at_ms, 0);
    world_release(&w);
}

static void inputs_name_digest_and_place(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_string_equal(inputs, "{\"i\":{\"digest\":\"" DIGEST_A
                                "\",\"run\":\"uid-1\",\"step\":\"a\",\"restart\":0}}");
    world_release(&w);
}

static void planning_again_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_look(&w);
    assert_false(w.last.status_changed);
    assert_int_equal(w.last.n_actions, 0);
    assert_int_equal(w.last.n_events, 0);
    world_release(&w);
}

static void a_start_is_repeated_until_seen(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_look(&w); /* the driver dies before it acts */
    assert_int_equal(world_count(&w, ACTION_START), 1);
    world_look(&w);
    assert_false(w.last.status_changed);
    assert_int_equal(world_count(&w, ACTION_START), 1);
    world_plan(&w);
    assert_int_equal(world_attempt(&w, "a", 0)->a.attempt, 1);
    world_look(&w);
    assert_int_equal(world_count(&w, ACTION_START), 0);
    world_release(&w);
}

static void the_last_worker_decides_success(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      workers: 3\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_pod_ends(&w, world_pod(&w, "a", 0, 0), 0, OK_MESSAGE);
    world_pod_ends(&w, world_pod(&w, "a", 0, 1), 0, NULL);
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    world_pod_ends(&w, world_pod(&w, "a", 0, 2), 0, NULL);
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    world_release(&w);
}

/* --- skipping --------------------------------------------------------------------------------------------------- */

static void a_closed_gate_leaves_the_run_succeeded(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "",
               STEP("a", "") STEP("b", FROM("a") "      when: \"steps.a.values.v > 1\"\n")
                   STEP("c", FROM("b")) STEP("d", "      after: [b]\n"));
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "b", 0, STATE_SKIPPED);
    assert_string_equal(world_item(&w, "b", 0)->message, "when is false: steps.a.values.v > 1");
    assert_state(&w, "c", 0, STATE_SKIPPED);
    assert_state(&w, "d", 0, STATE_RUNNING); /* `after` a skipped step counts as done */
    world_succeeds(&w, "d");
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void an_error_in_when_fails_the_run(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", FROM("a") "      when: \"10 / steps.a.values.v > 1\"\n"));
    world_plan(&w);
    world_ends(&w, "a", 0, 0, "{\"outputs\":{\"o\":\"" DIGEST_A "\"},\"values\":{\"v\":0}}");
    assert_state(&w, "b", 0, STATE_FAILED);
    assert_int_equal(world_item(&w, "b", 0)->fail, FAIL_USER);
    assert_phase(&w, PHASE_FAILED);
    world_release(&w);
}

static void a_step_that_fails_by_itself_closes_those_before_it(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "",
               STEP("a", "") STEP("z", "") STEP("last", "      after: [z]\n")
                   STEP("x", FROM("a") "      when: \"1 / 0 > steps.a.values.v\"\n"));
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "x", 0, STATE_FAILED);
    assert_state(&w, "last", 0, STATE_STOPPED); /* in the same plan */
    world_release(&w);
}

/* --- finally, parallelism ------------------------------------------------------------------------------------------------ */

static void finally_steps_learn_the_outcome(void **state)
{
    (void)state;
    static const char steps[] =
        STEP("a", "") "    - name: f\n      finally: true\n      container: {image: \"" IMAGE
                      "\", args: [\"$(run.phase)\"]}\n";
    for (int ok = 0; ok < 2; ok++) {
        struct world w;
        world_init(&w, "", steps);
        world_plan(&w);
        assert_state(&w, "f", 0, STATE_WAITING);
        world_ends(&w, "a", 0, ok ? 0 : 65, ok ? OK_MESSAGE : NULL);
        assert_state(&w, "f", 0, STATE_RUNNING);
        assert_phase(&w, PHASE_FINALLY);
        _cleanup_free_ char *config = cJSON_PrintUnformatted(world_attempt(&w, "f", 0)->job.config);
        assert_contains(config, ok ? "\"args\":[\"Succeeded\"]" : "\"args\":[\"Failed\"]");
        world_succeeds(&w, "f");
        assert_phase(&w, ok ? PHASE_SUCCEEDED : PHASE_FAILED);
        world_release(&w);
    }
}

static void a_failed_finally_step_fails_the_run(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("f", "      finally: true\n") STEP("g", "      finally: true\n"));
    world_plan(&w);
    world_succeeds(&w, "a");
    world_ends(&w, "f", 0, 65, NULL);
    world_succeeds(&w, "g"); /* the others run all the same */
    assert_state(&w, "g", 0, STATE_SUCCEEDED);
    assert_phase(&w, PHASE_FAILED);
    world_release(&w);
}

static void parallelism_counts_jobs(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {parallelism: 2}\n", STEP("a", "") STEP("b", "") STEP("c", ""));
    world_plan(&w);
    assert_state(&w, "c", 0, STATE_READY);
    assert_string_equal(world_item(&w, "c", 0)->message,
                        "waits for a free slot: limits.parallelism is used up");
    world_succeeds(&w, "b");
    assert_state(&w, "c", 0, STATE_RUNNING);
    world_release(&w);
}

/* --- odd observations ------------------------------------------------------------------------------------------------------ */

static void an_attempt_beyond_the_status_is_taken_over(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", side_by_side);
    world_plan(&w);
    run_status_release(&w.status); /* the write was lost */
    run_status_init(&w.status);
    world_plan(&w);
    /* Not known to be expanded yet: it is stopped, its number is not used again. */
    assert_int_equal(world_count(&w, ACTION_STOP), 2);
    world_ends(&w, "a", 0, 143, NULL);
    assert_attempt(&w, "a", 0, 2);
    world_release(&w);
}

static void a_late_result_is_still_a_result(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      timeoutSeconds: 60\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    world_wait(&w, 60000);
    assert_state(&w, "a", 0, STATE_RETRYING);
    world_succeeds(&w, "a");
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void a_finished_step_is_not_started_again_when_its_job_is_gone(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_succeeds(&w, "b");
    world_attempt(&w, "a", 0)->a.gone = true;
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_int_equal(w.last.n_actions, 0);
    world_release(&w);
}

static void a_missing_artifact_runs_its_producer_once_more(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_ends(&w, "b", 0, 66, ERROR_MESSAGE("artifact-missing", "input i " DIGEST_A " is not in the store"));
    assert_state(&w, "b", 0, STATE_WAITING);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_attempt(&w, "a", 0, 2);
    assert_int_equal(world_attempt(&w, "a", 0)->a.restart, 1); /* the old result is in g0 */
    world_succeeds(&w, "a");
    assert_state(&w, "b", 0, STATE_RUNNING);
    assert_attempt(&w, "b", 0, 2);
    assert_int_equal(world_item(&w, "b", 0)->charged[FAIL_USER], 0);
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_contains(inputs, "\"restart\":1");
    world_ends(&w, "b", 0, 66, ERROR_MESSAGE("artifact-missing", "input i " DIGEST_A " is not in the store"));
    assert_state(&w, "b", 0, STATE_FAILED); /* but only once */
    assert_phase(&w, PHASE_FAILED);
    world_release(&w);
}

static void wrong_parameters_fail_the_run_before_anything_starts(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  parameters: [{name: count, type: integer}]\n",
               STEP("a", "") STEP("f", "      finally: true\n"));
    world_plan(&w);
    assert_phase(&w, PHASE_FAILED);
    assert_string_equal(w.status.reason, "ParametersInvalid");
    assert_int_equal(w.n_attempts, 0);
    assert_state(&w, "f", 0, STATE_STOPPED);
    world_release(&w);
}

static void a_status_of_another_pipeline_is_refused(void **state)
{
    (void)state;
    struct world w;
    struct err err = ERR_INIT;
    struct plan p;
    struct observed none = {0};
    world_init(&w, "", chain);
    world_plan(&w);
    struct pipeline *other = world_pipeline("", side_by_side);
    assert_fails(plan(other, &w.run, &w.status, &none, NULL, &w.options, w.now, &p, &err), &err, ERR_INVALID,
                 "another pipeline");
    pipeline_free(other);
    world_release(&w);
}

static void events_say_what_changed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", ""));
    world_plan(&w);
    assert_int_equal(w.last.n_events, 1); /* a step's start is its Job's to say */
    assert_string_equal(w.last.events[0].message, "Running");
    world_ends(&w, "a", 0, 65, NULL);
    assert_string_equal(w.last.events[0].reason, "StepFailed");
    assert_true(w.last.events[0].warning);
    assert_string_equal(w.last.events[1].message,
                        "Failed: step a failed: exit code 65: it left no message; see its log");
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("steps start when their predecessors are done", steps_start_in_order),
        SAYS("inputs name digest and place", inputs_name_digest_and_place),
        SAYS("planning again changes nothing", planning_again_changes_nothing),
        SAYS("a start is repeated until it is seen", a_start_is_repeated_until_seen),
        SAYS("the last worker decides success", the_last_worker_decides_success),
        SAYS("a closed gate leaves the run succeeded", a_closed_gate_leaves_the_run_succeeded),
        SAYS("an error in when fails the run as user error", an_error_in_when_fails_the_run),
        SAYS("a step that fails by itself closes those before it",
             a_step_that_fails_by_itself_closes_those_before_it),
        SAYS("finally steps learn the outcome", finally_steps_learn_the_outcome),
        SAYS("a failed finally step fails the run", a_failed_finally_step_fails_the_run),
        SAYS("parallelism counts jobs", parallelism_counts_jobs),
        SAYS("an attempt beyond the status keeps its number", an_attempt_beyond_the_status_is_taken_over),
        SAYS("a late result is still a result", a_late_result_is_still_a_result),
        SAYS("a finished step is not started again when its Job is gone",
             a_finished_step_is_not_started_again_when_its_job_is_gone),
        SAYS("a missing artifact runs its producer once more",
             a_missing_artifact_runs_its_producer_once_more),
        SAYS("wrong parameters fail the run before anything starts",
             wrong_parameters_fail_the_run_before_anything_starts),
        SAYS("a status of another pipeline is refused", a_status_of_another_pipeline_is_refused),
        SAYS("events say what changed", events_say_what_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
