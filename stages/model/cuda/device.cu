/* Device discovery of the CUDA module. */
#include "stages/model/cuda/device.h"

#include <cuda_runtime_api.h>
#include <stdio.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

static int failed(cudaError_t e, const char *call, char *ret_why, size_t why_size)
{
    snprintf(ret_why, why_size, "%s: %s (%s)", call, cudaGetErrorString(e), cudaGetErrorName(e));
    return -1;
}

EXPORT int trainyard_cuda_abi(void)
{
    return CUDA_MODULE_ABI;
}

EXPORT int trainyard_cuda_devices(struct cuda_device *ret, size_t max, size_t *ret_n, char *ret_why,
                                  size_t why_size)
{
    int n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess)
        return failed(e, "cudaGetDeviceCount", ret_why, why_size);
    size_t count = (size_t)n < max ? (size_t)n : max;
    for (size_t i = 0; i < count; i++) {
        cudaDeviceProp p;
        e = cudaGetDeviceProperties(&p, (int)i);
        if (e != cudaSuccess)
            return failed(e, "cudaGetDeviceProperties", ret_why, why_size);
        ret[i].memory = p.totalGlobalMem;
        ret[i].major = p.major;
        ret[i].minor = p.minor;
        snprintf(ret[i].name, sizeof ret[i].name, "%s", p.name);
    }
    *ret_n = count;
    return 0;
}
