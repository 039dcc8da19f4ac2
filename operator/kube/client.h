/* Calls to the API server: asynchronous, in the caller's loop, over HTTP/2, bounded in number (more wait in order).
 *
 * Errors: the class says what to do. ERR_EXISTS (409 AlreadyExists), ERR_CONFLICT (409 Conflict, 412), ERR_NOTFOUND, ERR_GONE
 * (410), ERR_INVALID (400, 422 and other 4xx), ERR_TERMINAL (401, 403: the message names verb and resource), ERR_RETRY (429, 5xx,
 * time-outs, resets, truncated or unparsable bodies). err.reason is the API's own reason ("AlreadyExists"), the message its own sentence.
 * Retried here: reads after any ERR_RETRY, writes only after a 429 or a failure to connect, that is when the server did nothing; at most
 * KUBE_TRIES times, with jittered back-off, Retry-After obeyed. A write that ends in ERR_RETRY may have happened: read before you repeat.
 * After a 401 the token file is read again and the call repeated once. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/http/loop.h"
#include "operator/kube/kubeconfig.h"
#include "operator/kube/resource.h"

enum {
    KUBE_TRIES = 5,
    KUBE_IN_FLIGHT = 10 /* more would wait in the server, and each costs a look whenever something arrives */,
    KUBE_TIMEOUT_MS = 30 * 1000
};

struct kube_client; /* opaque */
struct kube_call;   /* opaque: a call under way or waiting */

struct kube_client_options {
    const char *user_agent; /* NULL: trainyard/<version> */
    int max_in_flight;      /* 0: KUBE_IN_FLIGHT; watches do not count */
    int64_t timeout_ms;     /* of one try; 0: KUBE_TIMEOUT_MS */
    /* Seen for each answered try: verb ("create"), plural, HTTP status (0: none came), milliseconds. NULL: nobody. */
    void (*seen)(void *ctx, const char *verb, const char *plural, int status, int64_t ms);
    void *seen_ctx;
};
/* config is borrowed and must outlive the client. loop NULL: a private one, only for kube_call_wait(). */
int kube_client_new(struct loop *loop, const struct kube_config *config,
                    const struct kube_client_options *options, struct kube_client **ret, struct err *err);
/* Calls under way are cancelled; their callbacks never run. */
struct kube_client *kube_client_free(struct kube_client *c);
const char *kube_client_namespace(const struct kube_client *c);

enum kube_verb {
    KUBE_GET,    /* name NULL: a list (query for selectors); everything in one answer */
    KUBE_CREATE, /* body */
    KUBE_UPDATE, /* body with metadata.resourceVersion */
    KUBE_MERGE,  /* JSON merge patch */
    KUBE_APPLY,  /* server-side apply; query needs fieldManager */
    KUBE_DELETE, /* body: DeleteOptions, or NULL */
};
struct kube_request { /* borrowed until kube_start() returns */
    enum kube_verb verb;
    const struct kube_resource *resource;
    const char *ns, *name, *sub; /* NULL where it has none; CREATE takes no name */
    const char *query;           /* "limit=500&labelSelector=…", already escaped; NULL */
    const cJSON *body;
    const char *const
        *unread; /* members of the answer that are of no use, see kube_cut_members(); must live on; NULL */
    bool brief;  /* of the answer only the metadata is of use: nothing else is sent, or parsed */
    bool
        raw; /* the answer is text, not JSON (pods/log): `object` is a cJSON string of at most LIMIT_HTTP_BODY_BYTES */
};
/* `done` runs once, never inside kube_start(): with the object of the answer (freed afterwards; to keep it, copy the pointer and set *object to
 * NULL), or with the failure (never NULL: err_is_set() tells). A request that cannot be sent is also reported there. kube_cancel(): nothing runs any more. */
struct kube_call *kube_start(struct kube_client *c, const struct kube_request *r,
                             void (*done)(void *ctx, cJSON **object, struct err *failure), void *ctx);
struct kube_call *kube_cancel(struct kube_call *k); /* NULL allowed; returns NULL */

/* Blocking, for the command line. ret may be NULL. */
int kube_call_wait(struct kube_client *c, const struct kube_request *r, cJSON **ret, struct err *err);

DEFINE_CLEANUP(struct kube_client *, kube_client_free);
#define _cleanup_kube_client_ CLEANUP(kube_client_free_cleanup)
