/* The loop over curl_multi_poll: see loop.h. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "common/base/alloc.h"
#include "common/http/loop-internal.h"

struct loop_timer {
    struct loop *loop;
    struct loop_timer *next; /* sorted by due, then by order of starting */
    int64_t due_ms;
    void (*fired)(void *ctx);
    void *ctx;
};

struct loop_fd {
    struct loop *loop;
    int fd;
    short events;
    bool stopped; /* swept after the round, for the round holds pointers */
    void (*ready)(void *ctx, short revents);
    void *ctx;
};

struct loop {
    CURLM *curl;
    struct loop_timer *timers;
    struct loop_fd **fds;
    size_t n_fds, fds_capacity;
    struct curl_waitfd *waits; /* parallel to fds during a wait, as polls */
    struct pollfd *polls;
    size_t waits_capacity;
    bool stopping, dispatching;
    int rounds_per_second; /* of libcurl's work; 0: no bound */
    double credit;         /* rounds that may be done at once */
    int64_t credited_ms;
    bool called; /* a callback ran in this iteration: whoever steps wants to look before waiting */
};

int64_t loop_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static CURLcode curl_ready = CURLE_FAILED_INIT;

/* OpenSSL writes with write(2), so a TLS peer that closes early would kill the process, and libcurl's own remedy
 * is not for programs with threads. Only the default is replaced: a handler of the program's own stays. */
static void ignore_sigpipe(void)
{
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
        struct sigaction ignore = {.sa_handler = SIG_IGN};
        (void)sigemptyset(&ignore.sa_mask);
        (void)sigaction(SIGPIPE, &ignore, NULL);
    }
}

static void init_curl(void)
{
    ignore_sigpipe();
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int loop_new(struct loop **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_curl);
    if (curl_ready != CURLE_OK)
        return err_set(err, ERR_TERMINAL, "libcurl does not start: %s", curl_easy_strerror(curl_ready));
    const curl_version_info_data *version = curl_version_info(CURLVERSION_NOW);
    if (!(version->features & CURL_VERSION_ASYNCHDNS))
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "libcurl",
            "libcurl %s resolves names synchronously, which would block everything: use one built with c-ares or the threaded resolver",
            version->version);
    CURLM *curl = curl_multi_init();
    if (!curl)
        return err_set(err, ERR_TERMINAL, "libcurl gives no multi handle");
    struct loop *l = xcalloc(1, sizeof *l);
    l->curl = curl;
    *ret = l;
    return 0;
}

struct loop *loop_free(struct loop *l)
{
    if (!l)
        return NULL;
    for (struct loop_timer *t = l->timers, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    for (size_t i = 0; i < l->n_fds; i++)
        free(l->fds[i]);
    free(l->fds);
    free(l->waits);
    free(l->polls);
    (void)curl_multi_cleanup(l->curl);
    free(l);
    return NULL;
}

CURLM *loop_curl(struct loop *l)
{
    return l->curl;
}

/* --- timers ----------------------------------------------------------------------------------------- */

struct loop_timer *loop_timer_start(struct loop *l, int64_t delay_ms, void (*fired)(void *ctx), void *ctx)
{
    struct loop_timer *t = xcalloc(1, sizeof *t);
    *t = (struct loop_timer){.loop = l,
                             .due_ms = loop_now_ms() + (delay_ms > 0 ? delay_ms : 0),
                             .fired = fired,
                             .ctx = ctx};
    struct loop_timer **at = &l->timers;
    while (*at && (*at)->due_ms <= t->due_ms)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
    return t;
}

static void unlink_timer(struct loop_timer *t)
{
    struct loop_timer **at = &t->loop->timers;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
}

struct loop_timer *loop_timer_cancel(struct loop_timer *t)
{
    if (t) {
        unlink_timer(t);
        free(t);
    }
    return NULL;
}

static void fire_timers(struct loop *l)
{
    int64_t now = loop_now_ms();
    /* A callback that keeps starting timers must not starve the rest: hence the budget. */
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): a cancelled timer is no longer in the list */
    for (int budget = 1000; budget > 0 && l->timers && l->timers->due_ms <= now; budget--) {
        struct loop_timer *t = l->timers;
        void (*fired)(void *) = t->fired;
        void *ctx = t->ctx;
        (void)loop_timer_cancel(t);
        l->called = true;
        fired(ctx);
    }
}

/* --- descriptors ------------------------------------------------------------------------------------ */

struct loop_fd *loop_fd_start(struct loop *l, int fd, short events, void (*ready)(void *ctx, short revents),
                              void *ctx)
{
    struct loop_fd *f = xcalloc(1, sizeof *f);
    *f = (struct loop_fd){.loop = l, .fd = fd, .events = events, .ready = ready, .ctx = ctx};
    l->fds = grow_array(l->fds, &l->fds_capacity, l->n_fds, sizeof(struct loop_fd *));
    l->fds[l->n_fds++] = f;
    return f;
}

void loop_fd_events(struct loop_fd *f, short events)
{
    f->events = events;
}

static void sweep_fds(struct loop *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n_fds; i++)
        if (l->fds[i]->stopped)
            free(l->fds[i]);
        else
            l->fds[kept++] = l->fds[i];
    l->n_fds = kept;
}

struct loop_fd *loop_fd_stop(struct loop_fd *f)
{
    if (f) {
        f->stopped = true;
        if (!f->loop->dispatching)
            sweep_fds(f->loop);
    }
    return NULL;
}

/* CURL_WAIT_* differ from POLL*. */
static short to_curl(short events)
{
    return (short)((events & POLLIN ? CURL_WAIT_POLLIN : 0) | (events & POLLPRI ? CURL_WAIT_POLLPRI : 0) |
                   (events & POLLOUT ? CURL_WAIT_POLLOUT : 0));
}

static void dispatch_fds(struct loop *l, size_t n)
{
    /* libcurl reports neither hang-up nor error of our descriptors, so they are asked once more. */
    if (n == 0 || poll(l->polls, n, 0) <= 0)
        return;
    l->dispatching = true;
    for (size_t i = 0; i < n; i++) { /* those added meanwhile were not waited for */
        struct loop_fd *f = l->fds[i];
        if (!f->stopped && l->polls[i].revents)
            f->ready(f->ctx, l->polls[i].revents);
    }
    l->dispatching = false;
    sweep_fds(l);
}

/* --- running ---------------------------------------------------------------------------------------- */

static int work_on_transfers(struct loop *l, struct err *err)
{
    int running;
    CURLMcode code = curl_multi_perform(l->curl, &running);
    if (code != CURLM_OK)
        return err_set(err, ERR_TERMINAL, "libcurl: %s", curl_multi_strerror(code));
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(l->curl, &left))) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        CURL *easy = msg->easy_handle;
        CURLcode result = msg->data.result; /* msg dies with the next call */
        struct loop_transfer *t = NULL;
        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
        (void)curl_multi_remove_handle(l->curl, easy);
        l->called = true;
        t->done(t, result);
    }
    return 0;
}

static int wait_time(const struct loop *l, int64_t max_wait_ms)
{
    enum { LONGEST = 3600 * 1000 };
    if (l->called)
        return 0;
    int64_t wait = max_wait_ms < 0 || max_wait_ms > LONGEST ? LONGEST : max_wait_ms;
    if (l->timers) {
        int64_t until = l->timers->due_ms - loop_now_ms();
        if (until < wait)
            wait = until < 0 ? 0 : until;
    }
    return (int)wait;
}

void loop_limit_rounds(struct loop *l, int per_second)
{
    l->rounds_per_second = per_second;
    l->credit = per_second / 2.0;
    l->credited_ms = loop_now_ms();
}

/* Takes a round from the credit: 0; or how long until there is one. */
static int64_t round_pause_ms(struct loop *l)
{
    if (!l->rounds_per_second)
        return 0;
    int64_t now = loop_now_ms();
    l->credit += (double)(now - l->credited_ms) * l->rounds_per_second / 1000;
    l->credited_ms = now;
    if (l->credit > l->rounds_per_second / 2.0)
        l->credit = l->rounds_per_second / 2.0;
    if (l->credit < 1)
        return 1 + (int64_t)((1 - l->credit) * 1000 / l->rounds_per_second);
    l->credit--;
    return 0;
}

int loop_step(struct loop *l, int64_t max_wait_ms, struct err *err)
{
    l->called = false;
    fire_timers(l);
    int64_t pause = round_pause_ms(l);
    if (!pause && work_on_transfers(l, err) < 0)
        return -1;
    if (l->stopping) /* asked for by a callback just now: do not wait */
        return 0;
    size_t n = l->n_fds;
    if (l->waits_capacity < n) {
        l->waits = grow_array(l->waits, &l->waits_capacity, n, sizeof *l->waits);
        l->polls = xreallocarray(l->polls, l->waits_capacity, sizeof *l->polls);
    }
    for (size_t i = 0; i < n; i++) {
        const struct loop_fd *f = l->fds[i];
        l->waits[i] = (struct curl_waitfd){.fd = f->fd, .events = to_curl(f->events)};
        l->polls[i] = (struct pollfd){.fd = f->fd, .events = f->events};
    }
    if (pause) { /* what comes for libcurl waits in its sockets */
        (void)poll(l->polls, n, wait_time(l, max_wait_ms < 0 || pause < max_wait_ms ? pause : max_wait_ms));
        dispatch_fds(l, n);
        return 0;
    }
    CURLMcode code = curl_multi_poll(l->curl, l->waits, (unsigned)n, wait_time(l, max_wait_ms), NULL);
    if (code != CURLM_OK)
        return err_set(err, ERR_TERMINAL, "libcurl cannot wait: %s", curl_multi_strerror(code));
    dispatch_fds(l, n);
    return 0;
}

int loop_run(struct loop *l, struct err *err)
{
    while (!l->stopping)
        if (loop_step(l, -1, err) < 0)
            return -1;
    l->stopping = false; /* so that it can run again */
    return 0;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}
