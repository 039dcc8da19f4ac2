/* The SQL form of the named hashes gives what the C form gives. */

#include <inttypes.h>

#include "common/base/fs.h"
#include "stages/table/table.h"
#include "stages/tensor/featurehash.h"
#include "tests/unit/unit.h"

struct check {
    size_t rows, wrong;
};

static int each(void *ctx, const struct column_batch *b, struct err *err)
{
    (void)err;
    struct check *c = ctx;
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct column *text = &b->columns[1];
        uint64_t number = featurehash_i64(b->columns[0].i64[i], 7);
        uint64_t word =
            featurehash_text(text->text + text->offsets[i], text->offsets[i + 1] - text->offsets[i], number);
        bool null = b->columns[0].i64[i] % 5 == 0;
        c->wrong += b->columns[2].i64[i] != (int64_t)number;
        c->wrong +=
            null ? b->columns[3].valid && b->columns[3].valid[i] : b->columns[3].i64[i] != (int64_t)word;
        c->rows++;
    }
    return 0;
}

static void sql_and_c_agree(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *scratch = NULL;
    assert_ok(fs_make_temp_dir("/tmp", "test-hashsql", &scratch, &err), &err);
    _cleanup_table_ struct table *t = NULL;
    assert_ok(table_open(&(struct table_config){.scratch = scratch, .memory_bytes = 256 << 20, .threads = 2},
                         &t, &err),
              &err);
    assert_ok(table_lock(t, &err), &err);
    static const enum column_type types[] = {COLUMN_I64, COLUMN_STR, COLUMN_I64, COLUMN_I64};
    struct check c = {0};
    assert_ok(
        table_stream(
            t,
            "SELECT n, w, trainyard_xxh64(n, 7), CASE WHEN n % 5 <> 0 THEN trainyard_xxh64_text(w, trainyard_xxh64(n, 7)) END "
            "FROM (SELECT range * 1000003 - 500000000 AS n, repeat('é', (range % 20)::INT) || range AS w FROM range(20000))",
            types, 4, each, &c, &err),
        &err);
    assert_int_equal(c.rows, 20000);
    assert_int_equal(c.wrong, 0);
    int64_t nulls;
    assert_ok(
        table_query_int(
            t, &nulls, NULL, &err,
            "SELECT count(*) FROM (SELECT trainyard_xxh64(CASE WHEN range %% 3 = 0 THEN range END, 0) AS h FROM range(300)) WHERE h IS NULL"),
        &err);
    assert_int_equal(nulls, 200);
    assert_ok(fs_remove_tree(scratch, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sql_and_c_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
