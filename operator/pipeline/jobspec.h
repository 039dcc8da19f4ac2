/* Everything needed to start one attempt, on a cluster or as local processes. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operator/pipeline/expr.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/status.h"

struct plan_options {
    int64_t default_scratch_bytes, default_memory_bytes; /* 0: none */
    /* Local overrides, shown by `plan` and part of the cache key: 0 = as written. */
    int64_t max_workers, max_threads;
    bool force_cpu; /* no step gets a GPU; device is cpu whatever is written */
    bool
        has_cuda; /* device: auto with gpu > 0 becomes cuda (always true in a cluster; locally: is there a device) */
    const char *
        isa; /* vector level of this machine class where determinism.isa is native, e.g. "avx512"; part of the key; NULL in a cluster */
    const char *(*algorithm_version)(
        enum step_kind kind); /* part of the key; NULL: those of common/base/algorithm.h */
    int64_t parallelism;      /* extra limit on concurrently running attempts, 0: none */
    int64_t grace_ms;         /* between SIGTERM and SIGKILL; 0: 30 s */
    bool cache_disabled;
};

struct job {
    size_t step;
    int64_t item;
    bool fanout; /* TRAINYARD_INDEX is to be set */
    int restart, attempt;
    char *name;    /* <run>-<step>[-<index>]-a<attempt>, ≤ LIMIT_JOB_NAME */
    cJSON *config; /* resolved body; TRAINYARD_CONFIG */
    cJSON *
        inputs; /* TRAINYARD_INPUTS document: name → {digest, run, step, index?, restart}, or a list of these */
    int64_t workers, threads, gpu, cpu_milli, memory_bytes, scratch_bytes; /* per worker; 0: not said */
    const char *device;                                                    /* "cpu" | "cuda" */
    int64_t timeout_ms;                                                    /* 0: none */
};
void job_release(struct job *j);

/* Deterministic; too long is cut with a hash of the whole. */
char *plan_job_name(const char *run, const char *step, bool fanout, int64_t item, int attempt);

/* Shape without looking at data: workers, device, threads, memory. config, inputs and name stay NULL. */
void jobspec_resources(const struct step *step, const struct item_status *item, const cJSON *config,
                       const struct plan_options *options, struct job *ret);
/* Names and values that expressions and references of the step may use. `steps` of the scope is owned by the caller. */
cJSON *jobspec_steps_scope(const struct pipeline *p, const struct run_status *status);
/* The inputs document. Only inputs whose producers are done may be asked for. */
int jobspec_inputs(const struct run_spec *run, const struct run_status *status, const struct step *step,
                   cJSON **ret, struct err *err);
/* The whole job of the item's attempt. Config and inputs together beyond LIMIT_CONFIG_BYTES are ERR_INVALID. */
int jobspec_build(const struct pipeline *p, const struct run_spec *run, const struct run_status *status,
                  size_t step, int64_t item, int attempt, const struct expr_scope *scope,
                  const struct plan_options *options, struct job *ret, struct err *err);

/* The value of TRAINYARD_SCHEDULED_TIME is run->scheduled_ms; the algorithm version of a step's kind ("" where it has none). */
const char *jobspec_algorithm_version(const struct plan_options *options, enum step_kind kind);
