/* Radix sort of 64-bit keys, for exact ranks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Ascending. `spare` has room for n keys. */
void sort_keys(uint64_t *keys, uint64_t *spare, size_t n);
