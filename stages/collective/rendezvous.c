/* Rendezvous: see rendezvous.h. Rank 0 runs one thread with one poll loop; nothing a stranger sends makes it wait. */
#include "stages/collective/rendezvous.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "stages/collective/handshake.h"

/* Requests: op, key length, value length (network order), key, value. Answer to a get: length, value. A set has none. */
enum {
    OP_SET = 1,
    OP_GET = 2,
    FRAME_HEAD = 12,
    STRANGERS_MAX = 64,
    HELLO_MS = 10000,
    DEFAULT_START_MS = 600000,
    LOOK_MS = 200
};

struct value {
    size_t len;
    char data[];
};

struct connection {
    int fd;
    int rank; /* -1: no valid hello yet */
    int64_t hello_deadline;
    uint8_t greeting[HANDSHAKE_GREETING];
    struct buf in;
    char *waiting_for; /* a get that has no value yet */
};

struct rendezvous {
    struct handshake_id self;
    uint8_t key[32];
    char address[RENDEZVOUS_ADDR_MAX];
    int64_t start_deadline;
    int fd; /* other ranks: connection to rank 0 */
    /* Rank 0: */
    pthread_t thread;
    bool running, stop;
    int listener, wake[2];
    struct connection *connections;
    size_t n_connections, max_connections;
    bool *present;
    size_t n_present;
    pthread_mutex_t mutex; /* values, present, n_present, stop */
    pthread_cond_t changed;
    struct map *values;
};

/* --- rank 0: the loop ------------------------------------------------------------------------------- */

static void drop(struct rendezvous *r, size_t i)
{
    struct connection *c = &r->connections[i];
    (void)close(c->fd);
    buf_release(&c->in);
    free(c->waiting_for);
    r->connections[i] = r->connections[--r->n_connections];
}

static void put_value(struct rendezvous *r, const char *key, const void *data, size_t len)
{
    struct value *v = xmalloc(sizeof *v + len + 1);
    v->len = len;
    memcpy(v->data, data, len);
    pthread_mutex_lock(&r->mutex);
    if (map_has(r->values, key) ||
        map_set(r->values, key, v) < 0) /* the first value stays: readers may hold it */
        free(v);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

/* False: the connection is of no more use. */
static bool answer_get(struct rendezvous *r, struct connection *c)
{
    pthread_mutex_lock(&r->mutex);
    const struct value *v = map_get(r->values, c->waiting_for);
    pthread_mutex_unlock(&r->mutex); /* values are never removed or replaced while the loop runs */
    if (!v)
        return true;
    c->waiting_for = xfree(c->waiting_for);
    uint32_t len = htonl((uint32_t)v->len);
    int64_t deadline = handshake_now_ms() + HELLO_MS;
    return handshake_write(c->fd, &len, sizeof len, deadline) &&
           handshake_write(c->fd, v->data, v->len, deadline);
}

static bool take_hello(struct rendezvous *r, struct connection *c)
{
    struct handshake_id peer;
    const uint8_t *hello = (const uint8_t *)c->in.data;
    uint8_t answer[HANDSHAKE_VERDICT];
    enum handshake_verdict verdict = handshake_judge(r->key, c->greeting, hello, &r->self, &peer);
    pthread_mutex_lock(&r->mutex);
    if (verdict == VERDICT_WELCOME && r->present[peer.rank])
        verdict = VERDICT_RANK;
    if (verdict == VERDICT_WELCOME) {
        r->present[peer.rank] = true;
        r->n_present++;
        c->rank = (int)peer.rank;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->mutex);
    handshake_answer(r->key, c->greeting, hello, verdict, answer);
    buf_reset(&c->in);
    return handshake_write(c->fd, answer, sizeof answer, handshake_now_ms() + HELLO_MS) &&
           verdict == VERDICT_WELCOME;
}

/* One whole request from the front of the input, if there is one. */
static bool take_request(struct rendezvous *r, struct connection *c, bool *ret_more)
{
    uint32_t head[3];
    *ret_more = false;
    if (c->in.len < FRAME_HEAD || c->waiting_for)
        return true;
    memcpy(head, c->in.data, sizeof head);
    size_t op = ntohl(head[0]), key_len = ntohl(head[1]), len = ntohl(head[2]),
           total = FRAME_HEAD + key_len + len;
    if ((op != OP_SET && op != OP_GET) || key_len > RENDEZVOUS_KEY_MAX || len > RENDEZVOUS_VALUE_MAX)
        return false;
    if (c->in.len < total)
        return true;
    char *key = xstrndup(c->in.data + FRAME_HEAD, key_len);
    if (op == OP_SET) {
        put_value(r, key, c->in.data + FRAME_HEAD + key_len, len);
        free(key);
    } else {
        c->waiting_for = key;
    }
    size_t rest = c->in.len - total;
    memmove(c->in.data, c->in.data + total, rest);
    c->in.len = rest;
    *ret_more = true;
    return op == OP_SET || answer_get(r, c);
}

static bool read_connection(struct rendezvous *r, struct connection *c)
{
    char chunk[16384];
    size_t want = c->rank < 0 ? HANDSHAKE_HELLO - c->in.len : sizeof chunk;
    ssize_t n = recv(c->fd, chunk, want < sizeof chunk ? want : sizeof chunk, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return false;
    if (n > 0 && buf_add(&c->in, chunk, (size_t)n) < 0)
        return false;
    if (c->rank < 0)
        return c->in.len < HANDSHAKE_HELLO || take_hello(r, c);
    for (bool more = true; more;)
        if (!take_request(r, c, &more))
            return false;
    return true;
}

static void accept_connection(struct rendezvous *r)
{
    int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection c = {.fd = fd,
                           .rank = -1,
                           .hello_deadline = handshake_now_ms() + HELLO_MS,
                           .in = BUF_INIT(FRAME_HEAD + RENDEZVOUS_KEY_MAX + RENDEZVOUS_VALUE_MAX + 16384)};
    handshake_greeting(c.greeting);
    if (r->n_connections == r->max_connections ||
        !handshake_write(fd, c.greeting, sizeof c.greeting, handshake_now_ms() + 100)) {
        (void)close(fd);
        return;
    }
    r->connections[r->n_connections++] = c;
}

static void *serve(void *arg)
{
    struct rendezvous *r = arg;
    struct pollfd *p = xcalloc(r->max_connections + 2, sizeof *p);
    for (;;) {
        size_t n = r->n_connections;
        p[0] = (struct pollfd){.fd = r->wake[0], .events = POLLIN};
        p[1] = (struct pollfd){.fd = r->listener, .events = POLLIN};
        for (size_t i = 0; i < n; i++)
            p[2 + i] = (struct pollfd){.fd = r->connections[i].fd, .events = POLLIN};
        (void)poll(p, n + 2, 1000);
        pthread_mutex_lock(&r->mutex);
        bool stop = r->stop;
        pthread_mutex_unlock(&r->mutex);
        if (stop)
            break;
        char drain[64];
        if (p[0].revents)
            (void)!read(r->wake[0], drain, sizeof drain);
        int64_t now = handshake_now_ms();
        for (size_t i = n; i-- > 0;) { /* downwards: drop() moves the last into the hole */
            struct connection *c = &r->connections[i];
            bool alive = !(p[2 + i].revents) || read_connection(r, c);
            if (!alive || (c->rank < 0 && now > c->hello_deadline))
                drop(r, i);
        }
        for (size_t i = r->n_connections; i-- > 0;)
            if (r->connections[i].waiting_for && !answer_get(r, &r->connections[i]))
                drop(r, i);
        if (p[1].revents)
            accept_connection(r);
    }
    free(p);
    return NULL;
}

/* --- requests of the other ranks ----------------------------------------------------------------------- */

static int lost(const struct rendezvous *r, const char *key, struct err *err)
{
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                    "rank %u: rank 0 is gone or silent while exchanging \"%s\"", r->self.rank, key);
}

static bool send_request(struct rendezvous *r, uint32_t op, const char *key, const void *value, size_t len,
                         int64_t deadline)
{
    size_t key_len = strlen(key);
    uint32_t head[3] = {htonl(op), htonl((uint32_t)key_len), htonl((uint32_t)len)};
    return handshake_write(r->fd, head, sizeof head, deadline) &&
           handshake_write(r->fd, key, key_len, deadline) && handshake_write(r->fd, value, len, deadline);
}

static int read_answer(struct rendezvous *r, const char *key, int64_t deadline, char **ret, size_t *ret_len,
                       struct err *err)
{
    uint32_t len;
    if (!handshake_read(r->fd, &len, sizeof len, deadline))
        return lost(r, key, err);
    len = ntohl(len);
    if (len > RENDEZVOUS_VALUE_MAX)
        return lost(r, key, err);
    char *value = xmalloc((size_t)len + 1);
    if (!handshake_read(r->fd, value, len, deadline)) {
        free(value);
        return lost(r, key, err);
    }
    value[len] = '\0';
    *ret = value;
    *ret_len = len;
    return 0;
}

/* --- opening ----------------------------------------------------------------------------------------- */

static void until(int64_t deadline, struct timespec *ret)
{
    clock_gettime(CLOCK_REALTIME, ret);
    int64_t left = deadline - handshake_now_ms();
    left = left < 0 ? 0 : left;
    ret->tv_sec += left / 1000;
    ret->tv_nsec += left % 1000 * 1000000;
    if (ret->tv_nsec >= 1000000000) {
        ret->tv_sec++;
        ret->tv_nsec -= 1000000000;
    }
}

/* Waiting for others is cut into pieces, so that a request to stop is seen. */
static int64_t next_look(const struct rendezvous *r)
{
    int64_t soon = handshake_now_ms() + LOOK_MS;
    return soon < r->start_deadline ? soon : r->start_deadline;
}

static int open_server(struct rendezvous *r, const struct collective_options *o, struct err *err)
{
    int port;
    r->max_connections = r->self.size + STRANGERS_MAX;
    r->connections = xcalloc(r->max_connections, sizeof *r->connections);
    r->present = xcalloc(r->self.size, sizeof *r->present);
    r->present[0] = true;
    r->n_present = 1;
    r->values = map_new(RENDEZVOUS_KEYS_MAX, free);
    if (handshake_listen(o->advertise_addr, o->master_port, &r->listener, &port, err) < 0)
        return -1;
    if (pipe(r->wake) < 0)
        return err_errno(err, errno, "pipe");
    int e = pthread_create(&r->thread, NULL, serve, r);
    if (e)
        return err_errno(err, e, "cannot start the rendezvous thread");
    r->running = true;
    bool stopped = false;
    pthread_mutex_lock(&r->mutex);
    while (r->n_present < r->self.size && handshake_now_ms() < r->start_deadline && !stopped) {
        struct timespec t;
        until(next_look(r), &t);
        (void)pthread_cond_timedwait(&r->changed, &r->mutex, &t);
        stopped = o->stopping && o->stopping(o->stopping_ctx);
    }
    size_t there = r->n_present, first = 0;
    while (first < r->self.size && r->present[first])
        first++;
    pthread_mutex_unlock(&r->mutex);
    if (stopped)
        return handshake_stopped(&r->self, err);
    if (there < r->self.size)
        return err_fail(
            err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
            "rank 0: %zu of %u workers came to the rendezvous in time; the first missing is rank %zu", there,
            r->self.size, first);
    return rendezvous_set(r, "everyone", "1", 1, err);
}

/* Rank 0 says so when all are there. */
static int await_everyone(struct rendezvous *r, const struct collective_options *o, struct err *err)
{
    static const char key[] = "everyone";
    if (!send_request(r, OP_GET, key, "", 0, r->start_deadline))
        return lost(r, key, err);
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    while (poll(&p, 1, LOOK_MS) == 0) {
        if (o->stopping && o->stopping(o->stopping_ctx))
            return handshake_stopped(&r->self, err);
        if (handshake_now_ms() >= r->start_deadline)
            return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                            "rank %u: not all of %u workers came to the rendezvous in time", r->self.rank,
                            r->self.size);
    }
    char *text;
    size_t len;
    if (read_answer(r, key, handshake_now_ms() + HELLO_MS, &text, &len, err) < 0)
        return err_wrap(err, "rank %u waited for the other workers", r->self.rank);
    free(text);
    return 0;
}

static int open_client(struct rendezvous *r, const struct collective_options *o, struct err *err)
{
    struct handshake_patience patience = {.deadline = r->start_deadline,
                                          .stopping = o->stopping,
                                          .stopping_ctx = o->stopping_ctx};
    if (handshake_connect(o->master_addr, o->master_port, r->key, &r->self, &patience, &r->fd, err) < 0)
        return -1;
    if (!o->advertise_addr) {
        struct sockaddr_storage a;
        socklen_t len = sizeof a;
        if (getsockname(r->fd, (struct sockaddr *)&a, &len) < 0 ||
            getnameinfo((struct sockaddr *)&a, len, r->address, sizeof r->address, NULL, 0, NI_NUMERICHOST) !=
                0)
            return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "rendezvous",
                            "cannot tell this worker's own address");
    }
    return await_everyone(r, o, err);
}

int rendezvous_open(const struct collective_options *o, struct rendezvous **ret, struct err *err)
{
    struct rendezvous *r = xcalloc(1, sizeof *r);
    r->fd = r->listener = r->wake[0] = r->wake[1] = -1;
    r->self = (struct handshake_id){.purpose = HANDSHAKE_RENDEZVOUS,
                                    .rank = (uint32_t)o->rank,
                                    .size = (uint32_t)o->size,
                                    .attempt = (uint32_t)o->attempt};
    (void)snprintf(r->self.run_uid, sizeof r->self.run_uid, "%s", o->run_uid ? o->run_uid : "");
    (void)snprintf(r->self.identity, sizeof r->self.identity, "%s", o->identity ? o->identity : "");
    (void)snprintf(r->address, sizeof r->address, "%s",
                   o->advertise_addr                ? o->advertise_addr
                   : o->rank == 0 && o->master_addr ? o->master_addr
                                                    : "");
    memcpy(r->key, o->key, sizeof r->key);
    r->start_deadline = handshake_now_ms() + (o->start_timeout_ms ? o->start_timeout_ms : DEFAULT_START_MS);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->changed, NULL);
    if ((o->rank == 0 ? open_server(r, o, err) : open_client(r, o, err)) < 0) {
        rendezvous_free(r);
        return -1;
    }
    *ret = r;
    return 0;
}

struct rendezvous *rendezvous_free(struct rendezvous *r)
{
    if (!r)
        return NULL;
    if (r->running) {
        pthread_mutex_lock(&r->mutex);
        r->stop = true;
        pthread_mutex_unlock(&r->mutex);
        (void)!write(r->wake[1], "x", 1);
        pthread_join(r->thread, NULL);
    }
    while (r->n_connections)
        drop(r, r->n_connections - 1);
    int fds[] = {r->fd, r->listener, r->wake[0], r->wake[1]};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    if (r->values)
        map_free(r->values);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->mutex);
    free(r->connections);
    free(r->present);
    return xfree(r);
}

const char *rendezvous_address(const struct rendezvous *r)
{
    return r->address;
}

/* --- values -------------------------------------------------------------------------------------------- */

int rendezvous_set(struct rendezvous *r, const char *key, const void *value, size_t len, struct err *err)
{
    if (strlen(key) > RENDEZVOUS_KEY_MAX || len > RENDEZVOUS_VALUE_MAX)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "rendezvous",
                        "rendezvous value \"%.64s\" of %zu bytes is too large", key, len);
    if (r->self.rank == 0) {
        put_value(r, key, value, len);
        (void)!write(r->wake[1], "x", 1);
        return 0;
    }
    return send_request(r, OP_SET, key, value, len, handshake_now_ms() + HELLO_MS) ? 0 : lost(r, key, err);
}

static int get_local(struct rendezvous *r, const char *key, int64_t deadline, char **ret, size_t *ret_len,
                     struct err *err)
{
    struct timespec t;
    until(deadline, &t);
    const struct value *v;
    pthread_mutex_lock(&r->mutex);
    while (!(v = map_get(r->values, key)))
        if (pthread_cond_timedwait(&r->changed, &r->mutex, &t) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&r->mutex);
    if (!v)
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                        "rank 0: no worker gave \"%s\" in time", key);
    *ret = xmalloc(v->len + 1);
    memcpy(*ret, v->data, v->len);
    (*ret)[v->len] = '\0';
    *ret_len = v->len;
    return 0;
}

int rendezvous_get(struct rendezvous *r, const char *key, int64_t timeout_ms, char **ret, size_t *ret_len,
                   struct err *err)
{
    int64_t deadline = handshake_now_ms() + timeout_ms;
    if (r->self.rank == 0)
        return get_local(r, key, deadline, ret, ret_len, err);
    if (!send_request(r, OP_GET, key, "", 0, deadline))
        return lost(r, key, err);
    return read_answer(r, key, deadline, ret, ret_len, err);
}
