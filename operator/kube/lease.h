/* Leader election by a coordination.k8s.io Lease, as client-go does it: whoever holds it renews it; whoever sees it unrenewed for its whole duration,
 * by the own clock, takes it with resourceVersion. The holder that cannot renew for renew_ms stops leading before others may take over. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "operator/kube/client.h"

struct lease; /* opaque */

struct lease_config { /* strings are copied */
    const char *ns, *name;
    const char *identity;                     /* ours; "<pod name>_<address:port of the progress receiver>" */
    int64_t duration_ms, renew_ms, retry_ms;  /* 0: 15 s, 10 s, 2 s */
    void (*changed)(void *ctx, bool leading); /* runs on every change of leadership */
    void *ctx;
};
struct lease *lease_new(struct kube_client *c, const struct lease_config *config);
/* Stops without a word; others wait the duration. */
struct lease *lease_free(struct lease *l);
bool lease_leading(const struct lease *l);
/* Identity of the holder as last seen; "" if nobody. Borrowed until the loop runs. */
const char *lease_holder(const struct lease *l);
/* Gives it back (graceful hand-over); `released` runs when that is done or failed, changed(false) before. */
void lease_release(struct lease *l, void (*released)(void *ctx), void *ctx);

DEFINE_CLEANUP(struct lease *, lease_free);
#define _cleanup_lease_ CLEANUP(lease_free_cleanup)
