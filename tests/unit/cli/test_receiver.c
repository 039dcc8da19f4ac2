/* The receiver over a real socket: a listener in a loop, posts by a plain TCP client. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "operator/cli/local/progress.h"

static const uint8_t key[SHA256_LEN] = {9};

/* Sends a request to the URL's port and drives the loop until the answer's status line is there. */
static int request(struct loop *loop, const char *url, const char *token, const char *body)
{
    unsigned port = 0;
    char path[256] = "", answer[512] = "";
    assert_int_equal(sscanf(url, "http://127.0.0.1:%u%255s", &port, path), 2);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    _cleanup_free_ char *text = xasprintf(
        "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        path, token, strlen(body), body);
    assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    size_t len = 0;
    for (int i = 0; i < 300 && !strstr(answer, "\r\n"); i++) {
        struct err err = ERR_INIT;
        assert_int_equal(loop_step(loop, 20, &err), 0);
        ssize_t n = recv(fd, answer + len, sizeof answer - 1 - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        answer[len] = '\0';
    }
    int status = 0;
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static void posts_arrive_over_http(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_loop_ struct loop *loop = NULL;
    assert_int_equal(loop_new(&loop, &err), 0);
    struct progress *p = progress_new("uid", key);
    assert_null(progress_url(p, "train", 1, 0));
    assert_int_equal(progress_listen(p, loop, &clock_system, &err), 0);
    const struct progress_entry *e = progress_begin(p, "train", 1, 0);
    _cleanup_free_ char *url = progress_url(p, "train", 1, 0);
    char token[DIGEST_HEX];
    progress_sign(key, "progress", "uid", "train", 1, 0, token);
    assert_int_equal(request(loop, url, token, "{\"fraction\":0.5}"), 204);
    assert_true(e->fraction == 0.5);
    assert_int_equal(request(loop, url, "wrong", "{\"fraction\":0.6}"), 401);
    assert_true(e->fraction == 0.5);
    char large[LIMIT_PROGRESS_BYTES + 100];
    memset(large, ' ', sizeof large);
    large[sizeof large - 1] = '\0';
    assert_int_equal(request(loop, url, token, large), 413);
    progress_end(p, "train", 1, 0);
    assert_int_equal(request(loop, url, token, "{}"), 410);
    progress_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(posts_arrive_over_http)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
