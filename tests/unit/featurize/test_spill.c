/* Buckets of records within memory and beyond it; the team of threads that fills and reads them. */
#include "tests/unit/unit.h"

#include "common/base/alloc.h"
#include "stages/featurize/parallel.h"
#include "stages/featurize/spill.h"

struct record {
    uint64_t a, b, c;
};

static void records_come_back_by_bucket_in_order(void **state)
{
    (void)state;
    enum { N = 200000, BUCKETS = 16 };
    struct err err = ERR_INIT;
    _cleanup_spill_ struct spill *s = NULL;
    /* 4.8 MB of records, 16 × 16 KiB of memory: most goes through the file. */
    assert_ok(spill_new("/tmp", sizeof(struct record), BUCKETS, 1, &s, &err), &err);
    for (uint64_t i = 0; i < N; i++) {
        const struct record r = {i * 0x9e3779b97f4a7c15ULL, i, ~i};
        assert_ok(spill_add(s, spill_bucket_of(r.a, BUCKETS), &r, &err), &err);
    }
    size_t total = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        size_t n = spill_count(s, b);
        _cleanup_free_ struct record *r = xcalloc(n + 1, sizeof *r);
        assert_ok(spill_read(s, b, r, &err), &err);
        for (size_t i = 0; i < n; i++) {
            assert_true(r[i].a == r[i].b * 0x9e3779b97f4a7c15ULL && r[i].c == ~r[i].b);
            assert_int_equal(r[i].a >> 60, b);
            assert_true(i == 0 || r[i - 1].b < r[i].b);
        }
        total += n;
    }
    assert_int_equal(total, N);
}

static void buckets_are_chosen_by_size(void **state)
{
    (void)state;
    assert_int_equal(spill_choose_buckets(10, 8, 1024), 1);
    assert_int_equal(spill_choose_buckets(1024, 8, 1024), 8);
    assert_int_equal(spill_choose_buckets(INT64_MAX / 1000, 8, 1024), 4096);
    assert_int_equal(spill_bucket_of(UINT64_MAX, 8), 7);
}

struct touched {
    unsigned char *seen;
    size_t parts[8];
};

static void touch(void *ctx, size_t first, size_t n, int thread)
{
    struct touched *t = ctx;
    for (size_t i = first; i < first + n; i++)
        t->seen[i]++;
    t->parts[thread] += n;
}

static void every_index_is_done_once(void **state)
{
    (void)state;
    static unsigned char seen[1001];
    struct err err = ERR_INIT;
    for (int threads = 1; threads <= 5; threads += 2) {
        _cleanup_parallel_ struct parallel *p = NULL;
        assert_ok(parallel_new(threads, &p, &err), &err);
        assert_int_equal(parallel_threads(p), threads);
        static const size_t sizes[] = {0, 1, 3, 1000, 1001};
        for (size_t k = 0; k < 5; k++) {
            for (int round = 0; round < 20; round++) {
                struct touched t = {.seen = seen};
                memset(seen, 0, sizeof seen);
                parallel_run(p, sizes[k], touch, &t);
                for (size_t i = 0; i < sizeof seen; i++)
                    assert_int_equal(seen[i], i < sizes[k]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_by_bucket_in_order),
        cmocka_unit_test(buckets_are_chosen_by_size),
        cmocka_unit_test(every_index_is_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
