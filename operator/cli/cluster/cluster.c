#include "operator/cli/cluster/cluster.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/cli/command.h"

enum { PAGE = 200, QUERY_BYTES_MAX = 16 * 1024, TIMEOUT_MS = 15 * 1000 };

static const char pod_dir[] = "/var/run/secrets/kubernetes.io/serviceaccount";

const struct kube_resource CLUSTER_PIPELINES = {.group = "trainyard.dev",
                                                .version = "v1alpha1",
                                                .plural = "trainingpipelines",
                                                .kind = "TrainingPipeline"};
const struct kube_resource CLUSTER_RUNS = {.group = "trainyard.dev",
                                           .version = "v1alpha1",
                                           .plural = "trainingruns",
                                           .kind = "TrainingRun"};
static const struct kube_resource reviews = {.group = "authentication.k8s.io",
                                             .version = "v1",
                                             .plural = "selfsubjectreviews",
                                             .kind = "SelfSubjectReview"};

/* --- opening -------------------------------------------------------------------------------------------- */

static int load_config(const struct where_options *o, struct kube_config **ret, struct err *err)
{
    _cleanup_free_ char *paths = where_kubeconfig(o);
    if (paths)
        return kube_config_load(paths, o->context, ret, err);
    if (where_in_pod() && !o->context)
        return kube_config_in_cluster(pod_dir, getenv("KUBERNETES_SERVICE_HOST"),
                                      getenv("KUBERNETES_SERVICE_PORT"), ret, err);
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "no-kubeconfig",
        "no kubeconfig: expected --kubeconfig FILE, $KUBECONFIG or ~/.kube/config; it says where the cluster is and who you are there");
}

int cluster_open(const struct where_options *o, const char *ns, struct cluster **ret, struct err *err)
{
    _cleanup_cluster_ struct cluster *c = xcalloc(1, sizeof *c);
    const struct kube_client_options client_options = {.timeout_ms = TIMEOUT_MS};
    if (load_config(o, &c->config, err) < 0 ||
        kube_client_new(NULL, c->config, &client_options, &c->client, err) < 0) {
        if (!err->exit_code)
            err->exit_code = EXITCODE_CONFIG;
        return -1;
    }
    if (!ns)
        ns = o->namespace_ ? o->namespace_ : c->config->namespace_;
    c->ns = xstrdup(ns && *ns ? ns : "default");
    *ret = steal_ptr(c);
    return 0;
}

struct cluster *cluster_free(struct cluster *c)
{
    if (!c)
        return NULL;
    kube_client_free(c->client);
    kube_config_free(c->config);
    free(c->ns);
    free(c);
    return NULL;
}

/* --- calls ------------------------------------------------------------------------------------------------ */

/* The client's error, as exit code and with what a person can do. */
static int explain(const struct cluster *c, const struct kube_request *r, struct err *err)
{
    bool ours = strcmp(r->resource->group, CLUSTER_RUNS.group) == 0;
    if (err->class_ == ERR_RETRY) {
        err->exit_code = EXITCODE_UNAVAILABLE;
        return err_wrap(err, "the API server of context %s, %s", c->config->context, c->config->server);
    }
    if (err->class_ == ERR_TERMINAL) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "context %s", c->config->context);
    }
    /* A resource that is not served is answered without a Status; a list never is 404 otherwise. */
    if (err->class_ == ERR_NOTFOUND && ours &&
        (strcmp(err->reason, "http") == 0 || (r->verb == KUBE_GET && !r->name))) {
        err_clear(err);
        return err_fail(
            err, ERR_NOTFOUND, EXITCODE_CONFIG, "no-crd",
            "the cluster of context %s (%s) does not know %s: is Trainyard installed there? Its custom resources come with the Helm chart, or by kubectl apply -f crds/",
            c->config->context, c->config->server, r->resource->plural);
    }
    if (err->class_ == ERR_INVALID && !err->exit_code)
        err->exit_code = EXITCODE_USAGE;
    return -1;
}

int cluster_call(const struct cluster *c, const struct kube_request *r, cJSON **ret, struct err *err)
{
    return kube_call_wait(c->client, r, ret, err) < 0 ? explain(c, r, err) : 0;
}

int cluster_get(const struct cluster *c, const struct kube_resource *resource, const char *name, cJSON **ret,
                struct err *err)
{
    return cluster_call(c,
                        &(struct kube_request){.verb = KUBE_GET,
                                               .resource = resource,
                                               .ns = c->ns,
                                               .name = name},
                        ret, err);
}

int cluster_merge(const struct cluster *c, const struct kube_resource *resource, const char *name,
                  const cJSON *patch, cJSON **ret, struct err *err)
{
    return cluster_call(c,
                        &(struct kube_request){.verb = KUBE_MERGE,
                                               .resource = resource,
                                               .ns = c->ns,
                                               .name = name,
                                               .query = "fieldManager=trainyard-cli",
                                               .body = patch},
                        ret, err);
}

void cluster_escape(const char *text, struct buf *out)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
            (void)buf_addc(out, (char)c);
        else
            (void)buf_addf(out, "%%%02X", c);
    }
}

static int list_page(const struct cluster *c, const struct kube_resource *resource, bool all_namespaces,
                     const char *label_selector, const char *token, cJSON **ret, struct err *err)
{
    _cleanup_buf_ struct buf query = BUF_INIT(QUERY_BYTES_MAX);
    (void)buf_addf(&query, "limit=%d", PAGE);
    if (label_selector) {
        (void)buf_adds(&query, "&labelSelector=");
        cluster_escape(label_selector, &query);
    }
    if (token) {
        (void)buf_adds(&query, "&continue=");
        cluster_escape(token, &query);
    }
    if (buf_check(&query, "the query", err) < 0)
        return -1;
    return cluster_call(c,
                        &(struct kube_request){.verb = KUBE_GET,
                                               .resource = resource,
                                               .ns = all_namespaces ? NULL : c->ns,
                                               .query = buf_str(&query)},
                        ret, err);
}

int cluster_list(const struct cluster *c, const struct kube_resource *resource, bool all_namespaces,
                 const char *label_selector, int (*each)(void *ctx, const cJSON *object, struct err *err),
                 void *ctx, struct err *err)
{
    _cleanup_free_ char *token = NULL;
    do {
        _cleanup_json_ cJSON *page = NULL;
        const cJSON *item;
        if (list_page(c, resource, all_namespaces, label_selector, token, &page, err) < 0)
            return -1;
        cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(page, "items"))
        {
            if (each(ctx, item, err) < 0)
                return -1;
        }
        free(token);
        const char *next = cluster_text(page, "metadata", "continue");
        token = *next ? xstrdup(next) : NULL;
    } while (token);
    return 0;
}

int cluster_user(const struct cluster *c, char **ret, struct err *err)
{
    _cleanup_json_ cJSON *review = json_object(), *answer = NULL;
    json_add_string(review, "apiVersion", "authentication.k8s.io/v1");
    json_add_string(review, "kind", reviews.kind);
    if (cluster_call(c, &(struct kube_request){.verb = KUBE_CREATE, .resource = &reviews, .body = review},
                     &answer, err) < 0)
        return err_wrap(err, "cannot tell who you are in the cluster");
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(answer, "status"), "userInfo"),
        "username"));
    if (!name || !*name)
        return err_fail(err, ERR_TERMINAL, EXITCODE_CONFIG, "no-user",
                        "the API server does not say who you are: its SelfSubjectReview has no username");
    *ret = xstrdup(name);
    return 0;
}

/* --- words -------------------------------------------------------------------------------------------------- */

char *cluster_hint(const struct cluster *c, const struct where_options *o)
{
    return xasprintf(" -n %s%s%s%s%s", c->ns, o->context ? " --context " : "", o->context ? o->context : "",
                     o->kubeconfig ? " --kubeconfig " : "", o->kubeconfig ? o->kubeconfig : "");
}

const char *cluster_text(const cJSON *object, const char *first, const char *second)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, first);
    if (second)
        v = cJSON_GetObjectItemCaseSensitive(v, second);
    return cJSON_IsString(v) ? v->valuestring : "";
}

const char *cluster_condition(const cJSON *object, const char *type, const char **ret_message)
{
    const cJSON *condition;
    cJSON_ArrayForEach(condition,
                       cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "status"),
                                                        "conditions"))
    {
        if (strcmp(cluster_text(condition, "type", NULL), type) != 0)
            continue;
        if (ret_message)
            *ret_message = cluster_text(condition, "message", NULL);
        return cluster_text(condition, "status", NULL);
    }
    if (ret_message)
        *ret_message = "";
    return NULL;
}

/* --- suggestions ------------------------------------------------------------------------------------------------ */

struct names {
    const char **items;
    size_t n, capacity;
};

static int add_name(void *ctx, const cJSON *object, struct err *err)
{
    struct names *names = ctx;
    (void)err;
    names->items = grow_array(names->items, &names->capacity, names->n + 1, sizeof *names->items);
    names->items[names->n++] = xstrdup(cluster_text(object, "metadata", "name"));
    names->items[names->n] = NULL;
    return 0;
}

int cluster_nearest(const struct cluster *c, const struct kube_resource *resource, const char *name,
                    char **ret, struct err *err)
{
    struct names names = {0};
    struct err why = ERR_INIT;
    (void)cluster_list(c, resource, false, NULL, add_name, &names, &why);
    const char *near = names.n ? text_nearest(name, names.items) : NULL;
    *ret = near ? xstrdup(near) : NULL;
    for (size_t i = 0; i < names.n; i++)
        free((char *)names.items[i]);
    free(names.items);
    if (why.class_ != ERR_NOTFOUND)
        return 0;
    *err = why;
    return -1;
}
