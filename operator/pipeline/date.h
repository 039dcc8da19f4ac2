/* date(time, format, offset, zone) of the expression language, as a pure function. */
#pragma once

#include <stdint.h>

#include "common/base/err.h"

enum { DATE_TEXT_MAX = 512 };

/* Formats time + offset in a zone. Format: %Y %m %d %H %M %S %j (day of year) %u (Monday = 1) %G %V (ISO week) %y %F (%Y-%m-%d)
 * %T (%H:%M:%S) %s (seconds since 1970) %z (+hhmm) %%; others are errors. Zone: "UTC", "Z", "+hh:mm", "-hh:mm"; a name such
 * as Europe/Berlin would need the machine's time zone database, so that the same manifest could mean two things: an error. */
int date_format(int64_t time_ms, const char *format, int64_t offset_ms, const char *zone,
                char ret[static DATE_TEXT_MAX], struct err *err);
/* RFC 3339, or a date alone (midnight UTC). */
int date_parse_time(const char *text, int64_t *ret_ms, struct err *err);
/* Without a time: whether format, offset ("-1d", "36h") and zone are well-formed. */
int date_check_format(const char *format, struct err *err);
int date_parse_zone(const char *zone, int64_t *ret_ms, struct err *err);
