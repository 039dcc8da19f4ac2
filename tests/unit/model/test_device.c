/* The loader of the CUDA module: without a module, with what is no module, with one that pretends, and with the real one
 * if it was built. */
#include "stages/model/device.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/fs.h"
#include "tests/unit/unit.h"

/* A file of the build folder that this test lies in, build/test/model/test_device. */
static char *built(const char *relative)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(path, '/') = '\0';
    return fs_join(path, relative);
}

static void refused(const char *module, const char *part)
{
    struct err err = ERR_INIT;
    struct cuda_device devices[CUDA_DEVICES_MAX];
    size_t n = 77;
    assert_int_equal(device_list(module, devices, CUDA_DEVICES_MAX, &n, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_UNAVAILABLE);
    assert_string_equal(err.reason, "device");
    assert_int_equal(n, 77);
    assert_fails(device_list(module, devices, CUDA_DEVICES_MAX, &n, (err_clear(&err), &err)), &err,
                 ERR_TERMINAL, part);

    /* the same, by choice: auto falls back and says why, cuda fails, cpu never looks */
    _cleanup_free_ char *why = NULL;
    assert_ok(device_choose("auto", module, &why, &err), &err);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
    why = xfree(why);
    assert_int_equal(device_choose("cuda", module, &why, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "device cuda"));
    assert_non_null(strstr(err.msg, part));
    assert_null(why);
    err_clear(&err);
    assert_ok(device_choose("cpu", module, &why, &err), &err);
    assert_null(why);
}

static void no_module(void **state)
{
    (void)state;
    refused(NULL, "neither ");
    refused(NULL, "make cuda");
    refused("/nonexistent/trainyard-cuda.so", "cannot be loaded");
}

static void no_library(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char *dir;
    assert_ok(fs_make_temp_dir("/tmp", "device", &dir, &err), &err);
    _cleanup_free_ char *path = fs_join(dir, "trainyard-cuda.so");
    assert_ok(fs_write_atomic(path, "no library", 10, &err), &err);
    refused(path, "cannot be loaded");
    assert_ok(fs_remove_tree(dir, &err), &err);
    free(dir);
    refused("libm.so.6", "interface 0, expected 1"); /* a library, but not the module */
}

static void pretended(void **state)
{
    (void)state;
    _cleanup_free_ char *module = built("test/model/fake-cuda.so");
    setenv("FAKE_CUDA", "old", 1);
    refused(module, "interface 0, expected 1");
    setenv("FAKE_CUDA", "error", 1);
    refused(module, "pretended failure");
    setenv("FAKE_CUDA", "none", 1);
    refused(module, "sees none");

    setenv("FAKE_CUDA", "two", 1);
    struct err err = ERR_INIT;
    struct cuda_device devices[2] = {0};
    size_t n = 0;
    assert_ok(device_list(module, devices, 1, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_ok(device_list(module, devices, 2, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(devices[1].name, "Pretended 1");
    assert_int_equal(devices[1].memory, (uint64_t)32 << 30);
    assert_int_equal(devices[1].major * 10 + devices[1].minor, 91);

    /* a device alone does not train in this release */
    _cleanup_free_ char *why = NULL;
    assert_ok(device_choose("auto", module, &why, &err), &err);
    assert_non_null(strstr(why, "Pretended 0 (16384 MiB, compute capability 9.0)"));
    why = xfree(why);
    assert_fails(device_choose("cuda", module, &why, &err), &err, ERR_TERMINAL, "no CUDA back end");
}

static void real_module(void **state)
{
    (void)state;
    char *module = built("lib/trainyard-cuda.so");
    if (!fs_exists(module)) {
        free(module); /* skip() jumps out */
        print_message("make cuda has not been run\n");
        skip();
        return;
    }
    if (!fs_exists("/dev/nvidiactl")) {
        refused(module, "no CUDA device can be used: cudaGetDeviceCount");
        free(module);
        return;
    }
    struct err err = ERR_INIT;
    struct cuda_device devices[CUDA_DEVICES_MAX];
    size_t n = 0;
    assert_ok(device_list(module, devices, CUDA_DEVICES_MAX, &n, &err), &err);
    free(module);
    for (size_t i = 0; i < n; i++) {
        print_message("%s, %llu bytes, %d.%d\n", devices[i].name, (unsigned long long)devices[i].memory,
                      devices[i].major, devices[i].minor);
        assert_true(devices[i].name[0] && devices[i].memory > 1u << 30 && devices[i].major >= 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_module),
        cmocka_unit_test(no_library),
        cmocka_unit_test(pretended),
        cmocka_unit_test(real_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
