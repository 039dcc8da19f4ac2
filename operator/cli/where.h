/* A run of this machine, or one of a cluster? One rule for all commands that know both (get, logs, restart, compare), told in their help:
 *
 *   1. RUN written NAMESPACE/NAME, or --namespace, --context or --kubeconfig: the cluster.
 *   2. --store: this machine.
 *   3. Called as `kubectl trainyard`: the cluster.
 *   4. A run of that name that this machine knows (in the stores used lately, or in $TRAINYARD_STORE): this machine. Without RUN: if it knows any.
 *   5. A kubeconfig ($KUBECONFIG, ~/.kube/config), or a pod's service account: the cluster.
 *   6. Else this machine, whose error says what was looked for.
 *
 * The environment is read here and nowhere below. */
#pragma once

#include <stdbool.h>

#include "common/base/cli.h"
#include "common/base/err.h"

/* Of the command line; strings are borrowed. Embedded in a command's struct of values as `cluster`. */
struct where_options {
    const char *kubeconfig, *context, *namespace_;
};
/* clang-format off: rows of a table, not a block */
#define WHERE_OPTIONS_CLUSTER(type)                                                                                                \
    {.name = "namespace",                                                                                                          \
     .short_name = 'n',                                                                                                            \
     .kind = CLI_STRING,                                                                                                           \
     .metavar = "NAMESPACE",                                                                                                       \
     .offset = offsetof(type, cluster.namespace_),                                                                                 \
     .help = "Runs in the cluster, in this namespace. Default: the context's."},                                                   \
        {.name = "context",                                                                                                        \
         .kind = CLI_STRING,                                                                                                       \
         .metavar = "NAME",                                                                                                        \
         .offset = offsetof(type, cluster.context),                                                                                \
         .help = "Runs in the cluster of this context of the kubeconfig. Default: its current one."},                              \
    {                                                                                                                              \
        .name = "kubeconfig", .kind = CLI_STRING, .metavar = "FILE",                                                               \
        .offset = offsetof(type, cluster.kubeconfig),                                                                              \
        .help =                                                                                                                    \
            "Runs in the cluster that this file names. Default: $KUBECONFIG, else ~/.kube/config, else the pod's service account." \
    }
/* clang-format on */

/* For the descriptions of commands that know both. */
#define WHERE_HELP                                                                                                                                     \
    "Runs of this machine and of a cluster: RUN is one of the cluster when it is written NAMESPACE/NAME, when --namespace, --context or --kubeconfig " \
    "is given, or when the command is called as `kubectl trainyard`; with --store it is one of this machine. Otherwise it is this machine's if it "    \
    "knows a run of that name, else the cluster's of the kubeconfig."

struct where {
    bool cluster;
    char *ns;   /* of the cluster; NULL: the context's */
    char *name; /* of the run; NULL when there was no reference */
};
/* store: the value of --store or TRAINYARD_STORE, NULL for neither; reference: "NAME", "NAMESPACE/NAME" or NULL. Options that contradict each
 * other are exit 64. */
int where_choose(const struct where_options *o, const char *store, const char *reference, struct where *ret,
                 struct err *err);
/* For commands that only know the cluster. */
int where_in_cluster(const struct where_options *o, const char *reference, struct where *ret,
                     struct err *err);
void where_release(struct where *w);
#define _cleanup_where_ CLEANUP(where_release)

/* What kube_config_load() is to read: --kubeconfig, $KUBECONFIG, or ~/.kube/config if that is there. NULL: nothing. Caller frees. */
char *where_kubeconfig(const struct where_options *o);
/* A pod with a service account. */
bool where_in_pod(void);
