/* Which vector level this CPU has: see kernels.h. */
#include "stages/model/cpu/kernels.h"

#include <string.h>

static bool cpu_has(const struct kernels *k)
{
    if (k == &kernels_portable)
        return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (k == &kernels_avx2)
        return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#else
    return false;
#endif
}

int kernels_get(const char *isa, const struct kernels **ret, struct err *err)
{
    static const struct kernels *const levels[] = {
#if defined(__x86_64__)
        &kernels_avx512,
        &kernels_avx2,
#endif
        &kernels_portable,
    };
    const char *best = NULL;
    bool native = strcmp(isa, "native") == 0;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (!cpu_has(levels[i]))
            continue;
        if (!best)
            best = levels[i]->name;
        if (native || strcmp(isa, levels[i]->name) == 0) {
            *ret = levels[i];
            return 0;
        }
    }
    if (strcmp(isa, "avx2") && strcmp(isa, "avx512") && strcmp(isa, "portable"))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "determinism.isa: expected native, avx2 or avx512, found \"%s\"", isa);
    return err_fail(
        err, ERR_TERMINAL, EXITCODE_UNAVAILABLE, "isa",
        "determinism.isa pins %s, but this CPU's best level is %s: choose that, native, or another node", isa,
        best);
}
