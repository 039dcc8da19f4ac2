/* Authenticated connections: see handshake.h. */
#include "stages/collective/handshake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/backoff.h"
#include "common/base/cleanup.h"
#include "common/base/digest.h"

enum { HELLO_BODY = HANDSHAKE_HELLO - HANDSHAKE_MAC, HELLO_TIMEOUT_MS = 3000, CONNECT_TIMEOUT_MS = 3000 };
static const char magic[8] = "TYARD1\0";

int64_t handshake_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- messages ------------------------------------------------------------------------------------ */

void handshake_greeting(uint8_t ret[static HANDSHAKE_GREETING])
{
    memcpy(ret, magic, sizeof magic);
    random_bytes(ret + sizeof magic, HANDSHAKE_NONCE);
}

static void mac_of_hello(const uint8_t *key, const uint8_t *greeting, const uint8_t *hello, uint8_t *ret)
{
    uint8_t text[16 + HANDSHAKE_NONCE + HELLO_BODY] = "connector";
    memcpy(text + 16, greeting + sizeof magic, HANDSHAKE_NONCE);
    memcpy(text + 16 + HANDSHAKE_NONCE, hello, HELLO_BODY);
    hmac_sha256(key, 32, text, sizeof text, ret);
}

static void make_hello(const uint8_t *key, const uint8_t *greeting, const struct handshake_id *id,
                       uint8_t ret[static HANDSHAKE_HELLO])
{
    uint32_t numbers[4] = {htonl(id->purpose), htonl(id->rank), htonl(id->size), htonl(id->attempt)};
    memset(ret, 0, HANDSHAKE_HELLO);
    memcpy(ret, magic, 8);
    memcpy(ret + 8, numbers, 16);
    random_bytes(ret + 24, HANDSHAKE_NONCE);
    memcpy(ret + 24 + HANDSHAKE_NONCE, id->run_uid, HANDSHAKE_TEXT);
    memcpy(ret + 24 + HANDSHAKE_NONCE + HANDSHAKE_TEXT, id->identity, HANDSHAKE_TEXT);
    mac_of_hello(key, greeting, ret, ret + HELLO_BODY);
}

enum handshake_verdict handshake_judge(const uint8_t key[static 32],
                                       const uint8_t greeting[static HANDSHAKE_GREETING],
                                       const uint8_t hello[static HANDSHAKE_HELLO],
                                       const struct handshake_id *self, struct handshake_id *ret_id)
{
    uint32_t numbers[4];
    memcpy(numbers, hello + 8, sizeof numbers);
    *ret_id = (struct handshake_id){.purpose = ntohl(numbers[0]),
                                    .rank = ntohl(numbers[1]),
                                    .size = ntohl(numbers[2]),
                                    .attempt = ntohl(numbers[3])};
    memcpy(ret_id->run_uid, hello + 24 + HANDSHAKE_NONCE, HANDSHAKE_TEXT - 1);
    memcpy(ret_id->identity, hello + 24 + HANDSHAKE_NONCE + HANDSHAKE_TEXT, HANDSHAKE_TEXT - 1);
    uint8_t mac[HANDSHAKE_MAC];
    mac_of_hello(key, greeting, hello, mac);
    if (memcmp(hello, magic, 8) != 0 || !bytes_equal_ct(mac, hello + HELLO_BODY, HANDSHAKE_MAC))
        return VERDICT_KEY;
    if (strcmp(ret_id->run_uid, self->run_uid) != 0 || ret_id->attempt != self->attempt ||
        ret_id->purpose != self->purpose)
        return VERDICT_OTHER_RUN;
    if (ret_id->size != self->size || ret_id->rank >= self->size || ret_id->rank == self->rank)
        return VERDICT_RANK;
    return VERDICT_WELCOME;
}

void handshake_answer(const uint8_t key[static 32], const uint8_t greeting[static HANDSHAKE_GREETING],
                      const uint8_t hello[static HANDSHAKE_HELLO], enum handshake_verdict verdict,
                      uint8_t ret[static HANDSHAKE_VERDICT])
{
    uint32_t number = htonl((uint32_t)verdict);
    uint8_t text[16 + 2 * HANDSHAKE_NONCE + 4] = "acceptor";
    memcpy(text + 16, hello + 24, HANDSHAKE_NONCE);
    memcpy(text + 16 + HANDSHAKE_NONCE, greeting + sizeof magic, HANDSHAKE_NONCE);
    memcpy(text + 16 + 2 * HANDSHAKE_NONCE, &number, 4);
    memcpy(ret, &number, 4);
    hmac_sha256(key, 32, text, sizeof text, ret + 4);
}

/* --- sockets --------------------------------------------------------------------------------------- */

static bool wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - handshake_now_ms();
        if (left <= 0)
            return false;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

bool handshake_read(int fd, void *data, size_t len, int64_t deadline)
{
    for (char *at = data; len;) {
        if (!wait_for(fd, POLLIN, deadline))
            return false;
        ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

bool handshake_write(int fd, const void *data, size_t len, int64_t deadline)
{
    for (const char *at = data; len;) {
        if (!wait_for(fd, POLLOUT, deadline))
            return false;
        ssize_t n = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static void no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static int resolve(const char *host, int port, bool passive, struct addrinfo **ret, struct err *err)
{
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = passive ? AI_PASSIVE : 0};
    int e = getaddrinfo(host, service, &hints, ret);
    return e ? err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "rendezvous", "cannot resolve %s: %s",
                        host ? host : "any address", gai_strerror(e))
             : 0;
}

int handshake_listen(const char *host, int port, int *ret_fd, int *ret_port, struct err *err)
{
    struct addrinfo *list;
    if (resolve(host, port, true, &list, err) < 0)
        return -1;
    _cleanup_close_ int fd = -1;
    int saved = 0;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int on = 1;
        if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
                        bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 256) < 0)) {
            saved = errno;
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0)
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "rendezvous", "cannot listen on %s port %d: %s",
                        host ? host : "any address", port, strerror(saved));
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        return err_errno(err, errno, "getsockname");
    *ret_port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                              : ((struct sockaddr_in *)&a)->sin_port);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* One try at one address. -1: nobody there. */
static int connect_to(const struct addrinfo *a, int64_t deadline)
{
    _cleanup_close_ int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        int e = 0;
        socklen_t len = sizeof e;
        if (errno != EINPROGRESS || !wait_for(fd, POLLOUT, deadline) ||
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0 || e)
            return -1;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
        return -1;
    no_delay(fd);
    return steal_fd(&fd);
}

/* 0 and a descriptor, or a verdict; 0 and no descriptor: nobody answered properly. */
static enum handshake_verdict say_hello(const struct addrinfo *a, const uint8_t *key,
                                        const struct handshake_id *self, int64_t deadline, int *ret_fd)
{
    int64_t soon = handshake_now_ms() + CONNECT_TIMEOUT_MS;
    soon = soon < deadline ? soon : deadline;
    _cleanup_close_ int fd = connect_to(a, soon);
    uint8_t greeting[HANDSHAKE_GREETING], hello[HANDSHAKE_HELLO], verdict[HANDSHAKE_VERDICT],
        expected[HANDSHAKE_VERDICT];
    if (fd < 0 || !handshake_read(fd, greeting, sizeof greeting, soon) ||
        memcmp(greeting, magic, sizeof magic) != 0)
        return 0;
    make_hello(key, greeting, self, hello);
    if (!handshake_write(fd, hello, sizeof hello, soon) || !handshake_read(fd, verdict, sizeof verdict, soon))
        return 0;
    uint32_t number;
    memcpy(&number, verdict, 4);
    enum handshake_verdict said = (enum handshake_verdict)ntohl(number);
    handshake_answer(key, greeting, hello, said, expected);
    if (!bytes_equal_ct(verdict, expected, sizeof expected))
        return VERDICT_KEY; /* it does not hold our key, whatever it says */
    if (said == VERDICT_WELCOME)
        *ret_fd = steal_fd(&fd);
    return said;
}

static const char *verdict_text(enum handshake_verdict v)
{
    switch (v) {
    case VERDICT_KEY:
        return "it holds another rendezvous key (is it a worker of another attempt, or is the key misconfigured?)";
    case VERDICT_OTHER_RUN:
        return "it belongs to another run or attempt";
    case VERDICT_RANK:
        return "it does not expect this rank, or has it already, or counts another number of workers";
    default:
        return "nobody answered";
    }
}

int handshake_stopped(const struct handshake_id *self, struct err *err)
{
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "stopped",
                    "rank %u was asked to stop while it waited for the other workers", self->rank);
}

int handshake_connect(const char *host, int port, const uint8_t key[static 32],
                      const struct handshake_id *self, const struct handshake_patience *patience, int *ret_fd,
                      struct err *err)
{
    struct backoff backoff;
    backoff_init(&backoff, 5, 500, (uint64_t)self->rank);
    enum handshake_verdict last = 0;
    for (;;) {
        struct addrinfo *list = NULL;
        struct err ignored = ERR_INIT;
        int fd = -1;
        if (resolve(host, port, false, &list, &ignored) == 0) {
            for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
                last = say_hello(a, key, self, patience->deadline, &fd);
            freeaddrinfo(list);
        }
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        int64_t pause = backoff_next_ms(&backoff);
        if (patience->stopping && patience->stopping(patience->stopping_ctx))
            return handshake_stopped(self, err);
        if (handshake_now_ms() + pause >= patience->deadline)
            break;
        struct timespec t = {.tv_sec = pause / 1000, .tv_nsec = pause % 1000 * 1000000};
        (void)nanosleep(&t, NULL);
    }
    if (last)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "rendezvous-refused",
                        "rank %u: no rendezvous with %s port %d: %s", self->rank, host, port,
                        verdict_text(last));
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                    "rank %u: no rendezvous with %s port %d: %s", self->rank, host, port, verdict_text(last));
}

int handshake_accept(int listener, const uint8_t key[static 32], const struct handshake_id *self,
                     int64_t deadline, int *ret_fd, struct handshake_id *ret_peer, struct err *err)
{
    for (;;) {
        if (!wait_for(listener, POLLIN, deadline))
            return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                            "rank %u: a peer did not connect in time", self->rank);
        _cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        no_delay(fd);
        int64_t soon = handshake_now_ms() + HELLO_TIMEOUT_MS;
        soon = soon < deadline ? soon : deadline;
        uint8_t greeting[HANDSHAKE_GREETING], hello[HANDSHAKE_HELLO], answer[HANDSHAKE_VERDICT];
        handshake_greeting(greeting);
        if (!handshake_write(fd, greeting, sizeof greeting, soon) ||
            !handshake_read(fd, hello, sizeof hello, soon))
            continue;
        enum handshake_verdict verdict = handshake_judge(key, greeting, hello, self, ret_peer);
        handshake_answer(key, greeting, hello, verdict, answer);
        if (handshake_write(fd, answer, sizeof answer, soon) && verdict == VERDICT_WELCOME) {
            *ret_fd = steal_fd(&fd);
            return 0;
        }
    }
}
