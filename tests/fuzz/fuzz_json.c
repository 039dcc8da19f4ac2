/* libFuzzer: any bytes as JSON. What the strict scan accepts, cJSON must accept; its canonical form must
 * parse again to the same canonical form, and so must the pretty form. */
#include <stdint.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

enum { MAX = 1 << 20, PRINTED_MAX = 64 << 20 };

/* The canonical form of `text`; traps where it is not valid JSON. */
static void canonical_again(const struct buf *text, struct buf *out)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *tree = NULL;
    if (json_parse(buf_str(text), text->len, PRINTED_MAX, &tree, &err) < 0)
        __builtin_trap();
    if (json_canonical(tree, out, &err) < 0)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *tree = NULL;
    if (json_parse((const char *)data, size, MAX, &tree, &err) < 0) {
        if (tree || err.class_ != ERR_INVALID || text_ends_with(err.msg, "the parser refused it"))
            __builtin_trap();
        return 0;
    }
    _cleanup_buf_ struct buf first = BUF_INIT(PRINTED_MAX), second = BUF_INIT(PRINTED_MAX);
    _cleanup_buf_ struct buf pretty = BUF_INIT(PRINTED_MAX), third = BUF_INIT(PRINTED_MAX);
    if (json_canonical(tree, &first, &err) < 0 || json_pretty(tree, &pretty) < 0)
        __builtin_trap();
    canonical_again(&first, &second);
    canonical_again(&pretty, &third);
    if (strcmp(buf_str(&first), buf_str(&second)) != 0 || strcmp(buf_str(&first), buf_str(&third)) != 0)
        __builtin_trap();
    return 0;
}
