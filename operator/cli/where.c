#include "operator/cli/where.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/fs.h"
#include "operator/cli/command.h"

static const char service_account[] = "/var/run/secrets/kubernetes.io/serviceaccount/token";

static int usage(struct err *err, const char *text)
{
    return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "%s", text);
}

char *where_kubeconfig(const struct where_options *o)
{
    const char *variable = getenv("KUBECONFIG"), *home = getenv("HOME");
    if (o->kubeconfig)
        return xstrdup(o->kubeconfig);
    if (variable && *variable)
        return xstrdup(variable);
    if (!home || home[0] != '/')
        return NULL;
    char *path = fs_join(home, ".kube/config");
    return fs_exists(path) ? path : xfree(path);
}

bool where_in_pod(void)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    return host && *host && fs_exists(service_account);
}

static bool is_plugin(void)
{
    return strcmp(cli_program(""), COMMAND_PLUGIN_NAME) == 0;
}

static bool any_local(void)
{
    char **known = location_known();
    bool any = known[0] != NULL;
    location_known_free(known);
    return any;
}

/* 1: this machine knows it, 0: it does not. A record that cannot be read is known: the command says what is wrong with it. */
static bool known_local(const char *store, const char *name)
{
    struct record *r = NULL;
    struct err why = ERR_INIT;
    int found = record_find(store, name, NULL, &r, &why);
    record_free(r);
    return found == 0 || why.class_ != ERR_NOTFOUND;
}

/* Splits NAMESPACE/NAME. */
static int refer(const struct where_options *o, const char *reference, struct where *w, struct err *err)
{
    const char *slash = reference ? strchr(reference, '/') : NULL;
    w->ns = o->namespace_ ? xstrdup(o->namespace_) : NULL;
    if (o->namespace_ && !*o->namespace_)
        return usage(err, "--namespace is empty: expected the name of a namespace");
    if (!slash) {
        w->name = reference ? xstrdup(reference) : NULL;
        return 0;
    }
    if (slash == reference || !slash[1] || strchr(slash + 1, '/'))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "%s: expected RUN or NAMESPACE/RUN",
                        reference);
    _cleanup_free_ char *ns = xstrndup(reference, (size_t)(slash - reference));
    if (w->ns && strcmp(w->ns, ns) != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "%s is of the namespace %s, but --namespace says %s: leave one of them out",
                        reference, ns, w->ns);
    free(w->ns);
    w->ns = steal_ptr(ns);
    w->name = xstrdup(slash + 1);
    w->cluster = true;
    return 0;
}

static int choose(const struct where_options *o, const char *store, const char *reference, struct where *w,
                  struct err *err)
{
    /* A value out of the environment is a habit, not a choice: the options' strings point to where they stand. */
    bool store_chosen = store && store != getenv("TRAINYARD_STORE");
    bool cluster_chosen = o->kubeconfig || o->context || o->namespace_;
    if (refer(o, reference, w, err) < 0)
        return -1;
    cluster_chosen |= w->cluster;
    if (store_chosen && cluster_chosen)
        return usage(
            err,
            "--store means runs on this machine; --namespace, --context, --kubeconfig and NAMESPACE/RUN mean runs in a cluster: leave one of them out");
    if (store_chosen || cluster_chosen)
        w->cluster = cluster_chosen;
    else if (is_plugin())
        w->cluster = true;
    else if (w->name ? known_local(store, w->name) : store || any_local())
        w->cluster = false;
    else {
        _cleanup_free_ char *kubeconfig = where_kubeconfig(o);
        w->cluster = kubeconfig || where_in_pod();
    }
    return 0;
}

int where_choose(const struct where_options *o, const char *store, const char *reference, struct where *ret,
                 struct err *err)
{
    struct where w = {0};
    if (choose(o, store, reference, &w, err) < 0) {
        where_release(&w);
        return -1;
    }
    *ret = w;
    return 0;
}

int where_in_cluster(const struct where_options *o, const char *reference, struct where *ret, struct err *err)
{
    struct where w = {0};
    if (refer(o, reference, &w, err) < 0) {
        where_release(&w);
        return -1;
    }
    w.cluster = true;
    *ret = w;
    return 0;
}

void where_release(struct where *w)
{
    free(w->ns);
    free(w->name);
    *w = (struct where){0};
}
