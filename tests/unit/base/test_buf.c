/* Buffers: growth, the maximum, failure that sticks, ownership. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "tests/unit/unit.h"

static void appends_and_terminates(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT(1000);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(buf_adds(&b, "one"), 0);
    assert_int_equal(buf_addc(&b, ' '), 0);
    assert_int_equal(buf_addf(&b, "%d-%s", 42, "x"), 0);
    assert_int_equal(buf_add(&b, "\0z", 2), 0);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "one 42-x\0z\0", 11);
}

static void fills_to_the_maximum_and_no_further(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT(300);
    for (int i = 0; i < 300; i++)
        assert_int_equal(buf_addc(&b, 'a'), 0);
    assert_int_equal(b.len, 300);
    struct err err = ERR_INIT;
    assert_ok(buf_check(&b, "text", &err), &err);
    assert_int_equal(buf_addc(&b, 'a'), -1);
    assert_true(buf_failed(&b));
    assert_null(b.data);
    assert_int_equal(buf_adds(&b, ""), -1); /* it sticks, even for nothing */
    assert_fails(buf_check(&b, "text", &err), &err, ERR_INVALID, "text: larger than 300 bytes");
    assert_null(buf_take(&b));
    buf_reset(&b);
    assert_int_equal(buf_addf(&b, "%s", "again"), 0);
    assert_string_equal(buf_str(&b), "again");
    assert_int_equal(buf_addf(&b, "%0300d", 1), -1);
}

static void take_hands_over_and_empties(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf b = BUF_INIT(10);
    char *text = buf_take(&b);
    assert_string_equal(text, "");
    free(text);
    (void)buf_adds(&b, "abc");
    text = buf_take(&b);
    assert_string_equal(text, "abc");
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    free(text);
    assert_int_equal(buf_adds(&b, "0123456789"), 0); /* the maximum was kept */
}

static void arrays_grow_by_doubling(void **state)
{
    (void)state;
    size_t capacity = 0;
    int *items = NULL;
    for (int i = 0; i < 1000; i++) {
        items = grow_array(items, &capacity, (size_t)i, sizeof *items);
        items[i] = i;
    }
    assert_int_equal(capacity, 1024);
    assert_int_equal(items[999], 999);
    assert_null(xfree(items));
    _cleanup_free_ char *part = xstrndup("abcdef", 3), *printed = xasprintf("%s-%d", "a", 7);
    assert_string_equal(part, "abc");
    assert_string_equal(printed, "a-7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_terminates),
        cmocka_unit_test(fills_to_the_maximum_and_no_further),
        cmocka_unit_test(take_hands_over_and_empties),
        cmocka_unit_test(arrays_grow_by_doubling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
