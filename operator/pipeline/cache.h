/* The planner's cache of pure steps: one cJSON object per pipeline (a ConfigMap, or a local file), at most LIMIT_CACHE_BYTES.
 *
 * Key of a plain step's entry: its cache key. A fan-out has one entry, "fanout.<step>", holding its items by cache key.
 * Entry: {"step", "used", "run", "restart", "outputs", "values", "parts"} with times in milliseconds; a fan-out's:
 * {"step", "used", "parts", "items": {key: {"run", "restart", "index", "outputs", "values", "created"}}}. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "operator/pipeline/plan.h"

/* Writes the plan's updates and removals into the driver's cache object (an empty object at first), then drops the least
 * recently used entries until it prints in LIMIT_CACHE_BYTES. True if anything changed. */
bool cache_apply(cJSON *cache, const struct plan *plan);
