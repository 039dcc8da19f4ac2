/* Schedules in named zones, through the nights on which clocks are moved. */
#include "operator/controller/zones.h"

#include "common/base/clock.h"
#include "common/base/fs.h"
#include "tests/unit/unit.h"

static int64_t at(const char *text)
{
    struct err err = ERR_INIT;
    int64_t ms = 0;
    assert_ok(clock_parse_rfc3339(text, &ms, &err), &err);
    return ms;
}

static int database(void **state)
{
    (void)state;
    if (fs_exists("/usr/share/zoneinfo/Europe/Berlin"))
        return 0;
    (void)printf("skipped: no time zone database here (package tzdata)\n");
    return -1;
}

static void through_the_nights(void **state)
{
    (void)state;
    /* Berlin 2026: 29 March 02:00 becomes 03:00 (01:00Z); 25 October 03:00 becomes 02:00 (01:00Z). */
    static const struct {
        const char *says, *cron, *zone, *after, *next;
    } cases[] = {
        {"winter", "0 2 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", "2026-01-11T01:00:00Z"},
        {"summer", "0 2 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", "2026-07-11T00:00:00Z"},
        {"a time that is skipped comes an hour later", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
         "2026-03-29T01:30:00Z"},
        {"once", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
        {"a time that comes twice counts the first time", "30 2 * * *", "Europe/Berlin",
         "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
        {"and not the second", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
        {"every hour that passes counts", "30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z",
         "2026-10-25T01:30:00Z"},
        {"also those after it", "30 * * * *", "Europe/Berlin", "2026-10-25T01:30:00Z",
         "2026-10-25T02:30:00Z"},
        {"over the gap", "0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
        {"the day of the week is the local one", "0 0 * * mon", "Europe/Berlin", "2026-07-11T12:00:00Z",
         "2026-07-12T22:00:00Z"},
        {"half an hour is moved", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z",
         "2026-10-03T15:45:00Z"},
        {"a day that is left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z",
         "2011-12-30T22:00:00Z"},
        {"the other half of the year", "0 2 * * *", "America/Sao_Paulo", "2026-01-10T12:00:00Z",
         "2026-01-11T05:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct schedule s;
        struct err err = ERR_INIT;
        int64_t next;
        char text[CLOCK_RFC3339_MAX];
        assert_ok(schedule_parse_in(cases[i].cron, cases[i].zone, &zones, &s, &err), &err);
        assert_ok(schedule_next(&s, at(cases[i].after), &next, &err), &err);
        clock_format_rfc3339(next, text);
        if (strcmp(text, cases[i].next) != 0)
            fail_msg("%s: \"%s\" in %s after %s: %s, expected %s", cases[i].says, cases[i].cron,
                     cases[i].zone, cases[i].after, text, cases[i].next);
    }
}

/* Over two years: a daily job runs once a day, an hourly one once in each hour that passes, and times only go forward. */
static void none_is_lost_none_is_doubled(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/Berlin",     "America/New_York", "Australia/Lord_Howe",
                                        "Africa/Casablanca", "Asia/Kathmandu",   "Europe/Dublin"};
    static const struct {
        const char *cron;
        int64_t per_day;
    } crons[] = {{"30 2 * * *", 1},
                 {"0 0 * * *", 1},
                 {"59 23 * * *", 1},
                 {"0 * * * *", 24},
                 {"0 2,3 * * *", 2}};
    for (size_t z = 0; z < sizeof names / sizeof *names; z++) {
        for (size_t c = 0; c < sizeof crons / sizeof *crons; c++) {
            struct schedule s;
            struct err err = ERR_INIT;
            int64_t t = at("2026-01-01T12:00:00Z"), end = at("2028-01-01T12:00:00Z"), n = 0, next;
            assert_ok(schedule_parse_in(crons[c].cron, names[z], &zones, &s, &err), &err);
            for (;; t = next, n++) {
                assert_ok(schedule_next(&s, t, &next, &err), &err);
                if (next <= t)
                    fail_msg("%s in %s: %lld comes after %lld", crons[c].cron, names[z], (long long)next,
                             (long long)t);
                if (next > end)
                    break;
            }
            /* "0 2,3" loses one of two in the gap: both would come at the same moment. */
            int64_t expected = 730 * crons[c].per_day;
            if (n < expected - (crons[c].per_day == 2 ? 4 : 0) || n > expected)
                fail_msg("%s in %s: %lld times in two years, expected %lld", crons[c].cron, names[z],
                         (long long)n, (long long)expected);
        }
    }
}

static void unknown_zones(void **state)
{
    (void)state;
    struct schedule s;
    struct err err = ERR_INIT;
    assert_fails(schedule_parse_in("0 0 * * *", "Mars/Olympus", &zones, &s, &err), &err, ERR_INVALID,
                 "no such zone");
    assert_ok(schedule_parse_in("0 0 * * *", "Etc/GMT-2", &zones, &s, &err), &err);
    assert_int_equal(s.offset_minutes, 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"through the nights on which clocks are moved", through_the_nights, NULL, NULL, NULL},
        {"none is lost and none is doubled", none_is_lost_none_is_doubled, NULL, NULL, NULL},
        {"unknown zones", unknown_zones, NULL, NULL, NULL},
    };
    return database(NULL) < 0 ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
