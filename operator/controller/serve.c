/* See serve.h. */
#include "operator/controller/serve.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { MAX_CONNECTIONS = 512, IDLE_SECONDS = 30 };

struct server {
    struct server_config config;
    struct listener *metrics, *progress;
    char *location; /* of the reply under way */
};

static void probe(const char *why, struct listener_reply *reply)
{
    reply->status = why ? 503 : 200;
    (void)buf_addf(&reply->body, "%s\n", why ? why : "ok");
}

static void serve_metrics(void *ctx, const struct listener_request *request, struct listener_reply *reply)
{
    struct server *s = ctx;
    const struct server_config *c = &s->config;
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) {
        reply->status = 405;
    } else if (strcmp(request->path, "/metrics") == 0) {
        if (c->collect)
            c->collect(c->ctx);
        reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_print(c->metrics, &reply->body);
    } else if (strcmp(request->path, "/healthz") == 0) {
        probe(c->not_healthy(c->ctx), reply);
    } else if (strcmp(request->path, "/readyz") == 0) {
        probe(c->not_ready(c->ctx), reply);
    } else {
        reply->status = 404;
        (void)buf_adds(&reply->body, "here are /metrics, /healthz and /readyz\n");
    }
}

static void serve_progress(void *ctx, const struct listener_request *request, struct listener_reply *reply)
{
    struct server *s = ctx;
    const char *leader = s->config.leader(s->config.ctx);
    struct progress *progress = s->config.progress(s->config.ctx);
    if (leader && *leader && text_starts_with(request->path, "/")) {
        free(s->location);
        s->location = xasprintf("http://%s%s", leader, request->path);
        reply->status = 307;
        reply->location = s->location;
    } else if (leader || !progress) {
        reply->status = 503;
        (void)buf_adds(&reply->body, leader ? "there is no leader at the moment\n" : "starting\n");
    } else {
        progress_handle(progress, request, reply);
    }
}

int server_new(struct loop *loop, const struct server_config *config, struct server **ret, struct err *err)
{
    struct server *s = xcalloc(1, sizeof *s);
    const struct listener_config metrics = {.address = config->address,
                                            .port = config->metrics_port,
                                            .idle_seconds = IDLE_SECONDS},
                                 progress = {.address = config->address,
                                             .port = config->progress_port,
                                             .max_connections = MAX_CONNECTIONS,
                                             .max_body = LIMIT_PROGRESS_BYTES,
                                             .idle_seconds = IDLE_SECONDS};
    s->config = *config;
    if (listener_new(loop, &metrics, serve_metrics, s, &s->metrics, err) < 0 ||
        listener_new(loop, &progress, serve_progress, s, &s->progress, err) < 0) {
        server_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

struct server *server_free(struct server *s)
{
    if (!s)
        return NULL;
    if (s->metrics)
        listener_free(s->metrics);
    if (s->progress)
        listener_free(s->progress);
    free(s->location);
    free(s);
    return NULL;
}

int server_metrics_port(const struct server *s)
{
    return listener_port(s->metrics);
}

int server_progress_port(const struct server *s)
{
    return listener_port(s->progress);
}
