/* plan() on attempts that end badly: classes and budgets, gangs, deadlines. */
#include "tests/unit/pipeline/world.h"

static const char side_by_side[] = STEP("a", "") STEP("b", "");

/* --- failure ------------------------------------------------------------------------------------------------------ */

static void a_failed_step_fails_the_run(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", "") STEP("c", FROM("a")) STEP("d", FROM("b")));
    world_plan(&w);
    world_ends(&w, "a", 0, 65, ERROR_MESSAGE("schema", "column price is missing"));
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "schema");
    assert_string_equal(world_item(&w, "a", 0)->message, "column price is missing");
    assert_state(&w, "c", 0, STATE_STOPPED);
    assert_state(&w, "b", 0, STATE_RUNNING); /* what runs is left to finish */
    assert_phase(&w, PHASE_RUNNING);
    world_succeeds(&w, "b");
    assert_state(&w, "b", 0, STATE_SUCCEEDED);
    assert_state(&w, "d", 0, STATE_STOPPED); /* but nothing new starts */
    assert_phase(&w, PHASE_FAILED);
    assert_string_equal(w.status.message, "step a failed: column price is missing");
    world_release(&w);
}

static void what_fails_in_a_failing_run_is_not_tried_again(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", side_by_side);
    world_plan(&w);
    world_ends(&w, "a", 0, 65, NULL);
    world_ends(&w, "b", 0, 75, NULL);
    assert_state(&w, "b", 0, STATE_STOPPED);
    assert_phase(&w, PHASE_FAILED);
    world_release(&w);
}

static void each_class_has_its_own_budget(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        int exit_code;
        const char *reason, *disruption;
        int attempts; /* that run in all */
        enum fail_class class_;
    } cases[] = {
        {"user is never tried again", 65, NULL, NULL, 1, FAIL_USER},
        {"application is tried again twice", 1, NULL, NULL, 3, FAIL_APPLICATION},
        {"infrastructure is tried again four times", 75, NULL, NULL, 5, FAIL_INFRASTRUCTURE},
        {"memory is tried again once", 137, "OOMKilled", NULL, 2, FAIL_MEMORY},
        {"preemption three times, as written", 143, NULL, "PreemptionByScheduler", 4, FAIL_PREEMPTION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(
            &w, "",
            STEP("a",
                 "      retry: {application: 2, infrastructure: 4, preemption: 3, memory: {budget: 1}}\n"));
        world_plan(&w);
        for (int n = 1; !run_phase_finished(w.status.phase); n++) {
            struct observed_pod *p = world_pod(&w, "a", 0, 0);
            p->reason = cases[i].reason;
            p->disruption = cases[i].disruption;
            world_ends(&w, "a", 0, cases[i].exit_code, NULL);
            if (w.last.wake_at_ms)
                world_wait(&w, w.last.wake_at_ms - w.now);
            assert_in_range(n, 1, 20);
        }
        if (world_item(&w, "a", 0)->attempt != cases[i].attempts ||
            world_item(&w, "a", 0)->fail != cases[i].class_)
            fail_msg("%s: %d attempts, class %s; expected %d, %s", cases[i].says,
                     world_item(&w, "a", 0)->attempt, fail_class_name(world_item(&w, "a", 0)->fail),
                     cases[i].attempts, fail_class_name(cases[i].class_));
        world_release(&w);
    }
}

static void the_next_attempt_waits_for_the_back_off(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      retry: {backoffSeconds: 10}\n"));
    world_plan(&w);
    world_ends(&w, "a", 0, 75, NULL);
    assert_state(&w, "a", 0, STATE_RETRYING);
    int64_t due = w.last.wake_at_ms;
    assert_in_range(due - w.now, 5000, 10000);
    world_wait(&w, due - w.now - 1);
    assert_state(&w, "a", 0, STATE_RETRYING);
    world_wait(&w, 1);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_attempt(&w, "a", 0, 2);
    assert_string_equal(world_attempt(&w, "a", 0)->job.name, "r-a-a2");
    world_release(&w);
}

static void memory_grows_after_oom(void **state)
{
    (void)state;
    struct world w;
    world_init(
        &w, "",
        STEP(
            "a",
            "      resources: {memory: 1Gi}\n      retry: {memory: {budget: 5, factor: 1.5, max: 2Gi}, backoffSeconds: 1}\n"));
    world_plan(&w);
    const int64_t gib = 1 << 30, expected[] = {gib, gib * 3 / 2, 2 * gib};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(world_attempt(&w, "a", 0)->job.memory_bytes, expected[i]);
        world_pod(&w, "a", 0, 0)->reason = "OOMKilled";
        world_ends(&w, "a", 0, 137, NULL);
        if (i < 2)
            world_wait(&w, 2000);
    }
    assert_state(&w, "a", 0, STATE_FAILED); /* nothing more to give */
    world_release(&w);
}

static void preemption_is_free_while_checkpoints_advance(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      retry: {preemption: -1, infrastructure: 0}\n"));
    world_plan(&w);
    for (int n = 1; n <= 12; n++) {
        world_runs(&w, "a", 0);
        world_attempt(&w, "a", 0)->a.checkpoint_step = 100 * n;
        world_plan(&w);
        world_pod(&w, "a", 0, 0)->disruption = "PreemptionByScheduler";
        world_ends(&w, "a", 0, 143, NULL);
        assert_state(&w, "a", 0, STATE_RETRYING);
        world_wait(&w, 4999); /* at least 5 s apart */
        assert_attempt(&w, "a", 0, n);
        world_wait(&w, 1);
        assert_attempt(&w, "a", 0, n + 1);
    }
    assert_int_equal(world_item(&w, "a", 0)->checkpoint_step, 1200);
    for (int n = 1; n <= 5;
         n++) { /* without progress the fifth counts as infrastructure, of which none is allowed */
        assert_state(&w, "a", 0, STATE_RUNNING);
        world_pod(&w, "a", 0, 0)->disruption = "PreemptionByScheduler";
        world_ends(&w, "a", 0, 143, NULL);
        if (n < 5)
            world_wait(&w, 5000);
    }
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_int_equal(world_item(&w, "a", 0)->fail, FAIL_INFRASTRUCTURE);
    world_release(&w);
}

static void a_lost_result_is_uncharged_three_times(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      retry: {infrastructure: 0, backoffSeconds: 1}\n"));
    world_plan(&w);
    for (int n = 1; n <= 3; n++) {
        world_attempt(&w, "a", 0)->a.gone = true;
        world_plan(&w);
        assert_state(&w, "a", 0, n == 1 ? STATE_RUNNING : STATE_RETRYING); /* the first time at once */
        if (n > 1)
            world_wait(&w, 300000);
        assert_attempt(&w, "a", 0, n + 1);
    }
    assert_int_equal(world_item(&w, "a", 0)->charged[FAIL_INFRASTRUCTURE], 0);
    world_attempt(&w, "a", 0)->a.gone = true;
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_FAILED);
    world_release(&w);
}

static void exit_zero_without_result_is_the_applications(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      retry: {application: 0}\n") STEP("b", FROM("a")));
    world_plan(&w);
    world_ends(&w, "a", 0, 0, NULL);
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "no-result");
    world_release(&w);
    world_init(&w, "", STEP("a", "      retry: {application: 0}\n") STEP("b", FROM("a")));
    world_plan(&w);
    world_ends(&w, "a", 0, 0, "{\"outputs\":{},\"values\":{}}");
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "output-missing");
    assert_contains(world_item(&w, "a", 0)->message, "lacks output \"o\", which step b takes");
    world_release(&w);
}

/* --- gangs ---------------------------------------------------------------------------------------------------------- */

static void a_failed_gang_waits_for_all_to_speak(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      workers: 2\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_pod_ends(&w, world_pod(&w, "a", 0, 0), 75, NULL); /* it lost its peer */
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_int_equal(w.last.wake_at_ms, w.now + 10000);
    w.now += 3000;
    struct observed_pod *peer = world_pod(&w, "a", 0, 1);
    peer->reason = "OOMKilled";
    world_pod_ends(&w, peer, 137, NULL);
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RETRYING);
    assert_int_equal(world_item(&w, "a", 0)->fail, FAIL_MEMORY);
    world_release(&w);
}

static void a_silent_gang_is_stopped_after_ten_seconds(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      workers: 2\n      retry: {backoffSeconds: 1}\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_pod_ends(&w, world_pod(&w, "a", 0, 0), 75, NULL);
    world_plan(&w);
    assert_int_equal(world_count(&w, ACTION_STOP), 0);
    world_wait(&w, 10000);
    assert_state(&w, "a", 0, STATE_RETRYING);
    assert_int_equal(world_item(&w, "a", 0)->fail, FAIL_INFRASTRUCTURE);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_wait(&w, 5000);
    assert_int_equal(world_count(&w, ACTION_STOP), 0); /* being removed: asked once */
    assert_attempt(&w, "a", 0, 1);                     /* not before the old one is gone */
    world_pod_ends(&w, world_pod(&w, "a", 0, 1), 143, NULL);
    world_plan(&w);
    assert_attempt(&w, "a", 0, 2);
    assert_int_equal(world_item(&w, "a", 0)->charged[FAIL_INFRASTRUCTURE], 1);
    world_release(&w);
}

static void a_pod_that_never_dies_holds_up_for_grace_and_30_s(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      workers: 2\n      retry: {backoffSeconds: 1}\n"));
    w.options.grace_ms = 20000;
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_pod_ends(&w, world_pod(&w, "a", 0, 0), 75, NULL);
    world_plan(&w);
    world_wait(&w, 10000); /* recorded and asked to stop */
    world_wait(&w, 1);     /* seen to be removed */
    world_wait(&w, 49999);
    assert_attempt(&w, "a", 0, 1);
    world_wait(&w, 1);
    assert_attempt(&w, "a", 0, 2);
    world_release(&w);
}

static void an_attempt_whose_stop_was_never_sent_holds_up_the_next(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      timeoutSeconds: 60\n      retry: {backoffSeconds: 1}\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    w.now += 60000;
    world_look(&w); /* recorded, but the driver dies before it asks for the end */
    assert_state(&w, "a", 0, STATE_RETRYING);
    w.now += 500000;
    world_plan(&w);
    assert_attempt(&w, "a", 0, 1);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_ends(&w, "a", 0, 143, NULL);
    assert_attempt(&w, "a", 0, 2);
    world_release(&w);
}

/* --- deadlines -------------------------------------------------------------------------------------------------------- */

static void an_attempt_that_takes_too_long_is_ended(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      timeoutSeconds: 60\n      retry: {application: 0}\n"));
    world_plan(&w);
    world_wait(&w, 100000); /* pending does not count */
    world_runs(&w, "a", 0);
    world_plan(&w);
    assert_int_equal(w.last.wake_at_ms, w.now + 60000);
    world_wait(&w, 59999);
    assert_state(&w, "a", 0, STATE_RUNNING);
    world_wait(&w, 1);
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "Timeout");
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    assert_phase(&w, PHASE_RUNNING); /* something of it still runs */
    world_ends(&w, "a", 0, 143, NULL);
    assert_phase(&w, PHASE_FAILED);
    world_release(&w);
}

static void a_pod_that_never_runs_is_infrastructure(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {pendingSeconds: 60}\n", STEP("a", "      retry: {infrastructure: 0}\n"));
    world_plan(&w);
    world_attempt(&w, "a", 0)->a.suspended = true; /* queued: the clock stands still */
    world_wait(&w, 10);
    world_wait(&w, 500000);
    assert_state(&w, "a", 0, STATE_RUNNING);
    world_attempt(&w, "a", 0)->a.suspended = false;
    world_wait(&w, 0);
    assert_int_equal(w.last.wake_at_ms, w.now + 59990);
    world_wait(&w, 59990);
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "PendingDeadline");
    world_release(&w);
}

static void a_gang_that_starts_in_part_frees_its_places(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {startSeconds: 30}\n", STEP("a", "      workers: 2\n"));
    world_plan(&w);
    struct observed_pod *p = world_pod(&w, "a", 0, 0);
    p->phase = POD_RUNNING;
    p->started_ms = w.now;
    world_wait(&w, 29999);
    assert_state(&w, "a", 0, STATE_RUNNING);
    world_wait(&w, 1);
    assert_state(&w, "a", 0, STATE_RETRYING);
    assert_string_equal(world_item(&w, "a", 0)->reason, "StartDeadline");
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_release(&w);
}

static void a_run_that_takes_too_long_fails(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {runSeconds: 100}\n",
               STEP("a", "") STEP("b", FROM("a")) STEP("f", "      finally: true\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    assert_int_equal(w.last.wake_at_ms, w.now + 100000);
    world_wait(&w, 100000);
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_string_equal(world_item(&w, "a", 0)->reason, "RunDeadlineExceeded");
    assert_state(&w, "b", 0, STATE_STOPPED);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    assert_state(&w, "f", 0, STATE_RUNNING);
    world_ends(&w, "a", 0, 143, NULL);
    world_succeeds(&w, "f");
    assert_phase(&w, PHASE_FAILED);
    assert_string_equal(w.status.reason, "RunDeadlineExceeded");
    world_release(&w);
}

static void gpu_hours_stop_the_run(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  limits: {gpuHours: 1}\n",
               STEP("a", "      workers: 2\n      resources: {gpu: 2}\n") STEP("f", "      finally: true\n"));
    world_plan(&w);
    world_runs(&w, "a", 0);
    world_plan(&w);
    assert_in_range(w.last.wake_at_ms - w.now, 900000, 900100); /* four GPUs: a quarter of an hour */
    world_wait(&w, 900001);
    assert_int_equal(w.status.stopping, RUN_STOP_GRACEFUL);
    assert_int_equal(world_count(&w, ACTION_STOP), 1);
    world_ends(&w, "a", 0, 143, NULL);
    assert_state(&w, "a", 0, STATE_STOPPED);
    assert_true(world_item(&w, "a", 0)->gpu_seconds_used > 3600);
    world_succeeds(&w, "f");
    assert_phase(&w, PHASE_STOPPED);
    assert_string_equal(w.status.reason, "GpuHoursExceeded");
    world_release(&w);
}

/* Jobs and pods are seen by different watches. */
static void a_complete_job_without_pods_is_waited_for(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", ""));
    world_plan(&w);
    for (const char *const *step = (const char *const[]){"a", "b", NULL}; *step; step++) {
        struct world_attempt *seen = world_attempt(&w, *step, 0);
        seen->a.job_condition = "Complete";
        seen->a.completed_ms = w.now;
        seen->a.n_pods = 0;
    }
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_in_range(w.last.wake_at_ms - w.now, 1, 15 * 1000);
    world_attempt(&w, "a", 0)->a.n_pods = 1; /* here it comes */
    world_succeeds(&w, "a");
    assert_state(&w, "a", 0, STATE_SUCCEEDED);
    assert_int_equal(world_item(&w, "a", 0)->attempt, 1);
    world_wait(&w, 15 * 1000); /* the other one's never does */
    assert_int_equal(world_item(&w, "b", 0)->uncharged, 1);
    world_wait(&w, w.last.wake_at_ms ? w.last.wake_at_ms - w.now : 0);
    assert_int_equal(world_item(&w, "b", 0)->attempt, 2);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("a failed step fails the run, what runs is left to finish", a_failed_step_fails_the_run),
        SAYS("what fails in a failing run is not tried again",
             what_fails_in_a_failing_run_is_not_tried_again),
        SAYS("each class has its own budget", each_class_has_its_own_budget),
        SAYS("the next attempt waits for the back-off", the_next_attempt_waits_for_the_back_off),
        SAYS("memory grows after an out-of-memory failure", memory_grows_after_oom),
        SAYS("preemption is free while checkpoints advance", preemption_is_free_while_checkpoints_advance),
        SAYS("a lost result is uncharged three times in a row", a_lost_result_is_uncharged_three_times),
        SAYS("the pods of a complete Job are waited for", a_complete_job_without_pods_is_waited_for),
        SAYS("exit 0 without a result is the application's failure",
             exit_zero_without_result_is_the_applications),
        SAYS("a failed gang waits for all to speak, the gravest wins", a_failed_gang_waits_for_all_to_speak),
        SAYS("a silent gang is stopped after ten seconds", a_silent_gang_is_stopped_after_ten_seconds),
        SAYS("a pod that never dies holds up for grace and 30 s",
             a_pod_that_never_dies_holds_up_for_grace_and_30_s),
        SAYS("an attempt whose end was never asked for holds up the next",
             an_attempt_whose_stop_was_never_sent_holds_up_the_next),
        SAYS("an attempt that takes too long is ended", an_attempt_that_takes_too_long_is_ended),
        SAYS("a pod that never runs is infrastructure", a_pod_that_never_runs_is_infrastructure),
        SAYS("a gang that starts in part frees its places", a_gang_that_starts_in_part_frees_its_places),
        SAYS("a run that takes too long fails, after its finally steps", a_run_that_takes_too_long_fails),
        SAYS("gpuHours stop the run gracefully", gpu_hours_stop_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
