/* Replicas that differ are found and end both workers with exit 70. Two real processes; a back end whose hash is what the
 * test says. */
#include "tests/unit/unit.h"

#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "stages/collective/handshake.h"
#include "stages/train-ddp/trainer.h"

static uint64_t hash_to_give;

static uint64_t fake_hash(const struct backend_state *s, uint64_t seed)
{
    (void)s;
    return hash_to_give + seed;
}
static const struct backend fake = {.name = "fake", .hash = fake_hash};

static int compare(int rank, int port, uint64_t hash)
{
    static const uint8_t key[32] = {5};
    struct err err = ERR_INIT;
    struct stage_world world = {.rank = rank, .size = 2};
    struct trainer t = {.backend = &fake, .world = &world, .state = {.step = 12}};
    struct collective_options o = {.rank = rank,
                                   .size = 2,
                                   .master_addr = "127.8.1.1",
                                   .master_port = port,
                                   .advertise_addr = rank ? "127.8.1.2" : "127.8.1.1",
                                   .run_uid = "r",
                                   .key = key,
                                   .start_timeout_ms = 10000,
                                   .timeout_ms = 5000};
    const void *messages[2];
    size_t lens[2];
    t.messages = messages;
    t.message_lens = lens;
    hash_to_give = hash;
    if (collective_open(&o, &t.collective, &err) < 0)
        return 10;
    int r = trainer_compare_replicas(&t, &err);
    collective_free(t.collective);
    if (r == 0)
        return 0;
    return strcmp(err.reason, "replicas-differ") == 0 && strstr(err.msg, "step 12") ? err_exit_code(&err)
                                                                                    : 11;
}

static int exit_code_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_two(uint64_t first, uint64_t second, int expected)
{
    struct err err = ERR_INIT;
    int fd, port;
    assert_ok(handshake_listen("127.8.1.1", 0, &fd, &port, &err), &err);
    (void)close(fd);
    pid_t pids[2];
    for (int r = 0; r < 2; r++) {
        pids[r] = fork();
        if (pids[r] == 0) {
            (void)alarm(30);
            _exit(compare(r, port, r ? second : first));
        }
    }
    assert_int_equal(exit_code_of(pids[0]), expected);
    assert_int_equal(exit_code_of(pids[1]), expected);
}

static void equal_replicas_go_on(void **state)
{
    (void)state;
    run_two(77, 77, 0);
}

static void different_replicas_end_with_70(void **state)
{
    (void)state;
    run_two(77, 78, EXITCODE_SOFTWARE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_replicas_go_on),
        cmocka_unit_test(different_replicas_end_with_70),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
