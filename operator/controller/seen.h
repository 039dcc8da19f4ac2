/* What the caches hold of each kind: trimmed, so that ten thousand finished runs stay small. Each starts with a struct kube_meta.
 * The *_trim functions are the reflectors' `trim`; none of them fails on a strange object: what cannot be read is absent. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "operator/kube/resource.h"
#include "operator/pipeline/observed.h"
#include "operator/pipeline/status.h"

extern const struct kube_resource PIPELINES, RUNS;

struct seen_pipeline {
    struct kube_meta meta;
    char *
        text; /* compact JSON of {apiVersion, kind, metadata, spec, status}: metadata without managedFields */
    char *newest_revision; /* status.revision: ControllerRevision of the newest valid spec; NULL */
};
void *seen_pipeline_trim(void *ctx, const cJSON *object);
void seen_pipeline_free(void *p);

struct seen_run {
    struct kube_meta meta;
    char *pipeline;       /* spec.pipeline */
    char *trigger;        /* LABEL_TRIGGER; NULL: a person's */
    char *spec_hash;      /* ANNOTATION_SPEC_HASH; NULL */
    char *revision;       /* status.revision, else spec.revision; NULL: none yet */
    enum run_phase phase; /* PHASE_PENDING while there is no status */
    int64_t scheduled_ms; /* spec.scheduledTime, else the creation time */
    int64_t finished_ms;  /* 0: not yet */
    bool settled; /* finished, and nothing in its spec asks for anything that its status has not answered */
    char *text;   /* compact JSON of {apiVersion, kind, metadata, spec, status}; NULL once it is settled */
};
void *seen_run_trim(void *ctx, const cJSON *object);
void seen_run_free(void *r);

struct seen_job {
    struct kube_meta meta;
    char *run_uid, *run, *step; /* from its labels; NULL if it has none */
    int64_t item;               /* 0 without LABEL_INDEX */
    int restart, attempt;
    int64_t workers; /* parallelism */
    bool suspended;
    int64_t active;       /* pods that count as active or terminating */
    char *condition;      /* "FailureTarget" | "Failed" | "Complete"; NULL */
    char *message;        /* of that condition */
    int64_t condition_ms; /* since when it holds; -1: not said */
    int failed_rule;      /* index of the pod failure policy's rule in it; -1 */
};
extern const char *const seen_job_unread[]; /* the reflector's `unread` */
void *seen_job_trim(void *ctx, const cJSON *object);
void seen_job_free(void *j);

struct seen_pod {
    struct kube_meta meta;
    char *job_uid; /* of its controller */
    char *run_uid;
    int64_t kill_ms;          /* wall: by then its kubelet must have ended it; 0: it is not being deleted */
    struct observed_pod view; /* strings are owned by this struct */
};
extern const char *const seen_pod_unread[];
void *seen_pod_trim(void *ctx, const cJSON *object);
void seen_pod_free(void *p);
