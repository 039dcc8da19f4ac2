/* All parts of the operator, joined: loop, client, caches, queues, Lease, key Secret, listeners, signals. */
#pragma once

#include "common/base/err.h"
#include "operator/controller/options.h"
#include "operator/kube/kubeconfig.h"

/* Runs until SIGTERM or SIGINT; then hands over: finishes what is in hand, gives the Lease back. settings and config are borrowed. */
int operator_run(const struct options *o, struct controller_settings *settings,
                 const struct kube_config *config, struct err *err);
