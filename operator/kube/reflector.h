/* A cache of one resource, kept true by list and watch.
 *
 * List in pages, then watch with bookmarks from the list's version; a watch that ends is resumed from the last version seen; 410 (in the
 * answer or in the stream), or a version the server does not know, lists again, and what the new list lacks is reported as deleted. A stream
 * on which nothing came for twice the bookmarks' interval is taken for half-open and cut. Failures back off with jitter. The cache survives
 * all of that: it may be stale, never wrong.
 * It holds what `trim` makes of an object, never JSON. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "operator/kube/client.h"
#include "operator/kube/resource.h"

struct reflector; /* opaque */

struct reflector_config { /* strings are copied; resource must live on */
    const struct kube_resource *resource;
    const char *ns;             /* NULL: all namespaces */
    const char *label_selector; /* unescaped; NULL */
    const char *field_selector; /* likewise; "metadata.name=x" watches one object */
    int page;                   /* objects a list page; 0: 100 */
    int64_t watch_seconds;      /* asked of the server, jittered; 0: 300 */
    int64_t silence_ms;         /* see above; 0: 150 s */
    const char *const *
        unread; /* names of members that trim does not look at, see kube_cut_members(); NULL-terminated, lives on; NULL */
    /* Makes the cached form; its first member must be a struct kube_meta. NULL: this object is not cached (as if deleted). */
    void *(*trim)(void *ctx, const cJSON *object);
    void (*free_trimmed)(void *trimmed);
    /* now NULL: deleted; old NULL: new. Both are valid during the call; `now` stays until the next change. An object that has come back
     * with another uid is reported as deleted first. Also runs for objects of the first list. NULL: nobody. */
    void (*changed)(void *ctx, const void *old, const void *now);
    /* The first list is in the cache. NULL: nobody. */
    void (*synced)(void *ctx);
    void *ctx;
};
struct reflector *reflector_new(struct kube_client *c, const struct reflector_config *config);
/* Stops; the cache is freed without calls. */
struct reflector *reflector_free(struct reflector *r);

bool reflector_is_synced(const struct reflector *r);
/* Monotonic time of the last sign of life from the server (a list, an event, a bookmark); 0: none yet. */
int64_t reflector_heard_ms(const struct reflector *r);
size_t reflector_count(const struct reflector *r);
/* Borrowed; NULL if it is not there. */
const void *reflector_get(const struct reflector *r, const char *ns, const char *name);
/* Every object, in no order; `each` returns false to end it. The cache must not change meanwhile. */
void reflector_each(const struct reflector *r, bool (*each)(void *ctx, const void *trimmed), void *ctx);

DEFINE_CLEANUP(struct reflector *, reflector_free);
#define _cleanup_reflector_ CLEANUP(reflector_free_cleanup)
