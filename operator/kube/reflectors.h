/* One resource in all namespaces, or in each of a list of them: as many reflectors as that takes, seen as one cache.
 *
 * An operator whose rights are those of a few namespaces may not list a resource cluster-wide; who reads the cache need not know. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "operator/kube/reflector.h"

struct reflectors; /* opaque */

/* namespaces: NULL-terminated, without repetition; NULL: all. config.ns is not looked at; config.synced runs once, when the
 * last of them has its first list. */
struct reflectors *reflectors_new(struct kube_client *c, const struct reflector_config *config,
                                  const char *const *namespaces);
/* Stops; the caches are freed without calls. */
struct reflectors *reflectors_free(struct reflectors *r);

bool reflectors_is_synced(const struct reflectors *r); /* all of them */
/* Monotonic time of the last sign of life, of the one that has been silent for longest; 0: one has heard nothing yet. */
int64_t reflectors_heard_ms(const struct reflectors *r);
size_t reflectors_count(const struct reflectors *r);
/* Borrowed; NULL if it is not there. */
const void *reflectors_get(const struct reflectors *r, const char *ns, const char *name);
/* Every object, in no order; `each` returns false to end it. The cache must not change meanwhile. */
void reflectors_each(const struct reflectors *r, bool (*each)(void *ctx, const void *trimmed), void *ctx);

DEFINE_CLEANUP(struct reflectors *, reflectors_free);
#define _cleanup_reflectors_ CLEANUP(reflectors_free_cleanup)
