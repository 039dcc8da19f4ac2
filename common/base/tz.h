/* Time zones by name, from the machine's database (TZif files, RFC 8536): how far local time is from UTC at a moment.
 *
 * Times after the file's last transition follow the rule in its footer. Leap seconds are not looked at. */
#pragma once

#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct tz; /* opaque */

/* "Europe/Berlin"; dir NULL or "": /usr/share/zoneinfo. A name that is none, or is not there, is ERR_INVALID; a database that is not there
 * ERR_NOTFOUND. */
int tz_load(const char *dir, const char *name, struct tz **ret, struct err *err);
/* A file's content; `name` is for errors. */
int tz_parse(const void *data, size_t len, const char *name, struct tz **ret, struct err *err);
struct tz *tz_free(struct tz *z);
/* Seconds east of UTC at this moment (seconds since 1970). */
int64_t tz_offset(const struct tz *z, int64_t utc);

DEFINE_CLEANUP(struct tz *, tz_free);
#define _cleanup_tz_ CLEANUP(tz_free_cleanup)
