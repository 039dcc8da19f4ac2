/* Philox 4×32-10: see rng.h. */
#include "stages/model/rng.h"

#include <stddef.h>

void rng_words(uint64_t seed, enum rng_stream stream, uint32_t a, uint32_t b, uint64_t c,
               uint32_t ret[static 4])
{
    uint32_t x0 = (uint32_t)c, x1 = (uint32_t)(c >> 32), x2 = a, x3 = b;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32) ^ ((uint32_t)stream * 0x85EBCA6BU);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53U * x0, p1 = (uint64_t)0xCD9E8D57U * x2;
        uint32_t y0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0, y2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x1 = (uint32_t)p1;
        x3 = (uint32_t)p0;
        x0 = y0;
        x2 = y2;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    ret[0] = x0;
    ret[1] = x1;
    ret[2] = x2;
    ret[3] = x3;
}

void rng_permutation(uint64_t seed, enum rng_stream stream, uint32_t a, uint32_t b, uint32_t *ret, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        ret[i] = i;
    uint32_t words[4];
    for (uint32_t i = n, used = 4, block = 0; i > 1; i--) {
        if (used == 4) {
            rng_words(seed, stream, a, b, block++, words);
            used = 0;
        }
        /* Multiply-shift; its bias of at most n/2³² does not matter for a shuffle and needs no rejection. */
        uint32_t j = (uint32_t)(((uint64_t)words[used++] * i) >> 32);
        uint32_t t = ret[i - 1];
        ret[i - 1] = ret[j];
        ret[j] = t;
    }
}
