/* A pipeline's reconciler, its pure parts: what the spec says, the status there and back, what is sent. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "operator/controller/labels.h"
#include "operator/controller/pipeline_action.h"
#include "operator/controller/pipeline_status.h"
#include "operator/controller/pipeline_view.h"
#include "operator/kube/resource.h"
#include "tests/unit/unit.h"

/* A pipeline object whose spec is `spec`. */
static cJSON *object_of(const char *spec, int generation)
{
    _cleanup_free_ char *text = xasprintf(
        "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingPipeline\",\"metadata\":{\"name\":\"rank\",\"namespace\":\"team\","
        "\"uid\":\"u-1\",\"generation\":%d},\"spec\":%s}",
        generation, spec);
    cJSON *o = cJSON_Parse(text);
    if (!o)
        fail_msg("no JSON: %s", text);
    return o;
}

#define STEPS "\"steps\":[{\"name\":\"gate\",\"approval\":{\"message\":\"go?\"}}]"
#define STORE "\"store\":{\"url\":\"s3://bucket/x\"},"

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        bool valid;
        const char *part;
    } cases[] = {
        {"{" STORE STEPS "}", true, "the spec is valid"},
        {"{" STEPS "}", false, "spec.store: required in a cluster"},
        {"{\"store\":{\"url\":\"file:///tmp/x\"}," STEPS "}", false, "spec.store.url: expected s3://"},
        {"{" STORE "\"registry\":{\"url\":\"file:///tmp/x\"}," STEPS "}", false,
         "spec.registry.url: expected s3://"},
        {"{" STORE "\"schedule\":{\"cron\":\"61 * * * *\"}," STEPS "}", false, "spec.schedule.cron"},
        {"{" STORE "\"schedule\":{\"cron\":\"0 2 * * *\",\"timeZone\":\"Mars/Olympus\"}," STEPS "}", false,
         "spec.schedule.timeZone"},
        {"{" STORE "\"runOn\":[\"Schedule\"]," STEPS "}", false, "spec.schedule: required field is missing"},
        {"{" STORE "\"steps\":[{\"name\":\"a\",\"after\":[\"b\"],\"approval\":{\"message\":\"x\"}}]}", false,
         "spec.steps[0].after"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pipeline_view v = {0};
        _cleanup_json_ cJSON *o = object_of(cases[i].spec, 1);
        assert_true(pipeline_view_update(&v, o));
        if (v.valid != cases[i].valid || !strstr(v.message, cases[i].part))
            fail_msg("%s: %s, \"%s\"; expected \"%s\"", cases[i].spec, v.valid ? "valid" : "not valid",
                     v.message, cases[i].part);
        assert_int_equal(v.revision != NULL, cases[i].valid);
        assert_false(pipeline_view_update(&v, o)); /* read once */
        pipeline_view_release(&v);
    }
}

static void many_findings_are_cut(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf spec = BUF_INIT(1 << 20);
    (void)buf_adds(&spec, "{" STORE "\"steps\":[");
    for (int i = 0; i < 50; i++)
        (void)buf_addf(&spec,
                       "%s{\"name\":\"s%d\",\"after\":[\"missing%d\"],\"approval\":{\"message\":\"x\"}}",
                       i ? "," : "", i, i);
    (void)buf_adds(&spec, "]}");
    struct pipeline_view v = {0};
    _cleanup_json_ cJSON *o = object_of(buf_str(&spec), 1);
    (void)pipeline_view_update(&v, o);
    assert_false(v.valid);
    assert_true(strlen(v.message) <= VIEW_MESSAGE_MAX);
    assert_contains(v.message, "spec.steps[0].after");
    assert_contains(v.message, " more");
    pipeline_view_release(&v);
}

static void the_spec_is_read(void **state)
{
    (void)state;
    struct pipeline_view v = {0};
    _cleanup_json_ cJSON *o = object_of(
        "{" STORE
        "\"runOn\":[\"SpecChange\",\"Schedule\"],\"schedule\":{\"cron\":\"0 2 * * *\",\"concurrencyPolicy\":\"Replace\",\"catchUp\":\"All\","
        "\"startingDeadlineSeconds\":60},\"retention\":{\"successful\":2,\"maxAgeSeconds\":3600},\"control\":{\"run\":\"rank-1\",\"stop\":\"Now\"}," STEPS
        "}",
        7);
    assert_true(pipeline_view_update(&v, o));
    if (!v.valid)
        fail_msg("%s", v.message);
    struct starting_spec s = pipeline_view_starting(&v, "rank");
    assert_true(s.on_change && s.on_schedule);
    assert_int_equal(s.concurrency, CONCURRENCY_REPLACE);
    assert_int_equal(s.catch_up, CATCH_UP_ALL);
    assert_int_equal(s.deadline_ms, 60000);
    assert_int_equal(s.generation, 7);
    assert_string_equal(s.zone, "UTC");
    assert_int_equal(v.retention.successful, 2);
    assert_int_equal(v.retention.failed, 10); /* the default */
    assert_int_equal(v.retention.max_age_ms, 3600 * 1000);
    assert_string_equal(pipeline_action_control_run(v.control), "rank-1");
    pipeline_view_release(&v);
}

/* --- the status ---------------------------------------------------------------------------------------------- */

static void status_there_and_back(void **state)
{
    (void)state;
    struct pipeline_status s = {.current_run = xstrdup("rank-4"),
                                .last_run = xstrdup("rank-3"),
                                .last_phase = xstrdup("Failed"),
                                .last_finished_ms = 1764547200000,
                                .last_successful = xstrdup("rank-2"),
                                .revision = xstrdup("rank-0123456789"),
                                .observed_control = xstrdup("rank-3/0123"),
                                .next_scheduled_ms = 1764550800000};
    s.memory =
        (struct starting_memory){.last_hash = xstrdup("A"),
                                 .last_scheduled_ms = 1764547200000,
                                 .cron = xstrdup("0 2 * * *"),
                                 .zone = xstrdup("UTC"),
                                 .since_ms = 1764547200123,
                                 .starting = {xstrdup("rank-4"), TRIGGER_SCHEDULE, xstrdup("A"),
                                              xstrdup("rank-0123456789"), 1764547200000},
                                 .pending = {xstrdup("rank-5"), TRIGGER_SPEC_CHANGE, xstrdup("waits")}};
    assert_true(pipeline_status_set_ready(&s, true, "fine", 4, 1764547200999));
    assert_false(pipeline_status_set_ready(&s, true, "fine", 5, 1764547299999));
    _cleanup_json_ cJSON *json = pipeline_status_write(&s);
    struct pipeline_status back;
    pipeline_status_read(json, &back);
    back.observed_generation = 5;
    _cleanup_json_ cJSON *again = pipeline_status_write(&back);
    if (!cJSON_Compare(json, again, true))
        fail_msg("%s\n%s", cJSON_Print(json), cJSON_Print(again));
    assert_int_equal(back.memory.starting.trigger, TRIGGER_SCHEDULE);
    assert_int_equal(back.memory.since_ms, 1764547200123);
    assert_int_equal(back.ready_since_ms, 1764547200000); /* when it turned, in whole seconds */
    assert_true(pipeline_status_set_ready(&back, false, "bad", 6, 1764547300000));
    assert_int_equal(back.ready_since_ms, 1764547300000);
    pipeline_status_release(&back);
    pipeline_status_release(&s);
    pipeline_status_read(NULL, &back); /* a pipeline that has none yet */
    assert_null(back.memory.last_hash);
    assert_false(back.ready);
    pipeline_status_release(&back);
}

static void which_run_is_which(void **state)
{
    (void)state;
    struct pipeline_status s = {0};
    const struct pipeline_status_run runs[] = {
        {"rank-1", PHASE_SUCCEEDED, 10, 100},
        {"rank-2", PHASE_FAILED, 20, 200},
        {"rank-3", PHASE_RUNNING, 30, 0},
        {"rank-4", PHASE_PENDING, 40, 0},
    };
    pipeline_status_observe(&s, runs, 4);
    assert_string_equal(s.current_run, "rank-4");
    assert_string_equal(s.last_run, "rank-2");
    assert_string_equal(s.last_phase, "Failed");
    assert_string_equal(s.last_successful, "rank-1");
    pipeline_status_observe(&s, NULL, 0); /* all deleted: what was last stays */
    assert_null(s.current_run);
    assert_string_equal(s.last_run, "rank-2");
    assert_string_equal(s.last_successful, "rank-1");
    pipeline_status_observe(&s, runs, 1); /* an older one is not the last */
    assert_string_equal(s.last_run, "rank-2");
    pipeline_status_release(&s);
}

/* --- what is sent -------------------------------------------------------------------------------------------- */

static void the_run_that_is_created(void **state)
{
    (void)state;
    const struct starting_run_record scheduled = {(char *)"rank-202603010200", TRIGGER_SCHEDULE, (char *)"A",
                                                  (char *)"rank-0123456789", 1772330400000};
    _cleanup_json_ cJSON *run = pipeline_action_run("team", "rank", "u-1", &scheduled);
    const cJSON *spec = cJSON_GetObjectItemCaseSensitive(run, "spec");
    assert_string_equal(kube_label(run, LABEL_TRIGGER), "Schedule");
    assert_string_equal(kube_annotation(run, ANNOTATION_SPEC_HASH), "A");
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(spec, "scheduledTime")->valuestring,
                        "2026-03-01T02:00:00Z");
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(spec, "revision")->valuestring, "rank-0123456789");
    struct run_spec decoded;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    assert_ok(run_decode_json(run, &decoded, &findings, &err), &err);
    assert_int_equal(decoded.scheduled_ms, 1772330400000);
    run_spec_release(&decoded);
    findings_release(&findings);
}

static void control_is_passed_on(void **state)
{
    (void)state;
#define A1 "{\"step\":\"gate\",\"by\":\"ann\"}"
#define A2 "{\"step\":\"gate\",\"by\":\"bob\",\"comment\":\"ok\"}"
    static const struct {
        const char *says, *control, *spec, *patch;
    } cases[] = {
        {"what is not said is left alone", "{\"run\":\"r\"}", "{\"suspend\":true,\"stop\":\"Now\"}", NULL},
        {"suspend", "{\"run\":\"r\",\"suspend\":true}", "{}", "{\"suspend\":true}"},
        {"already suspended", "{\"run\":\"r\",\"suspend\":true}", "{\"suspend\":true}", NULL},
        {"absent is not suspended", "{\"run\":\"r\",\"suspend\":false}", "{}", NULL},
        {"go on", "{\"run\":\"r\",\"suspend\":false}", "{\"suspend\":true}", "{\"suspend\":false}"},
        {"stop", "{\"run\":\"r\",\"stop\":\"Now\"}", "{\"stop\":\"Graceful\"}", "{\"stop\":\"Now\"}"},
        {"restart", "{\"run\":\"r\",\"restart\":{\"id\":\"2\",\"from\":[\"a\"]}}",
         "{\"restart\":{\"id\":\"1\",\"from\":[\"a\"]}}", "{\"restart\":{\"id\":\"2\",\"from\":[\"a\"]}}"},
        {"approvals are added", "{\"run\":\"r\",\"approvals\":[" A1 "," A2 "]}", "{\"approvals\":[" A1 "]}",
         "{\"approvals\":[" A1 "," A2 "]}"},
        {"none is taken away", "{\"run\":\"r\",\"approvals\":[" A2 "]}", "{\"approvals\":[" A1 "]}",
         "{\"approvals\":[" A1 "," A2 "]}"},
        {"all are there", "{\"run\":\"r\",\"approvals\":[" A1 "]}", "{\"approvals\":[" A2 "," A1 "]}", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_free_ char *text =
            xasprintf("{\"metadata\":{\"resourceVersion\":\"9\"},\"spec\":%s}", cases[i].spec);
        _cleanup_json_ cJSON *control = cJSON_Parse(cases[i].control), *run = cJSON_Parse(text),
                             *patch = pipeline_action_control_patch(control, run),
                             *expected = cases[i].patch ? cJSON_Parse(cases[i].patch) : NULL;
        const cJSON *found = cJSON_GetObjectItemCaseSensitive(patch, "spec");
        if (!expected != !patch || (expected && !cJSON_Compare(found, expected, true)))
            fail_msg("%s: %s", cases[i].says, patch ? cJSON_Print(patch) : "nothing");
        if (patch)
            assert_string_equal(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(patch,
                                                                                                  "metadata"),
                                                                 "resourceVersion")
                                    ->valuestring,
                                "9");
    }
    _cleanup_json_ cJSON *a = cJSON_Parse("{\"run\":\"r\",\"stop\":\"Now\"}"),
                         *b = cJSON_Parse("{\"stop\":\"Now\",\"run\":\"r\"}"),
                         *c = cJSON_Parse("{\"stop\":\"Now\"}");
    _cleanup_free_ char *ka = pipeline_action_control_key(a), *kb = pipeline_action_control_key(b),
                        *kc = pipeline_action_control_key(c), *kd = pipeline_action_control_key(NULL);
    assert_string_equal(ka, kb);
    assert_true(strncmp(ka, "r/", 2) == 0);
    assert_null(kc);
    assert_null(kd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"what is wrong with a spec is said with its field", what_is_wrong_is_said, NULL, NULL, NULL},
        {"many findings are cut and counted", many_findings_are_cut, NULL, NULL, NULL},
        {"what the spec says about starting and keeping runs", the_spec_is_read, NULL, NULL, NULL},
        {"the status, written and read", status_there_and_back, NULL, NULL, NULL},
        {"current, last and last successful run", which_run_is_which, NULL, NULL, NULL},
        {"the run that is created", the_run_that_is_created, NULL, NULL, NULL},
        {"control from Git", control_is_passed_on, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
