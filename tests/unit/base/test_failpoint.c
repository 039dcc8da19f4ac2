/* Failpoints kill at the named passage, and only in builds with FAILPOINTS=1. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "tests/unit/unit.h"

/* A child that passes twice through "a" and once through "b"; its wait status. */
static int status_of_child(const char *setting, const char *log)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)(setting ? setenv("TRAINYARD_FAILPOINT", setting, 1) : unsetenv("TRAINYARD_FAILPOINT"));
        (void)(log ? setenv("TRAINYARD_FAILPOINT_LOG", log, 1) : unsetenv("TRAINYARD_FAILPOINT_LOG"));
        failpoint("a");
        failpoint("a");
        failpoint("b");
        _exit(7);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void kills_at_the_passage(void **state)
{
    (void)state;
#ifdef TRAINYARD_FAILPOINTS
    const bool compiled_in = true;
#else
    const bool compiled_in = false;
#endif
    static const struct {
        const char *setting;
        bool kills;
    } cases[] = {{NULL, false}, {"a", true},  {"a:2", true}, {"a:3", false},
                 {"b", true},   {"c", false}, {"", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int status = status_of_child(cases[i].setting, NULL);
        if (compiled_in && cases[i].kills) {
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), SIGKILL);
        } else {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 7);
        }
    }
    struct err err = ERR_INIT;
    _cleanup_free_ char *dir = NULL, *text = NULL;
    assert_ok(fs_make_temp_dir("/tmp", "test-failpoint", &dir, &err), &err);
    _cleanup_free_ char *log = fs_join(dir, "log");
    (void)status_of_child("a:2", log);
    (void)status_of_child(NULL, log);
    if (compiled_in) {
        assert_ok(fs_read_file(log, 1000, &text, NULL, &err), &err);
        assert_string_equal(text, "a\na\na\na\nb\n");
    } else {
        assert_false(fs_exists(log));
    }
    assert_ok(fs_remove_tree(dir, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(kills_at_the_passage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
