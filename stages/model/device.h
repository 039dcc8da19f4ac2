/* Which device to compute on, and the loader of the CUDA module that knows what devices there are.
 *
 * The module is trainyard-cuda.so, beside the program or in ../lib of its folder; `make cuda` builds it. Once opened it stays
 * mapped: CUDA's runtime leaves handlers behind that run at exit. */
#pragma once

#include <stddef.h>

#include "common/base/err.h"
#include "stages/model/cuda/device.h"

/* The devices that the module at this path sees (NULL: where it is looked for); at least one on success. Failure is
 * ERR_TERMINAL, exit 69, reason "device", and says what is missing: the module, the driver or a device. */
int device_list(const char *module, struct cuda_device *ret, size_t max, size_t *ret_n, struct err *err);

/* Where to train, for wanted "auto", "cpu" or "cuda"; module as above. This release trains on CPUs only: success means the CPU.
 * auto: *ret_why says why it is no CUDA device (caller frees); cpu: *ret_why is NULL. cuda fails as device_list() does, and
 * with a device because there is no back end for it. */
int device_choose(const char *wanted, const char *module, char **ret_why, struct err *err);
