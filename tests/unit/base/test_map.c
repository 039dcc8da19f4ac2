/* The map: insertion order through removals and rebuilds, the maximum, ownership of values. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "tests/unit/unit.h"

static int freed;

static void count_free(void *value)
{
    freed++;
    free(value);
}

static void finds_replaces_removes(void **state)
{
    (void)state;
    freed = 0;
    struct map *m = map_new(3, count_free);
    assert_null(map_get(m, "a"));
    assert_int_equal(map_set(m, "a", xstrdup("1")), 0);
    assert_int_equal(map_set(m, "b", xstrdup("2")), 0);
    assert_int_equal(map_set(m, "a", xstrdup("3")), 0);
    assert_int_equal(freed, 1);
    assert_string_equal(map_get(m, "a"), "3");
    assert_int_equal(map_size(m), 2);
    assert_true(map_remove(m, "a"));
    assert_false(map_remove(m, "a"));
    assert_int_equal(freed, 2);
    char *taken = map_take(m, "b");
    assert_string_equal(taken, "2");
    free(taken);
    assert_null(map_take(m, "b"));
    assert_int_equal(freed, 2);
    assert_int_equal(map_set(m, "c", NULL), 0);
    assert_true(map_has(m, "c"));
    assert_null(map_get(m, "c"));
    assert_null(map_free(m));
    assert_int_equal(freed, 2);
    assert_null(map_free(NULL));
}

static void refuses_beyond_the_maximum(void **state)
{
    (void)state;
    _cleanup_map_ struct map *m = map_new(2, NULL);
    int value = 0;
    assert_int_equal(map_set(m, "a", &value), 0);
    assert_int_equal(map_set(m, "b", &value), 0);
    assert_int_equal(map_set(m, "c", &value), -1);
    assert_int_equal(map_set(m, "a", &value), 0); /* replacing needs no room */
    assert_true(map_remove(m, "a"));
    assert_int_equal(map_set(m, "c", &value), 0);
}

static void keeps_insertion_order(void **state)
{
    (void)state;
    enum { N = 20000 };
    _cleanup_map_ struct map *m = map_new(N, NULL);
    static int values[N];
    char key[16];
    for (int i = 0; i < N; i++) {
        values[i] = i;
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(map_set(m, key, &values[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        if (i % 3)
            assert_true(map_remove(m, key));
    }
    /* Removed keys come back at the end. */
    for (int i = 1; i < N; i += 3) {
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(map_set(m, key, &values[i]), 0);
    }
    int expected = 0, seen = 0;
    const char *k;
    void *v;
    for (size_t cursor = 0; map_next(m, &cursor, &k, &v); seen++) {
        assert_int_equal(*(int *)v, expected);
        (void)snprintf(key, sizeof key, "k%d", expected);
        assert_string_equal(k, key);
        expected += 3;
        if (expected >= N && expected % 3 == 0)
            expected = 1;
    }
    assert_int_equal(seen, map_size(m));
    assert_int_equal(seen, (N + 2) / 3 + (N + 1) / 3);
}

static void many_removals_do_not_fill_the_table(void **state)
{
    (void)state;
    _cleanup_map_ struct map *m = map_new(4, NULL);
    int value = 0;
    char key[16];
    for (int i = 0; i < 100000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        assert_int_equal(map_set(m, key, &value), 0);
        assert_true(map_remove(m, key));
    }
    assert_int_equal(map_size(m), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_replaces_removes),
        cmocka_unit_test(refuses_beyond_the_maximum),
        cmocka_unit_test(keeps_insertion_order),
        cmocka_unit_test(many_removals_do_not_fill_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
