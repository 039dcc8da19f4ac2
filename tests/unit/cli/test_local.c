/* Processes, environments and locks of local runs. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "operator/cli/local/environment.h"
#include "operator/cli/local/process.h"
#include "operator/cli/lock.h"

static char *dir;

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return fs_make_temp_dir("/tmp", "cli-local", &dir, &err);
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

static void pause_ms(int64_t ms)
{
    clock_system.sleep_ms(clock_system.ctx, ms);
}

/* --- environment -------------------------------------------------------------------------------------- */

static void nothing_of_an_outer_run_leaks_in(void **state)
{
    (void)state;
    char *outer[] = {(char *)"PATH=/bin",
                     (char *)"TRAINYARD_STEP=x",
                     (char *)"RANK=3",
                     (char *)"RANKING=1",
                     (char *)"WORLD_SIZE=8",
                     (char *)"PET_NNODES=2",
                     (char *)"MASTER_ADDR=a",
                     (char *)"AWS_ACCESS_KEY_ID=k",
                     (char *)"TRAINYARD_FAILPOINT=store.put.before",
                     NULL};
    _cleanup_environment_ struct environment e;
    environment_init(&e, outer);
    assert_int_equal(e.n, 4);
    assert_string_equal(environment_get(&e, "PATH"), "/bin");
    assert_string_equal(environment_get(&e, "RANKING"), "1");
    assert_string_equal(environment_get(&e, "AWS_ACCESS_KEY_ID"), "k");
    assert_string_equal(environment_get(&e, "TRAINYARD_FAILPOINT"), "store.put.before");
    assert_null(environment_get(&e, "RANK"));
    environment_set(&e, "PATH", "/usr/bin");
    environment_set_int(&e, "RANK", 7);
    environment_set(&e, "ABSENT", NULL);
    assert_int_equal(e.n, 5);
    assert_string_equal(environment_get(&e, "PATH"), "/usr/bin");
    assert_string_equal(environment_get(&e, "RANK"), "7");
    assert_null(environment_get(&e, "ABSENT"));
    assert_null(e.items[e.n]);
}

/* --- processes ----------------------------------------------------------------------------------------- */

static int spawn(const char *script, int lock_fd, pid_t *ret, struct err *err)
{
    _cleanup_free_ char *log = fs_join(dir, "log");
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL},
         *envp[] = {(char *)"PATH=/usr/bin:/bin", NULL};
    return process_spawn(&(struct process_spec){.program = "/bin/sh",
                                                .argv = argv,
                                                .envp = envp,
                                                .directory = dir,
                                                .log_path = log,
                                                .lock_fd = lock_fd},
                         ret, err);
}

static struct process_end wait_for(pid_t pid)
{
    struct process_end end = {0};
    for (int i = 0; i < 500; i++) {
        if (process_reap(pid, &end))
            return end;
        pause_ms(10);
    }
    fail_msg("process %ld did not end within 5 s", (long)pid);
    return end;
}

static void a_process_runs_in_its_own_session_with_its_log(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pid_t pid;
    assert_int_equal(dup2(2, 50), 50); /* inheritable on purpose */
    assert_int_equal(spawn("echo out; echo err >&2; pwd; test -e /proc/$$/fd/50 && echo leaked; exit 7", -1,
                           &pid, &err),
                     0);
    assert_int_equal(getsid(pid), pid);
    struct process_end end = wait_for(pid);
    (void)close(50);
    assert_int_equal(end.exit_code, 7);
    assert_int_equal(end.signal, 0);
    assert_true(end.max_rss_bytes > 0);
    _cleanup_free_ char *log = fs_join(dir, "log"), *text = NULL,
                        *expected = xasprintf("out\nerr\n%s\n", dir);
    assert_int_equal(fs_read_file(log, 4096, &text, NULL, &err), 0);
    assert_string_equal(text, expected);
}

static void a_signal_reaches_the_whole_group_and_leaves_nothing(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pid_t pid;
    assert_int_equal(spawn("sleep 100 & echo $! > child; wait", -1, &pid, &err), 0);
    _cleanup_free_ char *path = fs_join(dir, "child"), *text = NULL;
    for (int i = 0; i < 300 && !fs_exists(path); i++)
        pause_ms(10);
    pause_ms(50);
    assert_int_equal(fs_read_file(path, 64, &text, NULL, &err), 0);
    pid_t child = (pid_t)strtol(text, NULL, 10);
    assert_true(child > 1);
    (void)kill(pid, SIGKILL); /* the leader alone: the reaper ends the rest */
    struct process_end end = wait_for(pid);
    assert_int_equal(end.exit_code, -1);
    assert_int_equal(end.signal, SIGKILL);
    for (int i = 0; i < 300 && kill(child, 0) == 0; i++) {
        _cleanup_free_ char *stat = xasprintf("/proc/%ld/stat", (long)child), *line = NULL;
        struct err gone = ERR_INIT;
        if (fs_read_file(stat, 4096, &line, NULL, &gone) < 0 || strstr(line, ") Z "))
            return;
        pause_ms(10);
    }
    assert_int_not_equal(kill(child, 0), 0);
}

static void a_missing_program_is_an_error_of_configuration(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pid_t pid;
    char *argv[] = {(char *)"x", NULL}, *envp[] = {NULL};
    _cleanup_free_ char *log = fs_join(dir, "log");
    assert_int_equal(process_spawn(&(struct process_spec){.program = "/nonexistent/x",
                                                          .argv = argv,
                                                          .envp = envp,
                                                          .directory = dir,
                                                          .log_path = log,
                                                          .lock_fd = -1},
                                   &pid, &err),
                     -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
    assert_non_null(strstr(err.msg, "/nonexistent/x"));
}

static void children_die_with_their_parent(void **state)
{
    (void)state;
    _cleanup_free_ char *path = fs_join(dir, "grandchild");
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        struct err err = ERR_INIT;
        pid_t pid;
        (void)spawn("echo $$ > grandchild; exec sleep 100", -1, &pid, &err);
        pause_ms(60000);
        _exit(0);
    }
    struct err err = ERR_INIT;
    _cleanup_free_ char *text = NULL;
    for (int i = 0; i < 300 && !fs_exists(path); i++)
        pause_ms(10);
    pause_ms(50);
    assert_int_equal(fs_read_file(path, 64, &text, NULL, &err), 0);
    pid_t grandchild = (pid_t)strtol(text, NULL, 10);
    assert_int_equal(kill(grandchild, 0), 0);
    (void)kill(parent, SIGKILL);
    (void)waitpid(parent, NULL, 0);
    _cleanup_free_ char *stat = xasprintf("/proc/%ld/stat", (long)grandchild);
    bool dead = false;
    for (int i = 0; i < 300 && !dead; i++) {
        _cleanup_free_ char *line = NULL;
        struct err gone = ERR_INIT;
        dead = fs_read_file(stat, 4096, &line, NULL, &gone) < 0 || strstr(line, ") Z ");
        pause_ms(10);
    }
    assert_true(dead);
}

/* --- locks --------------------------------------------------------------------------------------------- */

static void the_lock_outlives_its_taker_in_the_children(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, "lock");
    int fd, second;
    pid_t pid;
    assert_false(lock_is_held(path));
    assert_int_equal(lock_acquire(path, 0, NULL, &fd, &err), 0);
    assert_true(lock_is_held(path));
    assert_int_equal(lock_acquire(path, 100, NULL, &second, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_TEMPFAIL);
    assert_non_null(strstr(err.msg, "is driving this run already"));
    err_clear(&err);
    assert_int_equal(spawn("exec sleep 100", fd, &pid, &err), 0);
    (void)close(fd);
    assert_true(lock_is_held(path)); /* by the child */
    process_signal_group(pid, SIGTERM);
    assert_int_equal(wait_for(pid).signal, SIGTERM);
    assert_false(lock_is_held(path));
    assert_int_equal(lock_acquire(path, 0, NULL, &fd, &err), 0);
    (void)close(fd);
}

static void a_lock_of_dead_drivers_children_is_waited_for(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, "lock");
    int fd;
    pid_t pid;
    assert_int_equal(lock_acquire(path, 0, NULL, &fd, &err), 0);
    assert_int_equal(spawn("exec sleep 0.3", fd, &pid, &err), 0);
    (void)close(fd);
    /* As if the driver were dead: its line names nobody. */
    _cleanup_file_ FILE *f = fopen(path, "r+e");
    assert_non_null(f);
    assert_true(fputs("999999999 1\n", f) >= 0);
    assert_int_equal(fflush(f), 0);
    int64_t begin = clock_system.mono_ms(clock_system.ctx);
    assert_int_equal(lock_acquire(path, 5000, NULL, &fd, &err), 0);
    assert_true(clock_system.mono_ms(clock_system.ctx) - begin >= 100);
    (void)close(fd);
    (void)wait_for(pid);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_of_an_outer_run_leaks_in),
        TEST(a_process_runs_in_its_own_session_with_its_log),
        TEST(a_signal_reaches_the_whole_group_and_leaves_nothing),
        TEST(a_missing_program_is_an_error_of_configuration),
        TEST(children_die_with_their_parent),
        TEST(the_lock_outlives_its_taker_in_the_children),
        TEST(a_lock_of_dead_drivers_children_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
