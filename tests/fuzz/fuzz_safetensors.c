/* libFuzzer: any bytes as a safetensors file; every tensor handed out must lie inside them. */
#include <stdint.h>

#include "stages/tensor/safetensors.h"
#include "stages/tensor/vocabulary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    _cleanup_safetensors_ struct safetensors *f = NULL;
    if (safetensors_parse(data, size, "input", &f, &err) < 0)
        return 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < safetensors_count(f); i++) {
        const struct safetensors_tensor *t = safetensors_at(f, i);
        const uint8_t *p = t->data;
        if (p < data || p + t->bytes > data + size)
            __builtin_trap();
        for (size_t k = 0; k < t->bytes; k++)
            sum += p[k];
    }
    static volatile uint64_t sink;
    sink = sum;
    (void)sink;
    for (int type = COLUMN_I64; type <= COLUMN_STR; type++) {
        struct err ignored = ERR_INIT;
        _cleanup_vocabulary_ struct vocabulary *v = NULL;
        if (vocabulary_load(f, "a", (enum column_type)type, 2, &v, &ignored) == 0)
            (void)(type == COLUMN_I64 ? vocabulary_find_i64(v, 1) : vocabulary_find_text(v, "a", 1));
    }
    return 0;
}
