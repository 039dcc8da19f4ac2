/* Failure classes, budgets' back-off: see retry.h. */
#include "operator/pipeline/retry.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/limits.h"
#include "common/base/text.h"

static const char *const class_names[FAIL_N] = {
    [FAIL_NONE] = "",
    [FAIL_INFRASTRUCTURE] = "infrastructure",
    [FAIL_APPLICATION] = "application",
    [FAIL_PREEMPTION] = "preemption",
    [FAIL_MEMORY] = "memory",
    [FAIL_USER] = "user",
};

const char *fail_class_name(enum fail_class c)
{
    return class_names[c];
}

enum fail_class fail_class_from_name(const char *name)
{
    for (int c = FAIL_INFRASTRUCTURE; c < FAIL_N; c++)
        if (text_equal(name, class_names[c]))
            return (enum fail_class)c;
    return FAIL_NONE;
}

void verdict_set(struct verdict *v, enum fail_class class_, const char *reason, const char *fmt, ...)
{
    v->class_ = class_;
    (void)snprintf(v->reason, sizeof v->reason, "%s", reason);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(v->message, sizeof v->message, fmt, ap);
    va_end(ap);
}

void retry_merge(struct verdict *a, const struct verdict *b)
{
    if (b->class_ > a->class_)
        *a = *b;
}

static enum fail_class class_of_exit(int exit_code)
{
    switch (exit_code) {
    case EXITCODE_USAGE:
    case EXITCODE_DATA:
    case EXITCODE_NOINPUT:
    case EXITCODE_CONFIG:
        return FAIL_USER;
    case EXITCODE_UNAVAILABLE:
    case EXITCODE_IO:
    case EXITCODE_TEMPFAIL:
        return FAIL_INFRASTRUCTURE;
    default:
        return FAIL_APPLICATION;
    }
}

/* --- pods that cannot start ---------------------------------------------------------------------- */

static bool any_of(const char *reason, const char *const *list)
{
    for (size_t i = 0; list[i]; i++)
        if (text_equal(reason, list[i]))
            return true;
    return false;
}

static void classify_waiting(const struct observed_pod *pod, int64_t created_ms, int64_t now_ms,
                             struct verdict *ret)
{
    static const char *const hopeless[] = {"CreateContainerConfigError", "InvalidImageName", NULL};
    static const char *const pulling[] = {"ImagePullBackOff", "ErrImagePull", "ImageInspectError",
                                          "RegistryUnavailable", NULL};
    if (!pod->reason)
        return;
    const char *detail = pod->detail ? pod->detail : "no detail given";
    if (any_of(pod->reason, hopeless))
        verdict_set(
            ret, FAIL_USER, pod->reason,
            "the pod cannot start: %s; correct the image name, or create the Secret or ConfigMap it names",
            detail);
    else if (any_of(pod->reason, pulling) && created_ms > 0 && now_ms - created_ms >= RETRY_IMAGE_PULL_MS)
        verdict_set(ret, FAIL_INFRASTRUCTURE, pod->reason, "the image could not be pulled within %d s: %s",
                    RETRY_IMAGE_PULL_MS / 1000, detail);
}

/* --- pods that ended ------------------------------------------------------------------------------- */

/* The kubelet says TerminationByKubelet both for pressure on the node and for a node that shuts down. */
static void classify_disruption(const struct observed_pod *pod, struct verdict *ret)
{
    static const char *const preempting[] = {"PreemptionByScheduler", "EvictionByEvictionAPI",
                                             "DeletionByTaintManager", NULL};
    static const char *const shutdown[] = {"Terminated", "NodeShutdown", "Shutdown", NULL};
    const char *detail = pod->detail ? pod->detail : pod->disruption;
    if (any_of(pod->disruption, preempting))
        verdict_set(ret, FAIL_PREEMPTION, pod->disruption, "the pod was preempted: %s", detail);
    else if (any_of(pod->reason, shutdown))
        verdict_set(ret, FAIL_PREEMPTION, "NodeShutdown", "the node was shut down: %s", detail);
    else
        verdict_set(ret, FAIL_INFRASTRUCTURE, pod->disruption, "the pod was taken from its node: %s", detail);
}

/* What the step itself said, if it left a result with an error in it. */
static bool classify_by_step(const struct observed_pod *pod, struct verdict *ret)
{
    if (!pod->message || !*pod->message)
        return false;
    _cleanup_result_ struct result r = {0};
    struct err err = ERR_INIT;
    if (result_parse(pod->message, strlen(pod->message), &r, &err) < 0 || !r.failed)
        return false;
    char plain[ERR_REASON_MAX];
    (void)snprintf(plain, sizeof plain, "exit-%d", pod->exit_code);
    verdict_set(ret, class_of_exit(pod->exit_code), r.error_reason[0] ? r.error_reason : plain, "%s",
                r.error_message[0] ? r.error_message : plain);
    return true;
}

/* Not strsignal(): it has a buffer of its own and speaks the locale's language. */
static const char *signal_name(int signal)
{
    const char *name = sigabbrev_np(signal);
    return name ? name : "unknown";
}

static void classify_exit(const struct observed_pod *pod, struct verdict *ret)
{
    char reason[ERR_REASON_MAX];
    if (pod->signal > 0) {
        (void)snprintf(reason, sizeof reason, "signal-%d", pod->signal);
        verdict_set(ret, FAIL_APPLICATION, reason, "the process was ended by signal %d (%s)%s%s", pod->signal,
                    signal_name(pod->signal), pod->detail ? ": " : "", pod->detail ? pod->detail : "");
        return;
    }
    if (classify_by_step(pod, ret))
        return;
    /* Helpers fall back to the end of their log as message: the best there is. */
    const char *words = pod->message && *pod->message ? pod->message
                        : pod->detail                 ? pod->detail
                                                      : "it left no message; see its log";
    if (pod->exit_code < 0) {
        verdict_set(ret, FAIL_INFRASTRUCTURE, pod->reason ? pod->reason : "PodFailed",
                    "the pod failed without an exit code: %s", words);
        return;
    }
    (void)snprintf(reason, sizeof reason, "exit-%d", pod->exit_code);
    verdict_set(ret, class_of_exit(pod->exit_code), reason, "exit code %d: %.800s", pod->exit_code, words);
}

void retry_classify_pod(const struct observed_pod *pod, bool job_suspended, int64_t created_ms,
                        int64_t now_ms, struct verdict *ret)
{
    *ret = (struct verdict){0};
    if (pod->phase == POD_PENDING)
        classify_waiting(pod, created_ms, now_ms, ret);
    if (pod->phase != POD_FAILED)
        return;
    if (text_equal(pod->reason, "OOMKilled"))
        verdict_set(
            ret, FAIL_MEMORY, "OOMKilled",
            "the step used more memory than it was given: raise resources.memory, or retry.memory.max%s%s",
            pod->detail ? ": " : "", pod->detail ? pod->detail : "");
    else if (text_equal(pod->reason, "DeadlineExceeded"))
        verdict_set(
            ret, FAIL_APPLICATION, "Timeout",
            "the attempt ran longer than its timeoutSeconds: raise it, or see in its log where it hangs");
    else if (pod->disruption)
        classify_disruption(pod, ret);
    else if (job_suspended)
        verdict_set(ret, FAIL_PREEMPTION, "QueueSuspended", "the queue took the attempt's place back");
    else if (text_equal(pod->reason, "Evicted"))
        verdict_set(ret, FAIL_INFRASTRUCTURE, "Evicted", "the node was short of resources: %s",
                    pod->detail ? pod->detail : "no detail given");
    else if (text_equal(pod->reason, "NodeLost"))
        verdict_set(ret, FAIL_INFRASTRUCTURE, "NodeLost", "the node was lost");
    else
        classify_exit(pod, ret);
}

void retry_classify_rule(int failed_rule, struct verdict *ret)
{
    *ret = (struct verdict){0};
    switch (failed_rule) {
    case 0:
        verdict_set(ret, FAIL_PREEMPTION, "DisruptionTarget",
                    "the Job failed because a pod was disrupted; the pod itself is gone");
        break;
    case 1:
        verdict_set(
            ret, FAIL_USER, "exit-user",
            "the Job failed with an exit code among 64, 65, 66 and 78; the pod itself is gone, see the kept log");
        break;
    case 2:
        verdict_set(
            ret, FAIL_INFRASTRUCTURE, "exit-infrastructure",
            "the Job failed with an exit code among 69, 74 and 75; the pod itself is gone, see the kept log");
        break;
    case 3:
        verdict_set(ret, FAIL_APPLICATION, "exit-other",
                    "the Job failed with another exit code; the pod itself is gone, see the kept log");
        break;
    default:
        verdict_set(ret, FAIL_INFRASTRUCTURE, "JobFailed",
                    "the Job failed and nothing is left that says why");
        break;
    }
}

/* --- success ------------------------------------------------------------------------------------------ */

void retry_classify_result(const char *message, struct verdict *ret, struct result *ret_result)
{
    *ret = (struct verdict){0};
    *ret_result = (struct result){0};
    size_t len = message ? strlen(message) : 0;
    if (len == 0 || message[0] != '{') {
        verdict_set(ret, FAIL_APPLICATION, "no-result",
                    "exit code 0 without a result: expected a JSON object as termination message, found %s",
                    len == 0 ? "none" : "other text");
        return;
    }
    if (len > LIMIT_RESULT_BYTES) {
        verdict_set(ret, FAIL_USER, REASON_RESULT_TOO_LARGE,
                    "the result has %zu bytes, at most %d are allowed: name fewer or shorter values", len,
                    LIMIT_RESULT_BYTES);
        return;
    }
    struct err err = ERR_INIT;
    if (result_parse(message, len, ret_result, &err) < 0) {
        verdict_set(
            ret, FAIL_USER, REASON_RESULT_TRUNCATED,
            "the result cannot be read (%s); with many containers in the pod its share of the message is small",
            err.msg);
        return;
    }
    if (ret_result->failed)
        verdict_set(ret, FAIL_APPLICATION, "result-is-error", "exit code 0, but the result says: %s",
                    ret_result->error_message);
}

/* --- back-off ------------------------------------------------------------------------------------------ */

int64_t retry_backoff_ms(int64_t initial_ms, int64_t max_ms, int n, const char *run_uid, const char *step,
                         int64_t item, int attempt)
{
    if (initial_ms <= 0)
        return 0;
    int64_t base = initial_ms;
    for (int i = 1; i < n && base < max_ms; i++)
        base *= 2;
    if (max_ms > 0 && base > max_ms)
        base = max_ms;
    _cleanup_buf_ struct buf b = BUF_INIT(1024);
    (void)buf_addf(&b, "%s/%s/%lld/%d", run_uid ? run_uid : "", step, (long long)item, attempt);
    uint64_t h = xxh64(buf_str(&b), b.len, 0);
    return base - (int64_t)(h % (uint64_t)(base / 2 + 1));
}
