/* The order of training rows: every row once an epoch, mixed across shards, another order each epoch, the same for any
 * way of cutting it into batches. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "stages/tensor/shard.h"
#include "stages/train-ddp/dataset.h"

enum { ROWS = 1050, PER_SHARD = 100, SHARDS = 11 };

static char *dir;

/* Row i has dense {i}, cat {i, 7}, label i mod 2, weight i + 1. */
static int make_shards(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    if (fs_make_temp_dir("/tmp", "test-dataset", &dir, &err) < 0)
        return -1;
    for (int k = 0; k < SHARDS; k++) {
        int n = k == SHARDS - 1 ? ROWS - k * PER_SHARD : PER_SHARD;
        float dense[PER_SHARD], label[PER_SHARD], weight[PER_SHARD];
        int32_t cat[PER_SHARD * 2];
        for (int i = 0; i < n; i++) {
            int row = k * PER_SHARD + i;
            dense[i] = (float)row;
            label[i] = (float)(row % 2);
            weight[i] = (float)(row + 1);
            cat[2 * i] = row;
            cat[2 * i + 1] = 7;
        }
        struct shard s = {.n = (size_t)n,
                          .dense_width = 1,
                          .cat_width = 2,
                          .label_width = 1,
                          .dense = dense,
                          .cat = cat,
                          .label = label,
                          .weight = weight};
        _cleanup_free_ char *name = xasprintf("%05d.safetensors", k), *path = fs_join(dir, name);
        if (shard_write(path, &s, &err) < 0)
            return -1;
    }
    return 0;
}

static int drop_shards(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

/* The rows of an epoch, read in batches of `step`; checks that all columns are of one row. */
static void read_epoch(struct dataset *d, int64_t epoch, size_t step, int32_t *ret)
{
    float dense[ROWS], label[ROWS], weight[ROWS];
    int32_t cat[ROWS * 2];
    for (size_t at = 0; at < ROWS; at += step) {
        struct batch_rows b = {.n = ROWS - at < step ? ROWS - at : step,
                               .dense = dense,
                               .label = label,
                               .weight = weight,
                               .cat = cat};
        dataset_fill(d, epoch, (int64_t)at, &b);
        for (size_t i = 0; i < b.n; i++) {
            int32_t row = cat[2 * i];
            assert_true(dense[i] == (float)row && label[i] == (float)(row % 2) &&
                        weight[i] == (float)(row + 1) && cat[2 * i + 1] == 7);
            ret[at + i] = row;
        }
    }
}

static void an_epoch_holds_every_row_once(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_dataset_ struct dataset *d = NULL, *other = NULL;
    assert_ok(dataset_open(dir, 17, 1, 2, &d, &err), &err);
    assert_ok(dataset_open(dir, 18, 1, 2, &other, &err), &err);
    assert_int_equal(dataset_rows(d), ROWS);
    int32_t first[ROWS], again[ROWS], second[ROWS], seeded[ROWS];
    read_epoch(d, 0, 64, first);
    read_epoch(d, 1, 333, second);
    read_epoch(d, 0, 7, again);
    read_epoch(other, 0, ROWS, seeded);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, second, sizeof first);
    assert_memory_not_equal(first, seeded, sizeof first);
    bool seen[ROWS] = {false};
    size_t moved = 0, shards = 0;
    bool shard_seen[SHARDS] = {false};
    for (size_t i = 0; i < ROWS; i++) {
        assert_false(seen[first[i]]);
        seen[first[i]] = true;
        moved += (size_t)first[i] != i;
        if (i < DATASET_WINDOW * PER_SHARD - PER_SHARD / 2) /* a window, even with the short shard in it */
            shard_seen[first[i] / PER_SHARD] = true;
    }
    for (size_t k = 0; k < SHARDS; k++)
        shards += shard_seen[k];
    assert_true(moved > ROWS * 9 / 10);
    assert_int_equal(shards, DATASET_WINDOW);
}

static void workers_slices_make_the_whole(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_dataset_ struct dataset *d = NULL;
    assert_ok(dataset_open(dir, 17, 1, 2, &d, &err), &err);
    int32_t whole[ROWS], parts[ROWS];
    read_epoch(d, 3, ROWS, whole);
    float dense[ROWS], label[ROWS], weight[ROWS];
    int32_t cat[ROWS * 2];
    static const size_t cuts[] = {0, 350, 351, 1000, ROWS};
    for (size_t w = 4; w-- > 0;) { /* in any order */
        struct batch_rows b = {.n = cuts[w + 1] - cuts[w],
                               .dense = dense,
                               .label = label,
                               .weight = weight,
                               .cat = cat};
        dataset_fill(d, 3, (int64_t)cuts[w], &b);
        for (size_t i = 0; i < b.n; i++)
            parts[cuts[w] + i] = cat[2 * i];
    }
    assert_memory_equal(whole, parts, sizeof whole);
    struct batch_rows b = {.n = 5, .dense = dense, .label = label, .weight = weight, .cat = cat};
    dataset_fill_in_order(d, 98, &b);
    for (int i = 0; i < 5; i++)
        assert_int_equal(cat[2 * i], 98 + i);
    dataset_fill(d, 3, 0, &b);
    assert_int_equal(cat[0], whole[0]);
}

static void widths_must_fit(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct dataset *d = NULL;
    assert_fails(dataset_open(dir, 17, 2, 2, &d, &err), &err, ERR_INVALID,
                 "expected 2 dense and 2 categorical columns");
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_holds_every_row_once),
        cmocka_unit_test(workers_slices_make_the_whole),
        cmocka_unit_test(widths_must_fit),
    };
    return cmocka_run_group_tests(tests, make_shards, drop_shards);
}
