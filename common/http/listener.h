/* A small HTTP server in a loop: progress posts, metrics, probes. Bounded in connections, body and time; one request
 * is handled at a time, and the handler must not block. Built on libmicrohttpd, driven from outside by its epoll
 * descriptor. Plain HTTP/1.1. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/http/loop.h"

struct listener; /* opaque */

struct listener_config {
    const char *address; /* IPv4 to bind; NULL: 127.0.0.1 */
    int port;            /* 0: a free one, see listener_port() */
    int max_connections; /* 0: 64; more wait in the backlog */
    size_t max_body;     /* of a request; larger: 413; 0: LIMIT_PROGRESS_BYTES */
    int idle_seconds;    /* a connection without traffic is closed; 0: 10 */
};

/* Borrowed for the call. */
struct listener_request {
    const char *method, *path;
    const char *body; /* NUL-terminated */
    size_t body_len;
    void *connection; /* for listener_header() */
};

struct listener_reply {
    int status;               /* starts as 200 */
    const char *content_type; /* borrowed; NULL: text/plain */
    const char *location;     /* for redirects; borrowed; NULL: none */
    struct buf body;          /* at most LIMIT_HTTP_BODY_BYTES */
};

int listener_new(struct loop *loop, const struct listener_config *config,
                 void (*handle)(void *ctx, const struct listener_request *request,
                                struct listener_reply *reply),
                 void *ctx, struct listener **ret, struct err *err);
/* Closes all connections; the handler never runs afterwards. Not inside the handler. */
struct listener *listener_free(struct listener *l);
int listener_port(const struct listener *l);

/* Value of a request's header (any case), NULL if absent. */
const char *listener_header(const struct listener_request *request, const char *name);
/* Does "Authorization: Bearer <token>" carry this token? Compared in constant time. */
bool listener_bearer_is(const struct listener_request *request, const char *token);

DEFINE_CLEANUP(struct listener *, listener_free);
#define _cleanup_listener_ CLEANUP(listener_free_cleanup)
