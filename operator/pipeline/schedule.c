/* Cron schedules: see schedule.h. */
#include "operator/pipeline/schedule.h"

#include <string.h>
#include <strings.h>

#include "common/base/clock.h"
#include "common/base/text.h"

enum { HORIZON_DAYS = 8 * 366, MINUTE_MS = 60 * 1000, MINUTES_PER_DAY = 24 * 60 };

struct field {
    const char *name;
    int min, max;
    const char *const *names; /* of min, min + 1, …; NULL */
};
static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};
static const struct field fields[] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},
    {"month", 1, 12, month_names},
    {"day of week", 0, 7, weekday_names},
};

static int bad(const struct field *f, const char *part, size_t len, const char *why, struct err *err)
{
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "cron",
        "cron: field %s: \"%.*s\" %s (expected %d to %d, as in \"*\", \"5\", \"1-5\", \"*/10\", \"0,30\")",
        f->name, (int)len, part, why, f->min, f->max);
}

static int parse_value(const struct field *f, const char *text, size_t len, int *ret, struct err *err)
{
    int value = 0;
    for (int i = 0; f->names && f->names[i]; i++) {
        if (len == 3 && strncasecmp(text, f->names[i], 3) == 0) {
            *ret = f->min + i;
            return 0;
        }
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || value > 1000)
            return bad(f, text, len, "is no number", err);
        value = value * 10 + (text[i] - '0');
    }
    if (len == 0 || value < f->min || value > f->max)
        return bad(f, text, len, "is out of range", err);
    *ret = value;
    return 0;
}

/* "*", "a", "a-b", each with an optional "/step". */
static int parse_part(const struct field *f, const char *part, size_t len, uint64_t *bits, int *ret_any,
                      struct err *err)
{
    const char *slash = memchr(part, '/', len);
    size_t range_len = slash ? (size_t)(slash - part) : len;
    int from = f->min, to = f->max, step = 1;
    bool star = range_len == 1 && (part[0] == '*' || part[0] == '?');
    if (!star) {
        const char *dash = memchr(part, '-', range_len);
        size_t first = dash ? (size_t)(dash - part) : range_len;
        if (parse_value(f, part, first, &from, err) < 0)
            return -1;
        to = slash ? f->max : from; /* "5/10" means "5-max/10" */
        if (dash && parse_value(f, dash + 1, range_len - first - 1, &to, err) < 0)
            return -1;
        if (to < from)
            return bad(f, part, len, "is a range that runs backwards", err);
    } else if (f->max == 7) {
        to = 6;
    }
    if (slash) {
        struct field steps = {.name = f->name, .min = 1, .max = f->max};
        if (parse_value(&steps, slash + 1, len - range_len - 1, &step, err) < 0)
            return -1;
    }
    if (star && step == 1)
        *ret_any = 1;
    for (int v = from; v <= to; v += step)
        *bits |= UINT64_C(1) << (f->max == 7 ? v % 7 : v);
    return 0;
}

static int parse_field(const struct field *f, const char *text, size_t len, uint64_t *bits, int *ret_any,
                       struct err *err)
{
    *bits = 0;
    *ret_any = 0;
    for (const char *end = text + len;;) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t n = (size_t)((comma ? comma : end) - text);
        if (parse_part(f, text, n, bits, ret_any, err) < 0)
            return -1;
        if (!comma)
            return 0;
        text = comma + 1;
    }
}

static const char *expand_macro(const char *cron)
{
    static const struct {
        const char *name, *cron;
    } macros[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        if (text_equal(cron, macros[i].name))
            return macros[i].cron;
    return cron;
}

static int parse_offset(const char *zone, int *ret_minutes, struct err *err)
{
    int h1, h2, m1, m2;
    if (!zone || text_equal(zone, "UTC") || text_equal(zone, "Etc/UTC") || text_equal(zone, "Z")) {
        *ret_minutes = 0;
        return 0;
    }
    if (text_starts_with(zone, "Etc/GMT")) {
        int64_t hours = 0;
        struct err ignored = ERR_INIT;
        const char *n = zone + strlen("Etc/GMT");
        if ((*n == '+' || *n == '-') && text_parse_int(n + 1, &hours, &ignored) == 0 && hours >= 0 &&
            hours <= 14) {
            *ret_minutes = (int)(*n == '+' ? -hours : hours) * 60;
            return 0;
        }
    }
    if ((zone[0] == '+' || zone[0] == '-') && strlen(zone) == 6 && zone[3] == ':') {
        h1 = zone[1] - '0', h2 = zone[2] - '0', m1 = zone[4] - '0', m2 = zone[5] - '0';
        int total = (h1 * 10 + h2) * 60 + m1 * 10 + m2;
        if (h1 >= 0 && h1 <= 1 && h2 >= 0 && h2 <= 9 && m1 >= 0 && m1 <= 5 && m2 >= 0 && m2 <= 9 &&
            total <= 14 * 60) {
            *ret_minutes = zone[0] == '-' ? -total : total;
            return 0;
        }
    }
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "time-zone",
        "time zone \"%s\": expected UTC, Etc/GMT±n or an offset like +02:00; zones by name are not known here",
        zone);
}

int schedule_parse(const char *cron, const char *zone, struct schedule *ret, struct err *err)
{
    return schedule_parse_in(cron, zone, NULL, ret, err);
}

static int parse_zone(struct schedule *s, const char *zone, const struct schedule_zones *zones,
                      struct err *err)
{
    struct err fixed = ERR_INIT;
    if (parse_offset(zone, &s->offset_minutes, &fixed) == 0)
        return 0;
    if (!zones)
        return err_fail(err, fixed.class_, fixed.exit_code, fixed.reason, "%s", fixed.msg);
    s->zones = zones;
    return zones->find(zone, &s->zone, err);
}

int schedule_parse_in(const char *cron, const char *zone, const struct schedule_zones *zones,
                      struct schedule *ret, struct err *err)
{
    struct schedule s = {0};
    uint64_t bits[5];
    int any[5];
    size_t n = 0;
    cron = expand_macro(cron);
    for (const char *p = cron; *p;) {
        p += strspn(p, " \t");
        size_t len = strcspn(p, " \t");
        if (len == 0)
            break;
        if (n == 5)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "cron", "cron \"%s\": more than five fields",
                            cron);
        if (parse_field(&fields[n], p, len, &bits[n], &any[n], err) < 0)
            return -1;
        n++;
        p += len;
    }
    if (n != 5)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "cron",
            "cron \"%s\": %zu fields, expected five (minute hour day-of-month month day-of-week), or @hourly, @daily, @weekly, @monthly, @yearly",
            cron, n);
    if (parse_zone(&s, zone, zones, err) < 0)
        return -1;
    s.minutes = bits[0];
    s.hours = (uint32_t)bits[1];
    s.days = (uint32_t)bits[2];
    s.months = (uint32_t)bits[3];
    s.weekdays = (uint32_t)bits[4];
    s.any_day = any[2];
    s.any_weekday = any[4];
    *ret = s;
    return 0;
}

static bool day_matches(const struct schedule *s, int64_t days)
{
    int64_t year;
    unsigned month, day;
    clock_civil_from_days(days, &year, &month, &day);
    if (!(s->months >> month & 1))
        return false;
    unsigned weekday = (unsigned)(((days % 7) + 7 + 4) % 7); /* 1970-01-01 was a Thursday */
    bool by_day = s->days >> day & 1, by_weekday = s->weekdays >> weekday & 1;
    return s->any_day || s->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static bool minute_matches(const struct schedule *s, int64_t minute)
{
    return (s->hours >> (minute / 60) & 1) && (s->minutes >> (minute % 60) & 1);
}

static int64_t offset_minutes(const struct schedule *s, int64_t utc_minute)
{
    return s->zones ? floor_div(s->zones->offset(s->zone, utc_minute * 60), 60) : s->offset_minutes;
}

enum { ALL_HOURS = (1 << 24) - 1 };

/* The first moment after `after` at which local clocks show this minute, when they are moved on this day or a neighbouring one; INT64_MAX: none. */
static int64_t moment_of(const struct schedule *s, int64_t local, int64_t after)
{
    int64_t before = offset_minutes(s, local - s->offset_minutes - 2 * MINUTES_PER_DAY),
            behind = offset_minutes(s, local - s->offset_minutes + 2 * MINUTES_PER_DAY);
    int64_t a = local - before, b = local - behind;
    bool a_shown = offset_minutes(s, a) == before, b_shown = offset_minutes(s, b) == behind;
    int64_t first = a_shown ? a : b_shown ? b : a; /* skipped: as much later as the clock was moved on */
    if (first > after)
        return first;
    bool twice = a_shown && b_shown && a != b && (s->hours & ALL_HOURS) == ALL_HOURS;
    return twice && b > after ? b : INT64_MAX;
}

static int64_t first_of_day(const struct schedule *s, int64_t day, int64_t after)
{
    int64_t best = INT64_MAX, start = day * MINUTES_PER_DAY, from = 0;
    int64_t offset = offset_minutes(s, start - 3 * MINUTES_PER_DAY);
    bool even = !s->zones || (offset == offset_minutes(s, start) &&
                              offset == offset_minutes(s, start + 4 * MINUTES_PER_DAY));
    if (!day_matches(s, day))
        return best;
    if (even && after + 1 + offset > start)
        from = after + 1 + offset - start;
    for (int64_t m = from; m < MINUTES_PER_DAY; m++) {
        if (!minute_matches(s, m))
            continue;
        if (even)
            return start + m - offset;
        int64_t at = moment_of(s, start + m, after);
        best = at < best ? at : best;
    }
    return best;
}

int schedule_next(const struct schedule *s, int64_t after_ms, int64_t *ret_ms, struct err *err)
{
    int64_t after = floor_div(after_ms, MINUTE_MS);
    int64_t first_day = floor_div(after + offset_minutes(s, after), MINUTES_PER_DAY) - (s->zones ? 1 : 0);
    for (int64_t day = first_day; day < first_day + HORIZON_DAYS; day++) {
        int64_t at = first_of_day(s, day, after);
        if (at == INT64_MAX)
            continue;
        if (s->zones) { /* a time that comes twice may lie behind the next day's first */
            int64_t next = first_of_day(s, day + 1, after);
            at = next < at ? next : at;
        }
        *ret_ms = at * MINUTE_MS;
        return 0;
    }
    return err_fail(err, ERR_NOTFOUND, EXITCODE_CONFIG, "cron",
                    "the schedule has no time within eight years: check day of month and month");
}
