/* Events for people, as `kubectl describe` shows them. Best effort: bounded, aggregated, never retried for long, and nothing waits for them.
 *
 * An event equal to an earlier one (object, reason, message) within ten minutes raises its count; more than ten different messages of one object and reason become one that
 * says so; at most 25 at once and then one in ten seconds per object (client-go's spam filter). */
#pragma once

#include <stdbool.h>

#include "common/base/cleanup.h"
#include "operator/kube/client.h"

struct recorder;        /* opaque */
struct kube_reference { /* borrowed */
    const struct kube_resource *resource;
    const char *ns, *name, *uid;
};
/* component: "trainyard-operator"; instance: the pod's name. Copied. */
struct recorder *recorder_new(struct kube_client *c, const char *component, const char *instance);
struct recorder *recorder_free(struct recorder *r);
void recorder_event(struct recorder *r, const struct kube_reference *about, bool warning, const char *reason,
                    const char *message);

DEFINE_CLEANUP(struct recorder *, recorder_free);
#define _cleanup_recorder_ CLEANUP(recorder_free_cleanup)
