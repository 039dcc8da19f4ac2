/* Windows over earlier rows: against a join of the test's own, and what may not stand in them. */
#include "tests/unit/unit.h"

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "stages/table/pointintime.h"

static struct table *table;
static char *scratch;

static int setup(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_ok(fs_make_temp_dir("/tmp", "test-pointintime", &scratch, &err), &err);
    assert_ok(table_open(&(struct table_config){.scratch = scratch, .memory_bytes = 256 << 20, .threads = 2},
                         &table, &err),
              &err);
    /* Times repeat, within users and between them. */
    assert_ok(
        table_exec(
            table, &err,
            "CREATE TABLE events AS SELECT range AS id, range %% 7 AS u, TIMESTAMP '2026-01-01' + to_seconds((range * 7919) %% 500) AS time, "
            "(range * 31) %% 3 = 0 AS clicked, (range * 17) %% 101 AS amount, ((range * 17) %% 101) / 3.0::DOUBLE AS price FROM range(3000)"),
        &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    table_free(table);
    assert_ok(fs_remove_tree(scratch, &err), &err);
    free(scratch);
    return 0;
}

static void expect_same(const char *sql, const char *by_join)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *text = NULL;
    int64_t wrong, rows;
    assert_ok(pointintime_rewrite(table, sql, "events", "time", &text, &err), &err);
    assert_ok(
        table_query_int(
            table, &wrong, NULL, &err,
            "SELECT count(*) FROM (SELECT id, (%s) AS x FROM events) w JOIN (SELECT a.id, %s AS x FROM events a LEFT JOIN events b ON a.u = b.u AND b.time < a.time "
            "GROUP BY a.id) j USING (id) WHERE w.x IS DISTINCT FROM j.x",
            text, by_join),
        &err);
    assert_ok(table_query_int(table, &rows, NULL, &err,
                              "SELECT count(*) FROM (SELECT (%s) AS x FROM events) WHERE x IS NOT NULL",
                              text),
              &err);
    if (wrong || rows < 2000)
        fail_msg("%s: %lld of 3000 rows differ, %lld have a value", text, (long long)wrong, (long long)rows);
}

static void windows_see_strictly_earlier_rows(void **state)
{
    (void)state;
    expect_same("count(*) OVER (PARTITION BY u)", "count(b.id)");
    expect_same("sum(amount) over (partition by u)", "sum(b.amount)");
    expect_same("avg(amount) OVER (PARTITION BY u)", "avg(b.amount)");
    expect_same("coalesce(max(amount) OVER (PARTITION BY u), -1) * 2", "coalesce(max(b.amount), -1) * 2");
    expect_same("sum(clicked::INT) OVER (PARTITION BY u) / count(*) OVER (PARTITION BY u)",
                "sum(b.clicked::INT) / nullif(count(b.id), 0)");
    expect_same("count(DISTINCT amount) OVER (PARTITION BY u)", "count(DISTINCT b.amount)");
    expect_same("sum(CAST(price AS DECIMAL(18, 4))) OVER (PARTITION BY u)",
                "sum(CAST(b.price AS DECIMAL(18, 4)))");
    expect_same("count(*) FILTER (WHERE clicked) OVER (PARTITION BY u)",
                "count(b.id) FILTER (WHERE b.clicked)");
}

static void what_could_see_the_future_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *time, *message;
    } cases[] = {
        {"count(*) OVER (PARTITION BY u ORDER BY time)", "time", "write OVER (PARTITION BY …) only"},
        {"count(*) OVER (PARTITION BY u ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)", "time",
         "write OVER (PARTITION BY …) only"},
        {"lead(amount) OVER (PARTITION BY u)", "time", "windows may compute"},
        {"lag(amount) OVER (PARTITION BY u)", "time", "windows may compute"},
        {"row_number() OVER (PARTITION BY u)", "time", "windows may compute"},
        {"stddev(amount) OVER (PARTITION BY u)", "time", "windows may compute"},
        {"sum(price) OVER (PARTITION BY u)", "time", "cast the argument"},
        {"amount + 1", "time", "there is no window"},
        {"(SELECT max(amount) FROM events)", "time", "sub-select"},
        {"max(amount)", "time", "aggregate"},
        {"count(*) OVER (PARTITION BY u) + random()", "time", "its value changes from run to run"},
        {"count(*) OVER (PARTITION BY u) + 9007199254740993", "time", "beyond 2^53"},
        {"count(*) OVER (PARTITION BY u)", "amount", "expected a TIMESTAMP"},
        {"count(*) OVER (PARTITION BY u)", "when", "when"},
        {"count(*) OVER (PARTITION BY u), 1", "time", "exactly one expression"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        char *text = NULL;
        if (pointintime_rewrite(table, cases[i].sql, "events", cases[i].time, &text, &err) == 0)
            fail_msg("%s: accepted as %s", cases[i].sql, text);
        assert_contains(err.msg, cases[i].message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_see_strictly_earlier_rows),
        cmocka_unit_test(what_could_see_the_future_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
