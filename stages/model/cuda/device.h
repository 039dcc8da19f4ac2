/* What the CUDA module (trainyard-cuda.so) answers about devices; the loader is stages/model/device.h.
 *
 * The module is a shared library of its own, opened at run time, so that every program starts where there is no CUDA.
 * Nothing in it logs, exits or throws: a failure is -1 and a sentence. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when anything below changes; the loader refuses a module of another number. */
enum { CUDA_MODULE_ABI = 1 };

enum { CUDA_DEVICES_MAX = 64 };

struct cuda_device {
    char name[256];
    uint64_t memory;  /* bytes, of the whole device */
    int major, minor; /* compute capability: 9.0 is an H100 or H200 */
};

/* CUDA_MODULE_ABI as the module was compiled. */
int trainyard_cuda_abi(void);

/* The devices that this process may use, in CUDA's order, at most max of them. No device or no driver is a failure.
 * On failure ret_why holds a sentence, cut at why_size. */
int trainyard_cuda_devices(struct cuda_device *ret, size_t max, size_t *ret_n, char *ret_why,
                           size_t why_size);

#ifdef __cplusplus
}
#endif
