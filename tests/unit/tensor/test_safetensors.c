/* Safetensors files: what is written is read back, layout as promised, hostile headers refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka needs the three above first */
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "stages/tensor/safetensors.h"

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return fs_make_temp_dir("/tmp", "test-safetensors", &dir, &err);
}

static int drop_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

static void written_tensors_are_read_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, "a.safetensors");
    const uint8_t bytes[] = {1, 2, 3};
    const float f32[] = {1.5F, -2, 3, 4, 5, 6};
    const int64_t i64[] = {INT64_MIN, 7};
    const struct safetensors_tensor in[] = {
        {.name = "bytes", .dtype = SAFETENSORS_U8, .rank = 1, .shape = {3}, .data = bytes},
        {.name = "b \"quoted\"", .dtype = SAFETENSORS_F32, .rank = 2, .shape = {2, 3}, .data = f32},
        {.name = "a", .dtype = SAFETENSORS_F32, .rank = 0, .data = f32},
        {.name = "empty", .dtype = SAFETENSORS_I32, .rank = 2, .shape = {0, 4}},
        {.name = "wide", .dtype = SAFETENSORS_I64, .rank = 1, .shape = {2}, .data = i64},
    };
    _cleanup_json_ cJSON *metadata = json_object();
    json_add_string(metadata, "format", "test");
    assert_int_equal(safetensors_write(path, in, ARRAY_SIZE(in), metadata, &err), 0);

    _cleanup_safetensors_ struct safetensors *f = NULL;
    if (safetensors_open(path, &f, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(safetensors_count(f), 5);
    /* Largest element type first, then by name. */
    const char *const order[] = {"wide", "a", "b \"quoted\"", "empty", "bytes"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(safetensors_at(f, i)->name, order[i]);
    const struct safetensors_tensor *t;
    assert_int_equal(safetensors_get(f, "b \"quoted\"", SAFETENSORS_F32, 2, (const int64_t[]){2, -1}, &t,
                                     &err),
                     0);
    assert_memory_equal(t->data, f32, sizeof f32);
    assert_int_equal((uintptr_t)t->data % 4, 0);
    assert_memory_equal(safetensors_find(f, "wide")->data, i64, sizeof i64);
    assert_null(safetensors_find(f, "nobody"));
    assert_string_equal(cJSON_GetObjectItem(safetensors_metadata(f), "format")->valuestring, "test");

    assert_int_equal(safetensors_get(f, "wide", SAFETENSORS_F32, 1, (const int64_t[]){2}, &t, &err), -1);
    assert_non_null(strstr(err.msg, "expected F32[2], found I64[2]"));
}

static void header_is_padded_and_files_are_reproducible(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *a = fs_join(dir, "p1"), *b = fs_join(dir, "p2");
    const float x[] = {1, 2}, y[] = {3};
    struct safetensors_tensor in[] =
        {{.name = "x", .dtype = SAFETENSORS_F32, .rank = 1, .shape = {2}, .data = x},
         {.name = "y", .dtype = SAFETENSORS_F32, .rank = 1, .shape = {1}, .data = y}};
    assert_int_equal(safetensors_write(a, in, 2, NULL, &err), 0);
    struct safetensors_tensor swapped[] = {in[1], in[0]};
    assert_int_equal(safetensors_write(b, swapped, 2, NULL, &err), 0);
    _cleanup_free_ char *ta = NULL, *tb = NULL;
    size_t na, nb;
    assert_int_equal(fs_read_file(a, 1 << 20, &ta, &na, &err), 0);
    assert_int_equal(fs_read_file(b, 1 << 20, &tb, &nb, &err), 0);
    assert_int_equal(na, nb);
    assert_memory_equal(ta, tb, na);
    assert_int_equal((8 + (uint8_t)ta[0] + 256 * (uint8_t)ta[1]) % 64, 0);
}

/* Header text (and `extra` bytes of data) → parse; the message must name the reason. */
static void expect_refused(const char *header, size_t claimed, size_t extra, const char *reason)
{
    struct err err = ERR_INIT;
    _cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 8; i++)
        (void)buf_addc(&b, (char)((uint64_t)claimed >> (8 * i)));
    (void)buf_adds(&b, header);
    for (size_t i = 0; i < extra; i++)
        (void)buf_addc(&b, 'x');
    struct safetensors *f = NULL;
    if (safetensors_parse(b.data, b.len, "hostile", &f, &err) == 0) {
        safetensors_free(f);
        fail_msg("accepted: %s", header);
    }
    if (!strstr(err.msg, reason))
        fail_msg("for %s\n  expected a message with: %s\n  found: %s", header, reason, err.msg);
    assert_int_equal(err_exit_code(&err), 65);
}

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t extra;
        const char *reason;
    } cases[] = {
        {"[]", 0, "does not begin"},
        {"{\"a\":1}", 0, "no object"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype 'F33' is unknown"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "needs 4 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "leave the file's 3 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "leave the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "belong to none"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "follows a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740992,9007199254740992,4],\"data_offsets\":[0,0]}}",
         0, "sensible extent"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "sensible extent"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,6]}}", 6, "sensible extent"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "shape"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0.5e-1],\"data_offsets\":[0]}}", 1, "sensible extent"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1e400]}}", 1, ""},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
         1, "a"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "no string"},
        {"{\"a\":", 0, "header"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        expect_refused(cases[i].header, strlen(cases[i].header), cases[i].extra, cases[i].reason);
    expect_refused("{}", 3, 0, "claims 3 bytes");
    expect_refused("{}", SIZE_MAX, 0, "the maximum is");
    expect_refused("", 0, 0, "does not begin");
    struct err err = ERR_INIT;
    struct safetensors *f;
    assert_int_equal(safetensors_parse("\2\0\0", 3, "short", &f, &err), -1);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct safetensors *f;
    assert_int_equal(safetensors_open("/nowhere/x.safetensors", &f, &err), -1);
    assert_int_equal(err.class_, ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "/nowhere/x.safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_tensors_are_read_back),
        cmocka_unit_test(header_is_padded_and_files_are_reproducible),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
