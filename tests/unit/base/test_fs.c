/* Files: maxima, atomic and exclusive writes, trees. Each test has a folder of its own. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "tests/unit/unit.h"

static int make_folder(void **state)
{
    struct err err = ERR_INIT;
    char *dir;
    if (fs_make_temp_dir("/tmp", "test-fs", &dir, &err) < 0)
        return -1;
    *state = dir;
    return 0;
}

static int remove_folder(void **state)
{
    struct err err = ERR_INIT;
    int r = fs_remove_tree(*state, &err);
    free(*state);
    return r;
}

static void put(const char *dir, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, name);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
}

static void reads_up_to_the_maximum(void **state)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(*state, "f");
    put(*state, "f", "12345");
    _cleanup_free_ char *text = NULL;
    size_t len;
    assert_ok(fs_read_file(path, 5, &text, &len, &err), &err);
    assert_string_equal(text, "12345");
    assert_int_equal(len, 5);
    char *untouched = NULL;
    assert_fails(fs_read_file(path, 4, &untouched, &len, &err), &err, ERR_INVALID,
                 "larger than the maximum of 4 bytes");
    assert_fails(fs_read_file(*state, 4, &untouched, &len, &err), &err, ERR_INVALID,
                 "expected a file, found a folder");
    assert_null(untouched);
    _cleanup_free_ char *status = NULL; /* the kernel says its size is 0 */
    assert_ok(fs_read_file("/proc/self/status", 1 << 20, &status, &len, &err), &err);
    assert_true(len > 0 && strlen(status) == len);
    _cleanup_free_ char *absent = fs_join(*state, "absent");
    assert_fails(fs_read_file(absent, 4, &untouched, &len, &err), &err, ERR_NOTFOUND, "absent");
    put(*state, "empty", "");
    _cleanup_free_ char *empty = fs_join(*state, "empty"), *nothing = NULL;
    assert_ok(fs_read_file(empty, 0, &nothing, &len, &err), &err);
    assert_int_equal(len, 0);
    assert_string_equal(nothing, "");
}

static void writes_leave_no_temporary_file(void **state)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(*state, "f");
    assert_ok(fs_write_atomic(path, "old", 3, &err), &err);
    assert_ok(fs_write_atomic(path, "new", 3, &err), &err);
    assert_fails(fs_write_exclusive(path, "late", 4, &err), &err, ERR_EXISTS, "File exists");
    _cleanup_free_ char *text = NULL;
    assert_ok(fs_read_file(path, 100, &text, NULL, &err), &err);
    assert_string_equal(text, "new");
    _cleanup_free_ char *other = fs_join(*state, "g");
    assert_ok(fs_write_exclusive(other, "first", 5, &err), &err);
    _cleanup_free_ char *lost = fs_join(*state, "no/such/folder/f");
    assert_fails(fs_write_atomic(lost, "x", 1, &err), &err, ERR_NOTFOUND, "no/such/folder/f");
    _cleanup_fs_list_ struct fs_list list = {0};
    assert_ok(fs_list_tree(*state, &list, &err), &err);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.names[0], "f");
    assert_string_equal(list.names[1], "g");
    assert_int_equal(list.sizes[1], 5);
}

/* Of many processes that create one file, exactly one wins, and its content is whole. */
static void one_exclusive_writer_wins(void **state)
{
    enum { WRITERS = 8, SIZE = 10000 };
    _cleanup_free_ char *path = fs_join(*state, "claim");
    int won = 0;
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            char data[SIZE];
            memset(data, 'a' + i, sizeof data);
            struct err err = ERR_INIT;
            int r = fs_write_exclusive(path, data, sizeof data, &err);
            _exit(r == 0 ? 0 : err.class_ == ERR_EXISTS ? 1 : 2);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_in_range(WEXITSTATUS(status), 0, 1);
        won += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(won, 1);
    struct err err = ERR_INIT;
    _cleanup_free_ char *text = NULL;
    size_t len;
    assert_ok(fs_read_file(path, SIZE, &text, &len, &err), &err);
    assert_int_equal(len, SIZE);
    for (size_t i = 1; i < len; i++)
        assert_int_equal(text[i], text[0]);
}

static void trees_are_made_listed_removed(void **state)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *deep = fs_join(*state, "a/b//c/");
    assert_ok(fs_mkdir_p(deep, &err), &err);
    assert_ok(fs_mkdir_p(deep, &err), &err);
    put(*state, "a/b/c/x", "1");
    put(*state, "a/b/y", "22");
    put(*state, "a/b.z", "333");
    _cleanup_fs_list_ struct fs_list list = {0};
    assert_ok(fs_list_tree(*state, &list, &err), &err);
    static const char *const expected[] = {"a/b.z", "a/b/c/x", "a/b/y"}; /* bytewise: '.' before '/' */
    assert_int_equal(list.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(list.names[i], expected[i]);
    assert_int_equal(list.sizes[0], 3);
    _cleanup_free_ char *in_the_way = fs_join(*state, "a/b/y/d");
    assert_fails(fs_mkdir_p(in_the_way, &err), &err, ERR_TERMINAL, "a file is in its place");
    _cleanup_free_ char *a = fs_join(*state, "a");
    assert_ok(fs_remove_tree(a, &err), &err);
    assert_false(fs_exists(a));
    assert_ok(fs_remove_tree(a, &err), &err); /* absent is fine */
}

static void symbolic_links_are_never_followed(void **state)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *outside = fs_join(*state, "outside"), *tree = fs_join(*state, "tree");
    assert_ok(fs_mkdir_p(outside, &err), &err);
    assert_ok(fs_mkdir_p(tree, &err), &err);
    put(*state, "outside/keep", "me");
    _cleanup_free_ char *link_path = fs_join(*state, "tree/link"), *keep = fs_join(*state, "outside/keep");
    assert_int_equal(symlink(outside, link_path), 0);
    struct fs_list list = {0};
    assert_fails(fs_list_tree(tree, &list, &err), &err, ERR_INVALID,
                 "tree/link is neither a regular file nor a folder");
    assert_ok(fs_remove_tree(tree, &err), &err);
    assert_true(fs_exists(keep));
}

static void names_join_and_are_safe(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *joined;
    } joins[] = {{"a", "b", "a/b"},
                 {"a/", "/b", "a/b"},
                 {"/", "b", "/b"},
                 {"", "b", "b"},
                 {"a//", "b/c", "a/b/c"}};
    for (size_t i = 0; i < sizeof joins / sizeof joins[0]; i++) {
        _cleanup_free_ char *joined = fs_join(joins[i].a, joins[i].b);
        assert_string_equal(joined, joins[i].joined);
    }
    static const char *const safe[] = {"a", "a/b.c", "...", "a b", "\xc3\xa4", ".hidden"};
    for (size_t i = 0; i < sizeof safe / sizeof safe[0]; i++)
        assert_true(fs_safe_relative(safe[i]));
    static const char *const unsafe[] = {"",       "/a",  "a/",   "a//b", ".",     "..",
                                         "a/../b", "./a", "a\\b", "a\nb", "a\x7f", "\xff"};
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
        assert_false(fs_safe_relative(unsafe[i]));
    char part[257];
    memset(part, 'a', 256);
    part[256] = '\0';
    assert_false(fs_safe_relative(part));
    assert_true(fs_safe_relative(part + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_up_to_the_maximum, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(writes_leave_no_temporary_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(one_exclusive_writer_wins, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(trees_are_made_listed_removed, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(symbolic_links_are_never_followed, make_folder, remove_folder),
        cmocka_unit_test(names_join_and_are_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
