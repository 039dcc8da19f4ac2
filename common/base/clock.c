/* Clocks, calendar and durations: see clock.h. */
#include "common/base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) < 0)
        BUG("clock_gettime(%d) failed", (int)id);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t system_wall(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_REALTIME);
}

static int64_t system_mono(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_MONOTONIC);
}

static void system_sleep(void *ctx, int64_t ms)
{
    (void)ctx;
    if (ms <= 0)
        return;
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
        continue;
}

const struct clock clock_system = {.wall_ms = system_wall, .mono_ms = system_mono, .sleep_ms = system_sleep};

static int64_t fake_wall(void *ctx)
{
    return ((struct clock_fake *)ctx)->wall;
}

static int64_t fake_mono(void *ctx)
{
    return ((struct clock_fake *)ctx)->mono;
}

static void fake_sleep(void *ctx, int64_t ms)
{
    if (ms > 0)
        clock_fake_advance(ctx, ms);
}

void clock_fake_init(struct clock_fake *f, int64_t wall_ms)
{
    *f = (struct clock_fake){.wall = wall_ms};
    f->clock = (struct clock){.wall_ms = fake_wall, .mono_ms = fake_mono, .sleep_ms = fake_sleep, .ctx = f};
}

void clock_fake_advance(struct clock_fake *f, int64_t ms)
{
    f->wall += ms;
    f->mono += ms;
}

/* Both after H. Hinnant, "chrono-compatible low-level date algorithms": eras of 400 years that start in March. */
int64_t clock_days_from_civil(int64_t year, unsigned month, unsigned day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void clock_civil_from_days(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;
    unsigned month = (unsigned)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    *ret_day = (unsigned)(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    *ret_month = month;
    *ret_year = year_of_era + era * 400 + (month <= 2);
}

void clock_format_rfc3339(int64_t wall_ms, char ret[static CLOCK_RFC3339_MAX])
{
    enum { DAY_MS = 86400000 };
    int64_t days = wall_ms / DAY_MS;
    int64_t rest = wall_ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    int64_t year;
    unsigned month, day;
    clock_civil_from_days(days, &year, &month, &day);
    int seconds = (int)(rest / 1000), ms = (int)(rest % 1000);
    char fraction[8] = "";
    if (ms)
        (void)snprintf(fraction, sizeof fraction, ".%03d", ms);
    (void)snprintf(ret, CLOCK_RFC3339_MAX, "%04d-%02u-%02uT%02d:%02d:%02d%sZ", (int)year, month % 100,
                   day % 100, seconds / 3600, seconds / 60 % 60, seconds % 60, fraction);
}

/* Reads exactly n digits and moves on; -1 if there are fewer. */
static int take_digits(const char **p, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (**p < '0' || **p > '9')
            return -1;
        value = value * 10 + (*(*p)++ - '0');
    }
    return value;
}

static bool take_char(const char **p, char upper, char lower)
{
    if (**p != upper && **p != lower)
        return false;
    (*p)++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Digits after the point, of which three count (truncated, not rounded: a time never moves forward). */
static int take_fraction(const char **p)
{
    if (**p != '.')
        return 0;
    (*p)++;
    if (**p < '0' || **p > '9')
        return -1;
    int ms = 0;
    for (int scale = 100; **p >= '0' && **p <= '9'; scale /= 10)
        ms += (*(*p)++ - '0') * scale;
    return ms;
}

/* Minutes east of UTC; -1 as result when neither Z nor ±hh:mm stands there. */
static int take_offset(const char **p, int *ret_minutes)
{
    *ret_minutes = 0;
    if (take_char(p, 'Z', 'z'))
        return 0;
    int sign = **p == '+' ? 1 : **p == '-' ? -1 : 0;
    if (!sign)
        return -1;
    (*p)++;
    int hours = take_digits(p, 2);
    if (hours < 0 || hours > 23 || !take_char(p, ':', ':'))
        return -1;
    int minutes = take_digits(p, 2);
    if (minutes < 0 || minutes > 59)
        return -1;
    *ret_minutes = sign * (hours * 60 + minutes);
    return 0;
}

static int parse_rfc3339(const char *p, int64_t *ret_ms)
{
    int year = take_digits(&p, 4);
    if (year < 0 || !take_char(&p, '-', '-'))
        return -1;
    int month = take_digits(&p, 2);
    if (month < 1 || month > 12 || !take_char(&p, '-', '-'))
        return -1;
    int day = take_digits(&p, 2);
    if (day < 1 || day > days_in_month(year, month) || !take_char(&p, 'T', 't'))
        return -1;
    int hour = take_digits(&p, 2);
    if (hour < 0 || hour > 23 || !take_char(&p, ':', ':'))
        return -1;
    int minute = take_digits(&p, 2);
    if (minute < 0 || minute > 59 || !take_char(&p, ':', ':'))
        return -1;
    int second = take_digits(&p, 2);
    if (second < 0 || second > 59)
        return -1;
    int ms = take_fraction(&p);
    int offset;
    if (ms < 0 || take_offset(&p, &offset) < 0 || *p)
        return -1;
    int64_t days = clock_days_from_civil(year, (unsigned)month, (unsigned)day);
    *ret_ms = (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + ms;
    return 0;
}

int clock_parse_rfc3339(const char *text, int64_t *ret_ms, struct err *err)
{
    if (parse_rfc3339(text, ret_ms) < 0)
        return err_set(
            err, ERR_INVALID,
            "expected a time such as 2026-01-31T02:00:00Z (RFC 3339, with Z or an offset), found \"%s\"",
            text);
    return 0;
}

struct unit {
    const char *name;
    int64_t ms;
};

/* Longest first, and "ms" behind "m" is told apart by the letter that follows. */
static const struct unit units[] = {
    {"w", 7 * 86400000LL}, {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static int take_unit(const char **p)
{
    for (size_t i = sizeof units / sizeof units[0]; i-- > 0;) {
        size_t len = strlen(units[i].name);
        if (strncmp(*p, units[i].name, len) == 0) {
            *p += len;
            return (int)i;
        }
    }
    return -1;
}

/* Whole numbers with units, each unit once and larger ones first. */
static int parse_duration(const char *p, int64_t *ret_ms)
{
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    if (strcmp(p, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    int64_t total = 0;
    int last = -1;
    do {
        int64_t n = 0;
        if (*p < '0' || *p > '9')
            return -1;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
                return -1;
        }
        int unit = take_unit(&p);
        if (unit <= last || __builtin_mul_overflow(n, units[unit].ms, &n) ||
            __builtin_add_overflow(total, n, &total))
            return -1;
        last = unit;
    } while (*p);
    *ret_ms = negative ? -total : total;
    return 0;
}

int clock_parse_duration(const char *text, int64_t *ret_ms, struct err *err)
{
    if (parse_duration(text, ret_ms) < 0)
        return err_set(
            err, ERR_INVALID,
            "expected a duration such as 90s, 15m, 36h, 2d or 1d12h (units w, d, h, m, s, ms, larger first), "
            "found \"%s\"",
            text);
    return 0;
}
