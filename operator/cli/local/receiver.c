/* The socket of the progress receiver: hands each request to progress_handle(). */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "operator/cli/local/progress-internal.h"

static void handle(void *ctx, const struct listener_request *request, struct listener_reply *reply)
{
    struct progress *p = ctx;
    reply->status =
        progress_handle(p, request->method, request->path, listener_header(request, "Authorization"),
                        request->body, request->body_len, p->clock->wall_ms(p->clock->ctx));
}

int progress_listen(struct progress *p, struct loop *loop, const struct clock *clock, struct err *err)
{
    struct listener_config config = {.max_body = LIMIT_PROGRESS_BYTES};
    p->clock = clock;
    return listener_new(loop, &config, handle, p, &p->listener, err) < 0
               ? err_wrap(err, "cannot listen for progress")
               : 0;
}

void progress_unlisten(struct progress *p)
{
    if (p->listener)
        p->listener = listener_free(p->listener);
}

char *progress_url(const struct progress *p, const char *step, int attempt, int64_t item)
{
    return p->listener ? xasprintf("http://127.0.0.1:%d" PROGRESS_PATH "%s/%s/%d/%" PRId64,
                                   listener_port(p->listener), p->run_uid, step, attempt, item)
                       : NULL;
}
