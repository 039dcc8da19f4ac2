/* Statistics of numeric features against a sorted copy and plain formulas, in any order of the values. */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdlib.h>

#include "stages/featurize/numericfit.h"

enum { N = 30011 };
static double values[N], sorted[N];

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int fill(void **state)
{
    (void)state;
    uint64_t rng = 42;
    for (size_t i = 0; i < N; i++) {
        uint64_t r = next(&rng);
        /* Many ties, negatives, subnormals and large values. */
        values[i] = r % 3 == 0   ? (double)(r >> 8 & 7)
                    : r % 3 == 1 ? -ldexp((double)(r >> 40), -30)
                                 : ldexp((double)(r >> 11), (int)(r & 63) - 60);
        values[i] = i % 977 == 0 ? 5e-324 : values[i];
        sorted[i] = values[i];
    }
    qsort(sorted, N, sizeof sorted[0], compare);
    return 0;
}

static double by_sorting(double q)
{
    double position = (N - 1) * q, low = sorted[(size_t)position];
    double high = (size_t)position + 1 < N ? sorted[(size_t)position + 1] : low,
           part = position - floor(position);
    return part == 0 ? low : low + part * (high - low);
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    const double q[] = {0, 0.001, 0.25, 0.5, 0.75, 0.999, 1};
    double found[7];
    numericfit_quantiles(values, N, q, 7, found);
    for (size_t i = 0; i < 7; i++) {
        double expected = by_sorting(q[i]);
        if (memcmp(&found[i], &expected, sizeof expected) != 0)
            fail_msg("quantile %g: expected %.17g, found %.17g", q[i], expected, found[i]);
    }
    const double one[] = {-7.5};
    numericfit_quantiles(one, 1, q, 7, found);
    for (size_t i = 0; i < 7; i++)
        assert_true(found[i] == -7.5);
}

static struct numericfit_result fit(const struct config_feature *c, const double *x, size_t n,
                                    int64_t missing, bool backwards)
{
    struct err err = ERR_INIT;
    _cleanup_numericfit_ struct numericfit *f = NULL;
    struct numericfit_result r;
    assert_ok(numericfit_new("/tmp", &f, &err), &err);
    for (int64_t i = 0; i < missing; i++)
        assert_ok(numericfit_add(f, NAN, &err), &err);
    for (size_t i = 0; i < n; i++)
        assert_ok(numericfit_add(f, x[backwards ? n - 1 - i : i], &err), &err);
    assert_ok(numericfit_finish(f, c, &r, &err), &err);
    return r;
}

static void assert_near(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * (fabs(expected) + 1e-300)))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

static void standard_scale_counts_filled_and_clipped_rows(void **state)
{
    (void)state;
    const struct config_feature c = {.name = "x",
                                     .numeric = true,
                                     .impute = IMPUTE_MEDIAN,
                                     .clip = true,
                                     .clip_low = 0.01,
                                     .clip_high = 0.99,
                                     .scale = SCALE_STANDARD,
                                     .transform = "none"};
    const int64_t missing = 5000;
    struct numericfit_result r = fit(&c, values, N, missing, false);
    double low = by_sorting(0.01), high = by_sorting(0.99), median = by_sorting(0.5);
    assert_true(r.fill == median && r.lowest == low && r.highest == high);
    long double sum = 0, squares = 0;
    for (size_t i = 0; i < N + (size_t)missing; i++) {
        double x = i < N ? values[i] : median;
        sum += x < low ? low : x > high ? high : x;
    }
    long double mean = sum / (N + missing);
    for (size_t i = 0; i < N + (size_t)missing; i++) {
        double x = i < N ? values[i] : median;
        long double d = (x < low ? low : x > high ? high : x) - mean;
        squares += d * d;
    }
    assert_near(r.offset, (double)mean);
    assert_near(r.scale, sqrt((double)(squares / (N + missing))));
    assert_int_equal(r.missing, missing);
    struct numericfit_result backwards = fit(&c, values, N, missing, true);
    assert_memory_equal(&r, &backwards, sizeof r);
}

static void other_choices(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 10};
    struct config_feature c = {.name = "x",
                               .numeric = true,
                               .impute = IMPUTE_MEAN,
                               .scale = SCALE_MINMAX,
                               .transform = "none"};
    struct numericfit_result r = fit(&c, x, 4, 1, false);
    assert_true(r.fill == 4 && r.offset == 1 && r.scale == 9);
    c.scale = SCALE_ROBUST;
    r = fit(&c, x, 4, 0, false);
    assert_true(r.offset == 2.5 && r.scale == 4.75 - 1.75);
    c.impute = IMPUTE_ZERO;
    c.scale = SCALE_MINMAX;
    r = fit(&c, x, 4, 1, false);
    assert_true(r.fill == 0 && r.offset == 0 && r.scale == 10);
    const double constant[] = {3, 3};
    c.scale = SCALE_STANDARD;
    r = fit(&c, constant, 2, 0, false);
    assert_true(r.offset == 3 && r.scale == 1);
}

static void what_cannot_be_fitted_is_refused(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct numericfit_result r;
    _cleanup_numericfit_ struct numericfit *none = NULL, *some = NULL;
    struct config_feature c = {.name = "cost", .numeric = true, .impute = IMPUTE_MEAN, .transform = "none"};
    assert_ok(numericfit_new("/tmp", &none, &err), &err);
    assert_ok(numericfit_add(none, NAN, &err), &err);
    assert_fails(numericfit_finish(none, &c, &r, &err), &err, ERR_INVALID,
                 "'cost' is missing (NULL or not finite) in all 1 training rows");
    c.impute = IMPUTE_NONE;
    assert_ok(numericfit_new("/tmp", &some, &err), &err);
    assert_ok(numericfit_add(some, NAN, &err), &err);
    assert_ok(numericfit_add(some, 1, &err), &err);
    assert_fails(numericfit_finish(some, &c, &r, &err), &err, ERR_INVALID,
                 "in 1 of 2 training rows, and its impute is none");
    assert_fails(numericfit_new("/nowhere/at/all", &some, &err), &err, ERR_NOTFOUND, "/nowhere/at/all");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
        cmocka_unit_test(standard_scale_counts_filled_and_clipped_rows),
        cmocka_unit_test(other_choices),
        cmocka_unit_test(what_cannot_be_fitted_is_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
