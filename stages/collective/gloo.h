/* Gloo behind C: sums of large arrays by its ring over TCP. Everything it throws becomes an err; what concerns a
 * peer is ERR_RETRY, exit 75, reason "peer-lost". One thread uses it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/collective/rendezvous.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gloo_ring; /* opaque */

int gloo_ring_open(const struct collective_options *o, struct rendezvous *r, struct gloo_ring **ret,
                   struct err *err);
void gloo_ring_free(struct gloo_ring *g); /* NULL allowed */
int gloo_ring_sum(struct gloo_ring *g, float *data, size_t n, struct err *err);

#ifdef __cplusplus
}
#endif
