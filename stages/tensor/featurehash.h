/* The hashes that reach an artifact, as named functions over a stated byte form, so that any program can
 * repeat them: XXH64 (public specification) over 8 bytes little-endian of an int64, or over the UTF-8 bytes of a text.
 * Several values are chained: the hash of the first is the seed of the second, and so on, beginning with the seed given. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t featurehash_i64(int64_t value, uint64_t seed);
uint64_t featurehash_text(const char *text, size_t len, uint64_t seed);
/* Uniform index below n from a hash: floor(hash × n / 2^64). */
uint64_t featurehash_below(uint64_t hash, uint64_t n);
