/* Workers as real processes: sums and exchanges agree bit by bit, a lost or silent peer ends a call in time, a wrong key, a
 * wrong attempt and a stranger's bytes are refused. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "stages/collective/collective.h"
#include "stages/collective/handshake.h"

static uint8_t good_key[32] = {1, 2, 3}, bad_key[32] = {9};

/* A port that is free now, on the given address of the loopback network. */
static int free_port(const char *host)
{
    struct err err = ERR_INIT;
    int fd, port;
    assert_ok(handshake_listen(host, 0, &fd, &port, &err), &err);
    (void)close(fd);
    return port;
}

static struct collective_options options_of(int rank, int size, int port)
{
    static char address[32];
    (void)snprintf(address, sizeof address, "127.9.%d.%d", size, rank + 1);
    static char master[32];
    (void)snprintf(master, sizeof master, "127.9.%d.1", size);
    static char identity[32];
    (void)snprintf(identity, sizeof identity, "pod-%d", rank);
    return (struct collective_options){.rank = rank,
                                       .size = size,
                                       .master_addr = master,
                                       .master_port = port,
                                       .advertise_addr = address,
                                       .run_uid = "run-1",
                                       .attempt = 2,
                                       .identity = identity,
                                       .key = good_key,
                                       .start_timeout_ms = 8000,
                                       .timeout_ms = 2000};
}

/* Runs `work` as `size` processes; each returns its exit code. */
static void run_workers(int size, int (*work)(struct collective_options *o), int *ret_codes)
{
    char master[32];
    (void)snprintf(master, sizeof master, "127.9.%d.1", size);
    int port = free_port(master);
    pid_t pids[8];
    for (int r = 0; r < size; r++) {
        pids[r] = fork();
        if (pids[r] == 0) {
            (void)alarm(30);
            struct collective_options o = options_of(r, size, port);
            _exit(work(&o));
        }
        assert_true(pids[r] > 0);
    }
    for (int r = 0; r < size; r++) {
        int status;
        assert_int_equal(waitpid(pids[r], &status, 0), pids[r]);
        ret_codes[r] = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static float value_of(int rank, size_t i)
{
    return (float)((i * 2654435761U + (size_t)rank * 40503U) % 1000) * 0.001F - 0.37F * (float)rank;
}

/* Small sums (direct), several under way at once, and one beyond the direct limit (Gloo). */
static int sum_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    if (collective_open(o, &c, &err) < 0)
        return 10;
    static const size_t sizes[] = {1, 17, 5000, 100000, 700000};
    float *data[5];
    for (int round = 0; round < 3; round++) {
        for (size_t k = 0; k < 5; k++) {
            data[k] = xcalloc(sizes[k], sizeof(float));
            for (size_t i = 0; i < sizes[k]; i++)
                data[k][i] = value_of(o->rank, i + k);
            collective_submit(c, data[k], sizes[k]);
            collective_poke(c);
        }
        if (collective_wait(c, &err) < 0)
            return 11;
        for (size_t k = 0; k < 5; k++) {
            for (size_t i = 0; i < sizes[k]; i++) {
                float exact = value_of(0, i + k);
                double near = (double)exact;
                for (int r = 1; r < o->size; r++) {
                    exact += value_of(r, i + k);
                    near += (double)value_of(r, i + k);
                }
                double d = (double)data[k][i] - near;
                if (d > 1e-5 || d < -1e-5 || (k < 3 && data[k][i] != exact))
                    return 12;
            }
            /* All ranks hold the same bits, whichever transport. */
            const void *all[8];
            size_t lens[8];
            if (collective_exchange(c, data[k], sizes[k] * sizeof(float), 1 << 22, all, lens, &err) < 0)
                return 13;
            for (int r = 0; r < o->size; r++)
                if (lens[r] != sizes[k] * sizeof(float) || memcmp(all[r], data[k], lens[r]) != 0)
                    return 14;
            free(data[k]);
        }
    }
    struct collective_stats stats;
    collective_count(c, &stats);
    collective_free(c);
    return o->size > 1 && stats.bytes_sent < 700000 * sizeof(float) ? 15 : 0;
}

static void sums_agree_on_every_rank(void **state)
{
    (void)state;
    for (int size = 1; size <= 4; size++) {
        int codes[8];
        run_workers(size, sum_work, codes);
        for (int r = 0; r < size; r++)
            assert_int_equal(codes[r], 0);
    }
}

static int exchange_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    if (collective_open(o, &c, &err) < 0)
        return 10;
    for (size_t round = 0; round < 50; round++) {
        size_t len = (round * 7919 + (size_t)o->rank * 104729) % 60000 * (round % 9 == 0 ? 40 : 1);
        len = (round + (size_t)o->rank) % 5 ? len : 0;
        char *mine = xcalloc(len + 1, 1);
        memset(mine, 'a' + o->rank, len);
        const void *all[8];
        size_t lens[8];
        if (collective_exchange(c, mine, len, 60000 * 40, all, lens, &err) < 0)
            return 11;
        for (int r = 0; r < o->size; r++) {
            size_t want = (round * 7919 + (size_t)r * 104729) % 60000 * (round % 9 == 0 ? 40 : 1);
            want = (round + (size_t)r) % 5 ? want : 0;
            if (lens[r] != want || (uintptr_t)all[r] % 64 != 0)
                return 12;
            for (size_t i = 0; i < want; i++)
                if (((const char *)all[r])[i] != 'a' + r)
                    return 13;
        }
        free(mine);
        char word[16] = "";
        int root = (int)round % o->size;
        if (o->rank == root)
            (void)snprintf(word, sizeof word, "round %zu", round);
        char want[16];
        (void)snprintf(want, sizeof want, "round %zu", round);
        if (collective_broadcast(c, word, sizeof word, root, &err) < 0 || strcmp(word, want) != 0)
            return 14;
    }
    if (collective_barrier(c, &err) < 0)
        return 15;
    const void *all[8];
    size_t lens[8];
    /* Too much from one rank is refused by all. */
    int r = collective_exchange(c, "12345678", o->rank == 0 ? 8 : 1, 4, all, lens, &err);
    collective_free(c);
    return r < 0 ? 0 : 16;
}

static void exchanges_hand_out_rank_by_rank(void **state)
{
    (void)state;
    for (int size = 1; size <= 3; size++) {
        int codes[8];
        run_workers(size, exchange_work, codes);
        for (int r = 0; r < size; r++)
            assert_int_equal(codes[r], size == 1 ? 16 : 0); /* alone there is no one to refuse */
    }
}

static int64_t seconds_since(int64_t start)
{
    return (handshake_now_ms() - start) / 1000;
}

/* Rank 1 dies, or falls silent, in the middle; the others must end within the deadline with exit 75. */
static int die_at;
static int lose_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    if (collective_open(o, &c, &err) < 0)
        return 10;
    float data[1000] = {0}, *large = xcalloc(700000, sizeof *large);
    if (collective_barrier(c, &err) < 0)
        return 11;
    if (o->rank == 1) {
        if (die_at == 3)
            (void)sleep(8); /* silent, not gone */
        else
            (void)raise(SIGKILL);
        _exit(0);
    }
    int64_t start = handshake_now_ms();
    const void *all[8];
    size_t lens[8];
    int r;
    if (die_at == 1) {
        r = collective_exchange(c, data, sizeof data, sizeof data, all, lens, &err);
    } else {
        collective_submit(c, die_at == 2 ? large : data, die_at == 2 ? 700000 : 1000);
        r = collective_wait(c, &err);
    }
    int64_t took = seconds_since(start);
    collective_free(c);
    free(large);
    if (r == 0 || err_exit_code(&err) != EXITCODE_TEMPFAIL || strcmp(err.reason, "peer-lost") != 0)
        return 12;
    return took <= 5 ? 75 : 13;
}

static void a_lost_peer_ends_the_call_in_time(void **state)
{
    (void)state;
    for (die_at = 0; die_at <= 3; die_at++) {
        int codes[8];
        run_workers(3, lose_work, codes);
        assert_int_equal(codes[0], 75);
        assert_int_equal(codes[2], 75);
    }
}

static int wrong_key_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    o->start_timeout_ms = 1500;
    if (o->rank == 1)
        o->key = bad_key;
    if (collective_open(o, &c, &err) == 0)
        return 10;
    if (o->rank == 1)
        return strcmp(err.reason, "rendezvous-refused") == 0 && err_exit_code(&err) == EXITCODE_CONFIG ? 0
                                                                                                       : 11;
    return strcmp(err.reason, "peer-lost") == 0 && strstr(err.msg, "rank 1") ? 0 : 12;
}

static int wrong_attempt_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    o->start_timeout_ms = 1500;
    if (o->rank == 1)
        o->attempt = 1;
    if (collective_open(o, &c, &err) == 0)
        return 10;
    return o->rank == 1 && !strstr(err.msg, "another run or attempt") ? 11 : 0;
}

static void wrong_keys_and_attempts_are_refused(void **state)
{
    (void)state;
    int codes[8];
    run_workers(2, wrong_key_work, codes);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 0);
    run_workers(2, wrong_attempt_work, codes);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 0);
}

/* Rank 1 never comes; the others are asked to stop while they wait. */
static int stop_after;
static int stopping(void *ctx)
{
    return handshake_now_ms() > *(int64_t *)ctx;
}

static int stop_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    if (o->rank == 1)
        return 0;
    static int64_t stop_at; /* outlives the call: the options keep a pointer to it */
    int64_t begin = handshake_now_ms();
    stop_at = begin + stop_after;
    o->start_timeout_ms = 20000;
    o->stopping = stopping;
    o->stopping_ctx = &stop_at;
    int r = collective_open(o, &c, &err);
    bool as_asked = strcmp(err.reason, "stopped") == 0;
    bool left_alone =
        o->rank == 2 && strcmp(err.reason, "peer-lost") == 0; /* rank 0 may have stopped first */
    return r < 0 && (as_asked || left_alone) && handshake_now_ms() - begin < 5000 ? 75 : 10;
}

static void waiting_ends_when_asked_to_stop(void **state)
{
    (void)state;
    stop_after = 500;
    int codes[8];
    run_workers(3, stop_work, codes);
    assert_int_equal(codes[0], 75);
    assert_int_equal(codes[2], 75);
}

/* Connections that say nonsense, or nothing, while two workers meet. */
static int stranger_port;
static int stranger_work(struct collective_options *o)
{
    struct err err = ERR_INIT;
    struct collective *c = NULL;
    stranger_port = o->master_port;
    if (o->rank == 1) {
        for (int i = 0; i < 20; i++) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)stranger_port)};
            (void)inet_pton(AF_INET, "127.9.2.1", &a.sin_addr);
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
                (void)close(fd);
                struct timespec t = {.tv_nsec = 20000000};
                (void)nanosleep(&t, NULL);
                continue;
            }
            char noise[400];
            memset(noise, i, sizeof noise);
            if (i % 2)
                (void)!write(fd, noise, sizeof noise);
        }
    }
    if (collective_open(o, &c, &err) < 0)
        return 10;
    int r = collective_barrier(c, &err);
    collective_free(c);
    return r < 0 ? 11 : 0;
}

static void strangers_disturb_nobody(void **state)
{
    (void)state;
    int codes[8];
    run_workers(2, stranger_work, codes);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_on_every_rank),
        cmocka_unit_test(exchanges_hand_out_rank_by_rank),
        cmocka_unit_test(a_lost_peer_ends_the_call_in_time),
        cmocka_unit_test(wrong_keys_and_attempts_are_refused),
        cmocka_unit_test(waiting_ends_when_asked_to_stop),
        cmocka_unit_test(strangers_disturb_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
