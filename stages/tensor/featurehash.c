/* Named hash functions: see featurehash.h. */
#include "stages/tensor/featurehash.h"

#include "common/base/digest.h"

uint64_t featurehash_i64(int64_t value, uint64_t seed)
{
    uint8_t bytes[8];
    uint64_t v = (uint64_t)value;
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    return xxh64(bytes, sizeof bytes, seed);
}

uint64_t featurehash_text(const char *text, size_t len, uint64_t seed)
{
    return xxh64(text, len, seed);
}

uint64_t featurehash_below(uint64_t hash, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)hash * n) >> 64);
}
