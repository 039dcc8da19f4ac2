/* Where the API server is and who we are there: from a kubeconfig file, or from inside a pod.
 *
 * Understood in a kubeconfig: current-context (or the one asked for), server, certificate-authority(-data), tls-server-name,
 * token, tokenFile, client-certificate(-data), client-key(-data), namespace, proxy-url. `exec` and `auth-provider` users and
 * basic authentication, and insecure-skip-tls-verify are refused with exit 78 and a sentence on what to do instead. Inline data is kept in memfds, whose
 * /proc/self/fd paths libcurl reads: nothing secret touches a disk. */
#pragma once

#include <stdbool.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct kube_config {
    char *server;                   /* https://host:port[/prefix], no slash at the end */
    char *ca_file;                  /* PEM; NULL: the system's */
    char *token;                    /* fixed; NULL */
    char *token_file;               /* re-read when it changes, at most once a second; NULL */
    char *client_cert, *client_key; /* PEM files; NULL */
    char *namespace_;               /* of the context or the pod; "default" if it names none */
    char *proxy;                    /* proxy-url; NULL */
    char *
        connect_to; /* libcurl's "::host:port" where tls-server-name takes the host's place in `server`; NULL */
    char *context; /* its name; "in-cluster" in a pod */
    int fds[3];    /* memfds of inline data; -1: none */
};

/* paths: a colon-separated list as in $KUBECONFIG, merged as kubectl does (the first to set a thing wins); relative file names in
 * a kubeconfig are relative to it. context NULL: the current one. */
int kube_config_load(const char *paths, const char *context, struct kube_config **ret, struct err *err);
/* dir: /var/run/secrets/kubernetes.io/serviceaccount (token, ca.crt, namespace); host and port: KUBERNETES_SERVICE_HOST, _PORT. */
int kube_config_in_cluster(const char *dir, const char *host, const char *port, struct kube_config **ret,
                           struct err *err);
struct kube_config *kube_config_free(struct kube_config *c);

DEFINE_CLEANUP(struct kube_config *, kube_config_free);
#define _cleanup_kube_config_ CLEANUP(kube_config_free_cleanup)
