/* Exact sums: true, rounded once, and independent of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* cmocka needs the three above first */
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "stages/tensor/exactsum.h"

static double sum(const double *x, size_t n)
{
    struct exactsum s;
    exactsum_init(&s);
    for (size_t i = 0; i < n; i++)
        exactsum_add(&s, x[i]);
    return exactsum_value(&s);
}

static void expect(const double *x, size_t n, double expected)
{
    double found = sum(x, n);
    if (memcmp(&found, &expected, sizeof found) != 0)
        fail_msg("expected %a, found %a", expected, found);
}

static void known_sums(void **state)
{
    (void)state;
    expect((const double[]){1e308, 1, -1e308}, 3, 1);
    expect((const double[]){1, 1e-300, -1}, 3, 1e-300);
    expect((const double[]){5e-324, 5e-324}, 2, 1e-323);
    expect((const double[]){5e-324, -1e-323}, 2, -5e-324);
    expect((const double[]){DBL_MIN, -5e-324}, 2, DBL_MIN - 5e-324);
    expect((const double[]){DBL_MAX, DBL_MAX}, 2, INFINITY);
    expect((const double[]){DBL_MAX, DBL_MAX, -DBL_MAX}, 3, DBL_MAX);
    expect((const double[]){0.1, 0.2}, 2,
           0.1 + 0.2); /* of two terms the machine's sum is rounded once, too */
    expect((const double[]){-3, 1}, 2, -2);
    expect(NULL, 0, 0);
    /* Ties go to even, and a bit far below breaks the tie. */
    expect((const double[]){1, 0x1p-53}, 2, 1);
    expect((const double[]){1, 0x1p-53, 0x1p-400}, 3, 1 + 0x1p-52);
    expect((const double[]){1 + 0x1p-52, 0x1p-53}, 2, 1 + 0x1p-51);
    expect((const double[]){-1, -0x1p-53, -0x1p-1000}, 3, -1 - 0x1p-52);
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void order_and_merging_do_not_matter(void **state)
{
    (void)state;
    enum { N = 20000 };
    static double x[N];
    uint64_t rng = 88172645463325252ULL;
    for (size_t i = 0; i < N; i++)
        x[i] = ldexp((double)(int64_t)next(&rng), (int)(next(&rng) % 200) - 100);
    double first = sum(x, N);
    for (size_t i = N - 1; i > 0; i--) {
        size_t j = next(&rng) % (i + 1);
        double t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
    expect(x, N, first);
    struct exactsum a, b;
    exactsum_init(&a);
    exactsum_init(&b);
    for (size_t i = 0; i < N; i++)
        exactsum_add(i % 3 ? &a : &b, x[i]);
    exactsum_merge(&a, &b);
    double merged = exactsum_value(&a);
    assert_memory_equal(&merged, &first, sizeof first);
    long double wide = 0;
    for (size_t i = 0; i < N; i++)
        wide += x[i];
    assert_true(fabsl(wide - first) <= 1e-12L * fabsl(wide));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums),
        cmocka_unit_test(order_and_merging_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
