/* Clocks that stand still. */
#include "operator/pipeline/deadline.h"

#include "tests/unit/unit.h"

static void a_stopwatch_counts_only_while_it_runs(void **state)
{
    (void)state;
    struct stopwatch w = {0};
    assert_int_equal(stopwatch_read(&w, 1000), 0);
    assert_int_equal(stopwatch_due(&w, 500), 0); /* it stands still */
    stopwatch_run(&w, 1000);
    stopwatch_run(&w, 1100); /* again: no change */
    assert_int_equal(stopwatch_read(&w, 1300), 300);
    assert_int_equal(stopwatch_due(&w, 500), 1500);
    stopwatch_stop(&w, 1300);
    stopwatch_stop(&w, 9000);
    assert_int_equal(stopwatch_read(&w, 99000), 300);
    stopwatch_run(&w, 100000);
    assert_int_equal(stopwatch_due(&w, 500), 100200);
    assert_false(stopwatch_passed(&w, 500, 100199));
    assert_true(stopwatch_passed(&w, 500, 100200));
    assert_false(stopwatch_passed(&w, 0, 999999)); /* no limit */
}

static void a_clock_set_back_counts_as_no_time(void **state)
{
    (void)state;
    struct stopwatch w = {.counted_ms = 50};
    stopwatch_run(&w, 1000);
    assert_int_equal(stopwatch_read(&w, 400), 50);
    stopwatch_stop(&w, 400);
    assert_int_equal(w.counted_ms, 50);
}

static void never_is_later_than_any_time(void **state)
{
    (void)state;
    assert_int_equal(deadline_earlier(0, 0), 0);
    assert_int_equal(deadline_earlier(5, 0), 5);
    assert_int_equal(deadline_earlier(0, 7), 7);
    assert_int_equal(deadline_earlier(9, 7), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a stopwatch counts only while it runs", a_stopwatch_counts_only_while_it_runs, NULL, NULL, NULL},
        {"a clock set back counts as no time", a_clock_set_back_counts_as_no_time, NULL, NULL, NULL},
        {"never is later than any time", never_is_later_than_any_time, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
