/* Pages: escaped, self-contained, equal for equal calls, with plots of the right shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "stages/report/report.h"

static size_t occurrences(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

static void page(struct buf *out)
{
    struct err err = ERR_INIT;
    _cleanup_report_ struct report *r = report_new("A <title> & more", "\"quoted\"");
    report_verdict(r, REPORT_BAD, "%s", "<script>alert(1)</script>");
    report_section(r, REPORT_BAD, "First");
    report_text(r, "value \x01 of %d", 7);
    report_table_begin(r, (const char *[]){"a", "b", NULL});
    report_row(r, REPORT_WARN);
    report_cell(r, "%s", "x<y");
    report_number(r, NAN);
    report_row(r, REPORT_PLAIN);
    report_integer(r, -5);
    report_percent(r, 0.125);
    report_table_end(r);
    report_section(r, REPORT_GOOD, "Plots");
    const double y[] = {1, 2, NAN, 4, 3}, low[] = {0, 1, 2, 3, 2}, high[] = {2, 3, 4, 5, 4},
                 edges[] = {0, 1, 2, 3, 4, 5};
    const struct report_series series[] = {{.name = "one", .y = y, .low = low, .high = high, .n = 5},
                                           {.name = "two", .y = high, .n = 5, .dashed = true}};
    report_lines(r, REPORT_PLOT(.title = "lines", .x_label = "x & y", .threshold = 2.5), series, 2);
    report_scatter(r, REPORT_PLOT(.title = "points"), series, 1);
    report_bars(r, REPORT_PLOT(.title = "bars"),
                (const char *[]){"a", "b", "c", "d", "a very long label that is cut"}, series, 2);
    report_histogram(r, REPORT_PLOT(.title = "histogram"), edges, series, 2);
    report_lines(r, REPORT_PLOT(.title = "nothing"), &(struct report_series){.n = 0}, 1);
    if (report_finish(r, out, &err) < 0)
        fail_msg("%s", err.msg);
}

static void test_page(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
    page(&a);
    page(&b);
    assert_string_equal(a.data, b.data);
    assert_null(strstr(a.data, "<script"));
    assert_null(strstr(a.data, "src="));
    assert_null(strstr(a.data, "http://"));
    assert_null(strstr(a.data, "https://"));
    assert_null(strstr(a.data, "nan"));
    assert_null(strchr(a.data, '\x01'));
    assert_non_null(strstr(a.data, "A &lt;title&gt; &amp; more"));
    assert_non_null(strstr(a.data, "&quot;quoted&quot;"));
    assert_non_null(strstr(a.data, "x&lt;y"));
    assert_non_null(strstr(a.data, "prefers-color-scheme:dark"));
    assert_int_equal(occurrences(a.data, "<section"), 2);
    assert_int_equal(occurrences(a.data, "</section>"), 2);
    assert_int_equal(occurrences(a.data, "<tr"), 3);
    assert_int_equal(occurrences(a.data, "</tr>"), 3);
    assert_int_equal(occurrences(a.data, "<svg"), 5);
    assert_int_equal(occurrences(a.data, "</svg>"), 5);
    assert_int_equal(occurrences(a.data, "<circle"), 4); /* the NaN is a gap */
}

static void test_too_large_fails_as_a_whole(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_report_ struct report *r = report_new("large", NULL);
    report_section(r, REPORT_PLAIN, "s");
    char *text = malloc(1 << 20);
    assert_non_null(text);
    memset(text, 'x', (1 << 20) - 1);
    text[(1 << 20) - 1] = '\0';
    for (int i = 0; i < 65; i++)
        report_code(r, text);
    free(text);
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
    assert_true(report_finish(r, &out, &err) < 0);
    assert_int_equal(err.class_, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page),
                                       cmocka_unit_test(test_too_large_fails_as_a_whole)};
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
