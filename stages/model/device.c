#include "stages/model/device.h"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/fs.h"
#include "common/base/text.h"

#define MODULE "trainyard-cuda.so"

static int unavailable(struct err *err, const char *text)
{
    return err_fail(err, ERR_TERMINAL, EXITCODE_UNAVAILABLE, "device", "%s", text);
}

/* Caller frees *ret. */
static int find_module(char **ret, struct err *err)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0)
        return unavailable(
            err, "the CUDA module is looked for beside the program, but /proc/self/exe cannot be read");
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    _cleanup_free_ char *beside = fs_join(program, MODULE), *below = fs_join(program, "../lib/" MODULE);
    char **places[] = {&beside, &below};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (fs_exists(*places[i])) {
            *ret = steal_ptr(*places[i]);
            return 0;
        }
    _cleanup_free_ char *text =
        xasprintf("there is no CUDA module: neither %s nor %s exists; `make cuda` builds it", beside, below);
    return unavailable(err, text);
}

/* Never closed, see the header: opening it again gives the same handle. */
static int open_module(const char *path, void **ret, struct err *err)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!module) {
        _cleanup_free_ char *text = xasprintf("the CUDA module cannot be loaded: %s", dlerror());
        return unavailable(err, text);
    }
    int (*abi)(void) = (int (*)(void))dlsym(module, "trainyard_cuda_abi");
    int found = abi ? abi() : 0;
    if (found != CUDA_MODULE_ABI) {
        _cleanup_free_ char *text = xasprintf(
            "the CUDA module %s is of another build (interface %d, expected %d); build both from the same sources",
            path, found, CUDA_MODULE_ABI);
        dlclose(module);
        return unavailable(err, text);
    }
    *ret = module;
    return 0;
}

int device_list(const char *module, struct cuda_device *ret, size_t max, size_t *ret_n, struct err *err)
{
    _cleanup_free_ char *found = NULL;
    if (!module && find_module(&found, err) < 0)
        return -1;
    const char *path = module ? module : found;
    void *handle = NULL;
    if (open_module(path, &handle, err) < 0)
        return -1;
    typedef int devices_function(struct cuda_device *, size_t, size_t *, char *, size_t);
    devices_function *devices = (devices_function *)dlsym(handle, "trainyard_cuda_devices");
    char why[512] = "trainyard_cuda_devices is missing";
    size_t n = 0;
    int r = devices ? devices(ret, max, &n, why, sizeof why) : -1;
    dlclose(handle);
    if (r < 0) {
        _cleanup_free_ char *text = xasprintf("no CUDA device can be used: %s", why);
        return unavailable(err, text);
    }
    if (n == 0)
        return unavailable(err, "no CUDA device can be used: this process sees none");
    *ret_n = n;
    return 0;
}

int device_choose(const char *wanted, const char *module, char **ret_why, struct err *err)
{
    *ret_why = NULL;
    if (text_equal(wanted, "cpu"))
        return 0;
    struct cuda_device devices[CUDA_DEVICES_MAX];
    struct err missing = ERR_INIT;
    size_t n;
    if (device_list(module, devices, ARRAY_SIZE(devices), &n, &missing) == 0) {
        const struct cuda_device *d = &devices[0];
        _cleanup_free_ char *text = xasprintf(
            "there is %s (%llu MiB, compute capability %d.%d), but this release has no CUDA back end for training",
            d->name, (unsigned long long)(d->memory >> 20), d->major, d->minor);
        unavailable(&missing, text);
    }
    if (text_equal(wanted, "cuda")) {
        *err = missing;
        return err_wrap(err, "device cuda (set trainDdp.device: cpu or resources.gpu: 0)");
    }
    *ret_why = xstrdup(missing.msg);
    return 0;
}
