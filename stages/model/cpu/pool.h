/* Compute threads with a fixed partition: part i of n is always the same work, so results do not depend on
 * timing. The calling thread works as part 0; the others wait spinning for a few microseconds, then sleeping. */
#pragma once

#include <stddef.h>

#include "common/base/err.h"

struct pool; /* opaque */

enum { POOL_MAX_THREADS = 64 };

/* threads ≥ 1, including the caller; 1 starts none. */
int pool_new(int threads, struct pool **ret, struct err *err);
struct pool *pool_free(struct pool *p);
int pool_threads(const struct pool *p);
/* Calls fn(ctx, part, parts) for each part in parallel; returns when all are done. */
void pool_run(struct pool *p, void (*fn)(void *ctx, int part, int parts), void *ctx);

/* Part's share [*begin, *end) of n items in units of `unit`. */
static inline void pool_share(size_t n, size_t unit, int part, int parts, size_t *ret_begin, size_t *ret_end)
{
    size_t units = (n + unit - 1) / unit;
    size_t begin = units * (size_t)part / (size_t)parts * unit,
           end = units * ((size_t)part + 1) / (size_t)parts * unit;
    *ret_begin = begin < n ? begin : n;
    *ret_end = end < n ? end : n;
}
