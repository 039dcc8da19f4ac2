/* Container steps on this machine: the engine that runs them, and the process that drives one (`trainyard container-step`).
 *
 * The process stands where a stage program would: it gets the contract's environment, brings the inputs with the helper
 * program `artifact`, runs the user's image with podman or docker, publishes the outputs with `artifact`, and leaves the result. */
#pragma once

#include "common/base/err.h"

/* podman, else docker, found on PATH and answering. Caller frees the path. ERR_NOTFOUND says what is wrong with each. */
int container_engine(char **ret, struct err *err);
