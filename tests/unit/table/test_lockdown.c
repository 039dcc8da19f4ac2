/* User SQL cannot reach anything but the step's own tables: refused by shape, and by the locked engine as well. */

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "stages/table/table.h"
#include "tests/unit/unit.h"

/* A mounted secret, a readable scratch, and a locked table `x`. */
struct fixture {
    char *dir, *scratch, *secret;
    struct table *table;
};

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(fs_make_temp_dir("/tmp", "lockdown-test", &f->dir, &err), &err);
    f->scratch = fs_join(f->dir, "scratch");
    _cleanup_free_ char *secrets = fs_join(f->dir, "secrets");
    f->secret = fs_join(secrets, "AWS_SECRET_ACCESS_KEY");
    assert_ok(fs_mkdir_p(f->scratch, &err), &err);
    assert_ok(fs_mkdir_p(secrets, &err), &err);
    assert_ok(fs_write_atomic(f->secret, "hunter2\n", 8, &err), &err);
    assert_ok(table_open(&(struct table_config){.scratch = f->scratch,
                                                .memory_bytes = 256 << 20,
                                                .threads = 1},
                         &f->table, &err),
              &err);
    assert_ok(table_exec(f->table, &err,
                         "CREATE TABLE x AS SELECT range AS a, 'u' || range AS \"user\" FROM range(10)"),
              &err);
    assert_ok(table_lock(f->table, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    table_free(f->table);
    assert_ok(fs_remove_tree(f->dir, &err), &err);
    free(f->dir);
    free(f->scratch);
    free(f->secret);
    free(f);
    return 0;
}

static void test_locked_engine_refuses(void **state)
{
    struct fixture *f = *state;
    const char *const statements[] = {
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd', header = false)",
        "SELECT * FROM '/etc/passwd.csv'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('%s/../secrets/AWS_SECRET_ACCESS_KEY')",
        "SELECT * FROM read_blob('%s/../secrets/*')",
        "ATTACH '/tmp/other.db'",
        "ATTACH '%s/../other.db' AS other",
        "COPY (SELECT 1) TO '/tmp/lockdown-escape.csv'",
        "COPY x TO '%s/../escape.csv'",
        "EXPORT DATABASE '/tmp/lockdown-escape'",
        "INSTALL httpfs",
        "INSTALL httpfs FROM 'http://127.0.0.1:1/'",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET memory_limit = '100GB'",
        "SET threads = 64",
        "RESET lock_configuration",
        "PRAGMA enable_object_cache",
        "SET temp_directory = '/etc'",
    };
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
        struct err err = ERR_INIT;
        _cleanup_free_ char *sql = xstrdup(statements[i]);
        char *mark = strstr(sql, "%s");
        if (mark) {
            *mark = '\0';
            char *whole = xasprintf("%s%s%s", sql, f->scratch, mark + 2);
            free(sql);
            sql = whole;
        }
        if (table_exec(f->table, &err, "%s", sql) == 0 && strncmp(sql, "PRAGMA", 6) != 0)
            fail_msg("accepted after the lock: %s", sql);
    }
    assert_false(fs_exists("/tmp/lockdown-escape.csv"));
    assert_false(fs_exists("/tmp/lockdown-escape"));
}

enum kind { EXPRESSION, AGGREGATE, SELECT };

static int check(struct table *t, enum kind kind, const char *sql, struct err *err)
{
    switch (kind) {
    case EXPRESSION:
        return table_check_expression(t, sql, true, err);
    case AGGREGATE:
        return table_check_aggregate(t, sql, err);
    default:
        return table_check_select(t, sql, err);
    }
}

static void test_texts(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum kind kind;
        bool accepted;
        const char *sql;
    } cases[] = {
        {EXPRESSION, true, "a in (0, 1)"},
        {EXPRESSION, true, "ln(1 + a) > 0 and regexp_matches(\"user\", '^u')"},
        {EXPRESSION, true, "a > 0 -- a comment"},
        {EXPRESSION, true, "case when a is null then 0 else cast(a as double) end"},
        {EXPRESSION, true, "list_transform([1, 2], lambda x: x + 1)[1]"},
        {EXPRESSION, true, "extract(hour from time '10:00:00')"},
        {EXPRESSION, true, "a between 1 and 10"},
        {EXPRESSION, false, ""},
        {EXPRESSION, false, "  \n"},
        {EXPRESSION, false, "a, a"},
        {EXPRESSION, false, "a as b"},
        {EXPRESSION, false, "a b"},
        {EXPRESSION, false, "a from x"},
        {EXPRESSION, false, "a) from read_text('/etc/passwd') where (true"},
        {EXPRESSION, false, "1) + (2"},
        {EXPRESSION, false, "1); drop table x; select (1"},
        {EXPRESSION, false, "1; select 2"},
        {EXPRESSION, false, "/* never closed"},
        {EXPRESSION, false, "(select max(a) from x)"},
        {EXPRESSION, false, "exists (select 1)"},
        {EXPRESSION, false, "a in (select a from x)"},
        {EXPRESSION, false, "sum(a)"},
        {EXPRESSION, false, "count(*)"},
        {EXPRESSION, false, "sum(a) over ()"},
        {EXPRESSION, false, "row_number() over ()"},
        {EXPRESSION, false, "*"},
        {EXPRESSION, false, "columns(*)"},
        {EXPRESSION, false, "#1"},
        {EXPRESSION, false, "$1"},
        {EXPRESSION, false, "?"},
        {EXPRESSION, false, "now()"},
        {EXPRESSION, false, "a > today()"},
        {EXPRESSION, false, "current_date"},
        {EXPRESSION, false, "CURRENT_TIMESTAMP"},
        {EXPRESSION, false, "random() < 0.5"},
        {EXPRESSION, false, "uuid()"},
        {EXPRESSION, false, "ago(interval 1 day)"},
        {EXPRESSION, false, "current_setting('temp_directory')"},
        {EXPRESSION, false, "getvariable('x')"},
        {EXPRESSION, false, "system.main.abs(a)"},
        {EXPRESSION, false, "copy x to '/tmp/y'"},
        {EXPRESSION, false, "set threads = 4"},
        {AGGREGATE, true, "count(distinct a)"},
        {AGGREGATE, true, "sum(a) filter (where a > 2) / count(*)"},
        {AGGREGATE, false, "(select count(*) from x)"},
        {AGGREGATE, false, "max(random())"},
        {AGGREGATE, false, "count(*) from x"},
        {SELECT, true, "select a, count(*) from x group by a order by a"},
        {SELECT, true, "with y as (select a from x) select * from y join x using (a)"},
        {SELECT, true, "select * from range(10)"},
        {SELECT, false, "select * from read_csv('/etc/passwd')"},
        {SELECT, false, "select * from '/etc/passwd.csv'"},
        {SELECT, false, "select * from (select * from glob('/etc/*'))"},
        {SELECT, false, "select * from information_schema.tables"},
        {SELECT, false, "select * from duckdb_settings()"},
        {SELECT, false, "select now()"},
        {SELECT, false, "attach '/tmp/x.db'"},
        {SELECT, false, "copy (select 1) to '/tmp/x.csv'"},
        {SELECT, false, "install httpfs"},
        {SELECT, false, "set threads = 4"},
        {SELECT, false, "select 1; select 2"},
        {SELECT, false, "insert into x values (1, 'a')"},
        {SELECT, false, "pragma database_list"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = ERR_INIT;
        bool accepted = check(f->table, cases[i].kind, cases[i].sql, &err) == 0;
        if (accepted != cases[i].accepted)
            fail_msg("\"%s\": expected %s, found %s %s", cases[i].sql,
                     cases[i].accepted ? "accepted" : "refused", accepted ? "accepted" : "refused", err.msg);
        if (!accepted && (err_exit_code(&err) != EXITCODE_CONFIG || !err.msg[0]))
            fail_msg("\"%s\": expected exit 78 and a message, found %d \"%s\"", cases[i].sql,
                     err_exit_code(&err), err.msg);
    }
}

static void test_volatile_may_be_allowed(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    assert_ok(table_check_expression(f->table, "random() < 0.5", false, &err), &err);
}

static void test_too_long_and_too_deep(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char *text = xmalloc(70001);
    memset(text, '1', 70000);
    text[70000] = '\0';
    assert_true(table_check_expression(f->table, text, true, &err) < 0);
    assert_non_null(strstr(err.msg, "65536"));
    err_clear(&err);
    text[0] = '\0';
    size_t n = 0;
    for (int i = 0; i < 2000; i++, n += 2)
        memcpy(text + n, "1+", 3);
    memcpy(text + n, "1", 2);
    assert_true(table_check_expression(f->table, text, true, &err) < 0);
    assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_locked_engine_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_volatile_may_be_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long_and_too_deep, setup, teardown),
    };
    return cmocka_run_group_tests_name("lockdown", tests, NULL, NULL);
}
