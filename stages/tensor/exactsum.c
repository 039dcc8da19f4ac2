/* Exact sums: see exactsum.h. */
#include "stages/tensor/exactsum.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    BIAS = 1088 /* the lowest digit has weight 2^-1088, below the smallest subnormal 2^-1074 */,
    CARRY_EVERY = 1 << 29
};

void exactsum_init(struct exactsum *s)
{
    memset(s, 0, sizeof *s);
}

/* Brings every digit but the last to [0, 2^32); the last keeps the sign. */
static void carry(struct exactsum *s)
{
    int64_t c = 0;
    for (size_t i = 0; i + 1 < EXACTSUM_DIGITS; i++) {
        int64_t v = s->digit[i] + c;
        c = v >> 32;
        s->digit[i] = v & 0xffffffff;
    }
    s->digit[EXACTSUM_DIGITS - 1] += c;
    s->pending = 0;
}

void exactsum_add(struct exactsum *s, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    unsigned exponent = (unsigned)(bits >> 52) & 0x7ff;
    uint64_t mantissa = bits & 0xfffffffffffffULL;
    if (exponent)
        mantissa |= 1ULL << 52;
    else
        exponent = 1;
    /* x = mantissa × 2^(exponent − 1075), so its lowest bit stands at exponent − 1075 + BIAS of the accumulator. */
    unsigned at = exponent + (BIAS - 1075);
    unsigned __int128 wide = (unsigned __int128)mantissa << (at & 31);
    int64_t *d = &s->digit[at >> 5];
    int64_t low = (int64_t)((uint64_t)wide & 0xffffffff),
            mid = (int64_t)((uint64_t)(wide >> 32) & 0xffffffff), high = (int64_t)(wide >> 64);
    if (bits >> 63) {
        d[0] -= low;
        d[1] -= mid;
        d[2] -= high;
    } else {
        d[0] += low;
        d[1] += mid;
        d[2] += high;
    }
    if (++s->pending >= CARRY_EVERY)
        carry(s);
}

void exactsum_merge(struct exactsum *into, struct exactsum *from)
{
    carry(into);
    carry(from);
    for (size_t i = 0; i < EXACTSUM_DIGITS; i++)
        into->digit[i] += from->digit[i];
    carry(into);
}

double exactsum_value(struct exactsum *s)
{
    carry(s);
    struct exactsum t = *s;
    bool negative = t.digit[EXACTSUM_DIGITS - 1] < 0;
    if (negative) {
        for (size_t i = 0; i < EXACTSUM_DIGITS; i++)
            t.digit[i] = -t.digit[i];
        carry(&t);
    }
    int top = EXACTSUM_DIGITS - 1;
    while (top > 0 && t.digit[top] == 0)
        top--;
    if (top < 3) /* below 2^-960: three digits are exact in a long double's steps, but plain scaling serves */
        top = 3;
    /* The highest 128 bits, and whether anything lies below them. */
    unsigned __int128 head = 0;
    for (int i = top; i > top - 4; i--)
        head = head << 32 | (uint64_t)t.digit[i];
    bool sticky = false;
    for (int i = top - 4; i >= 0; i--)
        sticky |= t.digit[i] != 0;
    int exponent = 32 * (top - 3) - BIAS; /* of head's lowest bit */
    if (head == 0)
        return 0.0;
    int width = 128;
    while (!(head >> 127)) {
        head <<= 1;
        width--;
    }
    exponent -= 128 - width;
    /* Keep 53 bits, fewer where the result is subnormal. */
    int keep = 53;
    if (exponent + 127 < -1022)
        keep = 53 - (-1022 - (exponent + 127));
    if (keep < 0)
        return negative ? -0.0 : 0.0;
    int drop = 128 - keep;
    uint64_t kept = keep ? (uint64_t)(head >> drop) : 0;
    unsigned __int128 rest = drop == 128 ? head : head & (((unsigned __int128)1 << drop) - 1);
    unsigned __int128 half = (unsigned __int128)1 << (drop - 1);
    if (rest > half || (rest == half && (sticky || (kept & 1))))
        kept++;
    double v = ldexp((double)kept, exponent + drop);
    return negative ? -v : v;
}
