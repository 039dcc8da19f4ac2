/* See zones.h. */
#include "operator/controller/zones.h"

#include <stdlib.h>

#include "common/base/map.h"
#include "common/base/tz.h"

enum { MAX_ZONES = 2000 }; /* the database has some 600 names */

static void free_zone(void *p)
{
    tz_free(p);
}

static int find(const char *name, const void **ret_zone, struct err *err)
{
    static struct map *known;
    struct tz *z = NULL;
    if (!known)
        known = map_new(MAX_ZONES, free_zone);
    z = map_get(known, name);
    if (!z) {
        if (tz_load(getenv("TZDIR"), name, &z, err) < 0)
            return -1;
        if (map_set(known, name, z) < 0)
            BUG("more than %d time zones", MAX_ZONES);
    }
    *ret_zone = z;
    return 0;
}

static int64_t offset(const void *zone, int64_t utc_seconds)
{
    return tz_offset(zone, utc_seconds);
}

const struct schedule_zones zones = {.find = find, .offset = offset};
