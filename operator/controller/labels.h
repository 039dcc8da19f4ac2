/* Names that we put on objects in the cluster. Everything that the operator makes has MANAGED_BY; watches select on it. */
#pragma once

#include <stddef.h>

#define API_GROUP "trainyard.dev"
#define API_VERSION "v1alpha1"

#define LABEL_MANAGED_BY "app.kubernetes.io/managed-by" /* = MANAGED_BY */
#define MANAGED_BY "trainyard"
#define LABEL_PIPELINE \
    "trainyard.dev/pipeline" /* name, cut with a hash if longer than a label; on runs, jobs, pods, revisions */
#define LABEL_RUN "trainyard.dev/run" /* name, cut likewise; on jobs, pods, services */
#define LABEL_RUN_UID "trainyard.dev/run-uid"
#define LABEL_STEP "trainyard.dev/step"
#define LABEL_INDEX "trainyard.dev/index"     /* fan-out item; absent without */
#define LABEL_RESTART "trainyard.dev/restart" /* g of the store's layout */
#define LABEL_ATTEMPT "trainyard.dev/attempt"
#define LABEL_TRIGGER \
    "trainyard.dev/trigger" /* on runs that the operator created: SpecChange | Schedule; absent: a person's run */

#define ANNOTATION_CONFIG "trainyard.dev/config" /* on pods: resolved config, mounted by the downward API */
#define ANNOTATION_INPUTS "trainyard.dev/inputs"
#define ANNOTATION_STORE "trainyard.dev/store"
#define ANNOTATION_REGISTRY "trainyard.dev/registry"
#define ANNOTATION_REVISION "trainyard.dev/revision"             /* code revision of a pipeline, a person's */
#define ANNOTATION_SCHEMA_VERSION "trainyard.dev/schema-version" /* on the CRDs */
#define ANNOTATION_SPEC_HASH "trainyard.dev/spec-hash" /* on revisions and runs: struct pipeline.hash */

/* name + suffix in at most `max` bytes; too long a name is cut and gets eight digits of its hash before the suffix. Caller frees. */
char *label_cut(const char *name, const char *suffix, size_t max)
    __attribute__((returns_nonnull, warn_unused_result));
/* A name as the value of a label. Caller frees. */
char *label_value(const char *name) __attribute__((returns_nonnull, warn_unused_result));
