/* An API server that does as it is told: each request gets the next answer of a list, byte for byte. In the test's own loop. Only for what a real
 * one does not do at will: the rest is tested against a real one. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/http/loop.h"
#include "operator/kube/client.h"
#include "tests/unit/unit.h"

enum { SCRIPT_CONNECTIONS = 64, SCRIPT_REQUESTS = 64 };

#define ANSWER(status, body) \
    "HTTP/1.1 " status "\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n" body
#define STATUS(code, reason, message) \
    "{\"kind\":\"Status\",\"code\":" #code ",\"reason\":\"" reason "\",\"message\":\"" message "\"}"
/* The stream stays open after these bytes. */
#define HOLD "\001"

struct script {
    struct loop *loop;
    int fd;
    struct loop_fd *listening;
    struct {
        struct script *script;
        int fd;
        struct loop_fd *watch;
        struct buf request;
    } connection[SCRIPT_CONNECTIONS];
    size_t n_connections;
    const char *const *answers; /* NULL-terminated; the last is repeated */
    size_t next;
    char *requests[SCRIPT_REQUESTS]; /* as they came, head and body */
    size_t n_requests;
    char url[64];
    struct kube_config config;
    struct kube_client *client;
};

static void script_close(struct script *s, size_t i)
{
    s->connection[i].watch = loop_fd_stop(s->connection[i].watch);
    if (s->connection[i].fd >= 0)
        (void)close(s->connection[i].fd);
    s->connection[i].fd = -1;
    buf_release(&s->connection[i].request);
}

static bool script_complete(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
    return end && (!length || length > end || strlen(end + 4) >= strtoul(length + 16, NULL, 10));
}

static void script_read(void *ctx, short revents)
{
    char data[4096];
    (void)revents;
    struct script *s = *(struct script **)ctx;
    size_t i = 0;
    while ((void *)&s->connection[i].script != ctx)
        i++;
    ssize_t n = read(s->connection[i].fd, data, sizeof data);
    if (n <= 0) {
        script_close(s, i);
        return;
    }
    (void)buf_add(&s->connection[i].request, data, (size_t)n);
    if (!script_complete(buf_str(&s->connection[i].request)))
        return;
    assert_true(s->n_requests < SCRIPT_REQUESTS);
    s->requests[s->n_requests++] = xstrdup(buf_str(&s->connection[i].request));
    buf_reset(&s->connection[i].request);
    const char *answer = s->answers[s->next];
    if (s->answers[s->next + 1])
        s->next++;
    const char *hold = strchr(answer, HOLD[0]);
    size_t len = hold ? (size_t)(hold - answer) : strlen(answer);
    assert_int_equal(write(s->connection[i].fd, answer, len), len);
    if (!hold)
        script_close(s, i);
}

static void script_accept(void *ctx, short revents)
{
    struct script *s = ctx;
    (void)revents;
    assert_true(s->n_connections < SCRIPT_CONNECTIONS);
    size_t i = s->n_connections++;
    s->connection[i].script = s;
    s->connection[i].fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    s->connection[i].request = BUF_INIT(1 << 20);
    s->connection[i].watch =
        loop_fd_start(s->loop, s->connection[i].fd, POLLIN, script_read, &s->connection[i].script);
}

static inline void script_start(struct script *s, const char *const *answers)
{
    struct err err = ERR_INIT;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    *s = (struct script){.answers = answers};
    assert_ok(loop_new(&s->loop, &err), &err);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->fd, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    s->listening = loop_fd_start(s->loop, s->fd, POLLIN, script_accept, s);
    s->config = (struct kube_config){.server = s->url, .namespace_ = (char *)"default", .fds = {-1, -1, -1}};
    struct kube_client_options options = {.timeout_ms = 2000};
    assert_ok(kube_client_new(s->loop, &s->config, &options, &s->client, &err), &err);
}

static inline void script_end(struct script *s)
{
    s->client = kube_client_free(s->client);
    (void)loop_fd_stop(s->listening);
    (void)close(s->fd);
    for (size_t i = 0; i < s->n_connections; i++)
        script_close(s, i);
    for (size_t i = 0; i < s->n_requests; i++)
        free(s->requests[i]);
    loop_free(s->loop);
}
