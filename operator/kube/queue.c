/* See queue.h: a binary heap by due time; a key that nobody waits for is not kept. */
#include "operator/kube/queue.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/backoff.h"
#include "common/base/map.h"

enum { MAX_IN_HAND = 16, INITIAL_MS = 200, MAX_MS = 60 * 1000, MAX_KEYS = 1000 * 1000, TURN = 64 };

struct item {
    char *key;
    size_t at; /* index in the heap + 1; 0: not in it */
    int64_t due_ms, taken_ms;
    uint64_t order; /* of equal times the first one added comes first */
    bool in_hand;
    bool again; /* added while in hand, due at again_ms */
    int64_t again_ms;
    unsigned failures;
};

struct queue {
    struct loop *loop;
    struct queue_config config;
    struct map *items;
    struct item **heap;
    size_t n, capacity, in_hand;
    uint64_t order;
    bool paused;
    struct loop_timer *timer;
    struct backoff jitter;
};

static void item_free(void *p)
{
    struct item *i = p;
    free(i->key);
    free(i);
}

struct queue *queue_new(struct loop *loop, const struct queue_config *config)
{
    struct queue *q = xcalloc(1, sizeof *q);
    q->loop = loop;
    q->config = *config;
    if (!q->config.max_in_hand)
        q->config.max_in_hand = MAX_IN_HAND;
    backoff_init(&q->jitter, config->initial_ms ? config->initial_ms : INITIAL_MS,
                 config->max_ms ? config->max_ms : MAX_MS, config->seed);
    q->items = map_new(MAX_KEYS, item_free);
    return q;
}

struct queue *queue_free(struct queue *q)
{
    if (!q)
        return NULL;
    loop_timer_cancel(q->timer);
    map_free(q->items);
    free(q->heap);
    free(q);
    return NULL;
}

/* --- the heap ------------------------------------------------------------------------------------------------- */

static bool before(const struct item *a, const struct item *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void put(struct queue *q, size_t at, struct item *i)
{
    q->heap[at] = i;
    i->at = at + 1;
}

static void sift_up(struct queue *q, size_t at)
{
    struct item *i = q->heap[at];
    for (; at > 0 && before(i, q->heap[(at - 1) / 2]); at = (at - 1) / 2)
        put(q, at, q->heap[(at - 1) / 2]);
    put(q, at, i);
}

static void sift_down(struct queue *q, size_t at)
{
    struct item *i = q->heap[at];
    for (size_t child; (child = 2 * at + 1) < q->n; at = child) {
        if (child + 1 < q->n && before(q->heap[child + 1], q->heap[child]))
            child++;
        if (!before(q->heap[child], i))
            break;
        put(q, at, q->heap[child]);
    }
    put(q, at, i);
}

static void take_out(struct queue *q, struct item *i)
{
    size_t at = i->at - 1;
    struct item *last = q->heap[--q->n];
    i->at = 0;
    if (last == i)
        return;
    put(q, at, last);
    sift_up(q, at);
    sift_down(q, last->at - 1);
}

static void push(struct queue *q, struct item *i, int64_t due_ms)
{
    q->heap = grow_array(q->heap, &q->capacity, q->n, sizeof *q->heap);
    i->due_ms = due_ms;
    i->order = q->order++;
    put(q, q->n++, i);
    sift_up(q, q->n - 1);
}

/* --- turns ---------------------------------------------------------------------------------------------------- */

static void turn(void *ctx);

static void arm(struct queue *q)
{
    q->timer = loop_timer_cancel(q->timer);
    if (q->paused || q->n == 0 || q->in_hand >= (size_t)q->config.max_in_hand)
        return;
    int64_t delay = q->heap[0]->due_ms - loop_now_ms();
    q->timer = loop_timer_start(q->loop, delay > 0 ? delay : 0, turn, q);
}

/* At most TURN keys, so that a long queue of quick ones leaves the loop its turn. */
static void turn(void *ctx)
{
    struct queue *q = ctx;
    q->timer = NULL;
    for (int k = 0; k < TURN && !q->paused && q->n && q->in_hand < (size_t)q->config.max_in_hand; k++) {
        struct item *i = q->heap[0];
        int64_t late = loop_now_ms() - i->due_ms;
        if (late < 0)
            break;
        take_out(q, i);
        i->in_hand = true;
        i->taken_ms = loop_now_ms();
        q->in_hand++;
        if (q->config.waited)
            q->config.waited(q->config.ctx, late);
        _cleanup_free_ char *key = xstrdup(i->key); /* the item may go meanwhile */
        q->config.process(q->config.ctx, key);
    }
    arm(q);
}

void queue_add(struct queue *q, const char *key)
{
    queue_add_after(q, key, 0);
}

void queue_add_after(struct queue *q, const char *key, int64_t delay_ms)
{
    int64_t due = loop_now_ms() + (delay_ms > 0 ? delay_ms : 0);
    struct item *i = map_get(q->items, key);
    if (!i) {
        i = xcalloc(1, sizeof *i);
        i->key = xstrdup(key);
        if (map_set(q->items, key, i) < 0)
            BUG("a queue of more than %d keys", MAX_KEYS);
    }
    if (i->in_hand) {
        i->again_ms = i->again && i->again_ms < due ? i->again_ms : due;
        i->again = true;
        return;
    }
    if (i->at && i->due_ms <= due)
        return;
    if (i->at)
        take_out(q, i);
    push(q, i, due);
    if (q->heap[0] == i)
        arm(q);
}

static struct item *out_of_hand(struct queue *q, const char *key)
{
    struct item *i = map_get(q->items, key);
    if (!i || !i->in_hand)
        BUG("\"%s\" is not in hand", key);
    i->in_hand = false;
    q->in_hand--;
    if (q->config.handled)
        q->config.handled(q->config.ctx, loop_now_ms() - i->taken_ms);
    return i;
}

void queue_done(struct queue *q, const char *key)
{
    struct item *i = out_of_hand(q, key);
    i->failures = 0;
    if (i->again) {
        i->again = false;
        push(q, i, i->again_ms);
    } else {
        (void)map_remove(q->items, key);
    }
    arm(q);
}

void queue_retry(struct queue *q, const char *key)
{
    struct item *i = out_of_hand(q, key);
    q->jitter.attempt = i->failures;
    int64_t due = loop_now_ms() + backoff_next_ms(&q->jitter);
    i->failures = q->jitter.attempt;
    push(q, i, i->again && i->again_ms < due ? i->again_ms : due);
    i->again = false;
    arm(q);
}

void queue_forget(struct queue *q, const char *key)
{
    struct item *i = map_get(q->items, key);
    if (!i)
        return;
    i->failures = 0;
    i->again = false;
    if (i->in_hand)
        return;
    take_out(q, i);
    (void)map_remove(q->items, key);
    arm(q);
}

size_t queue_depth(const struct queue *q)
{
    size_t due = 0;
    int64_t now = loop_now_ms();
    for (size_t i = 0; i < q->n; i++)
        due += q->heap[i]->due_ms <= now;
    return due;
}

void queue_pause(struct queue *q, bool paused)
{
    q->paused = paused;
    arm(q);
}

size_t queue_in_hand(const struct queue *q)
{
    return q->in_hand;
}
