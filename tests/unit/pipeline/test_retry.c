/* Failure classes and back-off: which evidence means which class. */
#include "operator/pipeline/retry.h"

#include "common/base/limits.h"
#include "tests/unit/unit.h"

#define SAYS(sentence, function)             \
    {                                        \
        sentence, function, NULL, NULL, NULL \
    }
#define MINUTE 60000

struct pod_case {
    const char *says;
    struct observed_pod pod;
    bool job_suspended;
    int64_t age_ms;
    enum fail_class class_;
    const char *reason;
};

#define FAILED_WITH(code, ...)                              \
    {                                                       \
        .phase = POD_FAILED, .exit_code = code, __VA_ARGS__ \
    }
#define PENDING_FOR(why)                                     \
    {                                                        \
        .phase = POD_PENDING, .exit_code = -1, .reason = why \
    }
#define ERROR_65 \
    "{\"error\":{\"class\":\"user\",\"reason\":\"schema\",\"message\":\"column price is missing\"}}"

static const struct pod_case pod_cases[] = {
    {"a running pod has not failed", {.phase = POD_RUNNING, .exit_code = -1}, false, 0, FAIL_NONE, ""},
    {"usage is the user's", FAILED_WITH(64), false, 0, FAIL_USER, "exit-64"},
    {"bad data is the user's", FAILED_WITH(65), false, 0, FAIL_USER, "exit-65"},
    {"a missing input is the user's", FAILED_WITH(66), false, 0, FAIL_USER, "exit-66"},
    {"configuration is the user's", FAILED_WITH(78), false, 0, FAIL_USER, "exit-78"},
    {"service unavailable is infrastructure", FAILED_WITH(69), false, 0, FAIL_INFRASTRUCTURE, "exit-69"},
    {"input and output is infrastructure", FAILED_WITH(74), false, 0, FAIL_INFRASTRUCTURE, "exit-74"},
    {"try again is infrastructure", FAILED_WITH(75), false, 0, FAIL_INFRASTRUCTURE, "exit-75"},
    {"a software error is the application's", FAILED_WITH(70), false, 0, FAIL_APPLICATION, "exit-70"},
    {"exit 1 is the application's", FAILED_WITH(1), false, 0, FAIL_APPLICATION, "exit-1"},
    {"137 without OOMKilled is the application's", FAILED_WITH(137), false, 0, FAIL_APPLICATION, "exit-137"},
    {"a signal is the application's",
     {.phase = POD_FAILED, .exit_code = -1, .signal = 11},
     false,
     0,
     FAIL_APPLICATION,
     "signal-11"},
    {"the step's own reason is kept", FAILED_WITH(65, .message = ERROR_65), false, 0, FAIL_USER, "schema"},
    {"a message that is no result does not confuse", FAILED_WITH(75, .message = "Traceback:\n\xff"), false, 0,
     FAIL_INFRASTRUCTURE, "exit-75"},
    {"OOMKilled is memory", FAILED_WITH(137, .reason = "OOMKilled"), false, 0, FAIL_MEMORY, "OOMKilled"},
    {"DeadlineExceeded is a timeout of the application", FAILED_WITH(143, .reason = "DeadlineExceeded"),
     false, 0, FAIL_APPLICATION, "Timeout"},
    {"preemption by the scheduler", FAILED_WITH(143, .disruption = "PreemptionByScheduler"), false, 0,
     FAIL_PREEMPTION, "PreemptionByScheduler"},
    {"eviction by the API", FAILED_WITH(143, .disruption = "EvictionByEvictionAPI"), false, 0,
     FAIL_PREEMPTION, "EvictionByEvictionAPI"},
    {"deletion by the taint manager", FAILED_WITH(143, .disruption = "DeletionByTaintManager"), false, 0,
     FAIL_PREEMPTION, "DeletionByTaintManager"},
    {"a node that shuts down preempts",
     FAILED_WITH(143, .disruption = "TerminationByKubelet", .reason = "Terminated"), false, 0,
     FAIL_PREEMPTION, "NodeShutdown"},
    {"pressure on the node is infrastructure",
     FAILED_WITH(137, .disruption = "TerminationByKubelet", .reason = "Evicted"), false, 0,
     FAIL_INFRASTRUCTURE, "TerminationByKubelet"},
    {"pod garbage collection is infrastructure", FAILED_WITH(137, .disruption = "DeletionByPodGC"), false, 0,
     FAIL_INFRASTRUCTURE, "DeletionByPodGC"},
    {"an evicted pod without condition is infrastructure", FAILED_WITH(-1, .reason = "Evicted"), false, 0,
     FAIL_INFRASTRUCTURE, "Evicted"},
    {"a lost node is infrastructure", FAILED_WITH(-1, .reason = "NodeLost"), false, 0, FAIL_INFRASTRUCTURE,
     "NodeLost"},
    {"a pod that ends while its Job is suspended was preempted", FAILED_WITH(143), true, 0, FAIL_PREEMPTION,
     "QueueSuspended"},
    {"a missing Secret is the user's, at once", PENDING_FOR("CreateContainerConfigError"), false, 0,
     FAIL_USER, "CreateContainerConfigError"},
    {"an invalid image name is the user's", PENDING_FOR("InvalidImageName"), false, 0, FAIL_USER,
     "InvalidImageName"},
    {"an image is pulled for two minutes", PENDING_FOR("ImagePullBackOff"), false, 2 * MINUTE - 1, FAIL_NONE,
     ""},
    {"after two minutes a missing image is infrastructure", PENDING_FOR("ImagePullBackOff"), false,
     2 * MINUTE, FAIL_INFRASTRUCTURE, "ImagePullBackOff"},
    {"an unschedulable pod waits for its deadline", PENDING_FOR("Unschedulable"), false, 60 * MINUTE,
     FAIL_NONE, ""},
};

static void pods_are_classified(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pod_cases / sizeof *pod_cases; i++) {
        const struct pod_case *c = &pod_cases[i];
        struct verdict v;
        retry_classify_pod(&c->pod, c->job_suspended, 1000, 1000 + c->age_ms, &v);
        if (v.class_ != c->class_ || strcmp(v.reason, c->reason) != 0)
            fail_msg("%s: class \"%s\" reason \"%s\", expected \"%s\" \"%s\"", c->says,
                     fail_class_name(v.class_), v.reason, fail_class_name(c->class_), c->reason);
        if (c->class_ != FAIL_NONE && !*v.message)
            fail_msg("%s: no message", c->says);
    }
}

static void rules_stand_in_for_pods(void **state)
{
    (void)state;
    static const struct {
        int rule;
        enum fail_class class_;
    } cases[] = {{0, FAIL_PREEMPTION},
                 {1, FAIL_USER},
                 {2, FAIL_INFRASTRUCTURE},
                 {3, FAIL_APPLICATION},
                 {-1, FAIL_INFRASTRUCTURE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct verdict v;
        retry_classify_rule(cases[i].rule, &v);
        if (v.class_ != cases[i].class_)
            fail_msg("rule %d: class \"%s\", expected \"%s\"", cases[i].rule, fail_class_name(v.class_),
                     fail_class_name(cases[i].class_));
    }
}

static void exit_zero_needs_a_result(void **state)
{
    (void)state;
    static char large[LIMIT_RESULT_BYTES + 100];
    memset(large, ' ', sizeof large - 1);
    large[0] = '{';
    const struct {
        const char *says, *message;
        enum fail_class class_;
        const char *reason;
    } cases[] = {
        {"no message", NULL, FAIL_APPLICATION, "no-result"},
        {"an empty message", "", FAIL_APPLICATION, "no-result"},
        {"the end of a log", "done.\n", FAIL_APPLICATION, "no-result"},
        {"half a result", "{\"outputs\":{\"o\":\"aaaa", FAIL_USER, "result-truncated"},
        {"a digest that is none", "{\"outputs\":{\"o\":\"xyz\"},\"values\":{}}", FAIL_USER,
         "result-truncated"},
        {"too large a result", large, FAIL_USER, "result-too-large"},
        {"an error", ERROR_65, FAIL_APPLICATION, "result-is-error"},
        {"a result", "{\"outputs\":{},\"values\":{\"v\":1}}", FAIL_NONE, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct verdict v;
        struct result r;
        retry_classify_result(cases[i].message, &v, &r);
        if (v.class_ != cases[i].class_ || strcmp(v.reason, cases[i].reason) != 0)
            fail_msg("%s: class \"%s\" reason \"%s\", expected \"%s\" \"%s\"", cases[i].says,
                     fail_class_name(v.class_), v.reason, fail_class_name(cases[i].class_), cases[i].reason);
        result_release(&r);
    }
}

static void the_gravest_class_of_a_gang_wins(void **state)
{
    (void)state;
    static const enum fail_class rising[] = {FAIL_NONE,       FAIL_INFRASTRUCTURE, FAIL_APPLICATION,
                                             FAIL_PREEMPTION, FAIL_MEMORY,         FAIL_USER};
    for (size_t a = 0; a < 6; a++) {
        for (size_t b = 0; b < 6; b++) {
            struct verdict x = {.class_ = rising[a], .reason = "first"},
                           y = {.class_ = rising[b], .reason = "second"};
            retry_merge(&x, &y);
            assert_int_equal(x.class_, rising[a > b ? a : b]);
            assert_string_equal(x.reason, b > a ? "second" : "first");
        }
    }
}

static void back_off_doubles_within_bounds(void **state)
{
    (void)state;
    int64_t first = retry_backoff_ms(10000, 300000, 1, "uid", "train", 0, 1);
    bool varied = false;
    for (int attempt = 1; attempt <= 60; attempt++) {
        int64_t base = 10000;
        for (int k = 1; k < attempt && base < 300000; k++)
            base *= 2;
        base = base > 300000 ? 300000 : base;
        int64_t wait = retry_backoff_ms(10000, 300000, attempt, "uid", "train", 0, attempt);
        if (wait < base / 2 || wait > base)
            fail_msg("attempt %d waits %lld ms, expected %lld to %lld", attempt, (long long)wait,
                     (long long)base / 2, (long long)base);
        assert_int_equal(wait, retry_backoff_ms(10000, 300000, attempt, "uid", "train", 0, attempt));
        varied = varied || retry_backoff_ms(10000, 300000, 1, "uid", "train", attempt, 1) != first;
    }
    assert_true(varied);
    assert_int_equal(retry_backoff_ms(0, 300000, 3, "uid", "train", 0, 3), 0);
}

static void class_names_are_read_back(void **state)
{
    (void)state;
    for (int c = FAIL_INFRASTRUCTURE; c < FAIL_N; c++)
        assert_int_equal(fail_class_from_name(fail_class_name((enum fail_class)c)), c);
    assert_int_equal(fail_class_from_name("weather"), FAIL_NONE);
    assert_int_equal(fail_class_from_name(NULL), FAIL_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("pods are classified by their evidence", pods_are_classified),
        SAYS("the Job's rule stands in for pods that are gone", rules_stand_in_for_pods),
        SAYS("exit code 0 needs a valid result", exit_zero_needs_a_result),
        SAYS("the gravest class of a gang wins", the_gravest_class_of_a_gang_wins),
        SAYS("back-off doubles within bounds, the same every time", back_off_doubles_within_bounds),
        SAYS("class names are read back", class_names_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
