/* Counting: merged parts equal the whole, quantiles and distinct counts within their promise, JSON there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "stages/data-validate/stats.h"

enum { N = 20000, SCRATCH = 2 * STAT_BUCKETS + 1 };

static void test_buckets_are_ordered_and_hold_their_values(void **state)
{
    (void)state;
    static const double values[] = {-INFINITY, -1e300, -2.5, -1, -1e-300, -0.0, 0,  5e-324, 1e-300, 0.5,
                                    1,         1.02,   1.04, 2,  63,      64,   65, 66,     1e18,   1e300};
    for (size_t i = 1; i < sizeof values / sizeof values[0]; i++) {
        int32_t a = histogram_bucket(values[i - 1]), b = histogram_bucket(values[i]);
        if (a > b)
            fail_msg("bucket of %g is %d, of %g only %d", values[i - 1], a, values[i], b);
    }
    for (double x = -100; x < 100; x += 0.37) {
        int32_t b = histogram_bucket(x);
        double near = fabs(histogram_edge(b)), far = fabs(histogram_far_edge(b));
        if (!(near <= fabs(x) && fabs(x) < far))
            fail_msg("%g is not in its bucket [%g, %g)", x, near, far);
    }
    for (int64_t i = 1; i < 64; i++)
        assert_true(histogram_bucket((double)i) != histogram_bucket((double)i + 1));
}

static struct column number_column(const double *v, const uint8_t *valid)
{
    return (struct column){.type = COLUMN_F64, .f64 = v, .valid = valid};
}

static void count_numbers(struct stats *s, const double *v, const uint8_t *valid, size_t n)
{
    int64_t *scratch = xcalloc(SCRATCH, sizeof *scratch);
    struct column c = number_column(v, valid);
    stats_add_batch(s, &c, n, scratch);
    stats_collect(s, scratch);
    for (int i = 0; i < SCRATCH; i++)
        assert_int_equal(scratch[i], 0);
    free(scratch);
}

static char *text_of(struct stats *s)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *o = stats_to_json(s, true);
    _cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
    if (json_canonical(o, &b, &err) < 0)
        fail_msg("%s", err.msg);
    return buf_take(&b);
}

static void test_numbers_merge_in_any_order(void **state)
{
    (void)state;
    static double v[N];
    static uint8_t valid[N];
    srand(7);
    for (int i = 0; i < N; i++) {
        v[i] = exp((double)rand() / RAND_MAX * 20 - 10) * (rand() % 3 ? 1 : -1);
        valid[i] = rand() % 10 != 0;
        if (i % 997 == 0)
            v[i] = NAN;
        if (i % 1999 == 0)
            v[i] = INFINITY;
    }
    struct stats whole, a, b, c, sum;
    stats_init(&whole, STAT_NUMBER);
    count_numbers(&whole, v, valid, N);
    struct stats *const parts[] = {&a, &b, &c};
    const size_t bounds[] = {0, 1234, 9999, N};
    for (int i = 0; i < 3; i++) {
        stats_init(parts[i], STAT_NUMBER);
        count_numbers(parts[i], v + bounds[i], valid + bounds[i], bounds[i + 1] - bounds[i]);
    }
    stats_init(&sum, STAT_NUMBER);
    static const int order[] = {2, 0, 1};
    for (int i = 0; i < 3; i++)
        stats_merge(&sum, parts[order[i]]);
    _cleanup_free_ char *x = text_of(&whole), *y = text_of(&sum);
    assert_string_equal(x, y);
    assert_int_equal(whole.rows, N);
    assert_true(whole.nulls > N / 20 && whole.nulls < N / 5);
    for (int i = 0; i < 3; i++)
        stats_release(parts[i]);
    stats_release(&whole);
    stats_release(&sum);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void test_quantiles_are_within_a_bucket(void **state)
{
    (void)state;
    static double v[N];
    srand(3);
    for (int i = 0; i < N; i++)
        v[i] = exp((double)rand() / RAND_MAX * 8);
    struct stats s;
    stats_init(&s, STAT_NUMBER);
    count_numbers(&s, v, NULL, N);
    qsort(v, N, sizeof *v, compare_doubles);
    static const double levels[] = {0.001, 0.1, 0.5, 0.9, 0.999, 1};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        double exact = v[(int)ceil(levels[i] * N) - 1], found = stats_quantile(&s, levels[i]);
        if (fabs(found / exact - 1) > 0.032)
            fail_msg("quantile %g: expected about %g, found %g", levels[i], exact, found);
    }
    stats_release(&s);
}

static void add_text(struct stats *s, const char *const *texts, size_t n)
{
    _cleanup_buf_ struct buf b = BUF_INIT(1 << 24);
    uint32_t *offsets = xcalloc(n + 1, sizeof *offsets);
    for (size_t i = 0; i < n; i++) {
        (void)buf_adds(&b, texts[i]);
        offsets[i + 1] = (uint32_t)b.len;
    }
    struct column c = {.type = COLUMN_STR, .text = buf_str(&b), .offsets = offsets};
    int64_t unused = 0; /* texts have no histogram */
    stats_add_batch(s, &c, n, &unused);
    free(offsets);
}

static void test_texts_are_tallied_and_ranked(void **state)
{
    (void)state;
    static const char *const texts[] = {"b", "a", "c", "b", "a", "b", "", "ä"};
    struct stats s;
    stats_init(&s, STAT_TEXT);
    add_text(&s, texts, 8);
    const struct tally_entry *top[3];
    assert_int_equal(stats_top(&s, 3, top), 3);
    assert_int_equal(top[0]->count, 3);
    assert_memory_equal(s.tally.arena + top[0]->offset, "b", 1);
    assert_int_equal(top[2]->length, 0); /* count 1, the first in byte order */
    assert_int_equal(stats_distinct(&s), 5);
    assert_non_null(tally_find(&s.tally, stats_hash_text("ä", 2), 2, "ä"));
    assert_null(tally_find(&s.tally, stats_hash_text("z", 1), 1, "z"));
    stats_release(&s);
}

static void test_tally_is_bounded(void **state)
{
    (void)state;
    struct stats s;
    stats_init(&s, STAT_TEXT);
    enum { MANY = TALLY_MAX + 5000 };
    char **texts = xcalloc(MANY, sizeof *texts);
    for (int i = 0; i < MANY; i++)
        texts[i] = xasprintf("value %d", i);
    add_text(&s, (const char *const *)texts, MANY);
    assert_int_equal(s.tally.n, TALLY_MAX);
    assert_int_equal(s.tally.other, 5000);
    double error = (double)stats_distinct(&s) / MANY - 1;
    if (fabs(error) > 0.06)
        fail_msg("distinct: expected about %d, found %lld", MANY, (long long)stats_distinct(&s));
    for (int i = 0; i < MANY; i++)
        free(texts[i]);
    free(texts);
    stats_release(&s);
}

static void test_json_there_and_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    static double v[1000];
    for (int i = 0; i < 1000; i++)
        v[i] = i * 0.5 - 100;
    struct stats s, back;
    stats_init(&s, STAT_NUMBER);
    count_numbers(&s, v, NULL, 1000);
    _cleanup_json_ cJSON *o = stats_to_json(&s, true);
    assert_int_equal(stats_from_json(o, &back, &err), 0);
    assert_int_equal(back.rows, 1000);
    assert_int_equal(back.histogram.n, s.histogram.n);
    assert_memory_equal(back.histogram.bucket, s.histogram.bucket,
                        s.histogram.n * sizeof *s.histogram.bucket);
    assert_memory_equal(back.histogram.count, s.histogram.count, s.histogram.n * sizeof *s.histogram.count);
    stats_release(&back);
    cJSON_ReplaceItemInObject(o, "histogram", cJSON_CreateIntArray((const int[]){5, 1, 4, 1}, 4));
    assert_true(stats_from_json(o, &back, &err) < 0);
    stats_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_are_ordered_and_hold_their_values),
        cmocka_unit_test(test_numbers_merge_in_any_order),
        cmocka_unit_test(test_quantiles_are_within_a_bucket),
        cmocka_unit_test(test_texts_are_tallied_and_ranked),
        cmocka_unit_test(test_tally_is_bounded),
        cmocka_unit_test(test_json_there_and_back),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
