/* The cluster that a command works with: a client with a namespace, and calls whose errors speak to the person at the terminal.
 *
 * Exit codes: 78 no kubeconfig, one that cannot be used, or rights that are missing; 69 the API server cannot be reached; 66 what was named is
 * not there; 64 the server refuses what was asked for. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/cli/where.h"
#include "operator/kube/client.h"

/* As the operator names them (operator/controller/labels.h). */
#define CLUSTER_LABEL_RUN_UID "trainyard.dev/run-uid"
#define CLUSTER_LABEL_STEP "trainyard.dev/step"
#define CLUSTER_LABEL_INDEX "trainyard.dev/index"
#define CLUSTER_LABEL_ATTEMPT "trainyard.dev/attempt"

extern const struct kube_resource CLUSTER_PIPELINES, CLUSTER_RUNS;

struct cluster {
    struct kube_config *config;
    struct kube_client *client; /* blocking calls only */
    char *ns;
};
/* ns NULL: --namespace, else the context's. */
int cluster_open(const struct where_options *o, const char *ns, struct cluster **ret, struct err *err);
struct cluster *cluster_free(struct cluster *c);
DEFINE_CLEANUP(struct cluster *, cluster_free);
#define _cleanup_cluster_ CLEANUP(cluster_free_cleanup)

/* One call; the verb, resource, name, query, body and raw of `r` are used, its namespace is the cluster's unless it has one. ret may be NULL. */
int cluster_call(const struct cluster *c, const struct kube_request *r, cJSON **ret, struct err *err);
int cluster_get(const struct cluster *c, const struct kube_resource *resource, const char *name, cJSON **ret,
                struct err *err);
/* Merge patch; with metadata.resourceVersion in it a change of someone else is ERR_CONFLICT. ret may be NULL. */
int cluster_merge(const struct cluster *c, const struct kube_resource *resource, const char *name,
                  const cJSON *patch, cJSON **ret, struct err *err);
/* Every object, page by page; label_selector NULL: all. all_namespaces looks beyond the cluster's own. `each` borrows; it returns negative to fail. */
int cluster_list(const struct cluster *c, const struct kube_resource *resource, bool all_namespaces,
                 const char *label_selector, int (*each)(void *ctx, const cJSON *object, struct err *err),
                 void *ctx, struct err *err);
/* The name among the objects of the namespace that may have been meant; NULL if none is near, or if they cannot be listed. Fails
 * (ERR_NOTFOUND) where the resource itself is not there: the better message. Caller frees. */
int cluster_nearest(const struct cluster *c, const struct kube_resource *resource, const char *name,
                    char **ret, struct err *err);
/* Who we are there (SelfSubjectReview). Caller frees. */
int cluster_user(const struct cluster *c, char **ret, struct err *err);

/* The options that a later command line needs to mean the same place: " -n ranking --context x". Caller frees. */
char *cluster_hint(const struct cluster *c, const struct where_options *o);

/* metadata.name, spec.pipeline…: text at a path of keys, "" if there is none. Borrowed. */
const char *cluster_text(const cJSON *object, const char *first, const char *second);
/* The status ("True") of a condition, NULL if it is not there; *ret_message (may be NULL): its message or "". Borrowed. */
const char *cluster_condition(const cJSON *object, const char *type, const char **ret_message);
/* Appends text for a URL's query, percent-encoded (RFC 3986 unreserved characters stay). */
void cluster_escape(const char *text, struct buf *out);
