/* One thread, one loop: timers, own descriptors (signals, listeners, pidfds) and HTTP transfers (http.h).
 *
 * An iteration (loop_step):
 *   1. timers that are due fire, in the order of their times;
 *   2. libcurl works on its transfers; the callbacks of finished ones run;
 *   3. it waits until a descriptor is ready, a timer is due or max_wait_ms have passed (not at all if 1 or 2 called
 *      back, so that the caller of loop_step() sees what happened);
 *   4. the callbacks of ready descriptors run.
 * Nothing in a callback may block. Cancelling (a timer, a descriptor, a transfer) is synchronous: once it has returned,
 * the callback never runs, not even for an event that was already seen; it may be done inside any callback, its own
 * included. A loop belongs to one thread. loop_new() refuses a libcurl that resolves names synchronously, for it would
 * block everything; the first one makes the process ignore SIGPIPE unless it has a handler. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct loop;       /* opaque */
struct loop_timer; /* opaque; one shot */
struct loop_fd;    /* opaque */

int loop_new(struct loop **ret, struct err *err);
/* Everything started on it must be stopped before; timers and descriptors left over are dropped. */
struct loop *loop_free(struct loop *l);

/* Fires once, in delay_ms (0: in the next iteration), and is gone then: the callback forgets its pointer. */
struct loop_timer *loop_timer_start(struct loop *l, int64_t delay_ms, void (*fired)(void *ctx), void *ctx);
struct loop_timer *loop_timer_cancel(struct loop_timer *t); /* NULL allowed; returns NULL */

/* events, revents: POLLIN, POLLOUT (poll.h). The descriptor stays the caller's. Level-triggered. */
struct loop_fd *loop_fd_start(struct loop *l, int fd, short events, void (*ready)(void *ctx, short revents),
                              void *ctx);
void loop_fd_events(struct loop_fd *f, short events);
struct loop_fd *loop_fd_stop(struct loop_fd *f); /* NULL allowed; returns NULL */

/* One iteration, waiting at most max_wait_ms (-1: until something happens). */
int loop_step(struct loop *l, int64_t max_wait_ms, struct err *err);
/* Iterates until loop_stop(). */
int loop_run(struct loop *l, struct err *err);
void loop_stop(struct loop *l);
/* In the long run libcurl is given at most so many rounds a second, with a credit of half a second's; 0, as at first: no bound. Each round
 * costs a look at every open transfer, so a loop with many of them and small messages saves work when those that come close together are
 * taken together. Not for bulk transfers: a round moves no more than what the sockets hold. */
void loop_limit_rounds(struct loop *l, int per_second);

/* Monotonic milliseconds, as the timers see them. */
int64_t loop_now_ms(void);

DEFINE_CLEANUP(struct loop *, loop_free);
#define _cleanup_loop_ CLEANUP(loop_free_cleanup)
