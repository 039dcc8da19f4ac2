/* Counter-based random numbers: Philox 4×32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011). A number is a pure function of (seed, stream, position), so that resuming, another number of
 * workers or threads change nothing. */
#pragma once

#include <stdint.h>

/* What a number is for: the streams of one seed never overlap. */
enum rng_stream { RNG_INIT, RNG_SHARDS, RNG_ROWS, RNG_DROPOUT };

/* Four words at position (a, b, c) of a stream. */
void rng_words(uint64_t seed, enum rng_stream stream, uint32_t a, uint32_t b, uint64_t c,
               uint32_t ret[static 4]);
/* [0, 1) with 24 bits. */
static inline float rng_unit(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24F;
}
/* A permutation of 0…n−1 (Fisher–Yates from the top; n < 2³²), a function of (seed, stream, a, b). */
void rng_permutation(uint64_t seed, enum rng_stream stream, uint32_t a, uint32_t b, uint32_t *ret,
                     uint32_t n);
