/* The key of progress tokens: a Secret in the operator's own namespace, made by whichever operator finds none. It outlives every operator, so
 * that the tokens of running pods stay good. */
#pragma once

#include <stddef.h>

#include "common/http/loop.h"

#include "operator/kube/client.h"

enum { KEYSECRET_BYTES = 32 };

struct keysecret; /* opaque */
/* ready(ctx, key, len) runs once, when the key is known; until then it goes on trying, and failed(ctx, message) is told why not. */
struct keysecret *keysecret_new(struct loop *loop, struct kube_client *c, const char *ns, const char *name,
                                void (*ready)(void *ctx, const void *key, size_t len),
                                void (*failed)(void *ctx, const char *message), void *ctx);
struct keysecret *keysecret_free(struct keysecret *k);
