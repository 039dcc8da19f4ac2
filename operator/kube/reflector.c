/* List, watch, list again; see reflector.h. The states: a page is under way (call), the stream is open (watch), or a delay runs (timer). */
#include "operator/kube/reflector.h"

#include <malloc.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/backoff.h"
#include "common/base/json.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "operator/kube/answer.h"
#include "operator/kube/client-internal.h"
#include "operator/kube/framer.h"

enum {
    PAGE = 100,
    WATCH_SECONDS = 300,
    SILENCE_MS = 150 * 1000, /* bookmarks come about once a minute */
    BACKOFF_FIRST_MS = 200,
    BACKOFF_MAX_MS = 30 * 1000,
    SHORT_WATCH_MS = 1000, /* a watch that ends sooner, without an event, is taken for a failing one */
    STREAM_ERRORS = 3,
    OBJECTS_MAX = 1 << 22,
};

struct entry {
    void *trimmed; /* begins with its struct kube_meta */
    bool listed;   /* seen by the list under way */
};

struct reflector {
    struct kube_client *client;
    struct reflector_config config;
    char *ns, *selectors; /* selectors: "&labelSelector=…&fieldSelector=…", escaped */
    struct map *objects;  /* "ns/name" → struct entry */
    char *version;        /* the last seen; NULL: list */
    char *next_page;      /* the list's `continue`; NULL: from its beginning */
    int page;             /* objects asked for at once */
    int stream_errors;    /* in a row, without an event between them */
    bool synced, listing;
    int64_t heard_ms, watch_began_ms;
    size_t events; /* of this watch */
    struct kube_call *call;
    struct kube_watch *watch;
    struct loop_timer *timer;
    struct backoff backoff;
    struct framer framer;
};

static void go_on(void *ctx);

/* --- the cache ----------------------------------------------------------------------------------------------- */

static char *key_of(const char *ns, const char *name)
{
    return xasprintf("%s/%s", ns, name);
}

static const struct kube_meta *meta_of(const struct entry *e)
{
    return e->trimmed;
}

static void drop_entry(struct reflector *r, const char *key)
{
    struct entry *e = map_take(r->objects, key);
    if (!e)
        return;
    if (r->config.changed)
        r->config.changed(r->config.ctx, e->trimmed, NULL);
    r->config.free_trimmed(e->trimmed);
    free(e);
}

static void keep(struct reflector *r, const char *key, const cJSON *object)
{
    void *now = r->config.trim(r->config.ctx, object);
    struct entry *e = map_get(r->objects, key);
    if (e && (!now || strcmp(meta_of(e)->uid, ((struct kube_meta *)now)->uid) != 0)) {
        drop_entry(r, key); /* deleted and made again between two looks */
        e = NULL;
    }
    if (!now)
        return;
    if (!e) {
        e = xcalloc(1, sizeof *e);
        if (map_set(r->objects, key, e) < 0) {
            r->config.free_trimmed(now);
            free(e);
            return;
        }
    }
    void *old = e->trimmed;
    bool same = old && strcmp(meta_of(e)->resource_version, ((struct kube_meta *)now)->resource_version) == 0;
    e->trimmed = now;
    e->listed = true;
    if (!same && r->config.changed)
        r->config.changed(r->config.ctx, old, now);
    if (old)
        r->config.free_trimmed(old);
}

static void take_object(struct reflector *r, const cJSON *object, bool deleted)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const cJSON *ns = metadata ? cJSON_GetObjectItemCaseSensitive(metadata, "namespace") : NULL;
    const cJSON *name = metadata ? cJSON_GetObjectItemCaseSensitive(metadata, "name") : NULL;
    if (!cJSON_IsString(name))
        return;
    _cleanup_free_ char *key = key_of(cJSON_IsString(ns) ? ns->valuestring : "", name->valuestring);
    if (deleted)
        drop_entry(r, key);
    else
        keep(r, key, object);
}

static void set_version(struct reflector *r, const cJSON *object)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    const cJSON *version = metadata ? cJSON_GetObjectItemCaseSensitive(metadata, "resourceVersion") : NULL;
    if (!cJSON_IsString(version))
        return;
    free(r->version);
    r->version = xstrdup(version->valuestring);
}

/* What the finished list did not name is gone. */
static void sweep(struct reflector *r)
{
    size_t n = 0, capacity = 0;
    char **gone = NULL;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(r->objects, &i, &key, &value);) {
        if (!((struct entry *)value)->listed) {
            gone = grow_array(gone, &capacity, n, sizeof *gone);
            gone[n++] = xstrdup(key);
        }
    }
    for (size_t i = 0; i < n; i++) {
        drop_entry(r, gone[i]);
        free(gone[i]);
    }
    free(gone);
}

/* --- list -------------------------------------------------------------------------------------------------------- */

static void later(struct reflector *r, int64_t delay_ms)
{
    r->timer = loop_timer_start(kube_client_loop(r->client), delay_ms, go_on, r);
}

static void begin_list(struct reflector *r)
{
    const char *key;
    void *value;
    free(r->next_page);
    r->next_page = NULL;
    r->listing = true;
    for (size_t i = 0; map_next(r->objects, &i, &key, &value);)
        ((struct entry *)value)->listed = false;
}

static void on_page(void *ctx, cJSON **list, struct err *failure)
{
    struct reflector *r = ctx;
    r->call = NULL;
    if (err_is_set(failure)) {
        if (failure->class_ == ERR_GONE)
            begin_list(r); /* the pages' snapshot is too old */
        else if (failure->class_ == ERR_INVALID && r->page > 1)
            r->page /= 2; /* large objects: a page is beyond what an answer may hold */
        later(r, backoff_next_ms(&r->backoff));
        return;
    }
    r->heard_ms = loop_now_ms();
    const cJSON *item, *metadata = cJSON_GetObjectItemCaseSensitive(*list, "metadata");
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(*list, "items")) take_object(r, item, false);
    set_version(r, *list);
    const cJSON *more = metadata ? cJSON_GetObjectItemCaseSensitive(metadata, "continue") : NULL;
    free(r->next_page);
    r->next_page = cJSON_IsString(more) && *more->valuestring ? xstrdup(more->valuestring) : NULL;
    if (r->next_page) {
        later(r, 0);
        return;
    }
    sweep(r);
    r->listing = false;
    backoff_reset(&r->backoff);
    bool first = !r->synced;
    r->synced = true;
    cJSON_Delete(*list);
    *list = NULL;
    (void)malloc_trim(0); /* the trees of a long list are much larger than what is kept */
    later(r, 0);
    if (first && r->config.synced)
        r->config.synced(r->config.ctx);
}

static void list(struct reflector *r)
{
    if (!r->listing)
        begin_list(r);
    _cleanup_buf_ struct buf query = BUF_INIT(64 * 1024);
    (void)buf_addf(&query, "limit=%d%s", r->page, r->selectors);
    if (r->next_page)
        (void)buf_addf(&query, "&continue=%s", r->next_page); /* base64url: nothing to escape */
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = r->config.resource,
                                   .ns = r->ns,
                                   .query = buf_str(&query),
                                   .unread = r->config.unread};
    r->call = kube_start(r->client, &request, on_page, r);
}

/* --- watch --------------------------------------------------------------------------------------------------------- */

static int on_event(void *ctx, char *text, size_t len, struct err *err)
{
    struct reflector *r = ctx;
    len = kube_cut_members(text, len, r->config.unread);
    cJSON *event = cJSON_ParseWithLength(text, len);
    const cJSON *type = event ? cJSON_GetObjectItemCaseSensitive(event, "type") : NULL;
    const cJSON *object = event ? cJSON_GetObjectItemCaseSensitive(event, "object") : NULL;
    int result = 0;
    if (!cJSON_IsString(type) || !cJSON_IsObject(object)) {
        result = err_fail(err, ERR_RETRY, EXITCODE_UNAVAILABLE, "unreadable", "watch: %zu bytes are no event",
                          len);
    } else if (strcmp(type->valuestring, "ERROR") == 0) {
        const cJSON *code = cJSON_GetObjectItemCaseSensitive(object, "code");
        result = kube_answer_error(cJSON_IsNumber(code) ? code->valueint : 500, object, "watch", err);
    } else {
        r->events++;
        r->stream_errors = 0;
        if (strcmp(type->valuestring, "BOOKMARK") != 0)
            take_object(r, object, strcmp(type->valuestring, "DELETED") == 0);
        set_version(r, object);
    }
    cJSON_Delete(event);
    r->stream_errors += result < 0;
    return result;
}

static int on_bytes(void *ctx, const void *data, size_t len, struct err *err)
{
    struct reflector *r = ctx;
    r->heard_ms = loop_now_ms();
    return framer_feed(&r->framer, data, len, on_event, r, err);
}

static void on_watch_done(void *ctx, struct err *failure)
{
    struct reflector *r = ctx;
    r->watch = NULL;
    bool fruitful = r->events || loop_now_ms() - r->watch_began_ms >= SHORT_WATCH_MS;
    if (failure->class_ == ERR_GONE || failure->class_ == ERR_INVALID || r->stream_errors >= STREAM_ERRORS) {
        /* Too old, or an object that cannot be taken from a stream: only a list helps. */
        r->stream_errors = 0;
        free(r->version);
        r->version = NULL;
    }
    if (fruitful)
        backoff_reset(&r->backoff);
    later(r, fruitful && !err_is_set(failure) ? 0 : backoff_next_ms(&r->backoff));
}

static void watch(struct reflector *r)
{
    _cleanup_buf_ struct buf path = BUF_INIT(64 * 1024);
    int64_t seconds = r->config.watch_seconds ? r->config.watch_seconds : WATCH_SECONDS;
    seconds += seconds * (int64_t)(((uintptr_t)r >> 4) % 100) / 200; /* so that not all end at once */
    kube_path(r->config.resource, r->ns, NULL, NULL, &path);
    (void)buf_addf(&path, "?watch=1&allowWatchBookmarks=true&timeoutSeconds=%lld&resourceVersion=%s%s",
                   (long long)seconds, r->version, r->selectors);
    framer_reset(&r->framer);
    r->events = 0;
    r->watch_began_ms = loop_now_ms();
    r->watch =
        kube_watch_start(r->client, buf_str(&path), r->config.silence_ms ? r->config.silence_ms : SILENCE_MS,
                         on_bytes, on_watch_done, r);
}

static void go_on(void *ctx)
{
    struct reflector *r = ctx;
    r->timer = NULL;
    if (r->version && !r->listing)
        watch(r);
    else
        list(r);
}

/* --- outside ---------------------------------------------------------------------------------------------------------- */

static void add_selector(struct buf *out, const char *key, const char *selector)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    if (!selector)
        return;
    (void)buf_addf(out, "&%s=", key);
    for (const char *p = selector; *p; p++)
        (void)buf_addf(out, strchr(plain, *p) ? "%c" : "%%%02X", (unsigned char)*p);
}

static char *selectors_of(const struct reflector_config *config)
{
    struct buf out = BUF_INIT(32 * 1024);
    (void)buf_adds(&out, "");
    add_selector(&out, "labelSelector", config->label_selector);
    add_selector(&out, "fieldSelector", config->field_selector);
    return buf_take(&out);
}

struct reflector *reflector_new(struct kube_client *c, const struct reflector_config *config)
{
    struct reflector *r = xcalloc(1, sizeof *r);
    r->client = c;
    r->config = *config;
    r->page = config->page ? config->page : PAGE;
    r->ns = config->ns ? xstrdup(config->ns) : NULL;
    r->selectors = selectors_of(config);
    r->config.ns = r->config.label_selector = r->config.field_selector = NULL;
    r->objects = map_new(OBJECTS_MAX, NULL);
    backoff_init(&r->backoff, BACKOFF_FIRST_MS, BACKOFF_MAX_MS, (uintptr_t)r);
    framer_init(&r->framer);
    later(r, 0);
    return r;
}

struct reflector *reflector_free(struct reflector *r)
{
    if (!r)
        return NULL;
    (void)kube_cancel(r->call);
    (void)kube_watch_cancel(r->watch);
    (void)loop_timer_cancel(r->timer);
    const char *key;
    void *value;
    for (size_t i = 0; map_next(r->objects, &i, &key, &value);) {
        r->config.free_trimmed(((struct entry *)value)->trimmed);
        free(value);
    }
    map_free(r->objects);
    framer_release(&r->framer);
    free(r->ns);
    free(r->selectors);
    free(r->version);
    free(r->next_page);
    return xfree(r);
}

bool reflector_is_synced(const struct reflector *r)
{
    return r->synced;
}

int64_t reflector_heard_ms(const struct reflector *r)
{
    return r->heard_ms;
}

size_t reflector_count(const struct reflector *r)
{
    return map_size(r->objects);
}

const void *reflector_get(const struct reflector *r, const char *ns, const char *name)
{
    _cleanup_free_ char *key = key_of(ns, name);
    const struct entry *e = map_get(r->objects, key);
    return e ? e->trimmed : NULL;
}

void reflector_each(const struct reflector *r, bool (*each)(void *ctx, const void *trimmed), void *ctx)
{
    const char *key;
    void *value;
    for (size_t i = 0; map_next(r->objects, &i, &key, &value);) {
        if (!each(ctx, ((const struct entry *)value)->trimmed))
            return;
    }
}
