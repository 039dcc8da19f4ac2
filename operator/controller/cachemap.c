/* Reading and writing the caches' ConfigMaps; see cachemap.h. */
#include "operator/controller/cachemap.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "operator/controller/labels.h"
#include "operator/controller/seen.h"
#include "operator/pipeline/cache.h"

#define DATA_KEY "cache.json"

struct one {
    struct cachemap *map;
    char *ns, *pipeline, *owner_uid, *name;
    cJSON *entries; /* NULL: not read yet */
    char *version;  /* of the ConfigMap; NULL: there is none */
    bool changed;
    uint64_t used;
    struct map *waiting; /* keys to wake */
    struct kube_call *call;
    struct loop_timer *timer;
};
struct cachemap {
    struct loop *loop;
    struct kube_client *client;
    void (*wake)(void *ctx, const char *key);
    void *ctx;
    struct map *all; /* "ns/pipeline" → struct one */
    uint64_t clock;
};

static void one_free(void *value)
{
    struct one *o = value;
    (void)kube_cancel(o->call);
    (void)loop_timer_cancel(o->timer);
    cJSON_Delete(o->entries);
    map_free(o->waiting);
    free(o->ns);
    free(o->pipeline);
    free(o->owner_uid);
    free(o->name);
    free(o->version);
    free(o);
}

struct cachemap *cachemap_new(struct loop *loop, struct kube_client *c,
                              void (*wake)(void *ctx, const char *key), void *ctx)
{
    struct cachemap *m = xcalloc(1, sizeof *m);
    *m = (struct cachemap){.loop = loop,
                           .client = c,
                           .wake = wake,
                           .ctx = ctx,
                           .all = map_new(1 << 20, one_free)};
    return m;
}

struct cachemap *cachemap_free(struct cachemap *m)
{
    if (!m)
        return NULL;
    map_free(m->all);
    return xfree(m);
}

size_t cachemap_busy(const struct cachemap *m)
{
    size_t n = 0;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(m->all, &i, &key, &value);)
        n += ((struct one *)value)->changed || ((struct one *)value)->call;
    return n;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static void wake_all(struct one *o)
{
    struct map *waiting = o->waiting;
    const char *key;
    void *value;
    o->waiting = NULL;
    for (size_t i = 0; waiting && map_next(waiting, &i, &key, &value);)
        o->map->wake(o->map->ctx, key);
    map_free(waiting);
}

static void take(struct one *o, const cJSON *object)
{
    struct err ignored = ERR_INIT;
    const cJSON *data = object ? cJSON_GetObjectItemCaseSensitive(object, "data") : NULL;
    const cJSON *text = data ? cJSON_GetObjectItemCaseSensitive(data, DATA_KEY) : NULL;
    struct kube_meta meta = {0};
    cJSON_Delete(o->entries);
    o->entries = NULL;
    free(o->version);
    o->version = NULL;
    if (object) {
        kube_meta_init(&meta, object);
        o->version = xstrdup(meta.resource_version);
        kube_meta_release(&meta);
    }
    /* What somebody spoiled is an empty cache. */
    if (!cJSON_IsString(text) ||
        json_parse(text->valuestring, strlen(text->valuestring), LIMIT_CACHE_BYTES * 2, &o->entries,
                   &ignored) < 0 ||
        !cJSON_IsObject(o->entries)) {
        cJSON_Delete(o->entries);
        o->entries = json_object();
    }
}

static void on_read(void *ctx, cJSON **object, struct err *failure)
{
    struct one *o = ctx;
    o->call = NULL;
    if (!err_is_set(failure) || failure->class_ == ERR_NOTFOUND)
        take(o, err_is_set(failure) ? NULL : *object);
    wake_all(o); /* after another failure they ask again */
}

static void start_read(struct one *o)
{
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = &KUBE_CONFIGMAPS,
                                   .ns = o->ns,
                                   .name = o->name};
    o->call = kube_start(o->map->client, &request, on_read, o);
}

/* The one that was not used for longest, and has nothing to lose, makes place. */
static void make_place(struct cachemap *m)
{
    const char *key, *oldest = NULL;
    void *value;
    uint64_t used = UINT64_MAX;
    if (map_size(m->all) < CACHEMAP_KEPT)
        return;
    for (size_t i = 0; map_next(m->all, &i, &key, &value);) {
        const struct one *o = value;
        if (!o->changed && !o->call && o->used < used) {
            oldest = key;
            used = o->used;
        }
    }
    if (oldest) {
        _cleanup_free_ char *copy = xstrdup(oldest);
        (void)map_remove(m->all, copy);
    }
}

static struct one *find(struct cachemap *m, const char *ns, const char *pipeline)
{
    _cleanup_free_ char *key = xasprintf("%s/%s", ns, pipeline);
    struct one *o = map_get(m->all, key);
    if (!o) {
        make_place(m);
        o = xcalloc(1, sizeof *o);
        *o = (struct one){.map = m, .ns = xstrdup(ns), .pipeline = xstrdup(pipeline)};
        o->name = label_cut(pipeline, "-cache", 253);
        (void)map_set(m->all, key, o);
    }
    o->used = ++m->clock;
    return o;
}

bool cachemap_get(struct cachemap *m, const char *ns, const char *pipeline, const char *key,
                  const cJSON **ret)
{
    struct one *o = find(m, ns, pipeline);
    *ret = o->entries;
    if (o->entries)
        return true;
    if (!o->waiting)
        o->waiting = map_new(1 << 20, NULL);
    (void)map_set(o->waiting, key, NULL);
    if (!o->call)
        start_read(o);
    return false;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void write_due(void *ctx);

static void on_written(void *ctx, cJSON **object, struct err *failure)
{
    struct one *o = ctx;
    o->call = NULL;
    if (!err_is_set(failure)) {
        struct kube_meta meta;
        kube_meta_init(&meta, *object);
        free(o->version);
        o->version = xstrdup(meta.resource_version);
        kube_meta_release(&meta);
    } else if (failure->class_ == ERR_CONFLICT || failure->class_ == ERR_EXISTS ||
               failure->class_ == ERR_NOTFOUND) {
        /* Someone else wrote it: theirs counts, ours is lost. */
        o->changed = false;
        cJSON_Delete(o->entries);
        o->entries = NULL;
        start_read(o);
        return;
    } else {
        o->changed = true;
    }
    if (o->changed && !o->timer)
        o->timer = loop_timer_start(o->map->loop, CACHEMAP_WRITE_MS, write_due, o);
}

static void write_due(void *ctx)
{
    struct one *o = ctx;
    o->timer = NULL;
    if (o->call || !o->entries)
        return; /* its end looks again */
    _cleanup_json_ cJSON *object = kube_object(&KUBE_CONFIGMAPS, o->ns, o->name);
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"), *labels = json_object(),
          *data = json_object();
    _cleanup_free_ char *label = label_value(o->pipeline), *text = cJSON_PrintUnformatted(o->entries);
    json_add_string(labels, LABEL_MANAGED_BY, MANAGED_BY);
    json_add_string(labels, LABEL_PIPELINE, label);
    json_add(metadata, "labels", labels);
    kube_set_owner(object, &PIPELINES, o->pipeline, o->owner_uid);
    if (o->version)
        json_add_string(metadata, "resourceVersion", o->version);
    json_add_string(data, DATA_KEY, text ? text : "{}");
    json_add(object, "data", data);
    struct kube_request request = {.verb = o->version ? KUBE_UPDATE : KUBE_CREATE,
                                   .resource = &KUBE_CONFIGMAPS,
                                   .ns = o->ns,
                                   .name = o->version ? o->name : NULL,
                                   .body = object,
                                   .brief = true};
    o->changed = false;
    o->call = kube_start(o->map->client, &request, on_written, o);
}

void cachemap_apply(struct cachemap *m, const char *ns, const char *pipeline, const char *owner_uid,
                    const struct plan *plan)
{
    if (plan->n_cache_updates == 0)
        return;
    struct one *o = find(m, ns, pipeline);
    if (!o->entries || !cache_apply(o->entries, plan))
        return;
    free(o->owner_uid);
    o->owner_uid = xstrdup(owner_uid);
    o->changed = true;
    if (!o->timer && !o->call)
        o->timer = loop_timer_start(m->loop, CACHEMAP_WRITE_MS, write_due, o);
}
