/* Exact sums of doubles: the result does not depend on the order of the terms, and is the true sum rounded once.
 *
 * A fixed-point accumulator as wide as the exponent range of a double (Kulisch's long accumulator), in 32-bit digits
 * held in 64-bit words, so that 2^30 terms fit between carries. Statistics that reach an artifact are summed with it: they are equal whatever
 * order the table engine delivers rows in, and partial sums of threads or workers merge exactly. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { EXACTSUM_DIGITS = 70 };

struct exactsum {
    int64_t digit[EXACTSUM_DIGITS]; /* weights 2^(32·i − 1088) */
    uint32_t pending;               /* terms since the last carry */
};

void exactsum_init(struct exactsum *s);
/* x must be finite. */
void exactsum_add(struct exactsum *s, double x);
void exactsum_merge(struct exactsum *into, struct exactsum *from);
/* Round to nearest even; beyond the range of a double ±infinity. */
double exactsum_value(struct exactsum *s);
