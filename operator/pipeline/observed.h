/* What a driver (operator, local runner, simulation) saw of the attempts it started. Strings are borrowed for the call.
 *
 * Initialise with OBSERVED_ATTEMPT_INIT and OBSERVED_POD_INIT: several fields have a "nothing" that is not 0.
 * Rules for drivers:
 *  - Report every attempt you know, ended ones too, until the run has finished. What plan() has recorded may be left out.
 *  - `gone` is a positive statement: the status names this attempt, and you know that nothing of it runs any more and that
 *    no more will be learnt about it. An attempt that is merely left out is "not seen yet": plan() repeats its START
 *    under the same name until it is seen, so carry START out idempotently (already running → do nothing). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pod_phase { POD_PENDING, POD_RUNNING, POD_SUCCEEDED, POD_FAILED };

struct observed_pod { /* or one local process */
    int worker;       /* completion index; worker 0 publishes */
    enum pod_phase phase;
    int exit_code;      /* of the container that decides; -1: none */
    int signal;         /* local runs; 0: none */
    const char *reason; /* pod or container reason: OOMKilled, Evicted, DeadlineExceeded, ImagePullBackOff,
                               CreateContainerConfigError, InvalidImageName, Unschedulable…; NULL */
    const char *disruption;          /* reason of the DisruptionTarget condition; NULL */
    const char *message;             /* termination message, as is; NULL: none */
    const char *detail;              /* the kubelet's or runner's own words, for the status message; NULL */
    int64_t started_ms, finished_ms; /* 0: not yet, or not known */
};
#define OBSERVED_POD_INIT ((struct observed_pod){.exit_code = -1})

struct observed_attempt { /* one Job, or one local process group */
    size_t step;
    int64_t item; /* fan-out index; 0 without */
    int restart, attempt;
    bool deleting;             /* being removed: no STOP is asked for again */
    bool gone;                 /* see above */
    bool suspended;            /* the Job is suspended (Kueue) */
    const char *job_condition; /* "FailureTarget" | "Failed" | "Complete"; NULL */
    int failed_rule;           /* index of the pod failure policy's rule from the Job's message; -1: none */
    int64_t created_ms;        /* 0: not known */
    int64_t completed_ms;      /* since when the condition is Complete; 0 or less: not known */
    const struct observed_pod *pods;
    size_t n_pods;
    /* From progress posts; all optional. */
    double progress;         /* 0…1, < 0: unknown */
    int64_t checkpoint_step; /* newest committed checkpoint, -1: none */
};
#define OBSERVED_ATTEMPT_INIT \
    ((struct observed_attempt){.failed_rule = -1, .progress = -1, .checkpoint_step = -1})

struct observed {
    const struct observed_attempt *attempts;
    size_t n;
};
