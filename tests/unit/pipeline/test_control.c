/* What people ask for: restart, stop, suspend, approvals. */
#include "tests/unit/pipeline/world.h"

static const char chain[] = STEP("a", "") STEP("b", FROM("a")) STEP("c", FROM("b"));

static void restart(struct world *w, const char *id, const char *step)
{
    free(w->run.restart_id);
    w->run.restart_id = xstrdup(id);
    for (size_t i = 0; i < w->run.n_restart_from; i++)
        free(w->run.restart_from[i]);
    free(w->run.restart_from);
    w->run.restart_from = NULL;
    w->run.n_restart_from = 0;
    if (step) {
        w->run.restart_from = xcalloc(1, sizeof *w->run.restart_from);
        w->run.restart_from[0] = xstrdup(step);
        w->run.n_restart_from = 1;
    }
    world_plan(w);
}

static void approve(struct world *w, const char *step, const char *by)
{
    w->run.approvals = xreallocarray(w->run.approvals, w->run.n_approvals + 1, sizeof *w->run.approvals);
    w->run.approvals[w->run.n_approvals++] =
        (struct run_approval){.step = xstrdup(step), .by = xstrdup(by), .comment = xstrdup("fine")};
}

/* --- restart ------------------------------------------------------------------------------------------------------ */

static void restart_redoes_the_step_and_all_after_it(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_succeeds(&w, "b");
    world_succeeds(&w, "c");
    assert_phase(&w, PHASE_SUCCEEDED);
    restart(&w, "one", "b");
    assert_phase(&w, PHASE_RUNNING);
    assert_int_equal(w.status.finished_ms, 0);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_state(&w, "b", 0, STATE_RUNNING);
    assert_state(&w, "c", 0, STATE_WAITING);
    assert_int_equal(world_attempt(&w, "b", 0)->a.restart, 1); /* it had a result: anew */
    assert_attempt(&w, "b", 0, 2);
    world_succeeds(&w, "b");
    assert_int_equal(world_attempt(&w, "c", 0)->a.restart, 1);
    world_succeeds(&w, "c");
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void restart_acts_once_per_id(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    restart(&w, "one", "a");
    assert_int_equal(world_item(&w, "a", 0)->restart, 1);
    assert_string_equal(w.status.observed_restart, "one");
    world_plan(&w);
    world_succeeds(&w, "a");
    world_plan(&w);
    assert_int_equal(world_item(&w, "a", 0)->restart, 1);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    restart(&w, "two", "a");
    assert_int_equal(world_item(&w, "a", 0)->restart, 2);
    world_release(&w);
}

static void a_failed_step_keeps_its_checkpoints(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_attempt(&w, "b", 0)->a.checkpoint_step = 500;
    world_ends(&w, "b", 0, 65, NULL);
    assert_phase(&w, PHASE_FAILED);
    restart(&w, "one", "b");
    assert_state(&w, "b", 0, STATE_RUNNING);
    assert_int_equal(world_attempt(&w, "b", 0)->a.restart, 0); /* the same g */
    assert_attempt(&w, "b", 0, 2);
    assert_int_equal(world_item(&w, "b", 0)->checkpoint_step, 500);
    assert_int_equal(world_item(&w, "b", 0)->charged[FAIL_USER], 0);
    world_succeeds(&w, "b");
    world_succeeds(&w, "c");
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void a_failed_step_whose_input_is_made_anew_starts_anew(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_ends(&w, "b", 0, 65, NULL);
    restart(&w, "one", "a");
    world_succeeds(&w, "a");
    assert_int_equal(world_attempt(&w, "b", 0)->a.restart, 1);
    world_release(&w);
}

static void restart_without_names_takes_what_failed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_succeeds(&w, "a");
    world_ends(&w, "b", 0, 65, NULL);
    restart(&w, "one", NULL);
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_state(&w, "b", 0, STATE_RUNNING);
    assert_state(&w, "c", 0, STATE_WAITING);
    world_release(&w);
}

static void a_running_step_is_ended_before_it_is_restarted(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    restart(&w, "one", "a");
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    assert_int_equal(world_count(&w, ACTION_START), 0);
    assert_attempt(&w, "a", 0, 1);
    world_ends(&w, "a", 0, 143, NULL);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_attempt(&w, "a", 0, 2);
    assert_int_equal(world_attempt(&w, "a", 0)->a.restart, 1);
    assert_int_equal(world_item(&w, "a", 0)->charged[FAIL_APPLICATION], 0);
    world_release(&w);
}

static void finally_steps_run_again_after_a_restart(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("f", "      finally: true\n"));
    world_plan(&w);
    world_succeeds(&w, "a");
    world_succeeds(&w, "f");
    restart(&w, "one", "a");
    assert_state(&w, "f", 0, STATE_WAITING);
    world_succeeds(&w, "a");
    assert_attempt(&w, "f", 0, 2);
    world_succeeds(&w, "f");
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void a_skipped_step_is_judged_again(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", FROM("a") "      when: \"steps.a.values.v > 1\"\n"));
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "b", 0, STATE_SKIPPED);
    restart(&w, "one", "a");
    world_ends(&w, "a", 0, 0, "{\"outputs\":{\"o\":\"" DIGEST_B "\"},\"values\":{\"v\":2}}");
    assert_state(&w, "b", 0, STATE_RUNNING);
    world_release(&w);
}

static void an_unknown_step_is_named_in_an_event(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    restart(&w, "one", "nosuch");
    assert_string_equal(w.last.events[0].reason, "RestartUnknownStep");
    assert_contains(w.last.events[0].message, "nosuch");
    assert_string_equal(w.status.observed_restart, "one");
    world_release(&w);
}

/* --- stop ----------------------------------------------------------------------------------------------------------- */

static void stop_graceful_runs_finally_steps(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", FROM("a")) STEP("f", "      finally: true\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    w.run.stop = RUN_STOP_GRACEFUL;
    world_plan(&w);
    assert_phase(&w, PHASE_STOPPING);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    assert_state(&w, "a", 0, STATE_RUNNING); /* it writes its checkpoint */
    assert_state(&w, "b", 0, STATE_STOPPED);
    world_ends(&w, "a", 0, 75, NULL);
    assert_state(&w, "a", 0, STATE_STOPPED);
    assert_int_equal(world_item(&w, "a", 0)->charged[FAIL_INFRASTRUCTURE], 0);
    assert_state(&w, "f", 0, STATE_RUNNING);
    world_succeeds(&w, "f");
    assert_phase(&w, PHASE_STOPPED);
    assert_string_equal(w.status.reason, "StopRequested");
    world_release(&w);
}

static void stop_now_leaves_finally_steps_out(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("f", "      finally: true\n"));
    world_plan(&w);
    w.run.stop = RUN_STOP_NOW;
    world_plan(&w);
    world_ends(&w, "a", 0, 143, NULL);
    assert_state(&w, "f", 0, STATE_STOPPED);
    assert_phase(&w, PHASE_STOPPED);
    world_release(&w);
}

static void stop_now_ends_finally_steps_too(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("f", "      finally: true\n"));
    world_plan(&w);
    w.run.stop = RUN_STOP_GRACEFUL;
    world_plan(&w);
    world_ends(&w, "a", 0, 143, NULL);
    assert_phase(&w, PHASE_FINALLY);
    w.run.stop = RUN_STOP_NOW;
    world_plan(&w);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_ends(&w, "f", 0, 143, NULL);
    assert_state(&w, "f", 0, STATE_STOPPED);
    assert_phase(&w, PHASE_STOPPED);
    world_release(&w);
}

static void a_step_that_finishes_while_it_is_stopped_has_succeeded(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    w.run.stop = RUN_STOP_GRACEFUL;
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_phase(&w, PHASE_STOPPED);
    world_release(&w);
}

static void a_start_that_was_lost_does_not_hold_up_the_stop(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_look(&w); /* START decided, never carried out */
    w.run.stop = RUN_STOP_GRACEFUL;
    world_plan(&w);
    assert_phase(&w, PHASE_STOPPING);
    world_wait(&w, 60000);
    assert_phase(&w, PHASE_STOPPED);
    assert_int_equal(w.n_attempts, 0);
    world_release(&w);
}

static void a_restarted_run_starts_after_a_stop(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", chain);
    world_plan(&w);
    w.run.stop = RUN_STOP_NOW;
    world_plan(&w);
    world_ends(&w, "a", 0, 143, NULL);
    assert_phase(&w, PHASE_STOPPED);
    w.run.stop = RUN_STOP_NONE;
    restart(&w, "one", NULL);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_attempt(&w, "a", 0, 2);
    world_release(&w);
}

/* --- suspend ----------------------------------------------------------------------------------------------------------- */

static void a_suspended_run_resumes_as_a_new_attempt(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {runSeconds: 1000}\n", STEP("a", "") STEP("b", FROM("a")) STEP("c", ""));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_succeeds(&w, "c");
    world_wait(&w, 100000);
    w.run.suspend = true;
    world_plan(&w);
    assert_phase(&w, PHASE_SUSPENDED);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_ends(&w, "a", 0, 143, NULL);
    assert_state(&w, "a", 0, STATE_RETRYING);
    assert_string_equal(world_item(&w, "a", 0)->reason, "Suspended");
    world_wait(&w, 50000000);
    assert_attempt(&w, "a", 0, 1); /* nothing new starts */
    assert_int_equal(stopwatch_read(&w.status.clock, w.now), 100000);
    w.run.suspend = false;
    world_plan(&w);
    assert_phase(&w, PHASE_RUNNING);
    assert_attempt(&w, "a", 0, 2);
    assert_int_equal(world_item(&w, "a", 0)->charged[FAIL_APPLICATION], 0);
    assert_int_equal(w.last.wake_at_ms, w.now + 900000);
    world_release(&w);
}

/* --- approvals ----------------------------------------------------------------------------------------------------------- */

static const char with_approval[] =
    STEP("a", "") "    - name: ok\n      after: [a]\n      approval: {message: \"look at $(run.name)\"}\n" STEP(
        "b", "      after: [ok]\n");

static void an_approval_waits_for_a_person(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {runSeconds: 100}\n", with_approval);
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "ok", 0, STATE_AWAITING_APPROVAL);
    assert_string_equal(world_item(&w, "ok", 0)->message, "waits for a person's approval: look at r");
    world_wait(&w, 10000000); /* the clock stands still */
    assert_phase(&w, PHASE_RUNNING);
    approve(&w, "ok", "ada");
    world_plan(&w);
    assert_state(&w, "ok", 0, STATE_SUCCEEDED);
    assert_string_equal(world_item(&w, "ok", 0)->message, "approved by ada: fine");
    assert_state(&w, "b", 0, STATE_RUNNING);
    world_succeeds(&w, "b");
    assert_phase(&w, PHASE_SUCCEEDED);
    world_release(&w);
}

static void an_approval_given_before_counts(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", with_approval);
    approve(&w, "ok", "ada");
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "ok", 0, STATE_SUCCEEDED);
    assert_state(&w, "b", 0, STATE_RUNNING);
    world_release(&w);
}

static void a_restarted_approval_is_asked_for_again(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", with_approval);
    approve(&w, "ok", "ada");
    world_plan(&w);
    world_succeeds(&w, "a");
    world_succeeds(&w, "b");
    restart(&w, "one", "a");
    world_succeeds(&w, "a");
    assert_state(&w, "ok", 0, STATE_AWAITING_APPROVAL); /* the old approval was for the old result */
    approve(&w, "ok", "grace");
    world_plan(&w);
    assert_state(&w, "b", 0, STATE_RUNNING);
    world_release(&w);
}

static void an_awaited_approval_can_be_stopped(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", with_approval);
    world_plan(&w);
    world_succeeds(&w, "a");
    w.run.stop = RUN_STOP_GRACEFUL;
    world_plan(&w);
    assert_state(&w, "ok", 0, STATE_STOPPED);
    assert_phase(&w, PHASE_STOPPED);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("restart redoes the step and all after it", restart_redoes_the_step_and_all_after_it),
        SAYS("restart acts once per id", restart_acts_once_per_id),
        SAYS("a failed step keeps its checkpoints", a_failed_step_keeps_its_checkpoints),
        SAYS("a failed step whose input is made anew starts anew",
             a_failed_step_whose_input_is_made_anew_starts_anew),
        SAYS("restart without names takes what failed", restart_without_names_takes_what_failed),
        SAYS("a running step is ended before it is restarted",
             a_running_step_is_ended_before_it_is_restarted),
        SAYS("finally steps run again after a restart", finally_steps_run_again_after_a_restart),
        SAYS("a skipped step is judged again", a_skipped_step_is_judged_again),
        SAYS("an unknown step is named in an event", an_unknown_step_is_named_in_an_event),
        SAYS("stop Graceful runs finally steps", stop_graceful_runs_finally_steps),
        SAYS("stop Now leaves finally steps out", stop_now_leaves_finally_steps_out),
        SAYS("stop Now ends finally steps too", stop_now_ends_finally_steps_too),
        SAYS("a step that finishes while it is stopped has succeeded",
             a_step_that_finishes_while_it_is_stopped_has_succeeded),
        SAYS("a start that was lost does not hold up the stop",
             a_start_that_was_lost_does_not_hold_up_the_stop),
        SAYS("a restarted run starts after a stop", a_restarted_run_starts_after_a_stop),
        SAYS("a suspended run resumes as a new attempt, uncharged", a_suspended_run_resumes_as_a_new_attempt),
        SAYS("an approval waits for a person", an_approval_waits_for_a_person),
        SAYS("an approval given before counts", an_approval_given_before_counts),
        SAYS("a restarted approval is asked for again", a_restarted_approval_is_asked_for_again),
        SAYS("an awaited approval can be stopped", an_awaited_approval_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
