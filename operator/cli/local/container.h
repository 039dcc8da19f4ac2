/* Container steps on this machine: the engine that runs them, and what it is told. `trainyard container-step` (cmd_container_step.c)
 * stands where a stage program would: it gets the contract's environment, brings the inputs with the helper program `artifact`,
 * runs the user's image with podman or docker, publishes the outputs with `artifact`, and leaves the result. */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

#define CONTAINER_LABEL "dev.trainyard.run"

/* podman, else docker, found on PATH and answering. Caller frees the path. ERR_NOTFOUND says what is wrong with each. */
int container_engine(char **ret, struct err *err);

/* Borrowed. */
struct container_step {
    const cJSON *config;                                 /* the container's resolved body */
    const char *run_uid, *step, *index, *attempt, *rank; /* index may be NULL */
    const char *root;                                    /* directory with in, out, checkpoint */
    const char *config_path;                             /* file of `config` */
    const char *env_file, *secrets_dir;
    const char *memory, *device; /* may be NULL */
};

struct container_args {
    char **items; /* NULL-terminated */
    size_t n, capacity;
};
void container_args_add(struct container_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void container_args_release(struct container_args *a);
#define _cleanup_container_args_ CLEANUP(container_args_release)

/* Unique to the rank of an attempt; caller frees. */
char *container_name(const struct container_step *s);
/* `podman run …`; the program first. */
int container_arguments(const struct container_step *s, const char *engine, struct container_args *ret,
                        struct err *err);
/* NAME=VALUE lines for --env-file: the contract's variables, then the step's own. */
int container_environment(const struct container_step *s, const char *(*env)(const char *), struct buf *out,
                          struct err *err);
