/* Why did an attempt end, and what follows: failure classes, budgets, back-off (design.md §3, "Failure has one, too").
 *
 * Exit codes: 64, 65, 66, 78 user; 69, 74, 75 infrastructure; any other and signals application. 66 with reason
 * artifact-missing asks for the producer to run again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/result.h"
#include "operator/pipeline/observed.h"

/* In rising precedence: the class of a failed gang is the highest of its pods'. */
enum fail_class {
    FAIL_NONE,
    FAIL_INFRASTRUCTURE,
    FAIL_APPLICATION,
    FAIL_PREEMPTION,
    FAIL_MEMORY,
    FAIL_USER,
    FAIL_N
};
const char *fail_class_name(enum fail_class c);         /* "infrastructure", …; "" for none */
enum fail_class fail_class_from_name(const char *name); /* FAIL_NONE if unknown */

struct verdict {
    enum fail_class class_;
    char reason[ERR_REASON_MAX]; /* identifier: "OOMKilled", "exit-65", "artifact-missing", "Timeout" */
    char message[1280];          /* a sentence for a person */
};

void verdict_set(struct verdict *v, enum fail_class class_, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

enum {
    RETRY_GANG_WAIT_MS = 10 * 1000,      /* for all pods of a failed gang to say why */
    RETRY_LOST_WAIT_MS = 15 * 1000,      /* for the pods of a complete Job, which come to us by another way */
    RETRY_IMAGE_PULL_MS = 2 * 60 * 1000, /* ImagePullBackOff becomes a failure */
    RETRY_PREEMPTION_MS = 5 * 1000,      /* least time between two preempted attempts */
    RETRY_PROGRESSLESS_MAX = 5,          /* preemptions in a row without a newer checkpoint */
    RETRY_UNCHARGED_MAX = 3,             /* attempts in a row whose message was gone */
};

/* A pod that ended badly, or never will start. FAIL_NONE: neither. `created_ms` of the attempt, for images that cannot be pulled. */
void retry_classify_pod(const struct observed_pod *pod, bool job_suspended, int64_t created_ms,
                        int64_t now_ms, struct verdict *ret);
/* A Job that failed and whose pods say nothing: by the pod failure policy's rule (0 disruption, 1 user, 2 infrastructure, 3 other). */
void retry_classify_rule(int failed_rule, struct verdict *ret);
/* Worker 0 left with exit code 0: FAIL_NONE and `ret_result` filled, or why it is no success. ret_result is set either way and wants
 * result_release(). */
void retry_classify_result(const char *message, struct verdict *ret, struct result *ret_result);
/* The higher of the two into `a`; the first of equals stays. */
void retry_merge(struct verdict *a, const struct verdict *b);

/* Exponential back-off without a random generator: attempt n of the class waits between half and all of
 * min(max, initial × 2ⁿ⁻¹), the place between them being a hash of run, step, item and attempt. n counts from 1. */
int64_t retry_backoff_ms(int64_t initial_ms, int64_t max_ms, int n, const char *run_uid, const char *step,
                         int64_t item, int attempt);
