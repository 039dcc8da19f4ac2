/* A feature spec's raw expressions over a table: order, types, NULLs, serving values, extras, symbolic links to files. */

#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "stages/table/rawcolumns.h"
#include "stages/tensor/safetensors.h"
#include "tests/unit/unit.h"

static const char document[] =
    "{\"version\":1,\"label\":{\"column\":\"y\",\"type\":\"binary\"},\"rowKey\":[\"id\"],\"carry\":[],"
    "\"raw\":[{\"name\":\"price\",\"sql\":\"ln(1 + price) -- a comment\",\"type\":\"f64\"},"
    "{\"name\":\"place\",\"sql\":\"\\\"the place\\\"\",\"type\":\"i64\",\"servingSql\":\"1\"},"
    "{\"name\":\"word\",\"sql\":\"word\",\"type\":\"str\"}],"
    "\"features\":[{\"name\":\"price\",\"raw\":\"price\",\"numeric\":{\"fill\":0,\"missingFlag\":false,\"transform\":\"none\",\"offset\":0,\"scale\":1}},"
    "{\"name\":\"place\",\"raw\":\"place\",\"categorical\":{\"values\":{\"from\":0,\"to\":9}}},"
    "{\"name\":\"word\",\"raw\":\"word\",\"categorical\":{\"values\":[\"a\",\"b\"]}}]}";

struct fixture {
    char *dir, *scratch, *outside;
    struct featurespec *spec;
    struct table *table;
};

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(fs_make_temp_dir("/tmp", "rawcolumns-test", &f->dir, &err), &err);
    f->scratch = fs_join(f->dir, "scratch");
    f->outside = fs_join(f->dir, "store");
    _cleanup_free_ char *json = fs_join(f->dir, "feature-spec.json"),
                        *words = fs_join(f->dir, "vocabularies.safetensors");
    assert_ok(fs_mkdir_p(f->scratch, &err), &err);
    assert_ok(fs_mkdir_p(f->outside, &err), &err);
    assert_ok(fs_write_atomic(json, document, strlen(document), &err), &err);
    assert_ok(safetensors_write(words, NULL, 0, NULL, &err), &err);
    assert_ok(featurespec_load(f->dir, &f->spec, &err), &err);
    assert_ok(table_open(&(struct table_config){.scratch = f->scratch,
                                                .memory_bytes = 256 << 20,
                                                .threads = 2},
                         &f->table, &err),
              &err);
    assert_ok(
        table_exec(
            f->table, &err,
            "CREATE TABLE x AS SELECT range AS id, CASE WHEN range %% 5 = 0 THEN NULL ELSE range * 0.5 END AS price, "
            "CAST(range %% 10 AS INTEGER) AS \"the place\", CASE range %% 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END AS word FROM "
            "range(70000)"),
        &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    featurespec_free(f->spec);
    table_free(f->table);
    assert_ok(fs_remove_tree(f->dir, &err), &err);
    free(f->dir);
    free(f->scratch);
    free(f->outside);
    free(f);
    return 0;
}

struct seen {
    bool serving;
    int64_t next;
    struct featurebatch batch;
    const struct featurespec *spec;
};

static int look(void *ctx, const struct column_batch *b, struct err *err)
{
    struct seen *s = ctx;
    static const char *const names[] = {"price", "place", "word", "key"};
    if (b->n_columns != 4)
        return err_set(err, ERR_TERMINAL, "%zu columns", b->n_columns);
    for (size_t c = 0; c < 4; c++) {
        if (strcmp(b->columns[c].name, names[c]) != 0)
            return err_set(err, ERR_TERMINAL, "column %zu is %s", c, b->columns[c].name);
    }
    for (size_t i = 0; i < b->n_rows; i++, s->next--) {
        int64_t key = b->columns[3].i64[i], place = b->columns[1].i64[i];
        bool price_null = b->columns[0].valid && !b->columns[0].valid[i],
             word_null = b->columns[2].valid && !b->columns[2].valid[i];
        if (key != s->next || price_null != (key % 5 == 0) || word_null != (key % 3 == 2) ||
            place != (s->serving ? 1 : key % 10))
            return err_set(err, ERR_TERMINAL, "row %lld is wrong", (long long)key);
    }
    /* What comes out is what a spec takes in. */
    return featurespec_apply(s->spec, b, &s->batch, err);
}

static void stream(struct fixture *f, bool serving, const char *relation)
{
    struct err err = ERR_INIT;
    struct seen seen = {.serving = serving, .next = 69999, .spec = f->spec};
    static const struct rawcolumns_extra key = {"key", "id", COLUMN_I64};
    assert_ok(rawcolumns_stream(f->table, f->spec, serving, relation, "id DESC", &key, 1, look, &seen, &err),
              &err);
    assert_int_equal(seen.next, -1);
    featurebatch_release(&seen.batch);
}

static void test_logged_and_serving_values(void **state)
{
    stream(*state, false, "x");
    stream(*state, true, "x");
}

/* Inputs on a file:// store are links from scratch into the store: they are followed only to where reading is allowed. */
static void test_links_into_a_store(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *target = fs_join(f->outside, "part.parquet"),
                        *link = fs_join(f->scratch, "part.parquet");
    _cleanup_free_ char *aside = fs_join(f->scratch, "aside.parquet"),
                        *relation = xasprintf("read_parquet('%s')", link);
    assert_ok(table_exec(f->table, &err, "COPY x TO '%s' (FORMAT parquet)", aside), &err);
    assert_int_equal(rename(aside, target), 0);
    assert_int_equal(symlink(target, link), 0);
    assert_ok(table_lock(f->table, &err), &err);
    assert_true(table_exec(f->table, &err, "SELECT * FROM %s", relation) < 0);
    assert_non_null(strstr(err.msg, "Permission"));
    err_clear(&err);
    table_free(f->table);
    const char *const readable[] = {f->outside, NULL};
    const struct table_config config = {.scratch = f->scratch,
                                        .readable = readable,
                                        .memory_bytes = 256 << 20,
                                        .threads = 2};
    assert_ok(table_open(&config, &f->table, &err), &err);
    assert_ok(table_lock(f->table, &err), &err);
    stream(f, false, relation);
}

static void test_a_wrong_expression_is_named(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct seen seen = {.spec = f->spec};
    static const struct rawcolumns_extra key = {"key", "no_such_column", COLUMN_I64};
    assert_true(rawcolumns_stream(f->table, f->spec, false, "x", NULL, &key, 1, look, &seen, &err) < 0);
    assert_non_null(strstr(err.msg, "no_such_column"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_logged_and_serving_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_links_into_a_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_wrong_expression_is_named, setup, teardown),
    };
    return cmocka_run_group_tests_name("rawcolumns", tests, NULL, NULL);
}
