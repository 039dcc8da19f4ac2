/* The file:// back end: what store.h promises, races between processes included. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/store/store.h"
#include "tests/unit/unit.h"

struct fixture {
    char *dir, *url;
    struct store *store;
};

static struct store *open_store(const char *url)
{
    struct err err = ERR_INIT;
    struct store *s;
    assert_ok(store_open(&(struct store_config){.url = url}, &s, &err), &err);
    return s;
}

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(fs_make_temp_dir("/tmp", "store-test", &f->dir, &err), &err);
    f->url = xasprintf("file://%s/root", f->dir);
    f->store = open_store(f->url);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    store_free(f->store);
    assert_ok(fs_remove_tree(f->dir, &err), &err);
    free(f->dir);
    free(f->url);
    free(f);
    return 0;
}

static void expect_error(int r, const struct err *err, enum err_class class_, int exit_code,
                         const char *reason)
{
    assert_int_equal(r, -1);
    if (err->class_ != class_ || err_exit_code(err) != exit_code || strcmp(err->reason, reason) != 0)
        fail_msg("expected %s, exit %d, reason %s; found %s, exit %d, reason %s: %s", err_class_name(class_),
                 exit_code, reason, err_class_name(err->class_), err_exit_code(err), err->reason, err->msg);
}

static void put_then_get_gives_the_bytes(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char etag[STORE_ETAG_MAX], again[STORE_ETAG_MAX];
    assert_ok(store_put(f->store, "a/b.json", "hello", 5, STORE_ALWAYS, NULL, etag, &err), &err);
    _cleanup_free_ char *data = NULL;
    size_t len;
    assert_ok(store_get(f->store, "a/b.json", 100, &data, &len, again, &err), &err);
    assert_int_equal(len, 5);
    assert_string_equal(data, "hello");
    assert_string_equal(etag, again);
    char range[3];
    assert_ok(store_get_range(f->store, "a/b.json", 1, 3, range, &err), &err);
    assert_memory_equal(range, "ell", 3);
    struct store_object o;
    assert_ok(store_head(f->store, "a/b.json", &o, &err), &err);
    assert_int_equal(o.size, 5);
    assert_string_equal(o.etag, etag);
    assert_null(o.key);
}

static void missing_objects_are_not_found_with_exit_66(void **state)
{
    struct fixture *f = *state;
    char *data, byte;
    size_t len;
    struct store_object o;
    struct err err = ERR_INIT;
    expect_error(store_get(f->store, "none", 10, &data, &len, NULL, &err), &err, ERR_NOTFOUND, 66,
                 "not-found");
    err = ERR_INIT;
    expect_error(store_head(f->store, "none", &o, &err), &err, ERR_NOTFOUND, 66, "not-found");
    err = ERR_INIT;
    expect_error(store_get_range(f->store, "none", 0, 1, &byte, &err), &err, ERR_NOTFOUND, 66, "not-found");
    err = ERR_INIT;
    assert_ok(store_put(f->store, "dir/x", "1", 1, STORE_ALWAYS, NULL, NULL, &err), &err);
    expect_error(store_head(f->store, "dir", &o, &err), &err, ERR_NOTFOUND, 66,
                 "not-found"); /* a directory is no object */
    err = ERR_INIT;
    expect_error(store_head(f->store, "dir/x/y", &o, &err), &err, ERR_NOTFOUND, 66, "not-found");
    err = ERR_INIT;
    assert_ok(store_delete(f->store, "none", &err), &err);
    assert_ok(store_delete(f->store, "dir/x", &err), &err);
    expect_error(store_head(f->store, "dir/x", &o, &err), &err, ERR_NOTFOUND, 66, "not-found");
}

static void maxima_and_short_ranges_are_errors(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char *data, range[8];
    size_t len;
    assert_ok(store_put(f->store, "k", "123456", 6, STORE_ALWAYS, NULL, NULL, &err), &err);
    expect_error(store_get(f->store, "k", 5, &data, &len, NULL, &err), &err, ERR_INVALID, 65, "");
    err = ERR_INIT;
    expect_error(store_get_range(f->store, "k", 3, 4, range, &err), &err, ERR_INVALID, 65, "short");
}

static void unsafe_keys_are_refused(void **state)
{
    struct fixture *f = *state;
    const char *keys[] = {"",     "/etc/passwd",        "../x", "a/../b", "a//b", "a/", "a\\b",
                          "a\nb", ".trainyard/locks/00"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct err err = ERR_INIT;
        expect_error(store_put(f->store, keys[i], "x", 1, STORE_ALWAYS, NULL, NULL, &err), &err, ERR_INVALID,
                     65, "store-key");
    }
}

static void if_none_loses_with_exists_and_if_match_with_conflict(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char first[STORE_ETAG_MAX], second[STORE_ETAG_MAX];
    assert_ok(store_put(f->store, "doc", "1", 1, STORE_IF_NONE, NULL, first, &err), &err);
    expect_error(store_put(f->store, "doc", "2", 1, STORE_IF_NONE, NULL, NULL, &err), &err, ERR_EXISTS, 70,
                 "exists");
    err = ERR_INIT;
    assert_ok(store_put(f->store, "doc", "3", 1, STORE_IF_MATCH, first, second, &err), &err);
    assert_string_not_equal(first, second);
    expect_error(store_put(f->store, "doc", "4", 1, STORE_IF_MATCH, first, NULL, &err), &err, ERR_CONFLICT,
                 75, "conflict");
    err = ERR_INIT;
    expect_error(store_put(f->store, "other", "4", 1, STORE_IF_MATCH, first, NULL, &err), &err, ERR_CONFLICT,
                 75, "conflict");
    err = ERR_INIT;
    _cleanup_free_ char *data = NULL;
    assert_ok(store_get(f->store, "doc", 10, &data, NULL, NULL, &err), &err);
    assert_string_equal(data, "3");
    _cleanup_free_ char *tmp = xasprintf("%s/root/.trainyard/tmp", f->dir);
    struct fs_list list = {0};
    assert_ok(fs_list_tree(tmp, &list, &err), &err);
    assert_int_equal(list.n, 0); /* losers leave nothing behind */
    fs_list_release(&list);
}

static char *write_file(const struct fixture *f, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    char *path = fs_join(f->dir, name);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
    return path;
}

static void files_are_verified_both_ways(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = write_file(f, "in", "content");
    _cleanup_free_ char *out = fs_join(f->dir, "out");
    char good[DIGEST_HEX], bad[DIGEST_HEX];
    sha256_hex("content", 7, good);
    sha256_hex("other", 5, bad);
    expect_error(store_put_file(f->store, "x", path, bad, &err), &err, ERR_TERMINAL, 74, "checksum");
    err = ERR_INIT;
    struct store_object o;
    expect_error(store_head(f->store, "x", &o, &err), &err, ERR_NOTFOUND, 66, "not-found");
    err = ERR_INIT;
    assert_ok(store_put_file(f->store, "x", path, good, &err), &err);
    expect_error(store_get_file(f->store, "x", out, bad, -1, NULL, &err), &err, ERR_TERMINAL, 74, "checksum");
    assert_false(fs_exists(out));
    err = ERR_INIT;
    expect_error(store_get_file(f->store, "x", out, NULL, 8, NULL, &err), &err, ERR_TERMINAL, 74, "checksum");
    err = ERR_INIT;
    expect_error(store_get_file(f->store, "x", out, NULL, -1, "\"other\"", &err), &err, ERR_CONFLICT, 75,
                 "source-changed");
    err = ERR_INIT;
    assert_ok(store_head(f->store, "x", &o, &err), &err);
    assert_ok(store_get_file(f->store, "x", out, good, 7, o.etag, &err), &err);
    _cleanup_free_ char *data = NULL;
    assert_ok(fs_read_file(out, 100, &data, NULL, &err), &err);
    assert_string_equal(data, "content");
    assert_true(fs_exists(path)); /* put_file copies */
}

static void moving_takes_the_file_itself(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = write_file(f, "in", "content");
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    assert_ok(store_put_file_moving(f->store, "deep/er/x", path, NULL, &err), &err);
    assert_false(fs_exists(path));
    _cleanup_free_ char *local = store_local_path(f->store, "deep/er/x");
    assert_int_equal(stat(local, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(after.st_mode & 0777, before.st_mode & 0555); /* nobody writes to it any more */
    _cleanup_free_ char *none = fs_join(f->dir, "none");
    expect_error(store_put_file_moving(f->store, "y", none, NULL, &err), &err, ERR_NOTFOUND, 74, "");
}

static int collect(void *ctx, const struct store_object *o, struct err *err)
{
    (void)err;
    return buf_addf(ctx, "%s ", o->key);
}

static int stop_at_once(void *ctx, const struct store_object *o, struct err *err)
{
    (void)ctx;
    return err_set(err, ERR_TERMINAL, "stopped at %s", o->key);
}

static void lists_are_in_byte_order_of_whole_keys(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    const char *keys[] = {"m/a/z", "m/a-b", "m/a.c", "m/b", "m0", "n/x", "m/a/b/c"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_ok(store_put(f->store, keys[i], "x", 1, STORE_ALWAYS, NULL, NULL, &err), &err);
    static const struct {
        const char *prefix, *expected;
    } table[] = {
        {"", "m/a-b m/a.c m/a/b/c m/a/z m/b m0 n/x "},
        {"m", "m/a-b m/a.c m/a/b/c m/a/z m/b m0 "},
        {"m/", "m/a-b m/a.c m/a/b/c m/a/z m/b "},
        {"m/a/", "m/a/b/c m/a/z "},
        {"m/a/b/c", "m/a/b/c "},
        {"none/", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_buf_ struct buf found = BUF_INIT(1000);
        assert_ok(store_list(f->store, table[i].prefix, collect, &found, &err), &err);
        assert_string_equal(buf_str(&found), table[i].expected);
    }
    assert_int_equal(store_list(f->store, "n/", stop_at_once, NULL, &err), -1);
    assert_string_equal(err.msg, "stopped at n/x");
}

/* Each child runs `work` with a store of its own; their exit codes are added up. */
static int run_children(const char *url, int n, int (*work)(struct store *s, int child))
{
    pid_t pids[32];
    for (int i = 0; i < n; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            struct store *s = open_store(url);
            int code = work(s, i);
            store_free(s);
            _exit(code);
        }
    }
    int sum = 0;
    for (int i = 0; i < n; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        sum += WEXITSTATUS(status);
    }
    return sum;
}

enum { CHILDREN = 8, ROUNDS = 20 };

static int race_to_create(struct store *s, int child)
{
    int won = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char key[32], body[32];
        struct err err = ERR_INIT;
        (void)snprintf(key, sizeof key, "race/%d", i);
        (void)snprintf(body, sizeof body, "%d", child);
        if (store_put(s, key, body, strlen(body), STORE_IF_NONE, NULL, NULL, &err) == 0)
            won++;
        else if (err.class_ != ERR_EXISTS)
            return 200;
    }
    return won;
}

static void one_creator_wins_among_processes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_children(f->url, CHILDREN, race_to_create), ROUNDS);
}

static int count_up(struct store *s, int child)
{
    (void)child;
    for (int done = 0; done < ROUNDS;) {
        struct err err = ERR_INIT;
        char etag[STORE_ETAG_MAX], next[32];
        _cleanup_free_ char *text = NULL;
        if (store_get(s, "counter", 100, &text, NULL, etag, &err) < 0)
            return 1;
        (void)snprintf(next, sizeof next, "%ld", strtol(text, NULL, 10) + 1);
        if (store_put(s, "counter", next, strlen(next), STORE_IF_MATCH, etag, NULL, &err) == 0)
            done++;
        else if (err.class_ != ERR_CONFLICT)
            return 1;
    }
    return 0;
}

static void no_update_is_lost_among_processes(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_ok(store_put(f->store, "counter", "0", 1, STORE_ALWAYS, NULL, NULL, &err), &err);
    assert_int_equal(run_children(f->url, CHILDREN, count_up), 0);
    _cleanup_free_ char *text = NULL;
    assert_ok(store_get(f->store, "counter", 100, &text, NULL, NULL, &err), &err);
    assert_int_equal(strtol(text, NULL, 10), CHILDREN * ROUNDS);
}

static int write_or_read_whole(struct store *s, int child)
{
    enum { LEN = 100000 };
    _cleanup_free_ char *body = xmalloc(LEN);
    memset(body, 'a' + child, LEN);
    for (int i = 0; i < ROUNDS; i++) {
        struct err err = ERR_INIT;
        if (child % 2 == 0) {
            if (store_put(s, "whole", body, LEN, STORE_ALWAYS, NULL, NULL, &err) < 0)
                return 1;
            continue;
        }
        _cleanup_free_ char *data = NULL;
        size_t len;
        if (store_get(s, "whole", LEN, &data, &len, NULL, &err) < 0)
            return err.class_ == ERR_NOTFOUND ? 0 : 1;
        for (size_t k = 0; k < len; k++)
            if (len != LEN || data[k] != data[0])
                return 1;
    }
    return 0;
}

static void readers_never_see_half_an_object(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run_children(f->url, CHILDREN, write_or_read_whole), 0);
}

static void a_killed_writer_leaves_no_lock(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_ok(store_put(f->store, "k", "1", 1, STORE_ALWAYS, NULL, NULL, &err), &err);
    pid_t pid = fork();
    if (pid == 0) { /* hold every lock, then die */
        for (unsigned i = 0; i < 256; i++) {
            char path[200];
            (void)snprintf(path, sizeof path, "%s/root/.trainyard/locks/%02x", f->dir, i);
            int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
            if (fd < 0 || flock(fd, LOCK_EX) < 0)
                _exit(1);
        }
        (void)raise(9);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_ok(store_put(f->store, "k", "2", 1, STORE_ALWAYS, NULL, NULL, &err), &err);
    _cleanup_free_ char *data = NULL;
    assert_ok(store_get(f->store, "k", 10, &data, NULL, NULL, &err), &err);
    assert_string_equal(data, "2");
}

static void a_read_only_source_is_never_written(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *source = xasprintf("%s/source", f->dir);
    assert_ok(fs_mkdir_p(source, &err), &err);
    _cleanup_free_ char *url = xasprintf("file://%s/", source);
    _cleanup_store_ struct store *s = open_store(url);
    _cleanup_buf_ struct buf found = BUF_INIT(100);
    assert_ok(store_list(s, "", collect, &found, &err), &err);
    assert_ok(store_delete(s, "none", &err), &err);
    struct fs_list list = {0};
    assert_ok(fs_list_tree(source, &list, &err), &err);
    assert_int_equal(list.n, 0);
    _cleanup_free_ char *internal = fs_join(source, ".trainyard");
    assert_false(fs_exists(internal));
    fs_list_release(&list);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(put_then_get_gives_the_bytes),
        T(missing_objects_are_not_found_with_exit_66),
        T(maxima_and_short_ranges_are_errors),
        T(unsafe_keys_are_refused),
        T(if_none_loses_with_exists_and_if_match_with_conflict),
        T(files_are_verified_both_ways),
        T(moving_takes_the_file_itself),
        T(lists_are_in_byte_order_of_whole_keys),
        T(one_creator_wins_among_processes),
        T(no_update_is_lost_among_processes),
        T(readers_never_see_half_an_object),
        T(a_killed_writer_leaves_no_lock),
        T(a_read_only_source_is_never_written),
    };
    return cmocka_run_group_tests_name("store file", tests, NULL, NULL);
}
