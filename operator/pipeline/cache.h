/* The planner's cache of pure steps: one cJSON object per pipeline (a ConfigMap, or a local file), at most LIMIT_CACHE_BYTES.
 *
 * A record says where a result is: {"run", "step", "restart", "index"?, "created", "outputs", "values", "parts"}, times in
 * milliseconds. A plain step's entry stands under its cache key: {"step", "used", "record"}. A fan-out has one entry,
 * "fanout.<step>": {"step", "used", "items": {cache key: record}}, of at most LIMIT_FANOUT_ITEMS items, oldest out first. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "operator/pipeline/plan.h"

/* --- drivers ---------------------------------------------------------------------------------------------- */

/* Writes the plan's updates and removals into the driver's cache object (an empty object at first), then drops the least
 * recently used entries until it prints in LIMIT_CACHE_BYTES. True if anything changed. */
bool cache_apply(cJSON *cache, const struct plan *plan);
/* The second half, with a bound of the caller's. */
bool cache_bound(cJSON *cache, size_t max_bytes);

/* --- the planner; all see `cache` with the plan's own updates so far laid over it ---------------------------- */

struct cache_view {
    const cJSON *cache; /* may be NULL */
    struct plan *plan;  /* collects the updates */
};
/* Borrowed until the next change; NULL if there is none. */
const cJSON *cache_find(const struct cache_view *v, const char *step, bool fanout, const char *key);
/* Takes record. */
void cache_put(const struct cache_view *v, const char *step, bool fanout, const char *key, cJSON *record,
               int64_t now_ms);
/* The entry was of use: kept longer. Written at most once an hour an entry. */
void cache_touch(const struct cache_view *v, const char *step, bool fanout, const char *key, int64_t now_ms);
void cache_evict(const struct cache_view *v, const char *step, bool fanout, const char *key);
/* The newest record that this step (of a fan-out: this item) left, whatever its key; NULL if there is none. */
const cJSON *cache_find_earlier(const struct cache_view *v, const char *step, bool fanout, int64_t item);

/* Where a finished item's result is, to be put; the item's outputs and values are duplicated. */
cJSON *cache_record(const struct item_status *item, const char *run_uid, const char *step, const cJSON *parts,
                    int64_t now_ms);
int64_t cache_record_created(const cJSON *record);
