/* Calendar text: see date.h. */
#include "operator/pipeline/date.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"

static const int64_t day_ms = INT64_C(86400000);

struct moment {
    int64_t utc_ms, zone_ms;
    int64_t days; /* local, since 1970-01-01 */
    int64_t year;
    unsigned month, day;
    int hour, minute, second;
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static unsigned weekday(int64_t days) /* Monday = 1 … Sunday = 7; 1970-01-01 was a Thursday */
{
    return (unsigned)(((days + 3) % 7 + 7) % 7) + 1;
}

/* ISO 8601: the week with the year's first Thursday is week 1; the week belongs to the year of its Thursday. */
static void iso_week(int64_t days, int64_t *ret_year, int *ret_week)
{
    int64_t thursday = days - (int64_t)weekday(days) + 4;
    unsigned month, day;
    clock_civil_from_days(thursday, ret_year, &month, &day);
    *ret_week = (int)((thursday - clock_days_from_civil(*ret_year, 1, 1)) / 7) + 1;
}

static void add_specifier(struct buf *out, const struct moment *m, char c)
{
    int64_t year;
    int week;
    iso_week(m->days, &year, &week);
    int64_t zone_minutes = m->zone_ms / 60000, magnitude = zone_minutes < 0 ? -zone_minutes : zone_minutes;
    switch (c) {
    case 'Y':
        (void)buf_addf(out, "%04lld", (long long)m->year);
        break;
    case 'y':
        (void)buf_addf(out, "%02lld", (long long)(m->year % 100));
        break;
    case 'm':
        (void)buf_addf(out, "%02u", m->month);
        break;
    case 'd':
        (void)buf_addf(out, "%02u", m->day);
        break;
    case 'H':
        (void)buf_addf(out, "%02d", m->hour);
        break;
    case 'M':
        (void)buf_addf(out, "%02d", m->minute);
        break;
    case 'S':
        (void)buf_addf(out, "%02d", m->second);
        break;
    case 'F':
        (void)buf_addf(out, "%04lld-%02u-%02u", (long long)m->year, m->month, m->day);
        break;
    case 'T':
        (void)buf_addf(out, "%02d:%02d:%02d", m->hour, m->minute, m->second);
        break;
    case 'j':
        (void)buf_addf(out, "%03lld", (long long)(m->days - clock_days_from_civil(m->year, 1, 1) + 1));
        break;
    case 'u':
        (void)buf_addf(out, "%u", weekday(m->days));
        break;
    case 'G':
        (void)buf_addf(out, "%04lld", (long long)year);
        break;
    case 'V':
        (void)buf_addf(out, "%02d", week);
        break;
    case 's':
        (void)buf_addf(out, "%lld", (long long)floor_div(m->utc_ms, 1000));
        break;
    case 'z':
        (void)buf_addf(out, "%c%02lld%02lld", zone_minutes < 0 ? '-' : '+', (long long)(magnitude / 60),
                       (long long)(magnitude % 60));
        break;
    default: /* '%'; the format was checked */
        (void)buf_addc(out, '%');
        break;
    }
}

int date_check_format(const char *format, struct err *err)
{
    for (const char *p = strchr(format, '%'); p; p = strchr(p + 2, '%')) {
        if (!p[1] || !strchr("YmdHMSFTjuGVysz%", p[1]))
            return err_set(
                err, ERR_INVALID,
                "the date format \"%.80s\" has %%%c; known are %%Y %%m %%d %%H %%M %%S %%F %%T %%j %%u %%G %%V %%y %%s %%z and %%%%",
                format, p[1] ? p[1] : ' ');
    }
    return 0;
}

static bool two_digits(const char *s, int max, int *ret)
{
    if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
        return false;
    *ret = (s[0] - '0') * 10 + s[1] - '0';
    return *ret <= max;
}

int date_parse_zone(const char *zone, int64_t *ret_ms, struct err *err)
{
    int hours, minutes;
    if (strcmp(zone, "UTC") == 0 || strcmp(zone, "Z") == 0) {
        *ret_ms = 0;
        return 0;
    }
    if ((zone[0] == '+' || zone[0] == '-') && two_digits(zone + 1, 14, &hours) && zone[3] == ':' &&
        two_digits(zone + 4, 59, &minutes) && !zone[6]) {
        *ret_ms = (zone[0] == '-' ? -1 : 1) * (hours * INT64_C(3600000) + minutes * INT64_C(60000));
        return 0;
    }
    return err_set(
        err, ERR_INVALID,
        "expected the zone UTC, +hh:mm or -hh:mm, found \"%.60s\"; named zones are not known to date(), for their rules differ from machine to machine",
        zone);
}

int date_parse_time(const char *text, int64_t *ret_ms, struct err *err)
{
    char full[32];
    if (strlen(text) == 10) {
        (void)snprintf(full, sizeof full, "%sT00:00:00Z", text);
        text = full;
    }
    return clock_parse_rfc3339(text, ret_ms, err);
}

int date_format(int64_t time_ms, const char *format, int64_t offset_ms, const char *zone,
                char ret[static DATE_TEXT_MAX], struct err *err)
{
    struct moment m;
    int64_t local;
    if (date_check_format(format, err) < 0 || date_parse_zone(zone, &m.zone_ms, err) < 0)
        return -1;
    if (__builtin_add_overflow(time_ms, offset_ms, &m.utc_ms) ||
        __builtin_add_overflow(m.utc_ms, m.zone_ms, &local))
        return err_set(err, ERR_INVALID, "the date is out of range");
    m.days = floor_div(local, day_ms);
    int seconds = (int)(floor_div(local, 1000) - m.days * 86400);
    m.hour = seconds / 3600;
    m.minute = seconds / 60 % 60;
    m.second = seconds % 60;
    /* Years 1 to 9998, so that the year of the ISO week has four digits too. */
    if (m.days < -719162 || m.days > 2932532)
        return err_set(err, ERR_INVALID, "the date is out of the years 1 to 9998");
    clock_civil_from_days(m.days, &m.year, &m.month, &m.day);
    _cleanup_buf_ struct buf out = BUF_INIT(DATE_TEXT_MAX - 1);
    for (const char *p = format; *p; p++) {
        if (*p == '%')
            add_specifier(&out, &m, *++p);
        else
            (void)buf_addc(&out, *p);
    }
    if (buf_failed(&out))
        return err_set(err, ERR_INVALID, "the date format \"%.40s…\" gives more than %d bytes", format,
                       DATE_TEXT_MAX - 1);
    (void)snprintf(ret, DATE_TEXT_MAX, "%s", buf_str(&out));
    return 0;
}
