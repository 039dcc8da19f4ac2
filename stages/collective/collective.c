/* Which transport does what, and the thread that drives Gloo beside the computation: see collective.h. */
#include "stages/collective/collective.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "stages/collective/gloo.h"
#include "stages/collective/mesh.h"
#include "stages/collective/rendezvous.h"

enum { RING_QUEUE = 64, ALIGNMENT = 64 };

struct ring_sum {
    float *data;
    size_t n;
};

struct collective {
    int rank, size;
    struct rendezvous *rendezvous;
    struct mesh *mesh;
    struct collective_stats stats;
    /* size 1: */
    char *copy;
    size_t copy_capacity;
    /* Gloo and its thread; everything below under the mutex. */
    struct gloo_ring *ring;
    pthread_t thread;
    bool running, stop;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct ring_sum queue[RING_QUEUE];
    size_t n_queue;
    uint64_t ring_bytes;
    struct err failure;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- Gloo's thread ------------------------------------------------------------------------------------ */

static void *drive_ring(void *arg)
{
    struct collective *c = arg;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (!c->n_queue && !c->stop)
            pthread_cond_wait(&c->changed, &c->mutex);
        if (c->stop)
            break;
        struct ring_sum s = c->queue[0];
        bool failed = err_is_set(&c->failure);
        pthread_mutex_unlock(&c->mutex);
        struct err err = ERR_INIT;
        int r = failed ? 0 : gloo_ring_sum(c->ring, s.data, s.n, &err);
        pthread_mutex_lock(&c->mutex);
        if (r < 0)
            c->failure = err;
        c->ring_bytes += 2 * (uint64_t)(c->size - 1) * s.n * sizeof(float) / (uint64_t)c->size;
        c->n_queue--;
        memmove(c->queue, c->queue + 1, c->n_queue * sizeof *c->queue);
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* --- opening -------------------------------------------------------------------------------------------- */

int collective_open(const struct collective_options *o, struct collective **ret, struct err *err)
{
    if (o->size < 1 || o->rank < 0 || o->rank >= o->size)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "rank %d of %d workers: expected a rank from 0 to %d", o->rank, o->size, o->size - 1);
    struct collective *c = xcalloc(1, sizeof *c);
    c->rank = o->rank;
    c->size = o->size;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    if (o->size > 1) {
        if (rendezvous_open(o, &c->rendezvous, err) < 0 || mesh_open(o, c->rendezvous, &c->mesh, err) < 0 ||
            gloo_ring_open(o, c->rendezvous, &c->ring, err) < 0) {
            collective_free(c);
            return -1;
        }
        int e = pthread_create(&c->thread, NULL, drive_ring, c);
        if (e) {
            collective_free(c);
            return err_errno(err, e, "cannot start the collective's thread");
        }
        c->running = true;
    }
    *ret = c;
    return 0;
}

struct collective *collective_free(struct collective *c)
{
    if (!c)
        return NULL;
    if (c->running) {
        pthread_mutex_lock(&c->mutex);
        c->stop = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);
        pthread_join(c->thread, NULL);
    }
    gloo_ring_free(c->ring);
    mesh_free(c->mesh);
    rendezvous_free(c->rendezvous);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    free(c->copy);
    return xfree(c);
}

int collective_rank(const struct collective *c)
{
    return c->rank;
}

int collective_size(const struct collective *c)
{
    return c->size;
}

/* --- sums ------------------------------------------------------------------------------------------------ */

/* The choice depends on sizes only, so all ranks make the same. */
void collective_submit(struct collective *c, float *data, size_t n)
{
    if (c->size == 1 || !n)
        return;
    if (n <= mesh_sum_max(c->mesh)) {
        mesh_start(c->mesh, data, n);
        return;
    }
    pthread_mutex_lock(&c->mutex);
    while (c->n_queue == RING_QUEUE)
        pthread_cond_wait(&c->changed, &c->mutex);
    c->queue[c->n_queue++] = (struct ring_sum){.data = data, .n = n};
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void collective_poke(struct collective *c)
{
    if (c->size > 1)
        mesh_progress(c->mesh);
}

int collective_wait(struct collective *c, struct err *err)
{
    if (c->size == 1)
        return 0;
    int64_t start = now_us();
    int r = mesh_finish(c->mesh, err);
    pthread_mutex_lock(&c->mutex);
    while (c->n_queue)
        pthread_cond_wait(&c->changed, &c->mutex); /* each sum has Gloo's own deadline */
    if (r == 0 && err_is_set(&c->failure)) {
        *err = c->failure;
        r = -1;
    }
    pthread_mutex_unlock(&c->mutex);
    c->stats.wait_us += now_us() - start;
    return r;
}

/* --- exchanges -------------------------------------------------------------------------------------------- */

static int exchange_alone(struct collective *c, const void *mine, size_t len, const void **ret,
                          size_t *ret_lens, struct err *err)
{
    if (len > c->copy_capacity) {
        free(c->copy);
        c->copy_capacity = (len * 3 / 2 + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        c->copy = aligned_alloc(ALIGNMENT, c->copy_capacity);
        if (!c->copy) {
            c->copy_capacity = 0;
            return err_errno(err, 12 /* ENOMEM */, "cannot hold an exchange of %zu bytes", len);
        }
    }
    if (len)
        memcpy(c->copy, mine, len);
    ret[0] = c->copy;
    ret_lens[0] = len;
    return 0;
}

int collective_exchange(struct collective *c, const void *mine, size_t len, size_t max, const void **ret,
                        size_t *ret_lens, struct err *err)
{
    if (c->size == 1)
        return exchange_alone(c, mine, len, ret, ret_lens, err);
    int64_t start = now_us();
    int r = mesh_exchange(c->mesh, mine, len, max, ret, ret_lens, err);
    c->stats.wait_us += now_us() - start;
    return r;
}

int collective_broadcast(struct collective *c, void *data, size_t len, int root, struct err *err)
{
    if (c->size == 1)
        return 0;
    int64_t start = now_us();
    int r = mesh_broadcast(c->mesh, data, len, root, err);
    c->stats.wait_us += now_us() - start;
    return r;
}

int collective_barrier(struct collective *c, struct err *err)
{
    const void **data = xcalloc((size_t)c->size, sizeof *data);
    size_t *lens = xcalloc((size_t)c->size, sizeof *lens);
    int r = collective_exchange(c, "", 1, 1, data, lens, err);
    free(data);
    free(lens);
    return r;
}

void collective_count(const struct collective *c, struct collective_stats *ret)
{
    *ret = c->stats;
    if (c->mesh)
        ret->bytes_sent += mesh_bytes_sent(c->mesh);
    pthread_mutex_lock((pthread_mutex_t *)&c->mutex);
    ret->bytes_sent += c->ring_bytes;
    pthread_mutex_unlock((pthread_mutex_t *)&c->mutex);
}
