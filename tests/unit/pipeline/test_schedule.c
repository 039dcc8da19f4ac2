/* Cron schedules: the next time, and what is refused. */
#include "operator/pipeline/schedule.h"

#include "common/base/clock.h"
#include "tests/unit/unit.h"

static int64_t at(const char *text)
{
    struct err err = ERR_INIT;
    int64_t ms = 0;
    assert_ok(clock_parse_rfc3339(text, &ms, &err), &err);
    return ms;
}

static void next_times(void **state)
{
    (void)state;
    static const struct {
        const char *says, *cron, *zone, *after, *next;
    } cases[] = {
        {"every minute is the next minute", "* * * * *", NULL, "2026-03-01T10:00:00Z",
         "2026-03-01T10:01:00Z"},
        {"a minute that has begun is not the next", "* * * * *", NULL, "2026-03-01T10:00:59.999Z",
         "2026-03-01T10:01:00Z"},
        {"at the time itself it is the one after", "0 2 * * *", NULL, "2026-03-01T02:00:00Z",
         "2026-03-02T02:00:00Z"},
        {"a step counts from the start of its range", "*/25 * * * *", NULL, "2026-03-01T10:26:00Z",
         "2026-03-01T10:50:00Z"},
        {"a step begins anew each hour", "*/25 * * * *", NULL, "2026-03-01T10:51:00Z",
         "2026-03-01T11:00:00Z"},
        {"a value with a step runs to the end", "5/20 * * * *", NULL, "2026-03-01T10:26:00Z",
         "2026-03-01T10:45:00Z"},
        {"lists and ranges", "0,30 9-11 * * *", NULL, "2026-03-01T11:30:00Z", "2026-03-02T09:00:00Z"},
        {"names of months and days", "0 0 * JAN Mon", NULL, "2026-01-31T00:00:00Z", "2027-01-04T00:00:00Z"},
        {"seven is Sunday", "0 0 * * 7", NULL, "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"},
        {"a range over the weekend's end", "0 0 * * 5-7", NULL, "2026-03-07T00:00:00Z",
         "2026-03-08T00:00:00Z"},
        {"either day field matches when both are restricted", "0 0 13 * fri", NULL, "2026-03-07T00:00:00Z",
         "2026-03-13T00:00:00Z"},
        {"either day field: the weekday comes first", "0 0 20 * fri", NULL, "2026-03-07T00:00:00Z",
         "2026-03-13T00:00:00Z"},
        {"a star leaves the other day field alone", "0 0 20 * *", NULL, "2026-03-07T00:00:00Z",
         "2026-03-20T00:00:00Z"},
        {"29 February waits for a leap year", "0 0 29 2 *", NULL, "2026-03-01T00:00:00Z",
         "2028-02-29T00:00:00Z"},
        {"the 31st skips short months", "0 12 31 * *", NULL, "2026-03-31T12:00:00Z", "2026-05-31T12:00:00Z"},
        {"the year turns", "@yearly", NULL, "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"},
        {"hourly", "@hourly", NULL, "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"},
        {"weekly is Sunday", "@weekly", NULL, "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"},
        {"east of UTC the day begins earlier", "0 2 * * *", "+05:30", "2026-03-01T00:00:00Z",
         "2026-03-01T20:30:00Z"},
        {"west of UTC it begins later", "0 22 * * *", "-03:00", "2026-03-01T00:00:00Z",
         "2026-03-01T01:00:00Z"},
        {"the sign of Etc/GMT is reversed", "0 2 * * *", "Etc/GMT-2", "2026-03-01T00:30:00Z",
         "2026-03-02T00:00:00Z"},
        {"before 1970 days still count", "0 0 * * mon", "UTC", "1969-12-28T12:00:00Z",
         "1969-12-29T00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s;
        struct err err = ERR_INIT;
        int64_t next;
        char text[CLOCK_RFC3339_MAX];
        assert_ok(schedule_parse(cases[i].cron, cases[i].zone, &s, &err), &err);
        assert_ok(schedule_next(&s, at(cases[i].after), &next, &err), &err);
        clock_format_rfc3339(next, text);
        if (strcmp(text, cases[i].next) != 0)
            fail_msg("%s: \"%s\" after %s: %s, expected %s", cases[i].says, cases[i].cron, cases[i].after,
                     text, cases[i].next);
    }
}

static void wrong_texts(void **state)
{
    (void)state;
    static const struct {
        const char *cron, *zone, *part;
    } cases[] = {
        {"", NULL, "0 fields"},
        {"* * * *", NULL, "4 fields"},
        {"* * * * * *", NULL, "more than five"},
        {"60 * * * *", NULL, "field minute: \"60\" is out of range"},
        {"* 24 * * *", NULL, "field hour"},
        {"* * 0 * *", NULL, "field day of month"},
        {"* * * 13 *", NULL, "field month"},
        {"* * * * 8", NULL, "field day of week"},
        {"*/0 * * * *", NULL, "out of range"},
        {"5-1 * * * *", NULL, "runs backwards"},
        {"1,,2 * * * *", NULL, "out of range"},
        {"a * * * *", NULL, "is no number"},
        {"99999999999999999999 * * * *", NULL, "field minute"},
        {"0 0 * * *", "Europe/Berlin", "by name are not known here"},
        {"0 0 * * *", "+25:00", "expected UTC"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s;
        struct err err = ERR_INIT;
        assert_fails(schedule_parse(cases[i].cron, cases[i].zone, &s, &err), &err, ERR_INVALID,
                     cases[i].part);
    }
}

static void a_day_that_never_comes(void **state)
{
    (void)state;
    struct schedule s;
    struct err err = ERR_INIT;
    int64_t next;
    assert_ok(schedule_parse("0 0 30 2 *", "UTC", &s, &err), &err);
    assert_fails(schedule_next(&s, 0, &next, &err), &err, ERR_NOTFOUND, "no time within eight years");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"the next time of many schedules", next_times, NULL, NULL, NULL},
        {"what is no schedule is refused, naming the field", wrong_texts, NULL, NULL, NULL},
        {"a day that never comes is an error, not a loop", a_day_that_never_comes, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
