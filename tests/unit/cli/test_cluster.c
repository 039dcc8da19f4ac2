/* What is made of objects of a cluster: runs as records, lists, logs that are read again and again, submissions. */
#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/cluster/listing.h"
#include "operator/cli/cluster/podlogs.h"
#include "operator/cli/cluster/submission.h"
#include "operator/cli/describe.h"
#include "operator/cli/location.h"
#include "tests/unit/unit.h"

#define META(name)                   \
    "\"metadata\":{\"name\":\"" name \
    "\",\"namespace\":\"ns\",\"uid\":\"u-1\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\"}"
#define RUN(status)                                                                                   \
    "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingRun\"," META(                      \
        "r-1") ",\"spec\":{\"pipeline\":\"p\",\"parameters\":[{\"name\":\"lr\",\"value\":\"0.2\"}]}," \
               "\"status\":" status "}"
#define SPEC                                                                                                             \
    "{\"store\":{\"url\":\"s3://bucket/p\"},\"parameters\":[{\"name\":\"lr\",\"type\":\"number\",\"default\":\"0.1\"}]," \
    "\"steps\":[{\"name\":\"a\",\"container\":{\"image\":\"x\"}},{\"name\":\"b\",\"after\":[\"a\"],\"approval\":{\"message\":\"ok?\"}}]}"
#define STATUS \
    "{\"phase\":\"Running\",\"revision\":\"p-0123456789\",\"steps\":[{\"name\":\"a\",\"state\":\"Succeeded\",\"attempt\":1},{\"name\":\"b\",\"state\":\"AwaitingApproval\"}]}"

static cJSON *parse(const char *text)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;
    assert_ok(json_parse(text, strlen(text), 1 << 20, &j, &err), &err);
    return j;
}

/* --- runs ----------------------------------------------------------------------------------------------- */

static void a_run_is_decoded_with_its_revision(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *run = parse(RUN(STATUS)),
                         *revision = parse("{" META("p-0123456789") ",\"data\":{\"spec\":" SPEC "}}");
    _cleanup_record_ struct record *r = NULL;
    assert_ok(clusterrun_decode(run, revision, NULL, &r, &err), &err);
    assert_string_equal(r->namespace_, "ns");
    assert_string_equal(r->spec.name, "r-1");
    assert_string_equal(r->spec.uid, "u-1");
    assert_string_equal(r->pipeline->name, "p");
    assert_int_equal(r->pipeline->steps[1].kind, STEP_APPROVAL);
    assert_int_equal(r->status.phase, PHASE_RUNNING);
    assert_int_equal(r->status.steps[1].state, STATE_AWAITING_APPROVAL);
    assert_string_equal(location_url(r->options.store), "s3://bucket/p");
    _cleanup_json_ cJSON *shown = describe_run(r, NULL);
    assert_string_equal(cluster_text(shown, "namespace", NULL), "ns");
    assert_string_equal(cluster_text(shown, "parameters", "lr"), "0.2");
    assert_false(cJSON_HasObjectItem(shown, "directory"));
    assert_null(describe_log_path(r, 0, 0, 0, 0));
}

static void without_a_fitting_pipeline_the_status_names_the_steps(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *
        run = parse(RUN(
           "{\"phase\":\"Failed\",\"steps\":[{\"name\":\"old\",\"state\":\"Failed\",\"attempt\":2,\"message\":\"fell\"}]}")),
       *pipeline = parse("{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingPipeline\"," META(
           "p") ",\"spec\":" SPEC "}");
    const cJSON *choices[] = {NULL, pipeline};
    for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
        _cleanup_record_ struct record *r = NULL;
        assert_ok(clusterrun_decode(run, NULL, choices[i], &r, &err), &err);
        assert_int_equal(r->status.n_steps, 1);
        assert_string_equal(r->pipeline->steps[0].name, "old");
        assert_int_equal(r->status.steps[0].items[0].attempt, 2);
    }
}

static void before_the_operator_looks_every_step_waits(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *run = parse(RUN("{}")),
                         *pipeline = parse(
                             "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingPipeline\"," META(
                                 "p") ",\"spec\":" SPEC "}");
    _cleanup_record_ struct record *r = NULL;
    assert_ok(clusterrun_decode(run, NULL, pipeline, &r, &err), &err);
    assert_int_equal(r->status.phase, PHASE_PENDING);
    assert_int_equal(r->status.n_steps, 2);
    assert_int_equal(r->status.steps[0].state, STATE_WAITING);
}

static void what_is_no_run_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct record *r = NULL;
    _cleanup_json_ cJSON *odd = parse(RUN("{\"phase\":\"Dreaming\"}")), *other = parse("{\"kind\":\"Pod\"}");
    assert_fails(clusterrun_decode(odd, NULL, NULL, &r, &err), &err, ERR_INVALID, "Dreaming");
    assert_fails(clusterrun_decode(other, NULL, NULL, &r, &err), &err, ERR_INVALID, "expected");
}

/* --- lists ------------------------------------------------------------------------------------------------ */

static void lists_show_what_matters(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *
        pipelines = json_array(),
       *runs = json_array(),
       *p = parse("{" META(
           "p") ",\"status\":{\"lastRun\":{\"name\":\"r-0\",\"phase\":\"Failed\"},\"currentRun\":\"r-1\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"message\":\"spec.steps[0]: no\"}]}}"),
       *r = parse("{" META(
           "r-1") ",\"spec\":{\"pipeline\":\"p\"},\"status\":{\"phase\":\"Running\",\"step\":\"a\",\"progress\":\"0/2\",\"started\":\"2026-01-01T00:00:10Z\"}}"),
       *fresh = parse("{" META(
           "r-2") ",\"spec\":{\"pipeline\":\"p\"},\"status\":{\"note\":\"waits for its revision\"}}");
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
    json_append(pipelines, listing_of_pipeline(p));
    json_append(runs, listing_run(fresh));
    json_append(runs, listing_run(r));
    listing_text(pipelines, runs, true, 1767225670000, &out); /* 2026-01-01T00:01:10Z */
    assert_string_equal(
        buf_str(&out),
        "NAMESPACE  PIPELINE  READY  CURRENT RUN  LAST RUN  LAST PHASE  NEXT SCHEDULED  AGE\n"
        "ns         p         False  r-1          r-0       Failed      -               1:10\n"
        "p is not ready: spec.steps[0]: no\n"
        "\n"
        "NAMESPACE  RUN  PIPELINE  PHASE    STEP  PROGRESS  TOOK  AGE   MESSAGE\n"
        "ns         r-2  p         Pending  -     -         -     1:10  waits for its revision\n"
        "ns         r-1  p         Running  a     0/2       1:00  1:10  -\n");
}

/* --- logs -------------------------------------------------------------------------------------------------- */

#define T(n) "2026-01-01T00:00:0" n ".000000000Z "

static void logs_read_again_repeat_nothing(void **state)
{
    (void)state;
    struct podlogs_position p = {0};
    _cleanup_buf_ struct buf out = BUF_INIT(4096);
    podlogs_take(&p, T("1") "one\n" T("2") "two\n" T("2") "two more\n", "", &out);
    /* The API server gives whole seconds again. */
    podlogs_take(&p, T("1") "one\n" T("2") "two\n" T("2") "two more\n", "", &out);
    assert_string_equal(buf_str(&out), "one\ntwo\ntwo more\n");
    podlogs_take(&p, T("2") "two\n" T("2") "two more\n" T("2") "of the same time\n" T("3") "\n" T("4") "four",
                 "[1] ", &out);
    assert_string_equal(buf_str(&out), "one\ntwo\ntwo more\n[1] of the same time\n[1] \n[1] four\n");
    podlogs_take(&p, "", "", &out);
    assert_int_equal(p.count, 1);
}

static void the_default_container_is_read(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *
        named = parse(
           "{\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/default-container\":\"step\"}},\"spec\":{\"containers\":[{\"name\":\"publish\"}]},"
           "\"status\":{\"phase\":\"Running\",\"initContainerStatuses\":[{\"name\":\"step\",\"state\":{\"terminated\":{}}}],\"containerStatuses\":[{\"name\":\"publish\",\"state\":{\"running\":{}}}]}}"),
       *plain =
           parse("{\"spec\":{\"containers\":[{\"name\":\"stage\"}]},\"status\":{\"phase\":\"Running\"}}"),
       *empty = parse("{}");
    assert_string_equal(podlogs_container(named), "step");
    assert_string_equal(podlogs_container(plain), "stage");
    assert_string_equal(podlogs_container(empty), "");
    assert_true(podlogs_ended(named, "step"));
    assert_false(podlogs_ended(named, "publish"));
    assert_false(podlogs_ended(plain, "stage"));
}

/* --- submissions ---------------------------------------------------------------------------------------------- */

static struct pipeline *decode(const char *spec)
{
    struct err err = ERR_INIT;
    struct findings findings = {0};
    struct pipeline *p = NULL;
    _cleanup_free_ char *text = xasprintf(
        "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingPipeline\",\"metadata\":{\"name\":\"p\"},\"spec\":%s}",
        spec);
    _cleanup_json_ cJSON *tree = parse(text);
    assert_ok(pipeline_decode_json(tree, &p, &findings, &err), &err);
    findings_release(&findings);
    return p;
}

static void only_what_people_write_is_sent(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *
        tree = parse(
           "{\"kind\":\"TrainingPipeline\",\"metadata\":{\"name\":\"p\",\"namespace\":\"old\",\"uid\":\"u\",\"resourceVersion\":\"7\",\"managedFields\":[],\"labels\":{\"a\":\"b\"}},\"spec\":{},\"status\":{\"phase\":\"x\"}}"),
       *body = submission_body(tree, "ns"),
       *expected = parse(
           "{\"kind\":\"TrainingPipeline\",\"metadata\":{\"name\":\"p\",\"labels\":{\"a\":\"b\"},\"namespace\":\"ns\"},\"spec\":{}}");
    assert_true(cJSON_Compare(body, expected, true));
}

static void the_operator_runs_changes_by_itself(void **state)
{
    (void)state;
    _cleanup_pipeline_ struct pipeline *
        p = decode(SPEC),
       *scheduled = decode(
           "{\"runOn\":[\"Schedule\"],\"schedule\":{\"cron\":\"0 2 * * *\"},\"steps\":[{\"name\":\"a\",\"container\":{\"image\":\"x\"}}]}");
    _cleanup_free_ char *text =
        xasprintf("{\"status\":{\"lastHash\":\"%s\",\"lastRun\":{\"name\":\"p-1\"}}}", p->hash);
    _cleanup_json_ cJSON *same = parse(text),
                         *other = parse("{\"status\":{\"lastHash\":\"x\",\"currentRun\":\"p-1\"}}"),
                         *starting = parse(text), *pending = parse(text);
    assert_true(submission_starts_itself(p, NULL));
    assert_true(submission_starts_itself(p, other));
    assert_false(submission_starts_itself(p, same));
    assert_false(submission_starts_itself(scheduled, NULL));
    cJSON *status = cJSON_GetObjectItemCaseSensitive(pending, "status"), *named = json_object();
    json_add_string(named, "name", "p-2");
    json_add(status, "pending", named);
    json_add_string(status, "currentRun", "p-1");
    status = cJSON_GetObjectItemCaseSensitive(starting, "status");
    named = json_object();
    json_add_string(named, "name", "p-3");
    json_add(status, "starting", named);
    assert_string_equal(submission_started(other, p->hash), "");
    assert_string_equal(submission_started(same, p->hash), "p-1");
    assert_string_equal(submission_started(pending, p->hash), "p-2");
    assert_string_equal(submission_started(starting, p->hash), "p-3");
}

static void queries_are_escaped(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf out = BUF_INIT(100);
    cluster_escape("a.b/c=d,e+ü~", &out);
    assert_string_equal(buf_str(&out), "a.b%2Fc%3Dd%2Ce%2B%C3%BC~");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_decoded_with_its_revision),
        cmocka_unit_test(without_a_fitting_pipeline_the_status_names_the_steps),
        cmocka_unit_test(before_the_operator_looks_every_step_waits),
        cmocka_unit_test(what_is_no_run_is_refused),
        cmocka_unit_test(lists_show_what_matters),
        cmocka_unit_test(logs_read_again_repeat_nothing),
        cmocka_unit_test(the_default_container_is_read),
        cmocka_unit_test(only_what_people_write_is_sent),
        cmocka_unit_test(the_operator_runs_changes_by_itself),
        cmocka_unit_test(queries_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
