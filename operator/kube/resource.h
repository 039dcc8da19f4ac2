/* The kinds of objects, and what all objects have. Knows no pipelines: their kinds are defined by who uses them. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

struct kube_resource {
    const char *group;   /* "" for the core group */
    const char *version; /* "v1" */
    const char *plural;  /* "jobs" */
    const char *kind;    /* "Job" */
};
extern const struct kube_resource KUBE_PODS, KUBE_SERVICES, KUBE_SECRETS, KUBE_CONFIGMAPS, KUBE_EVENTS,
    KUBE_JOBS, KUBE_LEASES, KUBE_CONTROLLER_REVISIONS, KUBE_CRDS;

/* "batch/v1", or "v1". */
void kube_api_version(const struct kube_resource *r, struct buf *out);
/* /apis/batch/v1/namespaces/<ns>/jobs/<name>/<sub>; ns, name, sub may be NULL. */
void kube_path(const struct kube_resource *r, const char *ns, const char *name, const char *sub,
               struct buf *out);

/* The metadata that everyone needs. Strings owned. */
struct kube_meta {
    char *ns, *name, *uid, *resource_version;
    char *owner_uid, *owner_kind, *owner_name; /* the controller reference; NULL */
    int64_t generation;
    int64_t created_ms;
    bool deleting; /* deletionTimestamp is set */
};
/* From an API object; absent texts become "". */
void kube_meta_init(struct kube_meta *m, const cJSON *object);
void kube_meta_release(struct kube_meta *m);

/* Is a resourceVersion at least as new as another of the same resource? (Comparable as integers, KEP-5504.) */
bool kube_version_at_least(const char *have, const char *wanted);
/* A label's value, or NULL. Borrowed. */
const char *kube_label(const cJSON *object, const char *key);
const char *kube_annotation(const cJSON *object, const char *key);
/* RFC 3339 (also with microseconds) → wall milliseconds; -1 if it is none. NULL is -1. */
int64_t kube_time_ms(const cJSON *string);
/* {"apiVersion", "kind", "metadata": {"name", "namespace"}}. Caller owns. */
cJSON *kube_object(const struct kube_resource *r, const char *ns, const char *name);
/* Appends a controller owner reference (blockOwnerDeletion) to object.metadata. */
void kube_set_owner(cJSON *object, const struct kube_resource *owner, const char *name, const char *uid);
