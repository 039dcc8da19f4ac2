/* The feature spec: each kind of feature by hand-computed values, one row equal to a batch bit for bit, bad documents refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka needs the three above first */
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "stages/tensor/featurehash.h"
#include "stages/tensor/featurespec.h"
#include "stages/tensor/vocabulary.h"

static const char document[] =
    "{\"version\":1,"
    "\"raw\":[{\"name\":\"price\",\"sql\":\"price\",\"type\":\"f64\"},{\"name\":\"item\",\"sql\":\"item_id\",\"type\":\"i64\"},"
    "{\"name\":\"word\",\"sql\":\"word\",\"type\":\"str\",\"servingSql\":\"'x'\"}],"
    "\"features\":["
    "{\"name\":\"price\",\"raw\":\"price\",\"numeric\":{\"fill\":2,\"missingFlag\":true,\"transform\":\"log1p\",\"clip\":[0.5,3],\"offset\":1,\"scale\":0.5}},"
    "{\"name\":\"item\",\"raw\":\"item\",\"categorical\":{\"vocabulary\":{\"function\":\"xxh64\",\"seed\":0,\"oovBuckets\":4,\"size\":3}}},"
    "{\"name\":\"word\",\"raw\":\"word\",\"categorical\":{\"vocabulary\":{\"function\":\"xxh64\",\"seed\":0,\"oovBuckets\":1,\"size\":2}}},"
    "{\"name\":\"range\",\"raw\":\"item\",\"categorical\":{\"values\":{\"from\":10,\"to\":12}}},"
    "{\"name\":\"list\",\"raw\":\"word\",\"categorical\":{\"values\":[\"b\",\"a\"]}},"
    "{\"name\":\"hashed\",\"raw\":\"item\",\"categorical\":{\"hash\":{\"function\":\"xxh64\",\"seed\":3,\"buckets\":1000}}},"
    "{\"name\":\"crossed\",\"cross\":[\"word\",\"item\"],\"categorical\":{\"hash\":{\"function\":\"xxh64\",\"seed\":5,\"buckets\":77}}}"
    "]}";

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    if (fs_make_temp_dir("/tmp", "test-featurespec", &dir, &err) < 0)
        return -1;
    _cleanup_free_ char *json = fs_join(dir, "feature-spec.json"),
                        *words = fs_join(dir, "vocabularies.safetensors");
    _cleanup_vocabulary_ struct vocabulary *item = vocabulary_new(COLUMN_I64, 5),
                                           *word = vocabulary_new(COLUMN_STR, 2);
    vocabulary_add_i64(item, 700000000000);
    vocabulary_add_i64(item, -4);
    vocabulary_add_i64(item, 11);
    vocabulary_add_text(word, "zebra", 5);
    vocabulary_add_text(word, "ape", 3);
    if (vocabulary_finish(item, &err) < 0 || vocabulary_finish(word, &err) < 0)
        return -1;
    struct safetensors_tensor t[2 * VOCABULARY_TENSORS];
    size_t n = vocabulary_tensors(item, "item", t);
    n += vocabulary_tensors(word, "word", t + n);
    return safetensors_write(words, t, n, NULL, &err) < 0 ||
                   fs_write_atomic(json, document, strlen(document), &err) < 0
               ? -1
               : 0;
}

static int drop_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

static struct featurespec *load(void)
{
    struct err err = ERR_INIT;
    struct featurespec *s = NULL;
    if (featurespec_load(dir, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static void the_description_is_as_laid_out(void **state)
{
    (void)state;
    _cleanup_featurespec_ struct featurespec *s = load();
    assert_int_equal(featurespec_dense_width(s), 2);
    assert_string_equal(featurespec_dense_name(s, 1), "price.missing");
    assert_int_equal(featurespec_cat_width(s), 6);
    static const struct {
        const char *name;
        size_t cardinality;
    } expected[] = {{"item", 8}, {"word", 4}, {"range", 5}, {"list", 4}, {"hashed", 1001}, {"crossed", 78}};
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(featurespec_cat_name(s, i), expected[i].name);
        assert_int_equal(featurespec_cardinality(s, i), expected[i].cardinality);
    }
    size_t n;
    assert_string_equal(featurespec_raw(s, &n)[2].serving_sql, "'x'");
    assert_int_equal(n, 3);
}

static void each_kind_gives_the_stated_ids(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_featurespec_ struct featurespec *s = load();
    const double price[] = {NAN, 3, 0, 1e9, -7};
    const int64_t item[] = {700000000000, 11, 12, 99, 0};
    const char text[] = "zebraapebnope";
    const uint32_t offsets[] = {0, 5, 8, 9, 13, 13};
    const uint8_t price_valid[] = {1, 1, 1, 1, 0}, item_valid[] = {1, 1, 1, 1, 0};
    const struct column columns[] =
        {{.name = "price", .type = COLUMN_F64, .f64 = price, .valid = price_valid},
         {.name = "item", .type = COLUMN_I64, .i64 = item, .valid = item_valid},
         {.name = "word", .type = COLUMN_STR, .text = text, .offsets = offsets}};
    const struct column_batch in = {.columns = columns, .n_columns = 3, .n_rows = 5};
    struct featurebatch out = {0};
    assert_int_equal(featurespec_apply(s, &in, &out, &err), 0);
    const float dense[5][2] = {{2, 1}, {(float)((log1p(3) - 1) / 0.5), 0}, {-1, 0}, {4, 0}, {2, 1}};
    const int32_t known[5][4] = {{5, 2, 1, 1}, {7, 3, 3, 1}, {-1, 1, 4, 2}, {-1, 1, 1, 1}, {0, 1, 0, 1}};
    for (size_t i = 0; i < 5; i++) {
        assert_memory_equal(&out.dense[i * 2], dense[i], sizeof dense[i]);
        for (size_t k = 0; k < 4; k++) {
            int32_t want = known[i][k] < 0 ? 1 + (int32_t)featurehash_below(featurehash_i64(item[i], 0), 4)
                                           : known[i][k];
            if (out.cat[i * 6 + k] != want)
                fail_msg("row %zu, input %zu: expected %d, found %d", i, k, want, out.cat[i * 6 + k]);
        }
    }
    assert_int_equal(out.cat[1 * 6 + 4], 1 + (int32_t)featurehash_below(featurehash_i64(11, 3), 1000));
    assert_int_equal(out.cat[1 * 6 + 5],
                     1 + (int32_t)featurehash_below(featurehash_i64(11, featurehash_text("ape", 3, 5)), 77));
    assert_int_equal(out.cat[4 * 6 + 5], 0); /* one part missing */
    featurebatch_release(&out);
}

static void hashes_follow_the_stated_byte_form(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x0e, 0, 0, 0, 0, 0, 0, 0x80};
    assert_true(featurehash_i64((int64_t)0x800000000000000eULL, 9) == xxh64(bytes, 8, 9));
    /* A vector of the public specification. */
    assert_true(featurehash_text("", 0, 0) == 0xef46db3751d8e999ULL);
    assert_int_equal(featurehash_below(UINT64_MAX, 10), 9);
    assert_int_equal(featurehash_below(0, 10), 0);
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static double some_double(uint64_t *rng)
{
    static const double special[] = {0, -0.0, 1e300, -1e300, 5e-324, -1, INFINITY, NAN};
    uint64_t r = next(rng);
    return r % 4 == 0 ? special[(r >> 8) % ARRAY_SIZE(special)]
                      : (double)(int64_t)next(rng) / (double)(1ULL << (r >> 8 & 63));
}

static void one_row_equals_the_batch_bit_for_bit(void **state)
{
    (void)state;
    enum { N = 4001 };
    struct err err = ERR_INIT;
    _cleanup_featurespec_ struct featurespec *s = load();
    static double price[N];
    static int64_t item[N];
    static uint32_t offsets[N + 1];
    static char text[N * 6];
    static uint8_t valid[3][N];
    uint64_t rng = 0x9e3779b97f4a7c15ULL;
    for (size_t i = 0; i < N; i++) {
        static const char *const words[] = {"zebra", "ape", "a", "b", "", "\xc3\xa9t\xc3\xa9"};
        static const int64_t items[] = {700000000000, -4, 11, 10, INT64_MIN, 0};
        const char *w = words[next(&rng) % ARRAY_SIZE(words)];
        price[i] = some_double(&rng);
        item[i] = next(&rng) % 2 ? items[next(&rng) % ARRAY_SIZE(items)] : (int64_t)next(&rng);
        memcpy(text + offsets[i], w, strlen(w));
        offsets[i + 1] = offsets[i] + (uint32_t)strlen(w);
        for (size_t k = 0; k < 3; k++)
            valid[k][i] = next(&rng) % 8 != 0;
    }
    const struct column columns[] =
        {{.type = COLUMN_F64, .f64 = price, .valid = valid[0]},
         {.type = COLUMN_I64, .i64 = item, .valid = valid[1]},
         {.type = COLUMN_STR, .text = text, .offsets = offsets, .valid = valid[2]}};
    struct featurebatch batch = {0}, one = {0};
    assert_int_equal(featurespec_apply(s, &(struct column_batch){columns, 3, N}, &batch, &err), 0);
    for (size_t i = 0; i < N; i++) {
        const struct column row[] =
            {{.type = COLUMN_F64, .f64 = price + i, .valid = valid[0] + i},
             {.type = COLUMN_I64, .i64 = item + i, .valid = valid[1] + i},
             {.type = COLUMN_STR, .text = text, .offsets = offsets + i, .valid = valid[2] + i}};
        assert_int_equal(featurespec_apply(s, &(struct column_batch){row, 3, 1}, &one, &err), 0);
        assert_memory_equal(one.dense, batch.dense + 2 * i, 2 * sizeof(float));
        assert_memory_equal(one.cat, batch.cat + 6 * i, 6 * sizeof(int32_t));
        for (size_t k = 0; k < 6; k++)
            assert_in_range(one.cat[k], 0, featurespec_cardinality(s, k) - 1);
        assert_true(isfinite(one.dense[0]));
    }
    featurebatch_release(&batch);
    featurebatch_release(&one);
}

static void expect_bad(const char *from, const char *to, const char *message)
{
    struct err err = ERR_INIT;
    const char *at = strstr(document, from);
    assert_non_null(at);
    _cleanup_free_ char *text = xasprintf("%.*s%s%s", (int)(at - document), document, to, at + strlen(from));
    _cleanup_free_ char *words = fs_join(dir, "vocabularies.safetensors");
    _cleanup_safetensors_ struct safetensors *v = NULL;
    assert_int_equal(safetensors_open(words, &v, &err), 0);
    cJSON *doc = NULL;
    if (json_parse(text, strlen(text), 1 << 20, &doc, &err) < 0)
        fail_msg("%s", err.msg);
    struct featurespec *s = NULL;
    if (featurespec_parse(doc, v, &s, &err) == 0) {
        featurespec_free(s);
        fail_msg("accepted with %s", to);
    }
    if (!strstr(err.msg, message))
        fail_msg("with %s\n  expected a message with: %s\n  found: %s", to, message, err.msg);
}

static void bad_documents_are_refused(void **state)
{
    (void)state;
    expect_bad("\"version\":1", "\"version\":9", "version 9, expected 1");
    expect_bad("\"raw\":\"price\"", "\"raw\":\"cost\"", "raw column 'cost' is not in the list");
    expect_bad("\"scale\":0.5", "\"scale\":0", "scale not 0");
    expect_bad("\"transform\":\"log1p\"", "\"transform\":\"exp\"", "transform is 'exp'");
    expect_bad("\"clip\":[0.5,3]", "\"clip\":[3,0.5]", "clip is no pair");
    expect_bad("\"size\":3", "\"size\":2", "size is 2, vocabularies.safetensors holds 3");
    expect_bad("\"oovBuckets\":4", "\"oovBuckets\":3", "expected each of 4");
    expect_bad("\"function\":\"xxh64\",\"seed\":3", "\"function\":\"md5\",\"seed\":3", "function is 'md5'");
    expect_bad("\"from\":10", "\"from\":13", "ascending range");
    expect_bad("[\"b\",\"a\"]", "[\"b\",\"b\"]", "stands twice");
    expect_bad("\"name\":\"list\"", "\"name\":\"item\"", "second feature 'item'");
    expect_bad("\"cross\":[\"word\",\"item\"]", "\"cross\":[\"word\"]", "cross of 1 columns");
    expect_bad("\"buckets\":77", "\"buckets\":77,\"bucket\":1", "bucket");
}

static void a_wrong_column_type_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_featurespec_ struct featurespec *s = load();
    const int64_t x[] = {1};
    const struct column columns[] = {{.type = COLUMN_I64, .i64 = x},
                                     {.type = COLUMN_I64, .i64 = x},
                                     {.type = COLUMN_I64, .i64 = x}};
    struct featurebatch out = {0};
    assert_int_equal(featurespec_apply(s, &(struct column_batch){columns, 3, 1}, &out, &err), -1);
    assert_non_null(strstr(err.msg, "'price': expected type f64, got i64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_description_is_as_laid_out),
        cmocka_unit_test(each_kind_gives_the_stated_ids),
        cmocka_unit_test(hashes_follow_the_stated_byte_form),
        cmocka_unit_test(one_row_equals_the_batch_bit_for_bit),
        cmocka_unit_test(bad_documents_are_refused),
        cmocka_unit_test(a_wrong_column_type_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
