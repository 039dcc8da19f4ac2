/* A decoded, validated, defaulted TrainingPipeline (or TrainingRun), from a YAML file or an API object: one decoder.
 *
 * YAML → cJSON tree (with line numbers kept aside for errors) or API JSON → schema.c checks and defaults it by the CRD's own
 * schema (crds/ is the single source; embedded at build time) → decode.c fills these structs → validate.c checks what a schema
 * cannot: unknown references and types, cycles, names, budgets; all findings with field path, line and a suggestion.
 * Step bodies stay JSON (`body`), for they travel to the stage as JSON; params.h resolves the references in them.
 * Everything is owned by the struct pipeline; strings borrowed from its `spec` tree are marked B. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/err.h"

enum step_kind {
    STEP_DATA_VALIDATE,
    STEP_FEATURIZE,
    STEP_TRAIN_DDP,
    STEP_EVALUATE,
    STEP_REGISTER,
    STEP_CONTAINER,
    STEP_APPROVAL
};
/* "dataValidate", …: the body's key in the manifest; and "data-validate", …: the stage's program and image name (NULL for container, approval). */
const char *step_kind_body_key(enum step_kind kind);
const char *step_kind_program(enum step_kind kind);

enum param_type { PARAM_STRING, PARAM_INTEGER, PARAM_NUMBER, PARAM_BOOLEAN, PARAM_LIST };
struct parameter {
    const char *name; /* B */
    enum param_type type;
    const char *fallback; /* B; default as text (lists: JSON); may hold $(date(…)); NULL: required */
};

struct step_input {
    const char *name;   /* B: the input's name in the consumer */
    size_t from;        /* producer's index in steps */
    const char *output; /* B: the producer's output */
};

struct step_fanout {
    /* foreach: one axis named "item"; matrix: n axes. Item index counts the last axis fastest. */
    size_t n_axes;       /* 0: no fan-out */
    const char **axes;   /* B */
    const cJSON **items; /* per axis an array of strings, B; NULL when `from` is set */
    const char *from;    /* B: reference to a list (foreach.from); NULL otherwise */
    int64_t parallelism; /* 0: no own limit */
    int64_t min_success; /* -1: all */
};

struct step_retry { /* -1: unlimited */
    int64_t application, preemption, infrastructure;
    int64_t memory_budget, memory_max_bytes; /* 0: no maximum */
    double memory_factor;
    int64_t backoff_ms, max_backoff_ms;
};

struct step_set {
    const char *field; /* B: path below the step, "trainDdp.optimizers.dense.adamw.lr" */
    const char *value; /* B: text with references */
};

struct step {
    const char *name; /* B */
    enum step_kind kind;
    const cJSON *body; /* B: e.g. the object under trainDdp, unresolved */
    struct step_input *inputs;
    size_t n_inputs;
    size_t *
        after; /* indexes of steps to wait for besides the inputs' producers: those named in `after`, and those whose values
                    * `when`, `set`, foreach.from or a reference in the body uses */
    size_t n_after;
    const char *when; /* B; NULL: always */
    bool finally;
    struct step_fanout fanout;
    struct step_set *set;
    size_t n_set;
    int64_t workers, min_workers;
    int64_t gpu, cpu_milli, memory_bytes; /* 0: not said */
    int64_t scratch_bytes;                /* 0: default */
    struct step_retry retry;
    int64_t timeout_ms;   /* per attempt; 0: none */
    bool cache_enabled;   /* after defaults: pure stages true, container only when written */
    int64_t cache_ttl_ms; /* 0: none */
    const char *queue_name, *priority_class; /* B; NULL */
    const cJSON *pod_template;               /* B; NULL */
    /* What it yields. For stages from the table in stages.md; for containers as declared. */
    const char *const *outputs; /* NULL-terminated */
    struct step_value {
        const char *name;
        enum param_type type;
    } * values; /* declared values; `pattern` families (validation_<metric>, delta_<metric>) are expanded from the body */
    size_t n_values;
};

struct pipeline {
    cJSON *metadata;                 /* name, namespace, labels, annotations as given; may be NULL */
    cJSON *spec;                     /* validated and defaulted; owns all B strings */
    const char *name;                /* B */
    const char *namespace_;          /* B; "" when absent */
    const char *revision_annotation; /* B; trainyard.dev/revision; NULL */
    char hash
        [DIGEST_HEX]; /* of store, registry, parameters, steps in canonical form with defaults omitted (design.md §3, Runs) */
    const cJSON *store, *registry; /* B; store descriptions with caBundle etc.; may be NULL */
    struct parameter *parameters;
    size_t n_parameters;
    struct {
        int64_t run_ms, pending_ms, start_ms; /* 0: none */
        int64_t parallelism;                  /* 0: none */
        double gpu_hours;                     /* 0: none */
    } limits;
    struct step *steps;
    size_t n_steps;
};

struct pipeline *pipeline_free(struct pipeline *p);
DEFINE_CLEANUP(struct pipeline *, pipeline_free);
#define _cleanup_pipeline_ CLEANUP(pipeline_free_cleanup)

/* Findings of decoding and validation; an error list, not just the first. */
struct finding {
    char *path;    /* "spec.steps[3].trainDdp.seed" */
    int line;      /* 1-based in the file; 0: unknown (API object) */
    char *message; /* what was expected, found, and a suggestion */
    bool warning;
};
struct findings {
    struct finding *items;
    size_t n, capacity; /* at most LIMIT_FINDINGS, then one that says so */
};
void findings_release(struct findings *f);
void findings_add(struct findings *f, const char *path, int line, bool warning, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* 0 if none of the findings from index `from` on is an error; else negative with err = the first of them as
 * "file:line: path: message (and N more)", exit 78, reason manifest. file_name may be NULL. */
int findings_error(const struct findings *f, size_t from, const char *file_name, struct err *err);

/* Text of a file: one YAML document of kind TrainingPipeline (or TrainingRun, see run_decode). Any error finding → negative with
 * err = the first one, exit 78; findings has all of them. `text` is not kept. */
int pipeline_decode_yaml(const char *text, size_t len, const char *file_name, struct pipeline **ret,
                         struct findings *findings, struct err *err);
int pipeline_decode_json(const cJSON *object, struct pipeline **ret, struct findings *findings,
                         struct err *err);
/* Index of a step by name, or -1. */
long pipeline_find_step(const struct pipeline *p, const char *name);

/* TrainingRun.spec, or what `trainyard run` was asked for. */
struct run_spec {
    char *name, *uid;
    char *pipeline, *revision; /* may be NULL */
    int64_t scheduled_ms;      /* creation time for unscheduled runs */
    int64_t created_ms;
    struct run_param {
        char *name, *value;
    } * params;
    size_t n_params;
    bool suspend;
    enum run_stop { RUN_STOP_NONE, RUN_STOP_GRACEFUL, RUN_STOP_NOW } stop;
    char *restart_id; /* NULL: none */
    char **restart_from;
    size_t n_restart_from;
    struct run_approval {
        char *step, *by, *comment;
    } * approvals;
    size_t n_approvals;
};
void run_spec_release(struct run_spec *r);
int run_decode_json(const cJSON *object, struct run_spec *ret, struct findings *findings, struct err *err);
int run_decode_yaml(const char *text, size_t len, const char *file_name, struct run_spec *ret,
                    struct findings *findings, struct err *err);
