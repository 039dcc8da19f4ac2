/* A fixed team of threads that share loops over rows. Which thread does which rows never shows in a result: callers write
 * to places that belong to the row. */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct parallel; /* opaque */

/* The caller is one of the threads. */
int parallel_new(int threads, struct parallel **ret, struct err *err);
struct parallel *parallel_free(struct parallel *p);
int parallel_threads(const struct parallel *p);
/* Calls work(ctx, first, n, thread) on contiguous parts of [0, total), one a thread, and waits for all. */
void parallel_run(struct parallel *p, size_t total,
                  void (*work)(void *ctx, size_t first, size_t n, int thread), void *ctx);

DEFINE_CLEANUP(struct parallel *, parallel_free);
#define _cleanup_parallel_ CLEANUP(parallel_free_cleanup)
