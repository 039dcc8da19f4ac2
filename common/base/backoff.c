/* Exponential back-off: see backoff.h. The generator is SplitMix64 (Steele, Lea, Flood 2014). */
#include "common/base/backoff.h"

#include "common/base/err.h"

void backoff_init(struct backoff *b, int64_t initial_ms, int64_t max_ms, uint64_t seed)
{
    if (initial_ms <= 0 || max_ms < initial_ms)
        BUG("back-off from %lld to %lld ms", (long long)initial_ms, (long long)max_ms);
    *b = (struct backoff){.initial_ms = initial_ms, .max_ms = max_ms, .state = seed};
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

int64_t backoff_next_ms(struct backoff *b)
{
    int64_t base = b->initial_ms;
    for (unsigned i = 0; i < b->attempt && base < b->max_ms; i++)
        base = base > b->max_ms / 2 ? b->max_ms : base * 2;
    if (b->attempt < 64)
        b->attempt++;
    int64_t low = base / 2;
    return low + (int64_t)(next_random(&b->state) % (uint64_t)(base - low + 1));
}

void backoff_reset(struct backoff *b)
{
    b->attempt = 0;
}
