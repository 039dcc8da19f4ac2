/* HTTP requests over libcurl: blocking (http_perform) and in a loop (http_start), with the same request struct.
 *
 * A client holds connections, TLS settings and time-outs; it has a loop of its own or works in the caller's. A status
 * of 400 or 500 is not an error here: the response says it, and http_check() turns it into one. Errors are failures of
 * the exchange; their class says what to do (ERR_RETRY: resolving and connecting
 * (reason "connect": the server saw nothing of it), time-outs, resets, truncated bodies;
 * ERR_INVALID, exit 78: bad URL, certificate not trusted, CA file unreadable; what a sink set, as it set it).
 * Over HTTP/2, exchanges share a connection, and a dead one would take all later ones with it: one that times out cuts its
 * client's connections, and what else is under way on them ends as ERR_RETRY.
 * Nothing is retried here. TLS peers are always verified. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/http/loop.h"

struct http_client;   /* opaque */
struct http_exchange; /* opaque: a request under way in a loop */

/* Strings are copied. */
struct http_config {
    const char *ca_file;                  /* PEM; NULL: the system's */
    const char *client_cert, *client_key; /* PEM files; NULL: none */
    const char *user_agent;               /* NULL: trainyard/<version> */
    const char *proxy;                    /* URL; NULL: the environment's, if any */
    const char *connect_to;               /* "host:port:address:port" as CURLOPT_CONNECT_TO takes it; NULL */
    bool http2;                 /* allowed over TLS; off, each transfer in flight has its own connection */
    int64_t connect_timeout_ms; /* 0: 10 s */
    int64_t stall_timeout_ms;   /* no byte for this long ends the exchange (checked each second); 0: 30 s */
    int max_connections;        /* kept and open at once; 0: 16 */
    size_t buffer_bytes;        /* per transfer; 0: 64 KiB (bulk transfers want 512 KiB) */
};

/* loop NULL: a private one, for http_perform(). */
int http_client_new(struct loop *loop, const struct http_config *config, struct http_client **ret,
                    struct err *err);
/* Its exchanges must be finished or cancelled. */
struct http_client *http_client_free(struct http_client *c);
/* The loop it works in (borrowed). */
struct loop *http_client_loop(struct http_client *c);

struct http_response {
    int status;         /* 0 until headers came */
    struct buf headers; /* "Name: value" lines of the last response, each ended by \n; see http_header() */
    struct buf body;    /* what no sink took */
};

/* Everything is borrowed until the exchange has ended, the headers only until http_start() returns. */
struct http_request {
    const char *method;         /* NULL: GET */
    const char *url;            /* http:// or https:// */
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const void *body;           /* from memory … */
    size_t body_len;
    bool body_from_fd; /* … or bytes [body_offset, body_offset + body_size) of a file, read with pread(2) */
    int body_fd;
    int64_t body_offset, body_size;
    int64_t timeout_ms; /* for the whole exchange; 0: none but connect and stall */
    int max_redirects;  /* 0: a redirect is a response like others */
    size_t max_body;    /* held in memory; 0: LIMIT_HTTP_BODY_BYTES; larger: ERR_INVALID */
    /* Takes the body of 2xx responses piece by piece; negative with err set ends the exchange. NULL: to memory. */
    int (*sink)(void *ctx, const struct http_response *response, const void *data, size_t len,
                struct err *err);
    void *sink_ctx;
};

/* Blocking; only for a client with a private loop. `ret` is released by the caller also after a failure. */
int http_perform(struct http_client *c, const struct http_request *r, struct http_response *ret,
                 struct err *err);

/* In the loop: `done` runs once, in a later iteration, with either the response or an error (both die when it
 * returns; the exchange is gone then). Until then http_cancel() stops it, after which nothing runs any more. */
int http_start(struct http_client *c, const struct http_request *r,
               void (*done)(void *ctx, struct http_response *response, struct err *failure), void *ctx,
               struct http_exchange **ret, struct err *err);
struct http_exchange *http_cancel(struct http_exchange *x); /* NULL allowed; returns NULL */
/* The same for one whose peer has been silent for too long: with http2, connections are cut, see above. */
struct http_exchange *http_cancel_dead(struct http_exchange *x);

void http_response_init(struct http_response *r);
void http_response_release(struct http_response *r);
/* Value of the first header of that name, in any case: pointer and length within the response; false if absent. */
bool http_header(const struct http_response *r, const char *name, const char **ret, size_t *ret_len);
/* The same, copied; NULL if absent. Caller frees. */
char *http_header_dup(const struct http_response *r, const char *name);
/* A header that holds an HTTP date ("Date", "Last-Modified") as wall milliseconds; -1 if absent or unreadable. */
int64_t http_date_ms(const struct http_response *r, const char *name);
/* 2xx is success; else an error "what: HTTP 503 …" with the beginning of the body, class by err_class_of_http(). */
int http_check(const struct http_response *r, const char *what, struct err *err);
/* Seconds or an HTTP date → milliseconds from now (never negative); -1 if there is none. */
int64_t http_retry_after_ms(const struct http_response *r, int64_t now_wall_ms);

DEFINE_CLEANUP(struct http_client *, http_client_free);
#define _cleanup_http_client_ CLEANUP(http_client_free_cleanup)
#define _cleanup_http_response_ CLEANUP(http_response_release)
