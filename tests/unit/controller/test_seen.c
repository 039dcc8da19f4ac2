/* What the caches keep of objects, down to strange ones. */
#include "operator/controller/seen.h"

#include <string.h>

#include "operator/kube/answer.h"
#include "tests/unit/controller/objects.h"

/* --- pods --------------------------------------------------------------------------------------------------------- */

#define ENDED(name, code, reason, message)                                                         \
    "{\"name\":\"" name "\",\"state\":{\"terminated\":{\"exitCode\":" code ",\"reason\":\"" reason \
    "\",\"message\":\"" message                                                                    \
    "\",\"startedAt\":\"2026-11-20T02:00:00Z\",\"finishedAt\":\"2026-11-20T02:00:09Z\"}}}"
#define RUNNING(name) \
    "{\"name\":\"" name "\",\"state\":{\"running\":{\"startedAt\":\"2026-11-20T02:00:00Z\"}}}"
#define WAITING(name, reason, message) \
    "{\"name\":\"" name "\",\"state\":{\"waiting\":{\"reason\":\"" reason "\",\"message\":\"" message "\"}}}"
#define INIT(a) "\"initContainerStatuses\":[" a "]"
#define INITS(a, b) "\"initContainerStatuses\":[" a "," b "]"
#define MAIN(a) "\"containerStatuses\":[" a "]"

struct pod_case {
    const char *says, *phase, *status; /* of the API; further fields of status */
    enum pod_phase expected;
    int exit_code;
    const char *reason, *message, *disruption;
};

static const struct pod_case pods[] = {
    {"nothing is known yet", "Pending", "\"x\":0", POD_PENDING, -1, NULL, NULL, NULL},
    {"unschedulable", "Pending",
     "\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\",\"message\":\"0/1 "
     "nodes\"}]",
     POD_PENDING, -1, "Unschedulable", NULL, NULL},
    {"being created is nothing to speak of", "Pending", MAIN(WAITING("step", "ContainerCreating", "")),
     POD_PENDING, -1, NULL, NULL, NULL},
    {"the image cannot be pulled", "Pending", MAIN(WAITING("step", "ImagePullBackOff", "no such image")),
     POD_PENDING, -1, "ImagePullBackOff", NULL, NULL},
    {"a helper works: the API still says Pending", "Pending",
     INITS(RUNNING("fetch"), WAITING("step", "PodInitializing", "")), POD_RUNNING, -1, NULL, NULL, NULL},
    {"the step's image cannot be pulled, after its helper has worked", "Pending",
     INITS(ENDED("fetch", "0", "Completed", ""), WAITING("step", "ImagePullBackOff", "no such image")),
     POD_PENDING, -1, "ImagePullBackOff", NULL, NULL},
    {"between init containers", "Pending",
     INITS(ENDED("fetch", "0", "Completed", ""), WAITING("step", "PodInitializing", "")), POD_RUNNING, -1,
     NULL, NULL, NULL},
    {"success: the result is the main container's", "Succeeded",
     INITS(ENDED("fetch", "0", "Completed", "no"),
           ENDED("step", "0", "Completed", "no")) "," MAIN(ENDED("publish", "0", "Completed", "{}")),
     POD_SUCCEEDED, 0, "Completed", "{}", NULL},
    {"the first failed container decides", "Failed",
     INITS(ENDED("fetch", "0", "Completed", ""),
           ENDED("step", "65", "Error", "bad rows")) "," MAIN(WAITING("publish", "PodInitializing", "")),
     POD_FAILED, 65, "Error", "bad rows", NULL},
    {"memory, in an init container", "Failed", INIT(ENDED("step", "137", "OOMKilled", "")), POD_FAILED, 137,
     "OOMKilled", NULL, NULL},
    {"a sidecar's end does not count", "Failed",
     INITS(ENDED("checkpoint", "143", "Error", "side"), ENDED("step", "1", "Error", "main")), POD_FAILED, 1,
     "Error", "main", NULL},
    {"the pod's own reason says more", "Failed",
     "\"reason\":\"DeadlineExceeded\"," MAIN(ENDED("step", "137", "Error", "")), POD_FAILED, 137,
     "DeadlineExceeded", NULL, NULL},
    {"a node that never ran it", "Failed", "\"reason\":\"UnexpectedAdmissionError\"", POD_FAILED, -1,
     "UnexpectedAdmissionError", NULL, NULL},
    {"preempted", "Failed",
     "\"conditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"True\",\"reason\":\"PreemptionByScheduler\"}]," MAIN(
         ENDED("step", "143", "Error", "")),
     POD_FAILED, 143, "Error", NULL, "PreemptionByScheduler"},
    {"a disruption that was called off", "Failed",
     "\"conditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"False\",\"reason\":\"X\"}]," MAIN(
         ENDED("step", "1", "Error", "")),
     POD_FAILED, 1, "Error", NULL, NULL},
};

static struct seen_pod *pod_of(const char *metadata, const char *phase, const char *status)
{
    _cleanup_free_ char *text = xasprintf(
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"labels\":{\"trainyard.dev/run-uid\":\"r\"},"
        "\"annotations\":{\"batch.kubernetes.io/job-completion-index\":\"2\"},"
        "\"ownerReferences\":[{\"uid\":\"j\",\"kind\":\"Job\",\"name\":\"job\",\"controller\":true}]%s},"
        "\"spec\":{\"initContainers\":[{\"name\":\"fetch\",\"env\":[{\"name\":\"A\"}],\"resources\":{}},"
        "{\"name\":\"checkpoint\",\"volumeMounts\":[],\"restartPolicy\":\"Always\"},{\"name\":\"step\"}],"
        "\"containers\":[{\"name\":\"publish\"}],\"volumes\":[{\"name\":\"w\"}]},\"status\":{\"phase\":\"%s\",%s}}",
        metadata, phase, status);
    (void)kube_cut_members(text, strlen(text), seen_pod_unread); /* as the reflector does */
    assert_null(strstr(text, "publish\"}],\"volumes"));
    _cleanup_json_ cJSON *object = object_of(text);
    return seen_pod_trim(NULL, object);
}

#define assert_text(says, what, found, expected)                                                    \
    do {                                                                                            \
        if (!text_equal(found, expected))                                                           \
            fail_msg("%s: %s: expected %s, found %s", says, what, (expected) ? (expected) : "none", \
                     (found) ? (found) : "none");                                                   \
    } while (0)

static void pods_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pods / sizeof *pods; i++) {
        const struct pod_case *c = &pods[i];
        struct seen_pod *p = pod_of("", c->phase, c->status);
        if (p->view.phase != c->expected || p->view.exit_code != c->exit_code)
            fail_msg("%s: expected phase %d, exit %d, found %d, %d", c->says, c->expected, c->exit_code,
                     p->view.phase, p->view.exit_code);
        assert_text(c->says, "reason", p->view.reason, c->reason);
        assert_text(c->says, "disruption", p->view.disruption, c->disruption);
        if (c->expected != POD_PENDING)
            assert_text(c->says, "message", p->view.message, c->message);
        assert_int_equal(p->view.worker, 2);
        assert_string_equal(p->job_uid, "j");
        assert_string_equal(p->run_uid, "r");
        seen_pod_free(p);
    }
}

static void a_deleted_pod_keeps_why(void **state)
{
    (void)state;
    struct seen_pod *p =
        pod_of(",\"deletionTimestamp\":\"2026-11-20T02:01:00Z\"", "Running",
               "\"conditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"True\",\"reason\":"
               "\"DeletionByTaintManager\"}]," MAIN(RUNNING("publish")));
    assert_int_equal(p->view.phase, POD_RUNNING);
    assert_true(p->kill_ms == 1795140060000 && p->meta.deleting);
    assert_string_equal(p->view.disruption, "DeletionByTaintManager");
    seen_pod_free(p);
    p = pod_of(",\"deletionTimestamp\":\"2026-11-20T02:01:00Z\"", "Failed",
               MAIN(ENDED("publish", "143", "Error", "")));
    assert_string_equal(p->view.disruption, "PodDeleted"); /* not the program's fault */
    seen_pod_free(p);
    p = pod_of(",\"deletionTimestamp\":\"2026-11-20T02:01:00Z\"", "Failed",
               MAIN(ENDED("publish", "65", "Error", "")));
    assert_null(p->view.disruption); /* it had its own reason to end */
    seen_pod_free(p);
}

/* --- Jobs --------------------------------------------------------------------------------------------------------- */

static struct seen_job *job_of(const char *labels, const char *spec, const char *status)
{
    _cleanup_free_ char *text = xasprintf(
        "{\"metadata\":{\"name\":\"j\",\"namespace\":\"n\",\"uid\":\"u\",\"labels\":{%s},"
        "\"ownerReferences\":[{\"uid\":\"r\",\"kind\":\"TrainingRun\",\"name\":\"run\",\"controller\":true}]},"
        "\"spec\":{\"template\":{\"spec\":{\"containers\":[]}}%s%s},\"status\":{%s}}",
        labels, *spec ? "," : "", spec, status);
    (void)kube_cut_members(text, strlen(text), seen_job_unread);
    assert_null(strstr(text, "template"));
    _cleanup_json_ cJSON *object = object_of(text);
    return seen_job_trim(NULL, object);
}

static void jobs_are_read(void **state)
{
    (void)state;
    struct seen_job *j = job_of(
        "\"trainyard.dev/run-uid\":\"r\",\"trainyard.dev/step\":\"train\",\"trainyard.dev/index\":\"12\","
        "\"trainyard.dev/restart\":\"1\",\"trainyard.dev/attempt\":\"3\"",
        "\"parallelism\":4,\"suspend\":true",
        "\"active\":1,\"terminating\":2,\"conditions\":[{\"type\":\"Suspended\",\"status\":\"True\"},"
        "{\"type\":\"FailureTarget\",\"status\":\"True\",\"message\":\"Container step for pod n/p failed with exit "
        "code 65 matching FailJob rule at index 1\"}]");
    assert_string_equal(j->run, "run");
    assert_string_equal(j->step, "train");
    assert_true(j->item == 12 && j->restart == 1 && j->attempt == 3 && j->workers == 4 && j->active == 3);
    assert_true(j->suspended);
    assert_string_equal(j->condition, "FailureTarget");
    assert_int_equal(j->failed_rule, 1);
    seen_job_free(j);
}

static void the_final_condition_wins(void **state)
{
    (void)state;
    struct seen_job *j = job_of("", "",
                                "\"conditions\":[{\"type\":\"FailureTarget\",\"status\":\"True\"},"
                                "{\"type\":\"Failed\",\"status\":\"True\",\"message\":\"BackoffLimit\"}]");
    assert_string_equal(j->condition, "Failed");
    assert_int_equal(j->failed_rule, -1);
    seen_job_free(j);
    j = job_of("\"trainyard.dev/attempt\":\"-3\",\"trainyard.dev/index\":\"x\"", "",
               "\"conditions\":[{\"type\":\"Complete\",\"status\":\"False\"}]");
    assert_null(j->condition);
    assert_true(j->attempt == 0 && j->item == 0 && j->workers == 1);
    seen_job_free(j);
}

/* --- runs, pipelines ------------------------------------------------------------------------------------------------- */

static struct seen_run *run_of(const char *generation, const char *status)
{
    _cleanup_free_ char *text = xasprintf(
        "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingRun\",\"metadata\":{\"name\":\"r\","
        "\"namespace\":\"n\",\"uid\":\"u\",\"generation\":%s,\"creationTimestamp\":\"2026-11-20T02:00:00Z\","
        "\"managedFields\":[{\"manager\":\"kubectl\"}]},\"spec\":{\"pipeline\":\"p\",\"revision\":\"p-1\"},"
        "\"status\":%s}",
        generation, status);
    _cleanup_json_ cJSON *object = object_of(text);
    return seen_run_trim(NULL, object);
}

static void a_settled_run_is_small(void **state)
{
    (void)state;
    struct seen_run *r =
        run_of("1",
               "{\"phase\":\"Succeeded\",\"observedGeneration\":1,\"finished\":\"2026-11-20T02:00:09Z\"}");
    assert_true(r->settled && !r->text && r->phase == PHASE_SUCCEEDED);
    assert_true(r->finished_ms - r->scheduled_ms == 9000);
    seen_run_free(r);
    /* Its spec asks for something new: a restart. */
    r = run_of("2", "{\"phase\":\"Succeeded\",\"observedGeneration\":1}");
    assert_true(!r->settled && r->text);
    assert_null(strstr(r->text, "managedFields"));
    seen_run_free(r);
}

static void a_run_without_status_is_pending(void **state)
{
    (void)state;
    struct seen_run *r = run_of("1", "null");
    assert_true(!r->settled && r->text && r->phase == PHASE_PENDING && r->finished_ms == 0);
    assert_string_equal(r->pipeline, "p");
    assert_string_equal(r->revision, "p-1");
    seen_run_free(r);
    r = run_of("1", "{\"revision\":\"p-2\",\"phase\":\"Unheard\"}");
    assert_string_equal(r->revision, "p-2"); /* the one that is executed */
    assert_int_equal(r->phase, PHASE_PENDING);
    seen_run_free(r);
}

static void strange_objects_are_read_too(void **state)
{
    static const char *const strange[] = {
        "{}",
        "[]",
        "null",
        "{\"metadata\":[]}",
        "{\"metadata\":{\"labels\":3,\"ownerReferences\":{}},\"status\":7}",
        "{\"status\":{\"conditions\":{\"a\":1},\"containerStatuses\":[null,{\"state\":[]}],\"phase\":3}}",
        "{\"spec\":{\"initContainers\":[1]},\"status\":{\"phase\":\"Failed\",\"initContainerStatuses\":[{}]}}"};
    (void)state;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        _cleanup_json_ cJSON *object = object_of(strange[i]);
        seen_pod_free(seen_pod_trim(NULL, object));
        seen_job_free(seen_job_trim(NULL, object));
        seen_run_free(seen_run_trim(NULL, object));
        seen_pipeline_free(seen_pipeline_trim(NULL, object));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pods_are_read),
        cmocka_unit_test(a_deleted_pod_keeps_why),
        cmocka_unit_test(jobs_are_read),
        cmocka_unit_test(the_final_condition_wins),
        cmocka_unit_test(a_settled_run_is_small),
        cmocka_unit_test(a_run_without_status_is_pending),
        cmocka_unit_test(strange_objects_are_read_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
