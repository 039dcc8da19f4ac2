/* The operator's command line: one table gives parsing, the environment's part, --help and docs/reference/operator.md. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cli.h"
#include "operator/controller/controller.h"

struct options {
    const char *kubeconfig, *context;
    const char *namespaces; /* comma-separated; "": all */
    const char *own_namespace, *pod_name, *pod_address, *cluster_name;
    const char *lease_name, *key_secret;
    bool leader_election;
    int64_t lease_duration_ms, renew_deadline_ms, retry_period_ms, watch_silence_ms;
    const char *progress_url, *address;
    int64_t metrics_port, progress_port;
    struct cli_list images; /* "stage=reference" */
    bool set_user, approvals_verified;
    int64_t grace_ms, ttl_ms;
    const char *log_level, *log_format;
    const char *probe; /* "": run as an operator */
};
extern const struct cli_command operator_command;

/* Returns as cli_parse() does. Also checks what one option cannot say of another. */
int options_parse(int argc, char **argv, struct options *ret, struct err *err);
void options_release(struct options *o);

/* The part that reconcilers see. Strings of `o` are borrowed, the list is the result's own. */
struct controller_settings {
    struct controller_options options;
    char **namespaces;
};
int options_settle(const struct options *o, const char *default_namespace, struct controller_settings *ret,
                   struct err *err);
void controller_settings_release(struct controller_settings *s);
