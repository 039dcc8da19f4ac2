/* trainyard-operator: options, kubeconfig, then operator.c. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/log.h"
#include "common/base/text.h"
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

int main(int argc, char **argv)
{
    struct options o;
    struct controller_settings settings = {0};
    _cleanup_kube_config_ struct kube_config *config = NULL;
    struct err err = ERR_INIT;
    int r = options_parse(argc - 1, argv + 1, &o, &err);
    if (r > 0) {
        options_release(&o);
        return EXITCODE_OK;
    }
    if (r == 0) {
        configure_log(&o);
        r = load_config(&o, &config, &err);
    }
    if (r == 0)
        r = options_settle(&o, config->namespace_, &settings, &err);
    if (r == 0)
        r = operator_run(&o, &settings, config, &err);
    controller_settings_release(&settings);
    options_release(&o);
    return r < 0 ? cli_fail(&operator_command, &err) : EXITCODE_OK;
}
