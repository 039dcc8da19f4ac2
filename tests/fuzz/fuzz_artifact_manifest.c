/* libFuzzer: any bytes as an artifact's manifest.json. What is accepted is canonical, so printing it gives the same bytes, and every
 * name in it is safe to join to a directory. */
#include <stdint.h>
#include <string.h>

#include "common/base/fs.h"
#include "common/base/limits.h"
#include "common/store/artifact-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_manifest_parse((const char *)data, size, &a, &err) < 0) {
        if (a || err.class_ == ERR_NONE || !err.msg[0])
            __builtin_trap();
        return 0;
    }
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    char digest[DIGEST_HEX];
    if (artifact_manifest_format(a, &text, &err) < 0 || text.len != size ||
        memcmp(text.data, data, size) != 0)
        __builtin_trap();
    sha256_hex(data, size, digest);
    if (strcmp(digest, a->digest) != 0)
        __builtin_trap();
    for (size_t i = 0; i < a->n_files; i++)
        if (!fs_safe_relative(a->files[i].name) || a->files[i].size < 0 || !digest_valid(a->files[i].sha256))
            __builtin_trap();
    return 0;
}
