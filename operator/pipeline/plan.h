/* plan(spec, observed, now) → actions + status: the one planner of operator, `trainyard run`, lint, plan and the simulation.
 *
 * Pure: no I/O, no clock, no randomness, no environment (the linker proves it). The driver (operator, local runner) observes
 * attempts, calls plan(), stores the status it returns, and only then carries the actions out. Killed at any moment, the driver
 * observes again and gets the same answer. `observed` may lag or repeat; it never needs to be complete for finished work, for a
 * finished attempt is in the status. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/result.h"
#include "operator/pipeline/pipeline.h"

/* --- what the driver saw ---------------------------------------------------------------------- */

enum pod_phase { POD_PENDING, POD_RUNNING, POD_SUCCEEDED, POD_FAILED };
enum fail_class { FAIL_NONE, FAIL_INFRASTRUCTURE, FAIL_APPLICATION, FAIL_PREEMPTION, FAIL_MEMORY, FAIL_USER }; /* rising precedence in a gang */
const char *fail_class_name(enum fail_class c);

struct observed_pod {
    int worker; /* completion index */
    enum pod_phase phase;
    int exit_code;       /* of the container that decides; -1: none */
    int signal;          /* local runs; 0: none */
    const char *reason;  /* pod or container reason: OOMKilled, Evicted, ImagePullBackOff, CreateContainerConfigError, Unschedulable…; NULL */
    const char *disruption; /* reason of the DisruptionTarget condition; NULL */
    const char *message; /* termination message, as is; NULL: none */
    const char *detail;  /* the kubelet's own words, for the status message; NULL */
    int64_t started_ms, finished_ms; /* 0: not yet */
};
struct observed_attempt { /* one Job, or one local process group */
    size_t step;
    int64_t item; /* fan-out index; 0 without */
    int restart, attempt;
    bool deleting;      /* being removed */
    bool gone;          /* was started (it is in the status) and does not exist any more */
    bool suspended;     /* Job suspended (Kueue) */
    const char *job_condition; /* "FailureTarget" | "Failed" | "Complete"; NULL */
    int failed_rule;    /* index of the pod failure policy's rule from the Job's message; -1 */
    int64_t created_ms;
    const struct observed_pod *pods;
    size_t n_pods;
    /* From progress posts; all optional. */
    double progress;       /* 0…1, < 0: unknown */
    int64_t checkpoint_step; /* newest committed checkpoint, -1: none */
};
struct observed {
    const struct observed_attempt *attempts;
    size_t n;
};

/* --- status: the run's database ----------------------------------------------------------------- */

enum step_state { STATE_WAITING, STATE_READY, STATE_RUNNING, STATE_RETRYING, STATE_SUCCEEDED, STATE_CACHED, STATE_SKIPPED, STATE_FAILED, STATE_STOPPED, STATE_AWAITING_APPROVAL };
const char *step_state_name(enum step_state s);

struct item_status { /* one per fan-out item; one per step without fan-out */
    enum step_state state;
    int restart, attempt;          /* newest attempt, 0: none yet */
    int charged[6];                /* failures charged, by fail_class */
    int progressless_preemptions;
    int uncharged;                 /* attempts whose message was gone, in a row */
    int64_t memory_bytes;          /* after OOM growth; 0: as written */
    enum fail_class fail;
    char *reason, *message;        /* why it waits, failed, hit or missed the cache; NULL */
    int64_t started_ms, finished_ms, attempt_started_ms, retry_at_ms;
    double progress;
    int64_t checkpoint_step, checkpoint_at_start;
    double gpu_seconds_used, gpu_seconds_wasted;
    /* When done: where the result is. */
    cJSON *outputs; /* name → digest; NULL */
    cJSON *values;  /* NULL */
    char *from_run; /* producer's run UID (another run's on a cache hit) */
    char *from_step;
    int64_t from_item;
    int from_restart;
    char *cache_key;     /* hex, pure steps */
    cJSON *cache_parts;  /* what went into the key, by name → digest, for explanations */
};
struct step_status {
    char *name;
    enum step_state state; /* summary over items */
    struct item_status *items;
    size_t n_items;
    bool expanded; /* items are known */
};
enum run_phase { PHASE_PENDING, PHASE_RUNNING, PHASE_SUSPENDED, PHASE_STOPPING, PHASE_FINALLY, PHASE_SUCCEEDED, PHASE_FAILED, PHASE_STOPPED };
const char *run_phase_name(enum run_phase p);
struct run_status {
    enum run_phase phase;
    char *reason, *message;
    int64_t started_ms, finished_ms;
    int64_t clock_ms;       /* run time counted so far (stands still while suspended or waiting for approval) */
    int64_t observed_at_ms; /* `now` of the plan that wrote this */
    char *observed_restart; /* id acted upon */
    struct step_status *steps;
    size_t n_steps;
};
void run_status_init(struct run_status *s);
void run_status_release(struct run_status *s);
bool run_phase_finished(enum run_phase p);
/* JSON form: TrainingRun.status, and the local run record. */
int run_status_to_json(const struct run_status *s, cJSON **ret, struct err *err);
int run_status_from_json(const cJSON *json, const struct pipeline *p, struct run_status *ret, struct err *err);

/* --- what to do --------------------------------------------------------------------------------- */

enum action_kind {
    ACTION_START, /* start the attempt `job` describes */
    ACTION_STOP,  /* end a running attempt: SIGTERM, then SIGKILL after the grace period (operator: delete the Job) */
};
/* Everything needed to start one attempt, on a cluster or as local processes. */
struct job {
    size_t step;
    int64_t item;
    int restart, attempt;
    char *name;     /* <run>-<step>[-<index>]-a<attempt>, ≤ LIMIT_JOB_NAME */
    cJSON *config;  /* resolved body; TRAINYARD_CONFIG */
    cJSON *inputs;  /* TRAINYARD_INPUTS document */
    int64_t workers, threads, gpu, cpu_milli, memory_bytes, scratch_bytes;
    const char *device; /* "cpu" | "cuda" */
    int64_t timeout_ms;
};
struct action {
    enum action_kind kind;
    struct job job;       /* START; for STOP step, item, restart, attempt, name */
    char *why;            /* a sentence */
};
/* A cache entry to write after the status (keyed by cache_key). */
struct cache_update {
    char *key;
    cJSON *entry;
};
struct plan {
    struct run_status status;
    bool status_changed;
    struct action *actions;
    size_t n_actions;
    struct cache_update *cache_updates;
    size_t n_cache_updates;
    char **cache_evictions; /* keys whose artifact was found missing */
    size_t n_cache_evictions;
    int64_t wake_at_ms; /* call again at this time even if nothing happens; 0: no need */
    struct event { char *reason, *message; bool warning; } *events;
    size_t n_events;
};
void plan_release(struct plan *p);

struct plan_options {
    int64_t default_scratch_bytes, default_memory_bytes;
    /* Local overrides (`--workers`, `--cpu`): 0 = as written; part of the cache key. */
    int64_t max_workers, max_threads;
    bool has_cuda;                /* local: is there a device for device: auto with gpu > 0 */
    const char *isa;              /* vector level of this machine class when determinism.isa is native, e.g. "avx512"; part of the key; NULL in a cluster */
    const char *(*algorithm_version)(enum step_kind kind); /* part of the key */
    int64_t parallelism; /* extra limit on concurrently running attempts, 0: none */
    bool cache_disabled;
};
/* cache: object key → entry (from an earlier cache_update), may be NULL. status: the last recorded one (run_status_init for a new run). */
int plan(const struct pipeline *pipeline, const struct run_spec *run, const struct run_status *status, const struct observed *observed,
         const cJSON *cache, const struct plan_options *options, int64_t now_ms, struct plan *ret, struct err *err);

/* Deterministic name: cut with a hash when too long. */
char *plan_job_name(const char *run, const char *step, bool fanout, int64_t item, int attempt);
