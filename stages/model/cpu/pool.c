/* Compute threads: see pool.h. A generation counter starts the parts, a countdown ends them. */
#include "stages/model/cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/alloc.h"

enum { SPIN_ROUNDS = 2000 };

struct worker {
    struct pool *pool;
    int part;
    pthread_t thread;
};

struct pool {
    int threads, started;
    struct worker workers[POOL_MAX_THREADS];
    pthread_mutex_t mutex;
    pthread_cond_t begin;
    atomic_uint generation;
    atomic_int pending;
    bool stop; /* under mutex */
    void (*fn)(void *ctx, int part, int parts);
    void *ctx;
};

static inline void relax(int round)
{
    if (round % 64 == 63)
        sched_yield();
#if defined(__x86_64__)
    else
        __builtin_ia32_pause();
#endif
}

/* False when the pool ends. */
static bool await(struct pool *p, unsigned seen)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen)
            return true;
        relax(i);
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load(&p->generation) == seen && !p->stop)
        pthread_cond_wait(&p->begin, &p->mutex);
    bool go = atomic_load(&p->generation) != seen;
    pthread_mutex_unlock(&p->mutex);
    return go;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    for (unsigned seen = 0; await(p, seen); seen++) {
        p->fn(p->ctx, w->part, p->threads);
        atomic_fetch_sub_explicit(&p->pending, 1, memory_order_release);
    }
    return NULL;
}

int pool_new(int threads, struct pool **ret, struct err *err)
{
    if (threads < 1 || threads > POOL_MAX_THREADS)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "threads: expected 1 to %d, found %d",
                        POOL_MAX_THREADS, threads);
    struct pool *p = xcalloc(1, sizeof *p);
    p->threads = threads;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->begin, NULL);
    for (int i = 1; i < threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .part = i};
        int e = pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]);
        if (e) {
            pool_free(p);
            return err_errno(err, e, "cannot start compute thread %d of %d", i, threads);
        }
        p->started = i;
    }
    *ret = p;
    return 0;
}

struct pool *pool_free(struct pool *p)
{
    if (!p)
        return NULL;
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 1; i <= p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begin);
    pthread_mutex_destroy(&p->mutex);
    return xfree(p);
}

int pool_threads(const struct pool *p)
{
    return p->threads;
}

void pool_run(struct pool *p, void (*fn)(void *ctx, int part, int parts), void *ctx)
{
    if (p->threads == 1) {
        fn(ctx, 0, 1);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store(&p->pending, p->threads - 1);
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
    fn(ctx, 0, p->threads);
    for (int i = 0; atomic_load_explicit(&p->pending, memory_order_acquire); i++)
        relax(i);
}
