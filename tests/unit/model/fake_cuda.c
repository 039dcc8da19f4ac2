/* Plays the CUDA module for the loader's tests. FAKE_CUDA says how: "two" devices, "none", "error", or "old". */
#include <stdlib.h>

#include "stages/model/cuda/device.h"

static int plays(const char *what)
{
    const char *s = getenv("FAKE_CUDA");
    return s && strcmp(s, what) == 0;
}

int trainyard_cuda_abi(void)
{
    return plays("old") ? CUDA_MODULE_ABI - 1 : CUDA_MODULE_ABI;
}

int trainyard_cuda_devices(struct cuda_device *ret, size_t max, size_t *ret_n, char *ret_why, size_t why_size)
{
    if (plays("error")) {
        (void)snprintf(ret_why, why_size, "cudaGetDeviceCount: pretended failure");
        return -1;
    }
    *ret_n = 0;
    for (size_t i = 0; plays("two") && i < 2 && i < max; i++) {
        ret[i] = (struct cuda_device){.memory = (uint64_t)(i + 1) << 34, .major = 9, .minor = (int)i};
        (void)snprintf(ret[i].name, sizeof ret[i].name, "Pretended %zu", i);
        *ret_n = i + 1;
    }
    return 0;
}
