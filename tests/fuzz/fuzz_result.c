/* libFuzzer: any bytes as a termination message; what is accepted formats again within the limits and reads back equal. */
#include <stdint.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    _cleanup_result_ struct result r = {0}, back = {0};
    if (result_parse((const char *)data, size, &r, &err) < 0)
        return 0;
    _cleanup_buf_ struct buf b = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    struct err too_large = ERR_INIT;
    if (result_format(&r, &b, &too_large) < 0) {
        if (r.failed)
            __builtin_trap(); /* errors are shortened until they fit */
        return 0;
    }
    struct err no = ERR_INIT;
    if (b.len > LIMIT_RESULT_OBJECT_BYTES || result_parse(b.data, b.len, &back, &no) < 0 ||
        back.failed != r.failed)
        __builtin_trap();
    if (!r.failed && (!cJSON_Compare(r.outputs, back.outputs, 1) || !cJSON_Compare(r.values, back.values, 1)))
        __builtin_trap();
    return 0;
}
