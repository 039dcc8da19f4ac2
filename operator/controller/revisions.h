/* Specs of pipelines as ControllerRevisions, which the API server keeps from being changed: made once per change, fetched when a run
 * needs one, decoded once for all runs, at most `max` kept (those of active runs are used often enough to stay). */
#pragma once

#include <stddef.h>

#include "common/base/err.h"
#include "operator/kube/client.h"
#include "operator/pipeline/pipeline.h"

struct revisions; /* opaque */

/* wake(ctx, key): what waited for a revision may look again. */
struct revisions *revisions_new(struct kube_client *c, size_t max, void (*wake)(void *ctx, const char *key),
                                void *ctx);
struct revisions *revisions_free(struct revisions *r);

/* The decoded pipeline of a revision; borrowed until the loop runs. 0 with *ret NULL: it is being fetched, and `key` will be woken. Not there, or
 * not readable: negative (ERR_NOTFOUND, ERR_INVALID). */
int revisions_get(struct revisions *r, const char *ns, const char *name, const char *key,
                  const struct pipeline **ret, struct err *err);
/* "<pipeline>-<first 10 hex digits of the hash>"; the hash covers the whole spec's canonical form, so an equal spec finds its revision again. */
char *revision_name(const struct pipeline *p);
