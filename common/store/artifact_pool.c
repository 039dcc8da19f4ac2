/* Several files at once: a round trip to an object store takes longer than a small file's bytes. */
#include <pthread.h>
#include <stdatomic.h>

#include "common/store/artifact-internal.h"

enum { THREADS = 4 };

struct pool {
    size_t n;
    int (*work)(void *ctx, struct store *s, size_t i, struct err *err);
    void *ctx;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t lock;
    struct err *err; /* the first failure; under the lock */
};

struct worker {
    struct pool *pool;
    struct store *store;
    pthread_t thread;
};

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    for (;;) {
        size_t i = atomic_fetch_add(&p->next, 1);
        struct err err = ERR_INIT;
        if (i >= p->n || atomic_load(&p->failed))
            return NULL;
        if (p->work(p->ctx, w->store, i, &err) == 0)
            continue;
        (void)pthread_mutex_lock(&p->lock);
        if (!atomic_exchange(&p->failed, true))
            *p->err = err;
        (void)pthread_mutex_unlock(&p->lock);
        return NULL;
    }
}

int artifact_each(struct store *s, size_t n,
                  int (*work)(void *ctx, struct store *s, size_t i, struct err *err), void *ctx,
                  struct err *err)
{
    struct err first = ERR_INIT;
    struct pool pool = {.n = n, .work = work, .ctx = ctx, .lock = PTHREAD_MUTEX_INITIALIZER, .err = &first};
    struct worker workers[THREADS] = {{.pool = &pool, .store = s}};
    size_t wanted = store_is_local(s) || n < 2 ? 1 : n < THREADS ? n : THREADS, started = 1;
    while (started < wanted) {
        struct worker *w = &workers[started];
        struct err ignored = ERR_INIT; /* with fewer threads it goes on, slower */
        *w = (struct worker){.pool = &pool};
        if (store_clone(s, &w->store, &ignored) < 0)
            break;
        if (pthread_create(&w->thread, NULL, run_worker, w) != 0) {
            store_free(w->store);
            break;
        }
        started++;
    }
    (void)run_worker(&workers[0]);
    for (size_t i = 1; i < started; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        store_free(workers[i].store);
    }
    if (!err_is_set(&first))
        return 0;
    *err = first;
    return -1;
}
