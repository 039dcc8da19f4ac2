/* Reading kubeconfig files and a pod's own account; see kubeconfig.h. */
#include "operator/kube/kubeconfig.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/kube/kubeyaml.h"

enum { KUBECONFIG_MAX = 4 * 1024 * 1024, KUBECONFIG_FILES = 16 };

/* The files of $KUBECONFIG in their order, and the folder of each, for relative names. */
struct files {
    struct {
        char *path, *dir;
        cJSON *tree;
    } file[KUBECONFIG_FILES];
    size_t n;
};

static void files_release(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->file[i].path);
        free(f->file[i].dir);
        cJSON_Delete(f->file[i].tree);
    }
}
#define _cleanup_files_ CLEANUP(files_release)

static int refuse(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "kubeconfig", "%s", text);
}

static int read_files(const char *paths, struct files *ret, struct err *err)
{
    const char *cursor = paths, *part;
    size_t len;
    while (text_next_part(&cursor, ':', &part, &len)) {
        if (!len)
            continue;
        if (ret->n == KUBECONFIG_FILES)
            return refuse(err, "more than %d kubeconfig files in %s", KUBECONFIG_FILES, paths);
        _cleanup_free_ char *path = xstrndup(part, len), *text = NULL;
        size_t size;
        if (fs_read_file(path, KUBECONFIG_MAX, &text, &size, err) < 0) {
            if (err->class_ != ERR_NOTFOUND)
                return err_wrap(err, "kubeconfig %s", path);
            err_clear(err); /* as kubectl: a missing file of several is no error */
            continue;
        }
        cJSON *tree;
        if (kubeyaml_parse(text, size, path, &tree, err) < 0)
            return -1;
        const char *slash = strrchr(path, '/');
        ret->file[ret->n].dir = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
        ret->file[ret->n].path = xstrdup(path);
        ret->file[ret->n++].tree = tree;
    }
    if (!ret->n)
        return refuse(err, "no kubeconfig found at %s: set KUBECONFIG, or name one with --kubeconfig", paths);
    return 0;
}

static const char *get(const cJSON *object, const char *key)
{
    const cJSON *v = object ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
    return cJSON_IsString(v) && *v->valuestring ? v->valuestring : NULL;
}

/* The named entry of a list ("clusters" → its "cluster"), and the file it stands in. */
static const cJSON *find(const struct files *f, const char *list, const char *key, const char *name,
                         size_t *ret_file)
{
    for (size_t i = 0; i < f->n; i++) {
        const cJSON *entry;
        cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(f->file[i].tree, list))
        {
            if (text_equal(get(entry, "name"), name)) {
                *ret_file = i;
                return cJSON_GetObjectItemCaseSensitive(entry, key);
            }
        }
    }
    return NULL;
}

/* --- files and inline data ---------------------------------------------------------------------------------- */

static int to_memfd(struct kube_config *c, const char *what, const char *base64, char **ret, struct err *err)
{
    uint8_t *data;
    size_t len, done = 0;
    if (base64_decode(base64, &data, &len, err) < 0) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "kubeconfig: %s-data", what);
    }
    int fd = memfd_create(what, MFD_CLOEXEC);
    while (fd >= 0 && done < len) {
        ssize_t n = write(fd, data + done, len - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    free(data);
    if (fd < 0 || done < len) {
        int e = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_errno(err, e, "kubeconfig: keeping %s", what);
    }
    size_t slot = 0;
    while (c->fds[slot] >= 0)
        slot++;
    c->fds[slot] = fd;
    *ret = xasprintf("/proc/self/fd/%d", fd);
    return 0;
}

/* "certificate-authority-data" wins over "certificate-authority". */
static int file_or_data(struct kube_config *c, const cJSON *object, const char *key, const char *dir,
                        char **ret, struct err *err)
{
    _cleanup_free_ char *data_key = xasprintf("%s-data", key);
    const char *data = get(object, data_key), *path = get(object, key);
    if (data)
        return to_memfd(c, key, data, ret, err);
    if (path)
        *ret = *path == '/' ? xstrdup(path) : fs_join(dir, path);
    return 0;
}

/* --- cluster, user ------------------------------------------------------------------------------------------- */

/* tls-server-name takes the host's place in the URL, and the connection goes to the real host. */
static void rename_host(struct kube_config *c, const char *tls_name)
{
    const char *host = strstr(c->server, "://");
    host = host ? host + 3 : c->server;
    size_t authority = strcspn(host, "/");
    const char *colon = memchr(host, ':', authority);
    if (*host == '[')
        colon = memchr(host, ']', authority), colon = colon && colon[1] == ':' ? colon + 1 : NULL;
    size_t host_len = colon ? (size_t)(colon - host) : authority;
    _cleanup_free_ char *port = colon ? xstrndup(colon + 1, authority - host_len - 1) : xstrdup("443");
    c->connect_to = xasprintf("::%.*s:%s", (int)host_len, host, port);
    char *server = xasprintf("https://%s:%s%s", tls_name, port, host + authority);
    free(c->server);
    c->server = server;
}

static int take_cluster(struct kube_config *c, const cJSON *cluster, const char *name, const char *dir,
                        struct err *err)
{
    const char *server = get(cluster, "server");
    if (!server)
        return refuse(err, "kubeconfig: cluster \"%s\" names no server", name);
    if (text_equal(get(cluster, "insecure-skip-tls-verify"), "true"))
        return refuse(err,
                      "kubeconfig: cluster \"%s\" asks not to verify the server's certificate: put the "
                      "authority's certificate into certificate-authority instead",
                      name);
    c->server = xstrdup(server);
    for (size_t n = strlen(c->server); n && c->server[n - 1] == '/'; n--)
        c->server[n - 1] = '\0';
    if (!text_starts_with(c->server, "https://") && !text_starts_with(c->server, "http://"))
        return refuse(err, "kubeconfig: cluster \"%s\": expected an https:// URL as server, found \"%s\"",
                      name, server);
    if (get(cluster, "tls-server-name"))
        rename_host(c, get(cluster, "tls-server-name"));
    if (get(cluster, "proxy-url"))
        c->proxy = xstrdup(get(cluster, "proxy-url"));
    return file_or_data(c, cluster, "certificate-authority", dir, &c->ca_file, err);
}

static int take_user(struct kube_config *c, const cJSON *user, const char *name, const char *dir,
                     struct err *err)
{
    static const char *const refused[] = {"exec", "auth-provider", "username", "password", "as", NULL};
    for (size_t i = 0; refused[i]; i++) {
        if (cJSON_HasObjectItem(user, refused[i]))
            return refuse(
                err,
                "kubeconfig: user \"%s\" authenticates with `%s`, which this program does not run: use a "
                "token or a client certificate (for example `kubectl create token`)",
                name, refused[i]);
    }
    if (get(user, "token"))
        c->token = xstrdup(get(user, "token"));
    else if (get(user, "tokenFile"))
        c->token_file = *get(user, "tokenFile") == '/' ? xstrdup(get(user, "tokenFile"))
                                                       : fs_join(dir, get(user, "tokenFile"));
    if (file_or_data(c, user, "client-certificate", dir, &c->client_cert, err) < 0 ||
        file_or_data(c, user, "client-key", dir, &c->client_key, err) < 0)
        return -1;
    if (!c->client_cert != !c->client_key)
        return refuse(err, "kubeconfig: user \"%s\" has a client %s without a %s", name,
                      c->client_cert ? "certificate" : "key", c->client_cert ? "key" : "certificate");
    return 0;
}

static struct kube_config *config_new(void)
{
    struct kube_config *c = xcalloc(1, sizeof *c);
    for (size_t i = 0; i < sizeof c->fds / sizeof *c->fds; i++)
        c->fds[i] = -1;
    return c;
}

int kube_config_load(const char *paths, const char *context, struct kube_config **ret, struct err *err)
{
    _cleanup_files_ struct files files = {.n = 0};
    if (read_files(paths, &files, err) < 0)
        return -1;
    for (size_t i = 0; !context && i < files.n; i++)
        context = get(files.file[i].tree, "current-context");
    if (!context)
        return refuse(err, "kubeconfig %s names no current-context: choose one with --context", paths);
    size_t at = 0;
    const cJSON *found = find(&files, "contexts", "context", context, &at);
    if (!found)
        return refuse(err, "kubeconfig %s has no context \"%s\"", paths, context);
    const char *cluster_name = get(found, "cluster"), *user_name = get(found, "user");
    size_t cluster_at = 0, user_at = 0;
    const cJSON *cluster =
        cluster_name ? find(&files, "clusters", "cluster", cluster_name, &cluster_at) : NULL;
    const cJSON *user = user_name ? find(&files, "users", "user", user_name, &user_at) : NULL;
    if (!cluster)
        return refuse(err, "kubeconfig: context \"%s\" names cluster \"%s\", which is not there", context,
                      cluster_name ? cluster_name : "");
    if (user_name && !user)
        return refuse(err, "kubeconfig: context \"%s\" names user \"%s\", who is not there", context,
                      user_name);
    _cleanup_kube_config_ struct kube_config *c = config_new();
    c->context = xstrdup(context);
    c->namespace_ = xstrdup(get(found, "namespace") ? get(found, "namespace") : "default");
    if (take_cluster(c, cluster, cluster_name, files.file[cluster_at].dir, err) < 0 ||
        (user && take_user(c, user, user_name, files.file[user_at].dir, err) < 0))
        return -1;
    *ret = c;
    c = NULL;
    return 0;
}

int kube_config_in_cluster(const char *dir, const char *host, const char *port, struct kube_config **ret,
                           struct err *err)
{
    if (!host || !*host || !port || !*port)
        return refuse(err, "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
    _cleanup_free_ char *name_file = fs_join(dir, "namespace"), *namespace_ = NULL;
    size_t len;
    if (fs_read_file(name_file, 256, &namespace_, &len, err) < 0)
        return err_wrap(err, "the pod's service account");
    struct kube_config *c = config_new();
    bool v6 = strchr(host, ':') != NULL;
    c->server = xasprintf("https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
    c->ca_file = fs_join(dir, "ca.crt");
    c->token_file = fs_join(dir, "token");
    namespace_[strcspn(namespace_, "\n")] = '\0';
    c->namespace_ = xstrdup(*namespace_ ? namespace_ : "default");
    c->context = xstrdup("in-cluster");
    *ret = c;
    return 0;
}

struct kube_config *kube_config_free(struct kube_config *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < sizeof c->fds / sizeof *c->fds; i++) {
        if (c->fds[i] >= 0)
            (void)close(c->fds[i]);
    }
    free(c->server);
    free(c->ca_file);
    free(c->token);
    free(c->token_file);
    free(c->client_cert);
    free(c->client_key);
    free(c->namespace_);
    free(c->proxy);
    free(c->connect_to);
    free(c->context);
    return xfree(c);
}
