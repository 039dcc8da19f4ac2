/* Keys of objects to look at: each at most once in the queue, each in one hand at a time, failing ones with back-off.
 *
 * `process` is called with a key and may finish at once or later (its calls to the API are asynchronous); queue_done() or queue_retry() ends it. A key added while
 * it is in hand is queued again when it is done. At most `max_in_hand` keys are in hand. Order: first in, first out by the time they are due. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/http/loop.h"

struct queue; /* opaque */

struct queue_config {
    void (*process)(void *ctx, const char *key); /* never called inside queue_add*() */
    void *ctx;
    int max_in_hand;                        /* 0: 16 */
    int64_t initial_ms, max_ms;             /* back-off of queue_retry(); 0: 200 ms, 60 s */
    uint64_t seed;                          /* of its jitter */
    void (*waited)(void *ctx, int64_t ms);  /* how long a key was due before it came into hand; NULL */
    void (*handled)(void *ctx, int64_t ms); /* how long it was in hand; NULL */
};
struct queue *queue_new(struct loop *loop, const struct queue_config *config);
struct queue *queue_free(struct queue *q);

void queue_add(struct queue *q, const char *key); /* now */
/* Not before delay_ms; of several the earliest counts, also against one that is due already. */
void queue_add_after(struct queue *q, const char *key, int64_t delay_ms);
void queue_done(struct queue *q, const char *key);  /* out of hand; its back-off is forgotten */
void queue_retry(struct queue *q, const char *key); /* out of hand; comes again after its back-off */
void queue_forget(struct queue *q,
                  const char *key); /* the object is gone: nothing of it is kept, unless it is in hand */
size_t queue_depth(const struct queue *q); /* due, not in hand */
/* No more keys are taken into hand (a leader that has lost its lease); they stay queued. Starts as running. */
void queue_pause(struct queue *q, bool paused);
size_t queue_in_hand(const struct queue *q);

DEFINE_CLEANUP(struct queue *, queue_free);
#define _cleanup_queue_ CLEANUP(queue_free_cleanup)
