/* Exponential back-off with full jitter: delay n is uniform in [base/2, base] where base = min(max, initial × 2ⁿ). */
#pragma once

#include <stdint.h>

struct backoff {
    int64_t initial_ms, max_ms;
    unsigned attempt; /* how many delays were handed out */
    uint64_t state;   /* of the jitter's generator; seed it for reproducible tests */
};

void backoff_init(struct backoff *b, int64_t initial_ms, int64_t max_ms, uint64_t seed);
int64_t backoff_next_ms(struct backoff *b);
void backoff_reset(struct backoff *b);
