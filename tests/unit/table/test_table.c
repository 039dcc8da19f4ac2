/* The connection: typed queries, streams in fixed batches, equal sums whatever the threads, deadlines, stopping. */

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "stages/table/table.h"
#include "tests/unit/unit.h"

static char *scratch;

static int setup(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_ok(fs_make_temp_dir("/tmp", "table-test", &scratch, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    assert_ok(fs_remove_tree(scratch, &err), &err);
    scratch = xfree(scratch);
    return 0;
}

static struct table *open_table(int threads, int64_t deadline_ms, bool (*stop)(void *))
{
    struct err err = ERR_INIT;
    struct table *t = NULL;
    assert_ok(table_open(&(struct table_config){.scratch = scratch,
                                                .memory_bytes = 512 << 20,
                                                .threads = threads,
                                                .deadline_ms = deadline_ms,
                                                .stop = stop},
                         &t, &err),
              &err);
    return t;
}

static void test_single_values(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table(1, 0, NULL);
    int64_t i;
    double d;
    bool null;
    _cleanup_free_ char *text = NULL;
    assert_ok(table_exec(t, &err, "CREATE TABLE x AS SELECT range AS a FROM range(%d)", 10), &err);
    assert_ok(table_query_int(t, &i, NULL, &err, "SELECT sum(a) FROM x"), &err);
    assert_int_equal(i, 45);
    assert_ok(table_query_double(t, &d, NULL, &err, "SELECT 0.25"), &err);
    assert_true(d == 0.25);
    assert_ok(table_query_int(t, &i, &null, &err, "SELECT max(a) FROM x WHERE a > 100"), &err);
    assert_true(null);
    assert_ok(table_query_string(t, &text, &err, "SELECT 'it''s'"), &err);
    assert_string_equal(text, "it's");
    assert_true(table_query_int(t, &i, NULL, &err, "SELECT max(a) FROM x WHERE a > 100") < 0);
    assert_non_null(strstr(err.msg, "NULL"));
    err_clear(&err);
    assert_true(table_query_int(t, &i, NULL, &err, "SELECT a FROM x WHERE a > 100") < 0);
    assert_non_null(strstr(err.msg, "no row"));
    err_clear(&err);
    assert_true(table_exec(t, &err, "SELECT nothing FROM x") < 0);
    assert_non_null(strstr(err.msg, "nothing"));
    assert_null(strchr(err.msg, '\n'));
    assert_int_equal(err_exit_code(&err), EXITCODE_DATA);
}

struct seen {
    size_t batches, rows;
    int64_t next;
    double sum;
    bool short_batch;
};

static int look(void *ctx, const struct column_batch *batch, struct err *err)
{
    struct seen *s = ctx;
    if (s->short_batch)
        return err_set(err, ERR_TERMINAL, "a batch followed a short one");
    s->short_batch = batch->n_rows < TABLE_BATCH_ROWS;
    double block = 0;
    for (size_t i = 0; i < batch->n_rows; i++) {
        int64_t key = batch->columns[0].i64[i];
        if (key != s->next++)
            return err_set(err, ERR_TERMINAL, "row %" PRId64 " came at place %" PRId64, key, s->next - 1);
        bool null = batch->columns[1].valid && !batch->columns[1].valid[i];
        if (null != (key % 7 == 0))
            return err_set(err, ERR_TERMINAL, "NULL of row %" PRId64 " is wrong", key);
        if (!null)
            block += batch->columns[1].f64[i];
        else if (batch->columns[1].f64[i] != 0)
            return err_set(err, ERR_TERMINAL, "what lies under a NULL is not 0");
        const struct column *c = &batch->columns[2];
        char expect[32];
        int n = snprintf(expect, sizeof expect, "row %" PRId64, key);
        if (c->offsets[i + 1] - c->offsets[i] != (uint32_t)n ||
            memcmp(c->text + c->offsets[i], expect, (size_t)n) != 0)
            return err_set(err, ERR_TERMINAL, "text of row %" PRId64 " is wrong", key);
    }
    s->sum += block;
    s->batches++;
    s->rows += batch->n_rows;
    return 0;
}

static void test_stream_is_ordered_and_equal_at_1_2_5_threads(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 5};
    double first = 0;
    for (size_t k = 0; k < ARRAY_SIZE(threads); k++) {
        struct err err = ERR_INIT;
        _cleanup_table_ struct table *t = open_table(threads[k], 0, NULL);
        assert_ok(
            table_exec(
                t, &err,
                "CREATE TABLE x AS SELECT range AS a, CASE WHEN range %% 7 = 0 THEN NULL ELSE sin(range) END AS b FROM range(300000) ORDER BY hash(range)"),
            &err);
        struct seen seen = {0};
        static const enum column_type types[] = {COLUMN_I64, COLUMN_F64, COLUMN_STR};
        assert_ok(table_stream(t, "SELECT a, b, 'row ' || a FROM x ORDER BY a -- comment", types, 3, look,
                               &seen, &err),
                  &err);
        assert_int_equal(seen.rows, 300000);
        assert_int_equal(seen.batches, 5);
        if (k == 0)
            first = seen.sum;
        else if (memcmp(&first, &seen.sum, sizeof first) != 0)
            fail_msg("sum with %d threads is %.17g, with %d %.17g", threads[k], seen.sum, threads[0], first);
    }
}

static int stop_at_once(void *ctx, const struct column_batch *batch, struct err *err)
{
    (void)batch;
    ++*(int *)ctx;
    return err_set(err, ERR_TERMINAL, "enough");
}

static void test_callback_ends_the_stream(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table(2, 0, NULL);
    int calls = 0;
    assert_true(table_stream(t, "SELECT range FROM range(1000000)", &(enum column_type){COLUMN_I64}, 1,
                             stop_at_once, &calls, &err) < 0);
    assert_string_equal(err.msg, "enough");
    assert_int_equal(calls, 1);
    err_clear(&err);
    int64_t n;
    assert_ok(table_query_int(t, &n, NULL, &err, "SELECT 7"), &err); /* the connection is usable afterwards */
    assert_int_equal(n, 7);
}

#define SLOW "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range %% 7 = b.range %% 3"

static void test_deadline(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table(1, 300, NULL);
    assert_ok(table_lock(t, &err), &err);
    int64_t n;
    assert_true(table_query_int(t, &n, NULL, &err, SLOW) < 0);
    assert_string_equal(err.reason, "deadline");
    assert_int_equal(err_exit_code(&err), EXITCODE_DATA);
}

static bool stopping;

static bool is_stopping(void *ctx)
{
    (void)ctx;
    return stopping;
}

static void test_stop(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table(1, -1, is_stopping);
    stopping = true;
    int64_t n;
    assert_true(table_query_int(t, &n, NULL, &err, SLOW) < 0);
    assert_string_equal(err.reason, "stopped");
    assert_int_equal(err_exit_code(&err), EXITCODE_TEMPFAIL);
}

static void test_describe_and_quotes(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table(1, 0, NULL);
    _cleanup_free_ char *name = table_quote_ident("a \"b\" c");
    assert_string_equal(name, "\"a \"\"b\"\" c\"");
    assert_ok(table_exec(t, &err, "CREATE TABLE %s (\"x y\" INTEGER, t TIMESTAMP)", name), &err);
    _cleanup_json_ cJSON *columns = NULL;
    assert_ok(table_describe(t, name, &columns, &err), &err);
    _cleanup_buf_ struct buf text = BUF_INIT(1000);
    assert_ok(json_canonical(columns, &text, &err), &err);
    assert_string_equal(text.data,
                        "[{\"name\":\"x y\",\"type\":\"INTEGER\"},{\"name\":\"t\",\"type\":\"TIMESTAMP\"}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_single_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_is_ordered_and_equal_at_1_2_5_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_callback_ends_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_describe_and_quotes, setup, teardown),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
