/* Tables: columns fit what stands in them, whatever its script. */
#include "operator/cli/columns.h"
#include "tests/unit/unit.h"

static const char *const titles[] = {"N", "WHO", "WHY", NULL};

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    (void)state;
    _cleanup_columns_ struct columns *c = columns_new(titles);
    _cleanup_buf_ struct buf out = BUF_INIT(4096);
    columns_addf(c, "%d → %d", 9, 10);
    columns_add(c, "system:serviceaccount:ranking:default");
    columns_add(c, "länger");
    columns_add(c, "1");
    columns_add(c, NULL);
    columns_add(c, "a\nb");
    assert_int_equal(columns_rows(c), 2);
    columns_print(c, &out);
    assert_string_equal(buf_str(&out), "N       WHO                                    WHY\n"
                                       "9 → 10  system:serviceaccount:ranking:default  länger\n"
                                       "1       -                                      a b\n");
}

static void without_rows_there_are_titles(void **state)
{
    (void)state;
    _cleanup_columns_ struct columns *c = columns_new(titles);
    _cleanup_buf_ struct buf out = BUF_INIT(4096);
    assert_int_equal(columns_rows(c), 0);
    columns_print(c, &out);
    assert_string_equal(buf_str(&out), "N  WHO  WHY\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(without_rows_there_are_titles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
