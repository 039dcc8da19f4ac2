/* Between client.c and reflector.c: watches are calls whose answer never ends. */
#pragma once

#include "common/http/http.h"
#include "operator/kube/client.h"

struct kube_watch; /* opaque */

/* path: with its query. sink takes the stream's bytes; negative with err set ends it. done runs once, with failure->class_ ERR_NONE when the
 * server ended the stream. silence_ms: nothing for so long ends it as ERR_RETRY. Never NULL: what cannot be started is reported to done. */
struct kube_watch *kube_watch_start(struct kube_client *c, const char *path, int64_t silence_ms,
                                    int (*sink)(void *ctx, const void *data, size_t len, struct err *err),
                                    void (*done)(void *ctx, struct err *failure), void *ctx);
struct kube_watch *kube_watch_cancel(struct kube_watch *w); /* NULL allowed; returns NULL */
struct loop *kube_client_loop(const struct kube_client *c);
