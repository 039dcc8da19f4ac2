/* Direct connections: see mesh.h. */
#include "stages/collective/mesh.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "stages/collective/handshake.h"

enum { SUM_BYTES = 1 << 20, SOCKET_BUFFER = 4 << 20, SPIN_US = 300, ALIGN = 64, DEFAULT_TIMEOUT_MS = 10000 };

struct peer {
    int fd; /* -1: ourselves */
    char identity[HANDSHAKE_TEXT];
    size_t sent_sums; /* sums of the queue sent whole */
    size_t sent, got; /* bytes of the sum being sent; of the first sum of the queue, or of the transfer */
    char *inbox;      /* of the first sum */
};

struct sum {
    float *data;
    size_t n;
};

struct mesh {
    int rank, size;
    int64_t timeout_ms;
    struct peer *peers;
    struct pollfd *polls;
    float *inboxes;
    struct sum queue[MESH_SUMS_MAX];
    size_t n_queue;
    struct err failure; /* of a started sum, until mesh_finish() */
    char *received;     /* of the last exchange */
    size_t received_capacity;
    size_t *offsets;
    uint64_t bytes_sent;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int lost(const struct mesh *m, int peer, const char *how, struct err *err)
{
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost", "rank %d: worker of rank %d (%s) %s",
                    m->rank, peer, m->peers[peer].identity, how);
}

/* --- opening: rank r accepts the higher ranks and connects to the lower ones -------------------------- */

static void prepare(int fd)
{
    int size = SOCKET_BUFFER;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* wishes: the kernel caps them */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    int flags = fcntl(fd, F_GETFL);
    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int connect_lower(struct mesh *m, const struct collective_options *o, struct rendezvous *r,
                         const struct handshake_id *self, int64_t deadline, struct err *err)
{
    for (int p = 0; p < m->rank; p++) {
        char key[32];
        _cleanup_free_ char *where = NULL;
        size_t len;
        (void)snprintf(key, sizeof key, "peer/%d", p);
        if (rendezvous_get(r, key, deadline - handshake_now_ms(), &where, &len, err) < 0)
            return -1;
        char *space = strchr(where, ' ');
        int64_t port = space ? strtol(space + 1, NULL, 10) : 0;
        if (!space || port < 1 || port > 65535)
            return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "rendezvous",
                            "rank %d published no address: \"%.64s\"", p, where);
        *space = '\0';
        if (handshake_connect(where, (int)port, o->key, self,
                              &(struct handshake_patience){.deadline = deadline}, &m->peers[p].fd, err) < 0)
            return -1;
        (void)snprintf(m->peers[p].identity, HANDSHAKE_TEXT, "%s", where);
        prepare(m->peers[p].fd);
    }
    return 0;
}

static int accept_higher(struct mesh *m, const struct collective_options *o, int listener,
                         const struct handshake_id *self, int64_t deadline, struct err *err)
{
    for (int left = m->size - 1 - m->rank; left > 0;) {
        struct handshake_id peer;
        int fd;
        if (handshake_accept(listener, o->key, self, deadline, &fd, &peer, err) < 0)
            return -1;
        struct peer *p = &m->peers[peer.rank];
        if (p->fd >= 0 || (int)peer.rank < m->rank) {
            (void)close(fd);
            continue;
        }
        p->fd = fd;
        memcpy(p->identity, peer.identity, HANDSHAKE_TEXT);
        prepare(fd);
        left--;
    }
    return 0;
}

int mesh_open(const struct collective_options *o, struct rendezvous *r, struct mesh **ret, struct err *err)
{
    struct mesh *m = xcalloc(1, sizeof *m);
    m->rank = o->rank;
    m->size = o->size;
    m->timeout_ms = o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    m->peers = xcalloc((size_t)m->size, sizeof *m->peers);
    m->polls = xcalloc((size_t)m->size, sizeof *m->polls);
    m->offsets = xcalloc((size_t)m->size + 1, sizeof *m->offsets);
    m->inboxes = xcalloc(mesh_sum_max(m) * (size_t)m->size, sizeof *m->inboxes);
    for (int p = 0; p < m->size; p++) {
        m->peers[p].fd = -1;
        m->peers[p].inbox = (char *)(m->inboxes + mesh_sum_max(m) * (size_t)p);
    }
    struct handshake_id self = {.purpose = HANDSHAKE_PEER,
                                .rank = (uint32_t)o->rank,
                                .size = (uint32_t)o->size,
                                .attempt = (uint32_t)o->attempt};
    (void)snprintf(self.run_uid, sizeof self.run_uid, "%s", o->run_uid ? o->run_uid : "");
    (void)snprintf(self.identity, sizeof self.identity, "%s", o->identity ? o->identity : "");
    int64_t deadline = handshake_now_ms() + 3 * m->timeout_ms;
    _cleanup_close_ int listener = -1;
    int port;
    char key[32], where[RENDEZVOUS_ADDR_MAX + 16];
    if (handshake_listen(rendezvous_address(r), 0, &listener, &port, err) < 0) {
        mesh_free(m);
        return -1;
    }
    (void)snprintf(key, sizeof key, "peer/%d", m->rank);
    (void)snprintf(where, sizeof where, "%s %d", rendezvous_address(r), port);
    if (rendezvous_set(r, key, where, strlen(where), err) < 0 ||
        connect_lower(m, o, r, &self, deadline, err) < 0 ||
        accept_higher(m, o, listener, &self, deadline, err) < 0) {
        mesh_free(m);
        return -1;
    }
    *ret = m;
    return 0;
}

struct mesh *mesh_free(struct mesh *m)
{
    if (!m)
        return NULL;
    for (int p = 0; p < m->size; p++)
        if (m->peers[p].fd >= 0)
            (void)close(m->peers[p].fd);
    free(m->peers);
    free(m->polls);
    free(m->offsets);
    free(m->inboxes);
    free(m->received);
    return xfree(m);
}

uint64_t mesh_bytes_sent(const struct mesh *m)
{
    return m->bytes_sent;
}

/* --- moving bytes ------------------------------------------------------------------------------------ */

/* As much as goes without blocking. False: the peer is gone. */
static bool push(struct mesh *m, struct peer *p, const char *data, size_t len, size_t *done)
{
    while (*done < len) {
        ssize_t n = send(p->fd, data + *done, len - *done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        *done += (size_t)n;
        m->bytes_sent += (uint64_t)n;
    }
    return true;
}

static bool pull(struct peer *p, char *data, size_t len, size_t *done)
{
    while (*done < len) {
        ssize_t n = recv(p->fd, data + *done, len - *done, MSG_DONTWAIT);
        if (n == 0)
            return false;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        *done += (size_t)n;
    }
    return true;
}

/* Sleeps until a socket of interest is ready. Spins first: a peer on the same node answers within microseconds. */
static void rest(struct mesh *m, int64_t *spin_until,
                 bool (*wants)(const struct mesh *m, int peer, short *events, void *ctx), void *ctx)
{
    if (!*spin_until)
        *spin_until = now_us() + SPIN_US;
    if (now_us() < *spin_until) {
        (void)sched_yield();
        return;
    }
    size_t n = 0;
    for (int p = 0; p < m->size; p++) {
        short events = 0;
        if (m->peers[p].fd >= 0 && wants(m, p, &events, ctx))
            m->polls[n++] = (struct pollfd){.fd = m->peers[p].fd, .events = events};
    }
    (void)poll(m->polls, (nfds_t)n, 100);
}

/* --- sums -------------------------------------------------------------------------------------------- */

size_t mesh_sum_max(const struct mesh *m)
{
    size_t floats = SUM_BYTES / sizeof(float) / (size_t)(m->size > 1 ? m->size - 1 : 1);
    return floats / (ALIGN / sizeof(float)) * (ALIGN / sizeof(float));
}

/* In rank order, so that all ranks get the same bits. */
static void add_up(struct mesh *m)
{
    struct sum *s = &m->queue[0];
    for (size_t i = 0; i < s->n; i++) {
        float acc = 0;
        for (int p = 0; p < m->size; p++) {
            float v = p == m->rank ? s->data[i] : ((const float *)(const void *)m->peers[p].inbox)[i];
            acc = p ? acc + v : v;
        }
        s->data[i] = acc;
    }
    m->n_queue--;
    memmove(m->queue, m->queue + 1, m->n_queue * sizeof *m->queue);
    for (int p = 0; p < m->size; p++) {
        m->peers[p].got = 0;
        m->peers[p].sent_sums -= p == m->rank ? 0 : 1;
    }
}

static void advance(struct mesh *m)
{
    bool whole = true;
    for (int i = 0; i < m->size && !err_is_set(&m->failure); i++) {
        struct peer *p = &m->peers[i];
        if (p->fd < 0)
            continue;
        while (p->sent_sums < m->n_queue) {
            struct sum *s = &m->queue[p->sent_sums];
            if (!push(m, p, (const char *)s->data, s->n * sizeof(float), &p->sent)) {
                (void)lost(m, i, "is gone (its connection broke while gradients were sent)", &m->failure);
                return;
            }
            if (p->sent < s->n * sizeof(float))
                break;
            p->sent = 0;
            p->sent_sums++;
        }
        if (!pull(p, p->inbox, m->queue[0].n * sizeof(float), &p->got)) {
            (void)lost(m, i, "is gone (its connection ended while gradients were summed)", &m->failure);
            return;
        }
        whole &= p->sent_sums > 0 && p->got == m->queue[0].n * sizeof(float);
    }
    if (whole && !err_is_set(&m->failure))
        add_up(m);
}

void mesh_progress(struct mesh *m)
{
    for (size_t before = m->n_queue + 1; m->n_queue && m->n_queue < before && !err_is_set(&m->failure);) {
        before = m->n_queue;
        advance(m);
    }
}

static bool sum_wants(const struct mesh *m, int peer, short *events, void *ctx)
{
    (void)ctx;
    const struct peer *p = &m->peers[peer];
    *events = (short)((p->sent_sums < m->n_queue ? POLLOUT : 0) |
                      (p->got < m->queue[0].n * sizeof(float) ? POLLIN : 0));
    return *events != 0;
}

static void drive(struct mesh *m, size_t until)
{
    int64_t deadline = handshake_now_ms() + m->timeout_ms, spin = 0;
    while (m->n_queue > until && !err_is_set(&m->failure)) {
        size_t before = m->n_queue;
        mesh_progress(m);
        if (m->n_queue < before) {
            deadline = handshake_now_ms() + m->timeout_ms;
            continue;
        }
        if (err_is_set(&m->failure))
            return;
        if (handshake_now_ms() > deadline) {
            int silent = 0;
            while (silent < m->size - 1 &&
                   (m->peers[silent].fd < 0 || m->peers[silent].got == m->queue[0].n * sizeof(float)))
                silent++;
            (void)lost(m, silent, "was silent until the collective's timeout", &m->failure);
            return;
        }
        rest(m, &spin, sum_wants, NULL);
    }
}

void mesh_start(struct mesh *m, float *data, size_t n)
{
    if (n > mesh_sum_max(m))
        BUG("sum of %zu floats, at most %zu", n, mesh_sum_max(m));
    if (m->n_queue == MESH_SUMS_MAX)
        drive(m, MESH_SUMS_MAX - 1);
    if (!n || err_is_set(&m->failure))
        return;
    m->queue[m->n_queue++] = (struct sum){.data = data, .n = n};
    mesh_progress(m);
}

int mesh_finish(struct mesh *m, struct err *err)
{
    drive(m, 0);
    if (!err_is_set(&m->failure))
        return 0;
    *err = m->failure;
    return -1;
}

/* --- exchanges ------------------------------------------------------------------------------------------ */

/* The same bytes to everyone; from each peer `in_len[p]` bytes to in[p]. Lengths of 0 do nothing. */
struct transfer {
    const char *out;
    size_t out_len;
    char **in;
    const size_t *in_len;
};

static bool transfer_wants(const struct mesh *m, int peer, short *events, void *ctx)
{
    const struct transfer *t = ctx;
    *events = (short)((m->peers[peer].sent < t->out_len ? POLLOUT : 0) |
                      (m->peers[peer].got < t->in_len[peer] ? POLLIN : 0));
    return *events != 0;
}

static int transfer(struct mesh *m, struct transfer *t, struct err *err)
{
    if (m->n_queue || err_is_set(&m->failure)) {
        if (mesh_finish(m, err) < 0)
            return -1;
    }
    for (int i = 0; i < m->size; i++)
        m->peers[i].sent = m->peers[i].got = 0;
    int64_t deadline = handshake_now_ms() + m->timeout_ms, spin = 0;
    for (size_t before = 0;;) {
        size_t moved = 0;
        int waiting = -1;
        for (int i = 0; i < m->size; i++) {
            struct peer *p = &m->peers[i];
            if (p->fd < 0)
                continue;
            if (!push(m, p, t->out, t->out_len, &p->sent) || !pull(p, t->in[i], t->in_len[i], &p->got))
                return lost(m, i, "is gone (its connection ended during an exchange)", &m->failure),
                       *err = m->failure, -1;
            moved += p->sent + p->got;
            if (p->sent < t->out_len || p->got < t->in_len[i])
                waiting = i;
        }
        if (waiting < 0)
            break;
        if (moved > before) {
            before = moved;
            deadline = handshake_now_ms() + m->timeout_ms;
        } else if (handshake_now_ms() > deadline) {
            return lost(m, waiting, "was silent until the collective's timeout", &m->failure),
                   *err = m->failure, -1;
        }
        rest(m, &spin, transfer_wants, t);
    }
    for (int i = 0; i < m->size; i++)
        m->peers[i].sent = m->peers[i].got = 0;
    return 0;
}

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

int mesh_exchange(struct mesh *m, const void *mine, size_t len, size_t max, const void **ret,
                  size_t *ret_lens, struct err *err)
{
    uint64_t own = len;
    uint64_t *lens = xcalloc((size_t)m->size, sizeof *lens);
    char **in = xcalloc((size_t)m->size, sizeof *in);
    size_t *in_len = xcalloc((size_t)m->size, sizeof *in_len);
    int r = -1;
    for (int p = 0; p < m->size; p++) {
        in[p] = (char *)&lens[p];
        in_len[p] = sizeof *lens;
    }
    if (transfer(m,
                 &(struct transfer){.out = (const char *)&own,
                                    .out_len = sizeof own,
                                    .in = in,
                                    .in_len = in_len},
                 err) < 0)
        goto out;
    lens[m->rank] = own;
    for (int p = 0; p < m->size; p++) {
        if (lens[p] > max) {
            (void)err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "collective",
                           "rank %d announced %llu bytes for an exchange of at most %zu", p,
                           (unsigned long long)lens[p], max);
            goto out;
        }
        m->offsets[p + 1] = m->offsets[p] + aligned(lens[p]);
    }
    if (m->offsets[m->size] > m->received_capacity) {
        free(m->received);
        m->received_capacity = aligned(m->offsets[m->size] * 3 / 2);
        m->received = aligned_alloc(ALIGN, m->received_capacity);
        if (!m->received) {
            m->received_capacity = 0;
            (void)err_errno(err, ENOMEM, "cannot hold an exchange of %zu bytes", m->offsets[m->size]);
            goto out;
        }
    }
    for (int p = 0; p < m->size; p++) {
        in[p] = m->received + m->offsets[p];
        in_len[p] = p == m->rank ? 0 : lens[p];
    }
    if (len)
        memcpy(in[m->rank], mine, len);
    if (transfer(m, &(struct transfer){.out = mine, .out_len = len, .in = in, .in_len = in_len}, err) < 0)
        goto out;
    for (int p = 0; p < m->size; p++) {
        ret[p] = in[p];
        ret_lens[p] = lens[p];
    }
    r = 0;
out:
    free(lens);
    free(in);
    free(in_len);
    return r;
}

int mesh_broadcast(struct mesh *m, void *data, size_t len, int root, struct err *err)
{
    char **in = xcalloc((size_t)m->size, sizeof *in);
    size_t *in_len = xcalloc((size_t)m->size, sizeof *in_len);
    in[root] = data;
    in_len[root] = m->rank == root ? 0 : len;
    int r = transfer(m,
                     &(struct transfer){.out = data,
                                        .out_len = m->rank == root ? len : 0,
                                        .in = in,
                                        .in_len = in_len},
                     err);
    free(in);
    free(in_len);
    return r;
}
