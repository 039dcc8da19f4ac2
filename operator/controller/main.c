/* trainyard-operator: options, kubeconfig, then operator.c. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/http/http.h"
#include "operator/controller/metrics.h"
#include "operator/controller/operator.h"

static int load_config(const struct options *o, struct kube_config **ret, struct err *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT"),
               *home = getenv("HOME");
    if (o->kubeconfig && *o->kubeconfig)
        return kube_config_load(o->kubeconfig, o->context, ret, err);
    if (host && *host && !o->context)
        return kube_config_in_cluster("/var/run/secrets/kubernetes.io/serviceaccount", host, port, ret, err);
    _cleanup_free_ char *path = fs_join(home ? home : "/root", ".kube/config");
    return kube_config_load(path, o->context, ret, err);
}

static void configure_log(const struct options *o)
{
    enum log_format format = text_equal(o->log_format, "json")   ? LOG_JSON
                             : text_equal(o->log_format, "text") ? LOG_TEXT
                                                                 : LOG_AUTO;
    log_configure((enum log_level)log_level_parse(o->log_level), format);
}

static int probe(const char *url, struct err *err)
{
    enum { PROBE_MS = 10 * 1000 };
    const struct http_config config = {.connect_timeout_ms = PROBE_MS};
    const struct http_request request = {.url = url, .timeout_ms = PROBE_MS};
    struct http_client *client = NULL;
    struct http_response response;
    if (http_client_new(NULL, &config, &client, err) < 0)
        return -1;
    http_response_init(&response);
    int r = http_perform(client, &request, &response, err);
    if (r == 0 && response.status != 200)
        r = err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "not-ready", "%s: answered %d: %s", url,
                     response.status, buf_str(&response.body));
    http_response_release(&response);
    http_client_free(client);
    return r;
}

static int run(const struct options *o, struct err *err)
{
    struct controller_settings settings = {0};
    _cleanup_kube_config_ struct kube_config *config = NULL;
    configure_log(o);
    if (*o->probe)
        return probe(o->probe, err);
    if (load_config(o, &config, err) < 0 || options_settle(o, config->namespace_, &settings, err) < 0)
        return -1;
    int r = operator_run(o, &settings, config, err);
    controller_settings_release(&settings);
    return r;
}

/* For `make docs`. */
static int print_metrics_page(void)
{
    _cleanup_buf_ struct buf out = BUF_INIT(LIMIT_HTTP_BODY_BYTES);
    metrics_document(&out);
    return fputs(buf_str(&out), stdout) < 0 || fflush(stdout) != 0 ? EXITCODE_IO : EXITCODE_OK;
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err = ERR_INIT;
    if (argc == 2 && text_equal(argv[1], "--metrics-markdown"))
        return print_metrics_page();
    int r = options_parse(argc - 1, argv + 1, &o, &err);
    if (r == 0)
        r = run(&o, &err);
    options_release(&o);
    return r < 0 ? cli_fail(&operator_command, &err) : EXITCODE_OK;
}
