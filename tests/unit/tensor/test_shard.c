/* Shards: round trip, mismatched tensors refused, listing of a directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka needs the three above first */
#include <cmocka.h>
#include <string.h>

#include "common/base/fs.h"
#include "stages/tensor/shard.h"

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return fs_make_temp_dir("/tmp", "test-shard", &dir, &err);
}

static int drop_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

static const float dense[] = {0, 1, 2, 3, 4, 5}, label[] = {0, 1, 0}, weight[] = {1, 2, 1};
static const int32_t cat[] = {7, 8, 9}, codes[] = {1, 0, 2};
static const int64_t group[] = {1, 1, 2}, key[] = {-5, 6, 7};

static void a_shard_is_read_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *sub = fs_join(dir, "train"), *a = fs_join(sub, "00000.safetensors"),
                        *b = fs_join(sub, "00001.safetensors");
    struct shard_carry carry[] = {{.name = "country", .codes = codes}};
    struct shard in = {.n = 3,
                       .dense_width = 2,
                       .cat_width = 1,
                       .label_width = 1,
                       .dense = dense,
                       .cat = cat,
                       .label = label,
                       .weight = weight,
                       .group = group,
                       .row_key = key,
                       .carry = carry,
                       .n_carry = 1};
    assert_int_equal(fs_mkdir_p(sub, &err), 0);
    assert_int_equal(shard_write(a, &in, &err), 0);
    _cleanup_shard_ struct shard *out = NULL;
    if (shard_open(a, &out, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(out->n, 3);
    assert_int_equal(out->dense_width, 2);
    assert_memory_equal(out->dense, dense, sizeof dense);
    assert_memory_equal(out->cat, cat, sizeof cat);
    assert_memory_equal(out->label, label, sizeof label);
    assert_memory_equal(out->weight, weight, sizeof weight);
    assert_memory_equal(out->group, group, sizeof group);
    assert_memory_equal(out->row_key, key, sizeof key);
    assert_int_equal(out->n_carry, 1);
    assert_string_equal(out->carry[0].name, "country");
    assert_memory_equal(out->carry[0].codes, codes, sizeof codes);

    /* Without the optional parts. */
    struct shard bare = {.n = 2, .cat_width = 1, .cat = cat};
    assert_int_equal(shard_write(b, &bare, &err), 0);
    _cleanup_shard_list_ struct shard_list list = {0};
    assert_int_equal(shard_list_open(sub, &list, &err), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.rows[0], 3);
    assert_int_equal(list.total_rows, 5);
    _cleanup_shard_ struct shard *second = NULL;
    assert_int_equal(shard_open(list.paths[1], &second, &err), 0);
    assert_null(second->dense);
    assert_null(second->weight);
}

static void disagreeing_tensors_are_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, "bad.safetensors");
    const struct safetensors_tensor t[] =
        {{.name = "dense", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {3, 2}, .data = dense},
         {.name = "label", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {2, 1}, .data = label}};
    assert_int_equal(safetensors_write(path, t, 2, NULL, &err), 0);
    struct shard *s;
    assert_int_equal(shard_open(path, &s, &err), -1);
    if (!strstr(err.msg, "tensor 'label': expected F32[3, any], found F32[2, 1]"))
        fail_msg("found: %s", err.msg);
    assert_int_equal(err_exit_code(&err), 65);
}

static void an_empty_directory_is_an_error(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *sub = fs_join(dir, "none");
    assert_int_equal(fs_mkdir_p(sub, &err), 0);
    struct shard_list list;
    assert_int_equal(shard_list_open(sub, &list, &err), -1);
    assert_int_equal(err_exit_code(&err), 65);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_is_read_back),
        cmocka_unit_test(disagreeing_tensors_are_refused),
        cmocka_unit_test(an_empty_directory_is_an_error),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
