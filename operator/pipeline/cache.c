/* The planner's cache: see cache.h. */
#include "operator/pipeline/cache.h"

#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { TOUCH_EVERY_MS = 3600 * 1000 };

static int64_t number_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

int64_t cache_record_created(const cJSON *record)
{
    return number_of(record, "created");
}

static char *entry_key(const char *step, bool fanout, const char *key)
{
    return fanout ? xasprintf("fanout.%s", step) : xstrdup(key);
}

/* --- updates over the driver's object ---------------------------------------------------------------------- */

static struct cache_update *find_update(const struct plan *plan, const char *key)
{
    for (size_t i = 0; i < plan->n_cache_updates; i++)
        if (text_equal(plan->cache_updates[i].key, key))
            return &plan->cache_updates[i];
    return NULL;
}

static const cJSON *find_entry(const struct cache_view *v, const char *key)
{
    const struct cache_update *u = find_update(v->plan, key);
    return u ? u->entry : cJSON_GetObjectItemCaseSensitive(v->cache, key);
}

static void set_entry(const struct cache_view *v, const char *key, cJSON *entry)
{
    struct cache_update *u = find_update(v->plan, key);
    if (!u) {
        struct plan *p = v->plan;
        p->cache_updates = xreallocarray(p->cache_updates, p->n_cache_updates + 1, sizeof *p->cache_updates);
        u = &p->cache_updates[p->n_cache_updates++];
        *u = (struct cache_update){.key = xstrdup(key)};
    }
    cJSON_Delete(u->entry);
    u->entry = entry;
}

/* --- lookups --------------------------------------------------------------------------------------------------- */

const cJSON *cache_find(const struct cache_view *v, const char *step, bool fanout, const char *key)
{
    _cleanup_free_ char *name = entry_key(step, fanout, key);
    const cJSON *entry = find_entry(v, name);
    const cJSON *record =
        fanout ? cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(entry, "items"), key)
               : cJSON_GetObjectItemCaseSensitive(entry, "record");
    return cJSON_IsObject(record) ? record : NULL;
}

static const cJSON *newer(const cJSON *a, const cJSON *b)
{
    return !a || cache_record_created(b) > cache_record_created(a) ? b : a;
}

static const cJSON *earlier_in(const cJSON *entry, const char *step, const cJSON *best)
{
    const cJSON *record = cJSON_GetObjectItemCaseSensitive(entry, "record");
    if (!record || !text_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "step")), step))
        return best;
    return newer(best, record);
}

const cJSON *cache_find_earlier(const struct cache_view *v, const char *step, bool fanout, int64_t item)
{
    const cJSON *best = NULL, *node;
    if (fanout) {
        _cleanup_free_ char *name = entry_key(step, true, NULL);
        cJSON_ArrayForEach(node, cJSON_GetObjectItemCaseSensitive(find_entry(v, name), "items"))
        {
            if (number_of(node, "index") == item)
                best = newer(best, node);
        }
        return best;
    }
    cJSON_ArrayForEach(node, v->cache)
    {
        if (!find_update(v->plan, node->string))
            best = earlier_in(node, step, best);
    }
    for (size_t i = 0; i < v->plan->n_cache_updates; i++)
        best = earlier_in(v->plan->cache_updates[i].entry, step, best);
    return best;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static cJSON *new_entry(const char *step, int64_t now_ms)
{
    cJSON *e = json_object();
    json_add_string(e, "step", step);
    json_add_int(e, "used", now_ms);
    return e;
}

static void set_used(cJSON *entry, int64_t now_ms)
{
    cJSON *used = cJSON_GetObjectItemCaseSensitive(entry, "used");
    if (used)
        cJSON_SetNumberValue(used, (double)now_ms);
}

static void drop_oldest_items(cJSON *items)
{
    while (cJSON_GetArraySize(items) > LIMIT_FANOUT_ITEMS) {
        cJSON *oldest = items->child, *node;
        cJSON_ArrayForEach(node, items)
        {
            if (cache_record_created(node) < cache_record_created(oldest))
                oldest = node;
        }
        cJSON_Delete(cJSON_DetachItemViaPointer(items, oldest));
    }
}

void cache_put(const struct cache_view *v, const char *step, bool fanout, const char *key, cJSON *record,
               int64_t now_ms)
{
    _cleanup_free_ char *name = entry_key(step, fanout, key);
    if (!fanout) {
        cJSON *entry = new_entry(step, now_ms);
        json_add(entry, "record", record);
        set_entry(v, name, entry);
        return;
    }
    const cJSON *old = find_entry(v, name);
    cJSON *entry = old ? cJSON_Duplicate(old, true) : new_entry(step, now_ms);
    cJSON *items = cJSON_GetObjectItemCaseSensitive(entry, "items");
    if (!items) {
        items = json_object();
        json_add(entry, "items", items);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(items, key);
    json_add(items, key, record);
    drop_oldest_items(items);
    set_used(entry, now_ms);
    set_entry(v, name, entry);
}

void cache_touch(const struct cache_view *v, const char *step, bool fanout, const char *key, int64_t now_ms)
{
    _cleanup_free_ char *name = entry_key(step, fanout, key);
    const cJSON *old = find_entry(v, name);
    if (!old || now_ms - number_of(old, "used") < TOUCH_EVERY_MS)
        return;
    cJSON *entry = cJSON_Duplicate(old, true);
    set_used(entry, now_ms);
    set_entry(v, name, entry);
}

void cache_evict(const struct cache_view *v, const char *step, bool fanout, const char *key)
{
    _cleanup_free_ char *name = entry_key(step, fanout, key);
    const cJSON *old = find_entry(v, name);
    if (!old)
        return;
    if (!fanout) {
        set_entry(v, name, NULL);
        return;
    }
    cJSON *entry = cJSON_Duplicate(old, true);
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(entry, "items"), key);
    set_entry(v, name, entry);
}

cJSON *cache_record(const struct item_status *item, const char *run_uid, const char *step, const cJSON *parts,
                    int64_t now_ms)
{
    cJSON *r = json_object();
    json_add_string(r, "run", item->from_run ? item->from_run : run_uid);
    json_add_string(r, "step", item->from_step ? item->from_step : step);
    json_add_int(r, "restart", item->from_restart);
    json_add_int(r, "index", item->from_item);
    json_add_int(r, "created", now_ms);
    json_add(r, "outputs", item->outputs ? cJSON_Duplicate(item->outputs, true) : json_object());
    json_add(r, "values", item->values ? cJSON_Duplicate(item->values, true) : json_object());
    json_add(r, "parts", parts ? cJSON_Duplicate(parts, true) : json_object());
    return r;
}

/* --- the driver's half ----------------------------------------------------------------------------------------------- */

static size_t printed_size(const cJSON *node)
{
    _cleanup_free_ char *text = cJSON_PrintUnformatted(node);
    return text ? strlen(text) : 0;
}

bool cache_bound(cJSON *cache, size_t max_bytes)
{
    size_t size = printed_size(cache);
    bool changed = false;
    while (size > max_bytes && cache->child) {
        cJSON *oldest = cache->child, *node;
        cJSON_ArrayForEach(node, cache)
        {
            if (number_of(node, "used") < number_of(oldest, "used"))
                oldest = node;
        }
        cJSON_Delete(cJSON_DetachItemViaPointer(cache, oldest));
        size = printed_size(cache);
        changed = true;
    }
    return changed;
}

bool cache_apply(cJSON *cache, const struct plan *plan)
{
    bool changed = false;
    for (size_t i = 0; i < plan->n_cache_updates; i++) {
        const struct cache_update *u = &plan->cache_updates[i];
        cJSON_DeleteItemFromObjectCaseSensitive(cache, u->key);
        if (u->entry)
            json_add(cache, u->key, cJSON_Duplicate(u->entry, true));
        changed = true;
    }
    return cache_bound(cache, LIMIT_CACHE_BYTES) || changed;
}
