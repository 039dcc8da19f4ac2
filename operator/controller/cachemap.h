/* The cache of pure steps (operator/pipeline/cache.h) of each pipeline, in a ConfigMap "<pipeline>-cache" that the pipeline owns.
 *
 * Read when first asked for, then kept in memory; written at most once in CACHEMAP_WRITE_MS with resourceVersion. Losing entries loses time, nothing
 * else: an update that meets a conflict is given up, and the object is read again. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "operator/kube/client.h"
#include "operator/pipeline/plan.h"

enum { CACHEMAP_WRITE_MS = 5000, CACHEMAP_KEPT = 256 };

struct cachemap; /* opaque */

/* wake(ctx, key): what waited for a cache may look again. */
struct cachemap *cachemap_new(struct loop *loop, struct kube_client *c,
                              void (*wake)(void *ctx, const char *key), void *ctx);
/* What is not written yet is lost. */
struct cachemap *cachemap_free(struct cachemap *m);
/* False: it is being read, and `key` will be woken. The object is borrowed until the loop runs. */
bool cachemap_get(struct cachemap *m, const char *ns, const char *pipeline, const char *key,
                  const cJSON **ret);
/* Takes over what a plan found; owner_uid: of the pipeline. */
void cachemap_apply(struct cachemap *m, const char *ns, const char *pipeline, const char *owner_uid,
                    const struct plan *plan);
/* Writes under way or due. */
size_t cachemap_busy(const struct cachemap *m);
