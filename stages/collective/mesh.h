/* Direct connections between all ranks, each authenticated (handshake.h): exchanges of any size and small sums.
 *
 * A sum under way is driven by whoever calls in: mesh_start() and mesh_progress() push bytes without blocking (the
 * kernel moves them while we compute), mesh_finish() ends it. No thread, so nothing competes with the computation.
 * Waiting spins for a moment before it sleeps in poll(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/collective/rendezvous.h"

struct mesh; /* opaque */

enum { MESH_SUMS_MAX = 64 };

int mesh_open(const struct collective_options *o, struct rendezvous *r, struct mesh **ret, struct err *err);
struct mesh *mesh_free(struct mesh *m);
/* Largest sum, in floats, that mesh_start() takes: what is sent to each of the others adds up to at most 1 MiB. */
size_t mesh_sum_max(const struct mesh *m);
/* Queues data[0..n) += the others' and starts sending. Errors show in mesh_finish(). */
void mesh_start(struct mesh *m, float *data, size_t n);
void mesh_progress(struct mesh *m);
int mesh_finish(struct mesh *m, struct err *err);
/* collective_exchange(), collective_broadcast(). */
int mesh_exchange(struct mesh *m, const void *mine, size_t len, size_t max, const void **ret,
                  size_t *ret_lens, struct err *err);
int mesh_broadcast(struct mesh *m, void *data, size_t len, int root, struct err *err);
uint64_t mesh_bytes_sent(const struct mesh *m);
