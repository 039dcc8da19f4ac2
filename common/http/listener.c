/* The listener over libmicrohttpd: see listener.h. */
#include "common/http/listener.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { CONNECTION_MEMORY = 32 * 1024 }; /* for the request line and headers of one connection */

struct listener {
    struct loop *loop;
    struct MHD_Daemon *daemon;
    struct loop_fd *fd;
    struct loop_timer *timer;
    int port;
    size_t max_body;
    void (*handle)(void *ctx, const struct listener_request *request, struct listener_reply *reply);
    void *ctx;
};

/* --- requests --------------------------------------------------------------------------------------- */

struct incoming {
    struct buf body;
};

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct listener_reply *reply)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply->body.len, (void *)buf_str(&reply->body),
                                        MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                                  reply->content_type ? reply->content_type : "text/plain; charset=utf-8");
    if (reply->location)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, reply->location);
    enum MHD_Result r = MHD_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **request_cls)
{
    struct listener *l = cls;
    struct incoming *in = *request_cls;
    (void)version;
    if (!in) { /* headers are complete; the body follows */
        in = xcalloc(1, sizeof *in);
        buf_init(&in->body, l->max_body);
        *request_cls = in;
        return MHD_YES;
    }
    if (*upload_data_size > 0) { /* beyond the maximum the rest is read and dropped */
        (void)buf_add(&in->body, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return MHD_YES;
    }
    struct listener_reply reply = {.status = 200, .body = BUF_INIT(LIMIT_HTTP_BODY_BYTES)};
    if (buf_failed(&in->body)) {
        reply.status = 413;
        (void)buf_addf(&reply.body, "the body is larger than the maximum of %zu bytes\n", l->max_body);
    } else {
        struct listener_request request = {.method = method,
                                           .path = url,
                                           .body = buf_str(&in->body),
                                           .body_len = in->body.len,
                                           .connection = connection};
        l->handle(l->ctx, &request, &reply);
    }
    enum MHD_Result r = send_reply(connection, &reply);
    buf_release(&reply.body);
    return r;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls, (void)connection, (void)code;
    struct incoming *in = *request_cls;
    if (in)
        buf_release(&in->body);
    *request_cls = xfree(in);
}

const char *listener_header(const struct listener_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool listener_bearer_is(const struct listener_request *request, const char *token)
{
    const char *value = listener_header(request, "Authorization");
    if (!value || strncasecmp(value, "Bearer ", 7) != 0)
        return false;
    value += 7;
    size_t len = strlen(token);
    return strlen(value) == len && bytes_equal_ct(value, token, len);
}

/* --- in the loop ------------------------------------------------------------------------------------ */

static void run_daemon(struct listener *l);

static void on_timer(void *ctx)
{
    struct listener *l = ctx;
    l->timer = NULL;
    run_daemon(l);
}

static void on_ready(void *ctx, short revents)
{
    (void)revents;
    run_daemon(ctx);
}

static void run_daemon(struct listener *l)
{
    (void)MHD_run(l->daemon);
    l->timer = loop_timer_cancel(l->timer);
    MHD_UNSIGNED_LONG_LONG wait;
    if (MHD_get_timeout(l->daemon, &wait) == MHD_YES) /* idle connections to close, or work left over */
        l->timer = loop_timer_start(l->loop, wait > 60000 ? 60000 : (int64_t)wait, on_timer, l);
}

static int bound_port(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct sockaddr_in bound = {0};
    socklen_t len = sizeof bound;
    if (!info || getsockname(info->listen_fd, (struct sockaddr *)&bound, &len) < 0)
        return -1;
    return ntohs(bound.sin_port);
}

int listener_new(struct loop *loop, const struct listener_config *config,
                 void (*handle)(void *ctx, const struct listener_request *request,
                                struct listener_reply *reply),
                 void *ctx, struct listener **ret, struct err *err)
{
    const char *address = config->address ? config->address : "127.0.0.1";
    struct sockaddr_in bind_to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)config->port)};
    if (inet_pton(AF_INET, address, &bind_to.sin_addr) != 1)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "listener",
                        "cannot listen at \"%s\": expected an IPv4 address", address);
    _cleanup_listener_ struct listener *l = xcalloc(1, sizeof *l);
    *l = (struct listener){.loop = loop,
                           .max_body = config->max_body ? config->max_body : LIMIT_PROGRESS_BYTES,
                           .handle = handle,
                           .ctx = ctx};
    l->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, l, MHD_OPTION_SOCK_ADDR,
                                 (struct sockaddr *)&bind_to, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)(config->max_connections ? config->max_connections : 64),
                                 MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)(config->idle_seconds ? config->idle_seconds : 10),
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info || (l->port = bound_port(l->daemon)) <= 0)
        return err_fail(err, ERR_TERMINAL, EXITCODE_UNAVAILABLE, "listener",
                        "cannot listen at %s port %d: is it taken?", address, config->port);
    l->fd = loop_fd_start(loop, info->epoll_fd, POLLIN, on_ready, l);
    *ret = steal_ptr(l);
    return 0;
}

struct listener *listener_free(struct listener *l)
{
    if (!l)
        return NULL;
    loop_timer_cancel(l->timer);
    loop_fd_stop(l->fd);
    if (l->daemon)
        MHD_stop_daemon(l->daemon);
    free(l);
    return NULL;
}

int listener_port(const struct listener *l)
{
    return l->port;
}
