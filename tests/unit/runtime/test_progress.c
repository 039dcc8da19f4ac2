/* Reports over HTTP: the newest wins, at most two a second, the token goes along, and nobody waits for the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "stages/runtime/progress.h"

/* A server that keeps what it was sent; with `silent` it never answers. */
struct server {
    int fd;
    int port;
    bool silent;
    _Atomic int requests;
    _Atomic bool quit;
    char last[8192];
    pthread_t thread;
};

static void answer(struct server *s, int client)
{
    char text[8192];
    size_t n = 0;
    while (n + 1 < sizeof text) {
        struct pollfd p = {.fd = client, .events = POLLIN};
        if (poll(&p, 1, 300) <= 0)
            break;
        ssize_t got = recv(client, text + n, sizeof text - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = '\0';
        const char *body = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (body && length && strlen(body + 4) >= strtoul(length + 16, NULL, 10))
            break;
    }
    text[n] = '\0';
    if (n == 0)
        return;
    memcpy(s->last, text, n + 1);
    atomic_fetch_add(&s->requests, 1);
    if (s->silent)
        return;
    static const char reply[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    (void)!send(client, reply, sizeof reply - 1, MSG_NOSIGNAL);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    while (!atomic_load(&s->quit)) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        if (poll(&p, 1, 50) <= 0)
            continue;
        int client = accept(s->fd, NULL, NULL);
        if (client < 0)
            continue;
        answer(s, client);
        while (s->silent && !atomic_load(&s->quit))
            (void)usleep(10000);
        (void)close(client);
    }
    return NULL;
}

static void start(struct server *s, bool silent)
{
    *s = (struct server){.silent = silent};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    atomic_store(&s->quit, true);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->fd);
}

static int64_t now(void)
{
    return clock_system.mono_ms(clock_system.ctx);
}

static void test_newest_report_arrives_with_its_token(void **state)
{
    (void)state;
    struct server s;
    start(&s, false);
    _cleanup_free_ char *url = xasprintf("http://127.0.0.1:%d/progress", s.port);
    struct progress *p = progress_new(url, "secret-token");
    _cleanup_json_ cJSON *metrics = json_object();
    json_add_double(metrics, "loss", 0.25);
    int64_t begin = now();
    for (int i = 0; i <= 1000; i++) {
        progress_report(p, i / 1000.0, "step", metrics);
        (void)usleep(1000);
    }
    int64_t spent = now() - begin;
    (void)progress_free(p);
    stop(&s);
    int requests = atomic_load(&s.requests);
    if (requests < 2 || requests > 2 + 2 * (int)(spent / 1000 + 1))
        fail_msg("1001 reports in %lld ms gave %d requests: expected about two a second", (long long)spent,
                 requests);
    assert_non_null(strstr(s.last, "POST /progress HTTP/1.1"));
    assert_non_null(strstr(s.last, "Authorization: Bearer secret-token"));
    assert_non_null(strstr(s.last, "{\"fraction\":1,\"message\":\"step\",\"metrics\":{\"loss\":0.25}}"));
}

static void test_nobody_waits(void **state)
{
    (void)state;
    struct server s;
    start(&s, true);
    _cleanup_free_ char *url = xasprintf("http://127.0.0.1:%d/", s.port);
    struct progress *p = progress_new(url, NULL);
    int64_t begin = now();
    for (int i = 0; i < 100; i++)
        progress_report(p, 0.5, "waiting", NULL);
    int64_t reported = now() - begin;
    if (reported > 500)
        fail_msg("100 reports to a silent server took %lld ms", (long long)reported);
    (void)progress_free(p);
    if (now() - begin > 8000)
        fail_msg("the end waited %lld ms for a silent server", (long long)(now() - begin));
    stop(&s);
    /* No server at all, and no URL. */
    p = progress_new("http://127.0.0.1:1/", "t");
    progress_report(p, 2, NULL, NULL);
    (void)progress_free(p);
    p = progress_new(NULL, NULL);
    progress_report(p, 0.1, "x", NULL);
    (void)progress_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest_report_arrives_with_its_token),
        cmocka_unit_test(test_nobody_waits),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
