/* What a written status adds to metrics: once, and for the pipeline it is about. */
#include "operator/controller/run_metrics.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/controller/metrics.h"
#include "tests/unit/unit.h"

enum { HOUR_MS = 3600 * 1000 };

static struct step steps[] = {{.name = "validate", .kind = STEP_DATA_VALIDATE},
                              {.name = "train", .kind = STEP_TRAIN_DDP}};
static const struct pipeline pipeline = {.steps = steps, .n_steps = 2};

static void begin(struct run_status *s)
{
    run_status_init(s);
    run_status_prepare(s, &pipeline);
    s->phase = PHASE_RUNNING;
    s->started_ms = 1000;
}

static void set(struct run_status *s, size_t step, enum step_state state)
{
    s->steps[step].state = s->steps[step].items[0].state = state;
}

/* The metrics after this change was written; caller frees. */
static char *text_after(const struct run_status *before, const struct run_status *after, int64_t now_ms)
{
    struct buf out = BUF_INIT(LIMIT_HTTP_BODY_BYTES);
    struct controller c = {.metrics = metrics_new()};
    struct run_news news;
    run_news_find(&pipeline, before, after, now_ms, &news);
    run_metrics_written(&c, "team", "rank", before, after, &news);
    metrics_print(c.metrics, &out);
    metrics_free(c.metrics);
    return buf_take(&out);
}

static void expect(const struct run_status *before, const struct run_status *after, int64_t now_ms,
                   const char *line, bool there)
{
    _cleanup_free_ char *text = text_after(before, after, now_ms);
    if (there)
        assert_contains(text, line);
    else if (strstr(text, line))
        fail_msg("unexpected \"%s\" in:\n%s", line, text);
}

static void success(void **state)
{
    (void)state;
    static const char line[] = "trainyard_time_to_train_seconds{namespace=\"team\",pipeline=\"rank\"} 61.5\n";
    struct run_status before, after;
    begin(&before);
    begin(&after);
    after.phase = PHASE_SUCCEEDED;
    after.finished_ms = 62500;
    expect(&before, &after, 0, line, true);
    expect(&after, &after, 0, "trainyard_time_to_train", false); /* written again, for another reason */
    after.phase = PHASE_FAILED;
    expect(&before, &after, 0, "trainyard_time_to_train", false);
    run_status_release(&before);
    run_status_release(&after);
}

static void data(void **state)
{
    (void)state;
    struct run_status before, after;
    begin(&before);
    begin(&after);
    set(&before, 0, STATE_RUNNING);
    set(&after, 0, STATE_SUCCEEDED);
    struct item_status *item = &after.steps[0].items[0];
    item->finished_ms = 1;
    item->values = json_object();
    json_add_string(item->values, "newest_time", "1970-01-01T00:00:00Z");
    expect(&before, &after, HOUR_MS,
           "trainyard_data_age_seconds{namespace=\"team\",pipeline=\"rank\"} 3600\n", true);
    expect(&after, &after, 2 * HOUR_MS, "trainyard_data_age", false);
    item->from_run = xstrdup("another-run"); /* nobody has looked at the data this time */
    expect(&before, &after, HOUR_MS, "trainyard_data_age", false);
    run_status_release(&before);
    run_status_release(&after);
}

static void validation(void **state)
{
    (void)state;
    static const char line[] =
        "trainyard_validation_failures_total{namespace=\"team\",pipeline=\"rank\"} 1\n";
    struct run_status before, after;
    begin(&before);
    begin(&after);
    after.phase = PHASE_FAILED;
    set(&after, 1, STATE_FAILED);
    expect(&before, &after, 0, "trainyard_validation_failures", false); /* the training has failed */
    set(&after, 0, STATE_FAILED);
    expect(&before, &after, 0, line, true);
    expect(&after, &after, 0, "trainyard_validation_failures", false);
    run_status_release(&before);
    run_status_release(&after);
}

static void attempts(void **state)
{
    (void)state;
    struct run_status before, after;
    begin(&before);
    begin(&after);
    struct item_status *item = &after.steps[1].items[0];
    item->fail = FAIL_MEMORY;
    item->attempt_ended_ms = 5000;
    item->gpu_seconds_used = item->gpu_seconds_wasted = 12;
    before.steps[1].items[0].gpu_seconds_used = 2;
    char line[128];
    (void)snprintf(line, sizeof line, "trainyard_attempt_failures_total{class=\"%s\"} 1\n",
                   fail_class_name(FAIL_MEMORY));
    expect(&before, &after, 0, line, true);
    expect(&before, &after, 0, "trainyard_gpu_seconds_total{use=\"used\"} 10\n", true);
    expect(&before, &after, 0, "trainyard_gpu_seconds_total{use=\"wasted\"} 12\n", true);
    expect(&after, &after, 0, "trainyard_attempt_failures_total", false);
    expect(&after, &after, 0, "trainyard_gpu_seconds_total", false);
    run_status_release(&before);
    run_status_release(&after);
}

static void steps_by_state(void **state)
{
    (void)state;
    uint16_t counts[RUN_METRICS_STATES];
    struct run_status status;
    begin(&status);
    set(&status, 0, STATE_RUNNING);
    run_metrics_count_steps(&status, counts);
    assert_int_equal(counts[STATE_RUNNING], 1);
    assert_int_equal(counts[STATE_WAITING], 1);
    status.phase = PHASE_STOPPED;
    run_metrics_count_steps(&status, counts);
    assert_int_equal(counts[STATE_RUNNING] + counts[STATE_WAITING], 0);
    run_status_release(&status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"the time to train, once, of runs that succeeded", success, NULL, NULL, NULL},
        {"the age of the data, where it was looked at", data, NULL, NULL, NULL},
        {"runs that failed in validation", validation, NULL, NULL, NULL},
        {"failed attempts and GPU-seconds", attempts, NULL, NULL, NULL},
        {"steps by state, of unfinished runs", steps_by_state, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
