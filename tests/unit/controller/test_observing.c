/* Caches → attempts: what is not there yet, what is gone, what is lost. */
#include "operator/controller/observing.h"

#include "common/base/contract.h"
#include "tests/unit/controller/objects.h"
#include "tests/unit/pipeline/manifest.h"

static const char manifest[] = "apiVersion: trainyard.dev/v1alpha1\n"
                               "kind: TrainingPipeline\n"
                               "metadata: {name: pipe}\n"
                               "spec:\n"
                               "  store: {url: \"s3://bucket/p\"}\n"
                               "  steps:\n"
                               "    - name: one\n"
                               "      container: {image: \"x/a:1\"}\n"
                               "    - name: many\n"
                               "      foreach: {items: [a, b, c]}\n"
                               "      container: {image: \"x/b:1\"}\n";

struct world {
    struct pipeline *pipeline;
    struct run_status status;
    const char *was_seen, *refused; /* names of Jobs */
    struct seen_job jobs[4];
    struct seen_pod pods[4];
    const struct seen_job *job_list[4];
    const struct seen_pod *pod_list[4];
    struct observing_source source;
    struct observing o;
    double fraction;
    int64_t checkpoint;
};

static bool was_seen(void *ctx, const char *name)
{
    return text_equal(((const struct world *)ctx)->was_seen, name);
}

static const char *refused(void *ctx, const char *name)
{
    return text_equal(((const struct world *)ctx)->refused, name) ? "spec.x: Invalid value" : NULL;
}

static bool progress(void *ctx, const char *step, int64_t item, int attempt, double *ret_fraction,
                     int64_t *ret_checkpoint)
{
    const struct world *w = ctx;
    if (w->fraction < 0 || strcmp(step, "one") != 0 || item != 0 || attempt != 1)
        return false;
    *ret_fraction = w->fraction;
    *ret_checkpoint = w->checkpoint;
    return true;
}

/* One step ran its first attempt. */
static void init(struct world *w)
{
    *w = (struct world){.pipeline = manifest_decode(manifest), .fraction = -1, .checkpoint = -1};
    run_status_init(&w->status);
    run_status_prepare(&w->status, w->pipeline);
    struct item_status *item = &w->status.steps[0].items[0];
    item->state = STATE_RUNNING;
    item->attempt = 1;
    item->attempt_over = false;
    step_status_resize(&w->status.steps[1], 3);
    for (size_t i = 0; i < 4; i++) {
        w->job_list[i] = &w->jobs[i];
        w->pod_list[i] = &w->pods[i];
        w->jobs[i] = (struct seen_job){.meta = {.name = "j", .uid = "uj"},
                                       .step = "one",
                                       .attempt = 1,
                                       .workers = 1,
                                       .failed_rule = -1};
        w->pods[i] = (struct seen_pod){.job_uid = "uj", .view = OBSERVED_POD_INIT};
    }
    w->source = (struct observing_source){.jobs = w->job_list,
                                          .pods = w->pod_list,
                                          .run_name = "r",
                                          .now_ms = 1000000,
                                          .was_seen = was_seen,
                                          .refused = refused,
                                          .progress = progress,
                                          .ctx = w};
}

static const struct observed *look(struct world *w)
{
    observing_release(&w->o);
    observing_init(&w->o, &w->source, w->pipeline, &w->status);
    return &w->o.observed;
}

static void release(struct world *w)
{
    observing_release(&w->o);
    run_status_release(&w->status);
    pipeline_free(w->pipeline);
}

static void what_was_never_seen_is_not_there_yet(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    assert_int_equal(look(&w)->n, 0);
    release(&w);
}

static void what_was_seen_and_is_missing_is_gone(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.was_seen = "r-one-a1";
    const struct observed *o = look(&w);
    assert_int_equal(o->n, 1);
    assert_true(o->attempts[0].gone && o->attempts[0].attempt == 1 && o->attempts[0].n_pods == 0);
    /* Its end was asked for before the operator was started anew: nobody remembers the Job. */
    w.was_seen = NULL;
    w.status.steps[0].items[0].stop_at_ms = 5;
    assert_true(look(&w)->n == 1 && w.o.observed.attempts[0].gone);
    /* Recorded as over: nothing is to be said. */
    w.status.steps[0].items[0].attempt_over = true;
    assert_int_equal(look(&w)->n, 0);
    release(&w);
}

static void what_the_server_refuses_has_failed(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.refused = "r-one-a1";
    const struct observed *o = look(&w);
    assert_int_equal(o->n, 1);
    assert_false(o->attempts[0].gone);
    assert_int_equal(o->attempts[0].n_pods, 1);
    assert_int_equal(o->attempts[0].pods[0].phase, POD_FAILED);
    assert_int_equal(o->attempts[0].pods[0].exit_code, EXITCODE_CONFIG);
    assert_string_equal(o->attempts[0].pods[0].detail, "spec.x: Invalid value");
    release(&w);
}

static void jobs_carry_their_own_pods(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.source.n_jobs = 3;
    w.source.n_pods = 4;
    w.jobs[1] = (struct seen_job){.meta = {.name = "k", .uid = "uk", .deleting = true},
                                  .step = "many",
                                  .item = 2,
                                  .attempt = 3,
                                  .condition = "Failed",
                                  .failed_rule = 2};
    w.jobs[2].step = "of another pipeline";
    w.pods[1].job_uid = "uk";
    w.pods[1].view.exit_code = 69;
    w.pods[2].job_uid = "somebody else's";
    w.pods[3].view.worker = 1;
    const struct observed *o = look(&w);
    assert_int_equal(o->n, 2);
    assert_int_equal(o->attempts[0].n_pods, 2);
    assert_int_equal(o->attempts[0].pods[1].worker, 1);
    assert_true(o->attempts[1].step == 1 && o->attempts[1].item == 2 && o->attempts[1].attempt == 3);
    assert_true(o->attempts[1].deleting && o->attempts[1].failed_rule == 2 && o->attempts[1].n_pods == 1);
    assert_int_equal(o->attempts[1].pods[0].exit_code, 69);
    release(&w);
}

static void progress_is_what_was_heard_else_what_was_stored(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.source.n_jobs = 1;
    w.status.steps[0].items[0].progress = 0.25;
    assert_true(look(&w)->attempts[0].progress == 0.25);
    assert_int_equal(w.o.observed.attempts[0].checkpoint_step, -1);
    w.fraction = 0.5;
    w.checkpoint = 400;
    assert_true(look(&w)->attempts[0].progress == 0.5);
    assert_int_equal(w.o.observed.attempts[0].checkpoint_step, 400);
    release(&w);
}

static void a_pod_of_a_dead_node_is_lost_after_a_while(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.source.n_jobs = w.source.n_pods = 1;
    w.pods[0].view.phase = POD_RUNNING;
    assert_true(look(&w)->attempts[0].pods[0].phase == POD_RUNNING && w.o.look_again_ms == 0);
    w.pods[0].kill_ms = w.source.now_ms - OBSERVING_LOST_MS + 1;
    assert_int_equal(look(&w)->attempts[0].pods[0].phase, POD_RUNNING);
    assert_int_equal(w.o.look_again_ms, w.source.now_ms + 1);
    w.source.now_ms++;
    assert_int_equal(look(&w)->attempts[0].pods[0].phase, POD_FAILED);
    assert_string_equal(w.o.observed.attempts[0].pods[0].reason, "NodeLost");
    assert_int_equal(w.o.look_again_ms, 0);
    /* One that has ended in time is what it said. */
    w.pods[0].view.phase = POD_SUCCEEDED;
    assert_int_equal(look(&w)->attempts[0].pods[0].phase, POD_SUCCEEDED);
    release(&w);
}

static void a_job_that_denies_a_result_is_noticed(void **state)
{
    struct world w;
    (void)state;
    init(&w);
    w.jobs[0].condition = (char *)"Failed";
    assert_false(observing_disagrees(&w.jobs[0], w.pipeline, &w.status)); /* it runs, as far as we know */
    w.status.steps[0].items[0].state = STATE_SUCCEEDED;
    assert_true(observing_disagrees(&w.jobs[0], w.pipeline, &w.status));
    w.jobs[0].condition = (char *)"Complete";
    assert_false(observing_disagrees(&w.jobs[0], w.pipeline, &w.status));
    w.jobs[0].condition = (char *)"FailureTarget";
    w.jobs[0].attempt = 2; /* of another attempt */
    assert_false(observing_disagrees(&w.jobs[0], w.pipeline, &w.status));
    release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_never_seen_is_not_there_yet),
        cmocka_unit_test(what_was_seen_and_is_missing_is_gone),
        cmocka_unit_test(what_the_server_refuses_has_failed),
        cmocka_unit_test(jobs_carry_their_own_pods),
        cmocka_unit_test(progress_is_what_was_heard_else_what_was_stored),
        cmocka_unit_test(a_pod_of_a_dead_node_is_lost_after_a_while),
        cmocka_unit_test(a_job_that_denies_a_result_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
