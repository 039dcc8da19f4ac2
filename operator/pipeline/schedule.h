/* Cron schedules: five fields (minute hour day-of-month month day-of-week), the language of Kubernetes' CronJob.
 *
 * Lists, ranges, steps ("1-5", "0-59/15", "0,30"), names (JAN, mon), 7 for Sunday, and @yearly @monthly @weekly @daily @midnight
 * @hourly. When both day fields are restricted, a day that matches either counts (as in Vixie cron; a star with a step is a restriction).
 *
 * Time zones: UTC and fixed offsets; zones by name where the caller has a database of them. Through daylight saving as people expect it of a daily job:
 * a local time that the clock skips comes as much later as the clock was moved on (02:30 becomes 03:30), so that no day is left out; one that
 * comes twice counts the first time only, unless the hour is "*", for then every hour that passes counts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct schedule { /* bit n: the value n matches */
    uint64_t minutes;
    uint32_t hours, days, months, weekdays; /* days 1…31, months 1…12, weekdays 0 (Sunday) … 6 */
    bool any_day, any_weekday;              /* written as "*" or "?" */
    int offset_minutes;                     /* of a fixed zone, east of UTC */
    const struct schedule_zones *zones;     /* of a named one; NULL: fixed */
    const void *zone;
};
/* A database of named zones, by whoever may read files. Must outlive the schedules. */
struct schedule_zones {
    /* ERR_INVALID: there is none of that name. The zone stays valid. */
    int (*find)(const char *name, const void **ret_zone, struct err *err);
    int64_t (*offset)(const void *zone, int64_t utc_seconds); /* seconds east of UTC */
};
/* zone: NULL, "UTC", "Etc/UTC", "Etc/GMT±n" (whose sign is reversed, as everywhere) or "±hh:mm". */
int schedule_parse(const char *cron, const char *zone, struct schedule *ret, struct err *err);
/* The same with named zones. */
int schedule_parse_in(const char *cron, const char *zone, const struct schedule_zones *zones,
                      struct schedule *ret, struct err *err);
/* The first time after (not at) `after_ms`, on a whole minute. A schedule that never comes within eight years ("0 0 30 2 *") is
 * ERR_NOTFOUND. */
int schedule_next(const struct schedule *s, int64_t after_ms, int64_t *ret_ms, struct err *err);
