/* The string map: entries in insertion order in one array, and a table of open-addressed slots that
 * point into it. Removal leaves a hole in both; holes go when the table is rebuilt on growth. */
#include "common/base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/err.h"

struct entry {
    char *key; /* NULL: removed */
    void *value;
    uint64_t hash;
};

/* A slot holds entry index + 1; 0 is free. A slot whose entry was removed stays, so probes go on past it. */
struct map {
    struct entry *entries;
    size_t used; /* entries in use, holes included */
    size_t capacity;
    uint32_t *slots;
    size_t n_slots; /* a power of two, more than twice `used` */
    size_t live, max;
    void (*free_value)(void *);
};

struct map *map_new(size_t max, void (*free_value)(void *))
{
    if (max >= UINT32_MAX)
        BUG("a map of %zu entries", max);
    struct map *m = xcalloc(1, sizeof *m);
    m->max = max;
    m->free_value = free_value;
    return m;
}

static void drop_value(const struct map *m, void *value)
{
    if (m->free_value && value)
        m->free_value(value);
}

struct map *map_free(struct map *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < m->used; i++) {
        if (!m->entries[i].key)
            continue;
        drop_value(m, m->entries[i].value);
        free(m->entries[i].key);
    }
    free(m->entries);
    free(m->slots);
    return xfree(m);
}

/* Seeded by the map's address, so that outsiders cannot prepare colliding keys. Order never depends on it. */
static uint64_t hash_of(const struct map *m, const char *key)
{
    return xxh64(key, strlen(key), (uint64_t)(uintptr_t)m);
}

static struct entry *find(const struct map *m, const char *key, uint64_t hash)
{
    if (!m->n_slots)
        return NULL;
    for (size_t i = hash & (m->n_slots - 1); m->slots[i]; i = (i + 1) & (m->n_slots - 1)) {
        struct entry *e = &m->entries[m->slots[i] - 1];
        if (e->key && e->hash == hash && strcmp(e->key, key) == 0)
            return e;
    }
    return NULL;
}

static void occupy_slot(struct map *m, size_t index)
{
    size_t i = m->entries[index].hash & (m->n_slots - 1);
    while (m->slots[i])
        i = (i + 1) & (m->n_slots - 1);
    m->slots[i] = (uint32_t)index + 1;
}

/* Closes the holes and sizes the table for twice the living entries. */
static void rebuild(struct map *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->used; i++) {
        if (m->entries[i].key)
            m->entries[kept++] = m->entries[i];
    }
    m->used = kept;
    size_t n = 16;
    while (n < 4 * (kept + 1))
        n *= 2;
    free(m->slots);
    m->slots = xcalloc(n, sizeof *m->slots);
    m->n_slots = n;
    for (size_t i = 0; i < kept; i++)
        occupy_slot(m, i);
}

int map_set(struct map *m, const char *key, void *value)
{
    uint64_t hash = hash_of(m, key);
    struct entry *e = find(m, key, hash);
    if (e) {
        if (e->value != value)
            drop_value(m, e->value);
        e->value = value;
        return 0;
    }
    if (m->live >= m->max)
        return -1;
    if (2 * (m->used + 1) > m->n_slots)
        rebuild(m);
    m->entries = grow_array(m->entries, &m->capacity, m->used, sizeof *m->entries);
    m->entries[m->used] = (struct entry){.key = xstrdup(key), .value = value, .hash = hash};
    occupy_slot(m, m->used);
    m->used++;
    m->live++;
    return 0;
}

void *map_get(const struct map *m, const char *key)
{
    const struct entry *e = find(m, key, hash_of(m, key));
    return e ? e->value : NULL;
}

bool map_has(const struct map *m, const char *key)
{
    return find(m, key, hash_of(m, key)) != NULL;
}

static void *remove_entry(struct map *m, struct entry *e)
{
    void *value = e->value;
    free(e->key);
    *e = (struct entry){0};
    m->live--;
    return value;
}

bool map_remove(struct map *m, const char *key)
{
    struct entry *e = find(m, key, hash_of(m, key));
    if (!e)
        return false;
    drop_value(m, remove_entry(m, e));
    return true;
}

void *map_take(struct map *m, const char *key)
{
    struct entry *e = find(m, key, hash_of(m, key));
    return e ? remove_entry(m, e) : NULL;
}

size_t map_size(const struct map *m)
{
    return m->live;
}

bool map_next(const struct map *m, size_t *cursor, const char **ret_key, void **ret_value)
{
    while (*cursor < m->used) {
        const struct entry *e = &m->entries[(*cursor)++];
        if (!e->key)
            continue;
        if (ret_key)
            *ret_key = e->key;
        if (ret_value)
            *ret_value = e->value;
        return true;
    }
    return false;
}
