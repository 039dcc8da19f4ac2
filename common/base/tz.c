/* See tz.h. */
#include "common/base/tz.h"

#include <ctype.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/text.h"

enum { HEADER = 44, MAX_FILE = 256 * 1024, MAX_NAME = 64, DAY = 86400, HOUR = 3600 };

/* A day of the year on which the clock changes, as POSIX' TZ writes it, and when. */
struct change {
    char kind; /* 'M': month, week, weekday; 'J': day 1…365 without 29 February; 'D': day 0…365 */
    int month, week, day;
    int64_t time; /* local seconds after midnight */
};
struct rule {
    bool there, has_dst;
    int64_t standard, dst; /* seconds east */
    struct change start, end;
};
struct tz {
    size_t n;
    int64_t *times;   /* of transitions, ascending */
    int64_t *offsets; /* from then on */
    int64_t first;    /* before the first */
    struct rule rule;
};

struct tz *tz_free(struct tz *z)
{
    if (!z)
        return NULL;
    free(z->times);
    free(z->offsets);
    free(z);
    return NULL;
}

/* --- the footer: POSIX' TZ string -------------------------------------------------------------------------------- */

static bool skip_name(const char **p)
{
    const char *s = *p;
    if (*s == '<') {
        while (*s && *s != '>')
            s++;
        *p = s + (*s == '>');
        return *s == '>';
    }
    while (isalpha((unsigned char)*s))
        s++;
    bool ok = s - *p >= 3;
    *p = s;
    return ok;
}

static bool number(const char **p, int max, int *ret)
{
    int v = 0;
    const char *s = *p;
    while (*s >= '0' && *s <= '9' && v <= max)
        v = v * 10 + (*s++ - '0');
    bool ok = s > *p && v <= max;
    *p = s;
    *ret = v;
    return ok;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool clock_time(const char **p, int64_t *ret)
{
    int part, sign = **p == '-' ? -1 : 1;
    int64_t v;
    if (**p == '-' || **p == '+')
        (*p)++;
    if (!number(p, 167, &part))
        return false;
    v = (int64_t)part * HOUR;
    for (int unit = 60; unit >= 1 && **p == ':'; unit /= 60) {
        (*p)++;
        if (!number(p, 59, &part))
            return false;
        v += (int64_t)part * unit;
    }
    *ret = sign * v;
    return true;
}

static bool change_of(const char **p, struct change *c)
{
    if (*(*p)++ != ',')
        return false;
    c->kind = **p == 'M' || **p == 'J' ? *(*p)++ : 'D';
    c->time = 2 * HOUR;
    if (c->kind == 'M') {
        if (!number(p, 12, &c->month) || *(*p)++ != '.' || !number(p, 5, &c->week) || *(*p)++ != '.' ||
            !number(p, 6, &c->day) || c->month < 1 || c->week < 1)
            return false;
    } else if (!number(p, 365, &c->day)) {
        return false;
    }
    if (**p != '/')
        return true;
    (*p)++;
    return clock_time(p, &c->time);
}

static bool parse_rule(const char *text, struct rule *r)
{
    const char *p = text;
    int64_t west;
    *r = (struct rule){.there = true};
    if (!skip_name(&p) || !clock_time(&p, &west))
        return false;
    r->standard = -west;
    if (!*p)
        return true;
    r->has_dst = true;
    r->dst = r->standard + HOUR;
    if (!skip_name(&p))
        return false;
    if (*p && *p != ',') {
        if (!clock_time(&p, &west))
            return false;
        r->dst = -west;
    }
    return change_of(&p, &r->start) && change_of(&p, &r->end) && !*p;
}

static bool leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Local seconds since 1970 of the change in this year. */
static int64_t change_at(const struct change *c, int64_t year)
{
    int64_t days = clock_days_from_civil(year, 1, 1);
    if (c->kind == 'D') {
        days += c->day;
    } else if (c->kind == 'J') {
        days += c->day - 1 + (leap(year) && c->day >= 60);
    } else {
        int64_t first = clock_days_from_civil(year, (unsigned)c->month, 1),
                next = c->month == 12 ? clock_days_from_civil(year + 1, 1, 1)
                                      : clock_days_from_civil(year, (unsigned)c->month + 1, 1);
        int64_t weekday = ((first % 7) + 7 + 4) % 7; /* 1970-01-01 was a Thursday */
        days = first + (c->day - weekday + 7) % 7 + 7LL * (c->week - 1);
        if (days >= next) /* "5": the last one */
            days -= 7;
    }
    return days * DAY + c->time;
}

static int64_t rule_offset(const struct rule *r, int64_t utc)
{
    int64_t year, local = utc + r->standard, days = local / DAY - (local % DAY < 0);
    unsigned month, day;
    if (!r->has_dst)
        return r->standard;
    clock_civil_from_days(days, &year, &month, &day);
    int64_t start = change_at(&r->start, year) - r->standard, end = change_at(&r->end, year) - r->dst;
    bool dst = start < end ? utc >= start && utc < end : utc >= start || utc < end;
    return dst ? r->dst : r->standard;
}

/* --- the file ------------------------------------------------------------------------------------------------------ */

static int64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

struct counts {
    size_t utc, standard, leap, times, types, chars;
};

static bool header(const uint8_t *p, const uint8_t *end, struct counts *c)
{
    if (end - p < HEADER || memcmp(p, "TZif", 4) != 0)
        return false;
    size_t *const fields[] = {&c->utc, &c->standard, &c->leap, &c->times, &c->types, &c->chars};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        int64_t v = big_endian(p + 20 + 4 * i, 4);
        if (v < 0 || v > MAX_FILE)
            return false;
        *fields[i] = (size_t)v;
    }
    return c->types > 0;
}

static size_t block_size(const struct counts *c, size_t time_size)
{
    return c->times * (time_size + 1) + c->types * 6 + c->chars + c->leap * (time_size + 4) + c->standard +
           c->utc;
}

static bool read_block(struct tz *z, const uint8_t *p, const struct counts *c)
{
    const uint8_t *indexes = p + c->times * 8, *types = indexes + c->times;
    z->n = c->times;
    z->times = xcalloc(z->n + 1, sizeof *z->times);
    z->offsets = xcalloc(z->n + 1, sizeof *z->offsets);
    z->first = big_endian(types, 4);
    for (size_t i = 0; i < z->n; i++) {
        z->times[i] = big_endian(p + 8 * i, 8);
        if (indexes[i] >= c->types || (i && z->times[i] <= z->times[i - 1]))
            return false;
        z->offsets[i] = big_endian(types + 6 * indexes[i], 4);
    }
    return true;
}

int tz_parse(const void *data, size_t len, const char *name, struct tz **ret, struct err *err)
{
    const uint8_t *p = data, *end = p + len;
    struct counts old, c;
    _cleanup_tz_ struct tz *z = xcalloc(1, sizeof *z);
    /* A first block with 32-bit times is there for old readers; the second one is what counts. */
    bool ok = header(p, end, &old) && p[4] >= '2' && (size_t)(end - p) >= HEADER + block_size(&old, 4);
    p += ok ? HEADER + block_size(&old, 4) : 0;
    ok = ok && header(p, end, &c) && (size_t)(end - p) >= HEADER + block_size(&c, 8) &&
         read_block(z, p + HEADER, &c);
    if (ok) {
        const char *footer = (const char *)p + HEADER + block_size(&c, 8);
        size_t left = (size_t)((const char *)end - footer);
        const char *stop = left > 1 && footer[0] == '\n' ? memchr(footer + 1, '\n', left - 1) : NULL;
        if (stop && stop > footer + 1) {
            _cleanup_free_ char *text = xstrndup(footer + 1, (size_t)(stop - footer - 1));
            ok = parse_rule(text, &z->rule);
        }
    }
    if (!ok)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "time-zone",
                        "time zone \"%s\": its file is not in the form of RFC 8536, version 2 or later",
                        name);
    *ret = steal_ptr(z);
    return 0;
}

/* Parts of letters, digits and "+-_", separated by slashes. */
static bool valid_name(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME || !fs_safe_relative(name))
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("+-_/", *name))
            return false;
    return true;
}

int tz_load(const char *dir, const char *name, struct tz **ret, struct err *err)
{
    const char *place = dir && *dir ? dir : "/usr/share/zoneinfo";
    _cleanup_free_ char *path = fs_join(place, name), *data = NULL;
    size_t len;
    struct err why = ERR_INIT;
    if (!valid_name(name))
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "time-zone",
            "time zone \"%.64s\": expected a name such as Europe/Berlin, UTC, or an offset like +02:00",
            name);
    if (!fs_exists(place))
        return err_fail(err, ERR_NOTFOUND, EXITCODE_CONFIG, "time-zone",
                        "time zone \"%s\": there is no time zone database at %s (package tzdata)", name,
                        place);
    if (fs_read_file(path, MAX_FILE, &data, &len, &why) < 0)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "time-zone",
                        "time zone \"%s\": there is no such zone; expected a name such as Europe/Berlin",
                        name);
    return tz_parse(data, len, name, ret, err);
}

int64_t tz_offset(const struct tz *z, int64_t utc)
{
    if (z->n == 0 || utc < z->times[0])
        return z->n == 0 && z->rule.there ? rule_offset(&z->rule, utc) : z->first;
    if (utc >= z->times[z->n - 1] && z->rule.there)
        return rule_offset(&z->rule, utc);
    size_t low = 0, high = z->n; /* times[low] ≤ utc < times[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (z->times[middle] <= utc)
            low = middle;
        else
            high = middle;
    }
    return z->offsets[low];
}
