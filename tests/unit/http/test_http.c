/* The client against our own listener in the same loop: both sides of common/http at once. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/http/http.h"
#include "common/http/listener.h"
#include "tests/unit/unit.h"

struct fixture {
    struct loop *loop;
    struct listener *listener;
    struct http_client *client;
    char url[64];
    int handled;
};

static void handle(void *ctx, const struct listener_request *request, struct listener_reply *reply)
{
    struct fixture *f = ctx;
    f->handled++;
    if (text_equal(request->path, "/echo")) {
        const char *extra = listener_header(request, "x-extra");
        (void)buf_addf(&reply->body, "%s %zu %s %s", request->method, request->body_len, extra ? extra : "-",
                       request->body);
    } else if (text_equal(request->path, "/big")) {
        for (int i = 0; i < 100000; i++)
            (void)buf_adds(&reply->body, "0123456789");
    } else if (text_equal(request->path, "/secret")) {
        reply->status = listener_bearer_is(request, "token") ? 204 : 401;
    } else if (text_equal(request->path, "/moved")) {
        reply->status = 307;
        reply->location = "/echo";
    } else {
        reply->status = 503;
        (void)buf_adds(&reply->body, "slow\ndown");
    }
}

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(loop_new(&f->loop, &err), &err);
    assert_ok(listener_new(f->loop, &(struct listener_config){0}, handle, f, &f->listener, &err), &err);
    assert_ok(http_client_new(f->loop, &(struct http_config){0}, &f->client, &err), &err);
    (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", listener_port(f->listener));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_client_free(f->client);
    listener_free(f->listener);
    loop_free(f->loop);
    free(f);
    return 0;
}

struct outcome {
    bool finished;
    int status;
    char *body, *type;
    struct err failure;
};

static void finish(void *ctx, struct http_response *response, struct err *failure)
{
    struct outcome *o = ctx;
    o->finished = true;
    o->status = response->status;
    o->type = http_header_dup(response, "content-TYPE");
    o->body = xstrdup(buf_str(&response->body));
    o->failure = *failure;
}

static void outcome_release(struct outcome *o)
{
    free(o->body);
    free(o->type);
}
#define _cleanup_outcome_ CLEANUP(outcome_release)

static void exchange(struct fixture *f, const char *path, struct http_request r, struct outcome *ret)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *url = xasprintf("%s%s", f->url, path);
    r.url = url;
    *ret = (struct outcome){0};
    assert_ok(http_start(f->client, &r, finish, ret, NULL, &err), &err);
    while (!ret->finished)
        assert_ok(loop_step(f->loop, 5000, &err), &err);
}

static void bodies_headers_and_statuses_travel(void **state)
{
    struct fixture *f = *state;
    _cleanup_outcome_ struct outcome get = {0};
    exchange(f, "/echo", (struct http_request){0}, &get);
    assert_int_equal(get.status, 200);
    assert_string_equal(get.body, "GET 0 - ");
    assert_string_equal(get.type, "text/plain; charset=utf-8");
    _cleanup_outcome_ struct outcome post = {0};
    const char *headers[] = {"X-Extra: 1", NULL};
    exchange(f, "/echo",
             (struct http_request){.method = "POST", .body = "hello", .body_len = 5, .headers = headers},
             &post);
    assert_string_equal(post.body, "POST 5 1 hello");
    _cleanup_outcome_ struct outcome empty = {0};
    exchange(f, "/echo", (struct http_request){.method = "DELETE"}, &empty);
    assert_string_equal(empty.body, "DELETE 0 - ");
    _cleanup_outcome_ struct outcome moved = {0};
    exchange(f, "/moved",
             (struct http_request){.method = "POST", .body = "x", .body_len = 1, .max_redirects = 1}, &moved);
    assert_string_equal(moved.body, "POST 1 - x");
    _cleanup_outcome_ struct outcome stays = {0};
    exchange(f, "/moved", (struct http_request){0}, &stays);
    assert_int_equal(stays.status, 307);
}

static void a_file_range_is_uploaded(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/http-test-XXXXXX";
    _cleanup_close_ int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    _cleanup_outcome_ struct outcome put = {0};
    exchange(f, "/echo",
             (struct http_request){.method = "PUT",
                                   .body_from_fd = true,
                                   .body_fd = fd,
                                   .body_offset = 3,
                                   .body_size = 4},
             &put);
    assert_string_equal(put.body, "PUT 4 - 3456");
    _cleanup_outcome_ struct outcome cut = {0};
    exchange(f, "/echo",
             (struct http_request){.method = "PUT",
                                   .body_from_fd = true,
                                   .body_fd = fd,
                                   .body_offset = 8,
                                   .body_size = 4},
             &cut);
    assert_int_equal(err_exit_code(&cut.failure), EXITCODE_IO);
    assert_string_equal(cut.failure.reason, "short");
}

static int count(void *ctx, const struct http_response *response, const void *data, size_t len,
                 struct err *err)
{
    (void)data;
    assert_int_equal(response->status, 200);
    *(size_t *)ctx += len;
    return *(size_t *)ctx > 2000000 ? err_set(err, ERR_TERMINAL, "too much") : 0;
}

static int refuse(void *ctx, const struct http_response *response, const void *data, size_t len,
                  struct err *err)
{
    (void)ctx, (void)response, (void)data;
    return err_fail(err, ERR_CONFLICT, 75, "mine", "refused %zu bytes", len > 0 ? (size_t)1 : (size_t)0);
}

static void bodies_are_bounded_or_streamed(void **state)
{
    struct fixture *f = *state;
    _cleanup_outcome_ struct outcome large = {0};
    exchange(f, "/big", (struct http_request){.max_body = 999999}, &large);
    assert_int_equal(large.failure.class_, ERR_INVALID);
    assert_non_null(strstr(large.failure.msg, "larger than the maximum of 999999 bytes"));
    size_t seen = 0;
    _cleanup_outcome_ struct outcome streamed = {0};
    exchange(f, "/big", (struct http_request){.sink = count, .sink_ctx = &seen}, &streamed);
    assert_int_equal(seen, 1000000);
    assert_string_equal(streamed.body, "");
    _cleanup_outcome_ struct outcome refused = {0};
    exchange(f, "/big", (struct http_request){.sink = refuse}, &refused);
    assert_int_equal(refused.failure.class_, ERR_CONFLICT);
    assert_string_equal(refused.failure.reason, "mine");
    _cleanup_outcome_ struct outcome failed = {0}; /* the body of a failure goes to memory */
    exchange(f, "/none", (struct http_request){.sink = refuse}, &failed);
    assert_int_equal(failed.status, 503);
    assert_string_equal(failed.body, "slow\ndown");
}

static void the_listener_bounds_bodies_and_checks_tokens(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *body = xcalloc(1, LIMIT_PROGRESS_BYTES + 1);
    _cleanup_outcome_ struct outcome large = {0};
    exchange(f, "/echo",
             (struct http_request){.method = "POST", .body = body, .body_len = LIMIT_PROGRESS_BYTES + 1},
             &large);
    assert_int_equal(large.status, 413);
    assert_int_equal(f->handled, 0);
    const char *good[] = {"Authorization: Bearer token", NULL},
               *bad[] = {"Authorization: Bearer tokem", NULL};
    _cleanup_outcome_ struct outcome a = {0}, b = {0}, c = {0};
    exchange(f, "/secret", (struct http_request){.headers = good}, &a);
    exchange(f, "/secret", (struct http_request){.headers = bad}, &b);
    exchange(f, "/secret", (struct http_request){0}, &c);
    assert_int_equal(a.status, 204);
    assert_int_equal(b.status, 401);
    assert_int_equal(c.status, 401);
}

static void never(void *ctx, struct http_response *response, struct err *failure)
{
    (void)response, (void)failure;
    *(bool *)ctx = true;
}

static void stop_loop(void *ctx)
{
    loop_stop(ctx);
}

static void a_cancelled_exchange_never_calls_back(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    bool called = false;
    struct http_exchange *x;
    assert_ok(http_start(f->client, &(struct http_request){.url = f->url}, never, &called, &x, &err), &err);
    assert_ok(loop_step(f->loop, 10, &err), &err);
    x = http_cancel(x);
    (void)loop_timer_start(f->loop, 50, stop_loop, f->loop);
    assert_ok(loop_run(f->loop, &err), &err);
    assert_false(called);
}

/* A server that accepts, sends `text`, and closes (or, with NULL, stays silent): in a child, for it blocks. */
static pid_t raw_server(const char *text, int *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    pid_t pid = fork();
    if (pid == 0) {
        int c = accept(fd, NULL, NULL);
        char request[4096];
        (void)!read(c, request, sizeof request);
        if (!text)
            (void)pause();
        (void)!write(c, text, strlen(text));
        (void)shutdown(c, SHUT_RDWR);
        _exit(0);
    }
    (void)close(fd);
    return pid;
}

static void blocking_failures_have_their_class(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        enum err_class class_;
        const char *reason;
    } table[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", ERR_RETRY, "http"}, /* truncated */
        {"", ERR_RETRY, "http"}, /* closed without an answer */
        {NULL, ERR_RETRY, "timeout"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct err err = ERR_INIT;
        int port;
        pid_t pid = raw_server(table[i].reply, &port);
        _cleanup_http_client_ struct http_client *c = NULL;
        assert_ok(http_client_new(NULL, &(struct http_config){0}, &c, &err), &err);
        _cleanup_free_ char *url = xasprintf("http://127.0.0.1:%d/", port);
        _cleanup_http_response_ struct http_response response;
        assert_int_equal(http_perform(c, &(struct http_request){.url = url, .timeout_ms = 300}, &response,
                                      &err),
                         -1);
        if (err.class_ != table[i].class_ || strcmp(err.reason, table[i].reason) != 0)
            fail_msg("case %zu: expected %s %s, found %s %s: %s", i, err_class_name(table[i].class_),
                     table[i].reason, err_class_name(err.class_), err.reason, err.msg);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    struct err err = ERR_INIT;
    _cleanup_http_client_ struct http_client *c = NULL;
    assert_ok(http_client_new(NULL, &(struct http_config){0}, &c, &err), &err);
    _cleanup_http_response_ struct http_response response;
    assert_int_equal(http_perform(c, &(struct http_request){.url = "ftp://127.0.0.1/"}, &response, &err), -1);
    assert_int_equal(err.class_, ERR_INVALID);
    assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
    err = ERR_INIT;
    http_response_release(&response);
    assert_int_equal(http_perform(c, &(struct http_request){.url = "http://127.0.0.1:1/"}, &response, &err),
                     -1);
    assert_int_equal(err.class_, ERR_RETRY);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int64_t expected;
    } table[] = {
        {"Retry-After: 3\n", 3000},
        {"retry-after:  0\n", 0},
        {"X: 1\n", -1},
        {"Retry-After: soon\n", -1},
        {"Retry-After: Thu, 01 Jan 1970 00:01:40 GMT\n", 40000},
        {"Retry-After: Thu, 01 Jan 1970 00:00:40 GMT\n", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_http_response_ struct http_response r;
        http_response_init(&r);
        (void)buf_adds(&r.headers, table[i].header);
        assert_int_equal(http_retry_after_ms(&r, 60000), table[i].expected);
    }
}

static void errors_of_statuses_show_the_body_on_one_line(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_http_response_ struct http_response r;
    http_response_init(&r);
    r.status = 503;
    (void)buf_adds(&r.body, "slow\ndown");
    assert_int_equal(http_check(&r, "posting progress", &err), -1);
    assert_string_equal(err.msg, "posting progress: HTTP 503: slow down");
    assert_int_equal(err.class_, ERR_RETRY);
    r.status = 204;
    assert_ok(http_check(&r, "x", &err), &err);
    (void)f;
}

/* An exchange takes two rounds at least; half a second's stand to credit. */
static void rounds_are_bounded(void **state)
{
    struct fixture *f = *state;
    enum {
        PER_SECOND = 40,
        EXCHANGES = 20,
        AT_LEAST_MS = (EXCHANGES * 2 - PER_SECOND / 2) * 1000 / PER_SECOND
    };
    int64_t begin = loop_now_ms();
    loop_limit_rounds(f->loop, PER_SECOND);
    for (int i = 0; i < EXCHANGES; i++) {
        _cleanup_outcome_ struct outcome o = {0};
        exchange(f, "/echo", (struct http_request){0}, &o);
        assert_int_equal(o.status, 200);
    }
    assert_true(loop_now_ms() - begin >= AT_LEAST_MS / 2);
    loop_limit_rounds(f->loop, 0);
    _cleanup_outcome_ struct outcome big = {0};
    exchange(f, "/big", (struct http_request){0}, &big);
    assert_int_equal(strlen(big.body), 1000000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(bodies_headers_and_statuses_travel),
        T(a_file_range_is_uploaded),
        T(bodies_are_bounded_or_streamed),
        T(the_listener_bounds_bodies_and_checks_tokens),
        T(a_cancelled_exchange_never_calls_back),
        cmocka_unit_test(blocking_failures_have_their_class),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
        T(errors_of_statuses_show_the_body_on_one_line),
        T(rounds_are_bounded),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
