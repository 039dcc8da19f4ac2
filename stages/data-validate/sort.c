/* Least significant byte first; bytes that are equal in all keys cost nothing. */
#include "stages/data-validate/sort.h"

#include <string.h>

void sort_keys(uint64_t *keys, uint64_t *spare, size_t n)
{
    static const int shifts[] = {0, 8, 16, 24, 32, 40, 48, 56};
    size_t counts[8][256];
    memset(counts, 0, sizeof counts);
    for (size_t i = 0; i < n; i++) {
        for (int b = 0; b < 8; b++)
            counts[b][keys[i] >> shifts[b] & 255]++;
    }
    uint64_t *from = keys, *to = spare;
    for (int b = 0; b < 8 && n > 0; b++) {
        if (counts[b][from[0] >> shifts[b] & 255] == n)
            continue;
        size_t at = 0;
        for (int v = 0; v < 256; v++) {
            size_t c = counts[b][v];
            counts[b][v] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++)
            to[counts[b][from[i] >> shifts[b] & 255]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, n * sizeof *keys);
}
