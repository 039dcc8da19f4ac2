/* How workers find each other: rank 0 listens, all others say hello to it (handshake.h), and small values are
 * exchanged over these connections: a key-value store that lives as long as the attempt. Never the object store, never a
 * fixed list of peers. Gloo's rendezvous runs over it (gloo.cc), and so do the peers' own addresses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/collective/collective.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rendezvous; /* opaque */

enum {
    RENDEZVOUS_KEY_MAX = 255,
    RENDEZVOUS_VALUE_MAX = 1 << 20,
    RENDEZVOUS_KEYS_MAX = 65536,
    RENDEZVOUS_ADDR_MAX = 64
};

/* Returns when all ranks are there. Late or missing ones: exit 75 naming them (on rank 0). */
int rendezvous_open(const struct collective_options *o, struct rendezvous **ret, struct err *err);
struct rendezvous *rendezvous_free(struct rendezvous *r);
/* This worker's own address as text: advertise_addr, or the one it reached rank 0 from. */
const char *rendezvous_address(const struct rendezvous *r);
int rendezvous_set(struct rendezvous *r, const char *key, const void *value, size_t len, struct err *err);
/* Waits for the key. Caller frees. */
int rendezvous_get(struct rendezvous *r, const char *key, int64_t timeout_ms, char **ret, size_t *ret_len,
                   struct err *err);

#ifdef __cplusplus
}
#endif
