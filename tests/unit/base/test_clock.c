/* Calendar, time texts, durations, the fake clock, and back-off. */
#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "tests/unit/unit.h"

static void civil_dates_and_days(void **state)
{
    (void)state;
    static const struct {
        int64_t year;
        unsigned month, day;
        int64_t days;
    } cases[] = {
        {1970, 1, 1, 0},      {1969, 12, 31, -1},   {2000, 2, 29, 11016},  {2000, 3, 1, 11017},
        {2024, 2, 29, 19782}, {2026, 1, 31, 20484}, {1600, 1, 1, -135140}, {0, 3, 1, -719468},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(clock_days_from_civil(cases[i].year, cases[i].month, cases[i].day), cases[i].days);
        int64_t year;
        unsigned month, day;
        clock_civil_from_days(cases[i].days, &year, &month, &day);
        assert_int_equal(year, cases[i].year);
        assert_int_equal(month, cases[i].month);
        assert_int_equal(day, cases[i].day);
    }
    for (int64_t d = -800000; d < 800000; d += 7) {
        int64_t year;
        unsigned month, day;
        clock_civil_from_days(d, &year, &month, &day);
        assert_int_equal(clock_days_from_civil(year, month, day), d);
    }
}

static void rfc3339_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
        const char *printed; /* NULL: the same text */
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, NULL},
        {"2026-01-31T02:00:00Z", 1769824800000, NULL},
        {"2026-01-31T02:00:00.120Z", 1769824800120, NULL},
        {"2026-01-31T02:00:00.1239999Z", 1769824800123, "2026-01-31T02:00:00.123Z"},
        {"2026-01-31T03:30:00+01:30", 1769824800000, "2026-01-31T02:00:00Z"},
        {"2026-01-30T21:00:00-05:00", 1769824800000, "2026-01-31T02:00:00Z"},
        {"1969-12-31T23:59:59.999Z", -1, NULL},
        {"2024-02-29t12:00:00z", 1709208000000, "2024-02-29T12:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        int64_t ms;
        assert_ok(clock_parse_rfc3339(cases[i].text, &ms, &err), &err);
        assert_int_equal(ms, cases[i].ms);
        char printed[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(ms, printed);
        assert_string_equal(printed, cases[i].printed ? cases[i].printed : cases[i].text);
    }
}

static void rfc3339_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-01-31",
        "2026-01-31T02:00:00",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T02:60:00Z",
        "2026-01-31T02:00:00.Z",
        "2026-01-31T02:00Z",
        "2026-01-31T02:00:00+1:00",
        "2026-01-31T02:00:00ZZ",
        "26-01-31T02:00:00Z",
        "2026-01-31 02:00:00Z",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;
        int64_t ms = 7;
        assert_fails(clock_parse_rfc3339(bad[i], &ms, &err), &err, ERR_INVALID, "expected a time such as");
        assert_int_equal(ms, 7);
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"36h", 129600000}, {"2d", 172800000},    {"90s", 90000},   {"15m", 900000},
        {"1w", 604800000},  {"1d12h", 129600000}, {"-5m", -300000}, {"+5m", 300000},
        {"0", 0},           {"250ms", 250},       {"1m1ms", 60001}, {"0s", 0},
    };
    struct err err = ERR_INIT;
    int64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(clock_parse_duration(good[i].text, &ms, &err), &err);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"",
                                      "5",
                                      "h",
                                      "5 m",
                                      "1h1d",
                                      "1h1h",
                                      "1.5h",
                                      "5mm",
                                      "--5m",
                                      "99999999999999999999w",
                                      "9999999999999999w"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(clock_parse_duration(bad[i], &ms, &err), &err, ERR_INVALID, "expected a duration");
}

static void fake_clock_moves_only_when_told(void **state)
{
    (void)state;
    struct clock_fake f;
    clock_fake_init(&f, 1000);
    const struct clock *c = &f.clock;
    assert_int_equal(c->wall_ms(c->ctx), 1000);
    assert_int_equal(c->mono_ms(c->ctx), 0);
    c->sleep_ms(c->ctx, 500);
    clock_fake_advance(&f, 7);
    assert_int_equal(c->wall_ms(c->ctx), 1507);
    assert_int_equal(c->mono_ms(c->ctx), 507);
}

static void system_clock_runs_forward(void **state)
{
    (void)state;
    const struct clock *c = &clock_system;
    int64_t before = c->mono_ms(c->ctx);
    c->sleep_ms(c->ctx, 5);
    assert_true(c->mono_ms(c->ctx) >= before + 4);
    assert_true(c->wall_ms(c->ctx) > 1700000000000);
}

static void backoff_doubles_within_bounds(void **state)
{
    (void)state;
    static const int64_t bases[] = {100, 200, 400, 800, 1000, 1000, 1000};
    bool varied = false;
    int64_t first = -1;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct backoff b;
        backoff_init(&b, 100, 1000, seed);
        for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
            int64_t d = backoff_next_ms(&b);
            assert_in_range(d, bases[i] / 2, bases[i]);
            if (i == 0) {
                varied |= first >= 0 && d != first;
                first = d;
            }
        }
        backoff_reset(&b);
        assert_in_range(backoff_next_ms(&b), 50, 100);
    }
    assert_true(varied);
    struct backoff a, b;
    backoff_init(&a, 1, INT64_MAX, 5);
    backoff_init(&b, 1, INT64_MAX, 5);
    for (int i = 0; i < 200; i++) {
        int64_t d = backoff_next_ms(&a);
        assert_true(d >= 0);
        assert_int_equal(d, backoff_next_ms(&b)); /* equal seeds, equal delays */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(civil_dates_and_days),
        cmocka_unit_test(rfc3339_texts),
        cmocka_unit_test(rfc3339_refuses),
        cmocka_unit_test(durations),
        cmocka_unit_test(fake_clock_moves_only_when_told),
        cmocka_unit_test(system_clock_runs_forward),
        cmocka_unit_test(backoff_doubles_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
