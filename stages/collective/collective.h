/* What the workers of a step do together: sums and exchanges with a fixed order, under a deadline.
 *
 * Every call is made by all ranks in the same order with fitting sizes. Results are the same bits on every rank
 * and in every run: all-reduce adds in rank order (Gloo: in the fixed order of its ring), exchange hands out rank by rank. A peer
 * that is gone, or silent for timeout_ms, ends the call with ERR_RETRY, exit 75, reason "peer-lost", never a hang; the
 * collective is unusable afterwards. One thread uses a collective.
 *
 * Two transports: direct connections between all ranks for exchanges and small sums (no extra thread, microseconds on
 * one node), Gloo's ring for large sums. All addresses come from the rendezvous with rank 0; each worker says where
 * it can be reached. Traffic is plain TCP; who takes part is decided by the rendezvous key. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct collective; /* opaque */

struct collective_options {
    int rank, size;          /* size 1: every call is local and immediate */
    const char *master_addr; /* of rank 0: name or address */
    int master_port;
    const char *advertise_addr; /* this worker's own; NULL: the one its connection to rank 0 has */
    const char *run_uid;        /* with attempt: who belongs together */
    int attempt;
    const char *identity;     /* pod UID or process, for messages and against doubles */
    const uint8_t *key;       /* [32] */
    int64_t start_timeout_ms; /* until all ranks are there; 0: 600 s */
    int64_t timeout_ms;       /* of a call; 0: 10 s */
    /* Asked while waiting for the other ranks to come; not 0 ends that with exit 75, reason "stopped". NULL: never. */
    int (*stopping)(void *ctx);
    void *stopping_ctx;
};

int collective_open(const struct collective_options *o, struct collective **ret, struct err *err);
struct collective *collective_free(struct collective *c); /* NULL allowed */
int collective_rank(const struct collective *c);
int collective_size(const struct collective *c);

/* Starts data[0..n) = sum over ranks; the memory belongs to the collective until collective_wait(). */
void collective_submit(struct collective *c, float *data, size_t n);
/* Ends all sums submitted. */
int collective_wait(struct collective *c, struct err *err);
/* Gives what is under way a chance to move on; never blocks. */
void collective_poke(struct collective *c);

/* Hands `mine` (len bytes, at most max on any rank) to all: ret[r] and ret_lens[r] for each rank r. The memory is the
 * collective's (own rank: a copy of it, too), 64-byte aligned, valid until the next exchange. No sum may be under way. */
int collective_exchange(struct collective *c, const void *mine, size_t len, size_t max, const void **ret,
                        size_t *ret_lens, struct err *err);
/* Bytes of `data` of rank `root` to all. */
int collective_broadcast(struct collective *c, void *data, size_t len, int root, struct err *err);
int collective_barrier(struct collective *c, struct err *err);

/* Since open: bytes this rank sent, and time its thread waited in calls. */
struct collective_stats {
    uint64_t bytes_sent;
    int64_t wait_us;
};
void collective_count(const struct collective *c, struct collective_stats *ret);

#ifdef __cplusplus
}
#endif
