/* Conditions, columns, and what a run says that waits. */
#include "operator/controller/run_status.h"

#include "tests/unit/controller/objects.h"
#include "tests/unit/pipeline/manifest.h"

static const char manifest[] = "apiVersion: trainyard.dev/v1alpha1\n"
                               "kind: TrainingPipeline\n"
                               "metadata: {name: pipe}\n"
                               "spec:\n"
                               "  store: {url: \"s3://bucket/p\"}\n"
                               "  steps:\n"
                               "    - {name: one, container: {image: \"x/a:1\"}}\n"
                               "    - {name: two, after: [one], container: {image: \"x/a:1\"}}\n";

static cJSON *object(const struct run_status *s, const struct run_status_extra *x)
{
    struct err err = ERR_INIT;
    cJSON *status;
    assert_ok(run_status_object(s, x, &status, &err), &err);
    return status;
}

static void conditions_follow_the_phase(void **state)
{
    static const struct {
        enum run_phase phase;
        const char *reason;
        bool suspended;
        const char *complete, *failed, *finished, *finished_reason, *progressing, *held;
    } cases[] = {
        {PHASE_PENDING, NULL, false, "False", "False", "False", "NotFinished", "True", "False"},
        {PHASE_RUNNING, NULL, false, "False", "False", "False", "NotFinished", "True", "False"},
        {PHASE_SUSPENDED, NULL, true, "False", "False", "False", "NotFinished", "False", "True"},
        {PHASE_FINALLY, "StepFailed", false, "False", "False", "False", "NotFinished", "True", "False"},
        {PHASE_SUCCEEDED, NULL, false, "True", "False", "True", "Succeeded", "False", "False"},
        {PHASE_FAILED, "StepFailed", false, "False", "True", "True", "Failed", "False", "False"},
        {PHASE_STOPPED, "StopRequested", true, "False", "False", "True", "Stopped", "False", "False"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_status s;
        run_status_init(&s);
        s.phase = cases[i].phase;
        s.reason = cases[i].reason ? xstrdup(cases[i].reason) : NULL;
        struct run_status_extra x = {.generation = 7, .suspended = cases[i].suspended};
        _cleanup_json_ cJSON *status = object(&s, &x);
        assert_string_equal(text_at(status, "conditions[type=Complete].status"), cases[i].complete);
        assert_string_equal(text_at(status, "conditions[type=Failed].status"), cases[i].failed);
        assert_string_equal(text_at(status, "conditions[type=Finished].status"), cases[i].finished);
        assert_string_equal(text_at(status, "conditions[type=Finished].reason"), cases[i].finished_reason);
        assert_string_equal(text_at(status, "conditions[type=Progressing].status"), cases[i].progressing);
        assert_string_equal(text_at(status, "conditions[type=Suspended].status"), cases[i].held);
        /* kubectl wait ignores conditions of an earlier generation. */
        assert_at(status, "conditions[type=Finished].observedGeneration", "7");
        assert_at(status, "observedGeneration", "7");
        run_status_release(&s);
    }
}

static void transitions_keep_their_time(void **state)
{
    (void)state;
    struct run_status s;
    run_status_init(&s);
    struct run_status_extra x = {.generation = 1, .now_ms = 1000000};
    _cleanup_json_ cJSON *first = object(&s, &x);
    x.previous = first;
    x.now_ms = 2000000;
    s.phase = PHASE_SUCCEEDED;
    _cleanup_json_ cJSON *second = object(&s, &x);
    assert_at(second, "conditions[type=Failed].lastTransitionTime", "\"1970-01-01T00:16:40Z\"");
    assert_at(second, "conditions[type=Complete].lastTransitionTime", "\"1970-01-01T00:33:20Z\"");
    run_status_release(&s);
}

static void columns_say_where_it_is_and_why(void **state)
{
    (void)state;
    struct pipeline *p = manifest_decode(manifest);
    struct run_status s;
    run_status_init(&s);
    run_status_prepare(&s, p);
    struct run_status_extra x = {.generation = 1, .revision = "pipe-abc"};
    s.phase = PHASE_RUNNING;
    s.steps[0].state = s.steps[0].items[0].state = STATE_SUCCEEDED;
    s.steps[1].state = s.steps[1].items[0].state = STATE_RUNNING;
    _cleanup_json_ cJSON *quiet = object(&s, &x);
    assert_at(quiet, "step", "\"two\"");
    assert_at(quiet, "progress", "\"1/2\"");
    assert_at(quiet, "revision", "\"pipe-abc\"");
    assert_at(quiet, "note", "");
    (void)item_status_explain(&s.steps[1].items[0], "Waiting", "0/1 nodes are available");
    _cleanup_json_ cJSON *waits = object(&s, &x);
    assert_at(waits, "note", "\"0/1 nodes are available\"");
    x.blocked = "Job x: quota";
    _cleanup_json_ cJSON *blocked = object(&s, &x);
    assert_at(blocked, "note", "\"Job x: quota\"");
    s.phase = PHASE_FAILED;
    s.steps[1].state = s.steps[1].items[0].state = STATE_FAILED;
    (void)status_explain(&s.reason, &s.message, "StepFailed", "step two failed: no");
    _cleanup_json_ cJSON *failed = object(&s, &x);
    assert_at(failed, "note", "\"step two failed: no\"");
    assert_at(failed, "conditions[type=Failed].message", "\"step two failed: no\"");
    assert_at(failed, "conditions[type=Failed].reason", "\"StepFailed\"");
    run_status_release(&s);
    pipeline_free(p);
}

static void unverified_approvals_are_said(void **state)
{
    (void)state;
    struct run_status s;
    run_status_init(&s);
    struct run_status_extra x = {.generation = 1, .unverified = true};
    _cleanup_json_ cJSON *status = object(&s, &x);
    assert_contains(text_at(status, "conditions[type=Progressing].message"), "approvals unverified");
    run_status_release(&s);
}

static void a_run_that_cannot_be_looked_at_says_why(void **state)
{
    (void)state;
    struct run_status_extra x = {.generation = 2};
    _cleanup_json_ cJSON *status =
        run_status_waiting(&x, "PipelineNotFound", "there is no TrainingPipeline x");
    assert_at(status, "phase", "\"Pending\"");
    assert_at(status, "reason", "\"PipelineNotFound\"");
    assert_at(status, "note", "\"there is no TrainingPipeline x\"");
    assert_at(status, "observedGeneration", "2");
    assert_at(status, "conditions[type=Finished].status", "\"False\"");
    assert_at(status, "conditions[type=Progressing].reason", "\"PipelineNotFound\"");
    x.stopped = true; /* nobody waits any more */
    x.now_ms = 1000;
    _cleanup_json_ cJSON *stopped =
        run_status_waiting(&x, "PipelineNotFound", "there is no TrainingPipeline x");
    assert_at(stopped, "phase", "\"Stopped\"");
    assert_at(stopped, "finished", "\"1970-01-01T00:00:01Z\"");
    assert_at(stopped, "conditions[type=Finished].reason", "\"Stopped\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_follow_the_phase),
        cmocka_unit_test(transitions_keep_their_time),
        cmocka_unit_test(columns_say_where_it_is_and_why),
        cmocka_unit_test(unverified_approvals_are_said),
        cmocka_unit_test(a_run_that_cannot_be_looked_at_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
