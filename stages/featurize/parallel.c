/* A team of threads: see parallel.h. */
#include "stages/featurize/parallel.h"

#include <pthread.h>
#include <stdbool.h>

#include "common/base/alloc.h"

struct member {
    struct parallel *team;
    int index;
    pthread_t thread;
};

struct parallel {
    int threads;
    struct member *members; /* threads − 1 started ones, from index 1 */
    int started;
    pthread_mutex_t mutex;
    pthread_cond_t begin, done;
    unsigned long round; /* of work handed out */
    int running;
    bool quit;
    size_t total;
    void (*work)(void *ctx, size_t first, size_t n, int thread);
    void *ctx;
};

static void do_part(struct parallel *p, int index)
{
    size_t from = p->total * (size_t)index / (size_t)p->threads,
           to = p->total * ((size_t)index + 1) / (size_t)p->threads;
    if (to > from)
        p->work(p->ctx, from, to - from, index);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct parallel *p = m->team;
    unsigned long seen = 0;
    (void)pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->round == seen && !p->quit)
            (void)pthread_cond_wait(&p->begin, &p->mutex);
        if (p->quit)
            break;
        seen = p->round;
        (void)pthread_mutex_unlock(&p->mutex);
        do_part(p, m->index);
        (void)pthread_mutex_lock(&p->mutex);
        if (--p->running == 0)
            (void)pthread_cond_signal(&p->done);
    }
    (void)pthread_mutex_unlock(&p->mutex);
    return NULL;
}

int parallel_new(int threads, struct parallel **ret, struct err *err)
{
    _cleanup_parallel_ struct parallel *p = xcalloc(1, sizeof *p);
    p->threads = threads > 1 ? threads : 1;
    p->members = xcalloc((size_t)p->threads, sizeof *p->members);
    (void)pthread_mutex_init(&p->mutex, NULL);
    (void)pthread_cond_init(&p->begin, NULL);
    (void)pthread_cond_init(&p->done, NULL);
    for (int i = 1; i < p->threads; i++) {
        p->members[i] = (struct member){.team = p, .index = i};
        if (pthread_create(&p->members[i].thread, NULL, member_main, &p->members[i]) != 0)
            return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, NULL,
                            "cannot start thread %d of %d: the process limit is reached", i, p->threads);
        p->started = i;
    }
    *ret = steal_ptr(p);
    return 0;
}

struct parallel *parallel_free(struct parallel *p)
{
    if (!p)
        return NULL;
    (void)pthread_mutex_lock(&p->mutex);
    p->quit = true;
    (void)pthread_cond_broadcast(&p->begin);
    (void)pthread_mutex_unlock(&p->mutex);
    for (int i = 1; i <= p->started; i++)
        (void)pthread_join(p->members[i].thread, NULL);
    (void)pthread_cond_destroy(&p->begin);
    (void)pthread_cond_destroy(&p->done);
    (void)pthread_mutex_destroy(&p->mutex);
    free(p->members);
    free(p);
    return NULL;
}

int parallel_threads(const struct parallel *p)
{
    return p->threads;
}

void parallel_run(struct parallel *p, size_t total,
                  void (*work)(void *ctx, size_t first, size_t n, int thread), void *ctx)
{
    p->total = total;
    p->work = work;
    p->ctx = ctx;
    if (p->threads == 1) {
        do_part(p, 0);
        return;
    }
    (void)pthread_mutex_lock(&p->mutex);
    p->running = p->threads - 1;
    p->round++;
    (void)pthread_cond_broadcast(&p->begin);
    (void)pthread_mutex_unlock(&p->mutex);
    do_part(p, 0);
    (void)pthread_mutex_lock(&p->mutex);
    while (p->running > 0)
        (void)pthread_cond_wait(&p->done, &p->mutex);
    (void)pthread_mutex_unlock(&p->mutex);
}
