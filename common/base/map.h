/* String-keyed hash map in insertion order; copies keys, owns nothing else unless a free function
 * is given. Bounded by `max` entries. Iteration order is insertion order (removal moves nothing). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"

struct map; /* opaque */

/* free_value may be NULL. */
struct map *map_new(size_t max, void (*free_value)(void *));
struct map *map_free(struct map *m);
/* Replaces an existing value (freeing the old). Returns 0, or -1 when the map is full (value not taken). */
int map_set(struct map *m, const char *key, void *value);
void *map_get(const struct map *m, const char *key); /* NULL if absent */
bool map_has(const struct map *m, const char *key);
/* Removes; frees the value. False if absent. */
bool map_remove(struct map *m, const char *key);
/* Removes and hands the value over; NULL if absent. */
void *map_take(struct map *m, const char *key);
size_t map_size(const struct map *m);

/* for (size_t i = 0; map_next(m, &i, &key, &value);) … ; no insertion or removal meanwhile. */
bool map_next(const struct map *m, size_t *cursor, const char **ret_key, void **ret_value);

static inline void map_cleanup_func(struct map **m)
{
    map_free(*m);
}
#define _cleanup_map_ CLEANUP(map_cleanup_func)
