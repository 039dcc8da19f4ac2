/* Between jobs.c, jobs_pod.c, jobs_container.c and jobs_template.c. */
#pragma once

#include "operator/controller/jobs.h"

enum { NOBODY = 65532 }; /* the user of our images */

#define DIR_CONFIG "/trainyard/config"
#define DIR_SECRETS "/trainyard/secrets"
#define DIR_CA "/trainyard/ca"
#define DIR_TOKEN "/trainyard/token"
#define DIR_SCRATCH "/scratch"

/* The pod template: metadata (labels and annotations) and spec. */
int jobs_pod(const struct jobs_context *x, const struct job *job, const cJSON *labels, cJSON **ret,
             struct err *err);

struct pod { /* being built; all borrowed from `spec` */
    const struct jobs_context *x;
    const struct job *job;
    const struct step *step;
    cJSON *spec, *volumes;
    cJSON *env;           /* of our own programs and of the step */
    cJSON *data_mounts;   /* config, scratch, /tmp, /dev/shm: for every container */
    cJSON *secret_mounts; /* only for our own programs */
};
/* The containers of a container step. */
int jobs_container(struct pod *pod, struct err *err);
/* Lays the step's podTemplate over the finished pod; mounts and environment go to `target`, the step's own container. */
int jobs_template(struct pod *pod, cJSON *metadata, cJSON *target, struct err *err);

/* {"name", "image", "env", "volumeMounts", "securityContext", …}; env and mounts are duplicated. image NULL is refused by the caller. */
cJSON *jobs_own_container(const struct pod *pod, const char *name, const char *image, bool secrets);
/* allowPrivilegeEscalation, capabilities, readOnlyRootFilesystem. */
cJSON *jobs_security(bool read_only_root);
void jobs_add_env(cJSON *env, const char *name, const char *value);
void jobs_add_env_int(cJSON *env, const char *name, int64_t value);
void jobs_add_mount(cJSON *mounts, const char *volume, const char *path, bool read_only);
/* The image of a stage's program, or of the helpers with STEP_APPROVAL; spec.images overrides the operator's. */
int jobs_image(const struct jobs_context *x, enum step_kind kind, const char **ret, struct err *err);
