/* What the operator serves: /metrics, /healthz, /readyz on one port, /v1/progress/ on another. A standby answers progress posts with
 * 307 to the leader's address. */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "operator/controller/metrics.h"
#include "operator/controller/progress.h"

struct server; /* opaque */
struct server_config {
    const char *address;             /* "0.0.0.0" in a pod */
    int metrics_port, progress_port; /* 0: free ones */
    struct metrics *metrics;
    /* Each: NULL if all is well, else why not, a sentence. */
    const char *(*not_healthy)(void *ctx);
    const char *(*not_ready)(void *ctx);
    /* Before metrics are printed: gauges that are counted, not kept. NULL. */
    void (*collect)(void *ctx);
    /* NULL: we lead; "": nobody does (503); else "host:port" of the leader's progress port. */
    const char *(*leader)(void *ctx);
    struct progress *(*progress)(void *ctx); /* NULL until the key is there (503) */
    void *ctx;
};
int server_new(struct loop *loop, const struct server_config *config, struct server **ret, struct err *err);
struct server *server_free(struct server *s);
int server_metrics_port(const struct server *s);
int server_progress_port(const struct server *s);
