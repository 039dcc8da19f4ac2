/* See revisions.h. */
#include "operator/controller/revisions.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "operator/controller/controller.h"
#include "operator/pipeline/schema.h"

enum { NAME_HASH = 10, IDLE_MS = 10 * 60 * 1000, MAX_WAITING = 100 * 1000 };

/* --- content and name ---------------------------------------------------------------------------------------- */

/* {"spec", "revision"?}: what a run can see. */
static cJSON *content(const struct pipeline *p)
{
    static const char *const not_for_runs[] = {"runOn", "schedule", "retention", "control"};
    const cJSON *schema =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(schema_root(SCHEMA_PIPELINE),
                                                                          "properties"),
                                         "spec");
    cJSON *data = json_object(), *spec = cJSON_Duplicate(p->spec, true);
    for (size_t i = 0; i < ARRAY_SIZE(not_for_runs); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(spec, not_for_runs[i]);
    schema_strip_defaults(schema, spec);
    json_add(data, "spec", spec);
    if (p->revision_annotation)
        json_add_string(data, "revision", p->revision_annotation);
    return data;
}

static char *name_of(const struct pipeline *p, const cJSON *data)
{
    char hash[DIGEST_HEX];
    struct err err = ERR_INIT;
    if (json_digest(data, hash, &err) < 0)
        BUG("a decoded spec has no canonical form: %s", err.msg); /* its own hash was made of it */
    return xasprintf("%s-%.*s", p->name, NAME_HASH, hash);
}

char *revision_name(const struct pipeline *p)
{
    _cleanup_json_ cJSON *data = content(p);
    return name_of(p, data);
}

cJSON *revision_object(const struct pipeline *p, const char *uid, int64_t generation)
{
    cJSON *data = content(p), *labels = json_object(), *annotations = json_object();
    _cleanup_free_ char *name = name_of(p, data), *label = label_value(p->name);
    cJSON *o = kube_object(&KUBE_CONTROLLER_REVISIONS, p->namespace_, name);
    json_add_string(labels, LABEL_MANAGED_BY, MANAGED_BY);
    json_add_string(labels, LABEL_PIPELINE, label);
    json_add_string(annotations, ANNOTATION_SPEC_HASH, p->hash);
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(o, "metadata");
    json_add(metadata, "labels", labels);
    json_add(metadata, "annotations", annotations);
    kube_set_owner(o, &PIPELINES, p->name, uid);
    json_add(o, "data", data);
    json_add_int(o, "revision", generation);
    return o;
}

int revision_decode(const cJSON *object, struct pipeline **ret, struct err *err)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata"),
                *data = cJSON_GetObjectItemCaseSensitive(object, "data"),
                *spec = cJSON_GetObjectItemCaseSensitive(data, "spec"),
                *code = cJSON_GetObjectItemCaseSensitive(data, "revision"),
                *name = cJSON_GetObjectItemCaseSensitive(metadata, "name"),
                *ns = cJSON_GetObjectItemCaseSensitive(metadata, "namespace");
    const char *shown = cJSON_IsString(name) ? name->valuestring : "";
    size_t stem = strlen(shown);
    if (!cJSON_IsObject(spec) || stem <= NAME_HASH + 1 || shown[stem - NAME_HASH - 1] != '-')
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "revision",
            "ControllerRevision \"%s\" holds no pipeline: expected data.spec in one that the operator made",
            shown);
    _cleanup_free_ char *pipeline = xstrndup(shown, stem - NAME_HASH - 1);
    _cleanup_json_ cJSON *tree = json_object();
    cJSON *own = json_object(), *annotations = json_object();
    json_add_string(tree, "apiVersion", API_GROUP "/" API_VERSION);
    json_add_string(tree, "kind", "TrainingPipeline");
    json_add_string(own, "name", pipeline);
    if (cJSON_IsString(ns))
        json_add_string(own, "namespace", ns->valuestring);
    if (cJSON_IsString(code))
        json_add_string(annotations, ANNOTATION_REVISION, code->valuestring);
    json_add(own, "annotations", annotations);
    json_add(tree, "metadata", own);
    json_add(tree, "spec", cJSON_Duplicate(spec, true));
    struct findings findings = {0};
    int r = pipeline_decode_json(tree, ret, &findings, err);
    findings_release(&findings);
    return r < 0 ? err_wrap(err, "ControllerRevision \"%s\"", shown) : 0;
}

/* --- the decoded ones that are kept --------------------------------------------------------------------------- */

struct entry {
    struct revisions *owner;
    char *key; /* "namespace/name" */
    struct pipeline *pipeline;
    struct kube_call *call; /* being fetched */
    struct map *waiting;    /* keys to wake */
    struct err failure;     /* told once, then forgotten with the entry */
    int64_t used_ms;
    uint64_t tick; /* of the last use */
};

struct revisions {
    struct kube_client *client;
    size_t max;
    uint64_t tick;
    void (*wake)(void *ctx, const char *key);
    void *ctx;
    struct map *entries;
};

static void entry_free(void *p)
{
    struct entry *e = p;
    e->call = kube_cancel(e->call);
    map_free(e->waiting);
    pipeline_free(e->pipeline);
    free(e->key);
    free(e);
}

struct revisions *revisions_new(struct kube_client *c, size_t max, void (*wake)(void *ctx, const char *key),
                                void *ctx)
{
    struct revisions *r = xcalloc(1, sizeof *r);
    r->client = c;
    r->max = max ? max : 1;
    r->wake = wake;
    r->ctx = ctx;
    r->entries = map_new(MAX_WAITING, entry_free);
    return r;
}

struct revisions *revisions_free(struct revisions *r)
{
    if (!r)
        return NULL;
    map_free(r->entries);
    free(r);
    return NULL;
}

size_t revisions_count(const struct revisions *r)
{
    return map_size(r->entries);
}

static void use(struct revisions *r, struct entry *e)
{
    e->used_ms = loop_now_ms();
    e->tick = ++r->tick;
}

/* Out go those that nobody has used for long, and the least recently used ones beyond the maximum; not `keep`. */
static void make_room(struct revisions *r, const struct entry *keep)
{
    int64_t now = loop_now_ms();
    for (;;) {
        struct entry *oldest = NULL;
        const char *key;
        void *value;
        for (size_t i = 0; map_next(r->entries, &i, &key, &value);) {
            struct entry *e = value;
            if (e != keep && !e->call && (!oldest || e->tick < oldest->tick))
                oldest = e;
        }
        if (!oldest || (map_size(r->entries) <= r->max && now - oldest->used_ms < IDLE_MS))
            return;
        _cleanup_free_ char *out = xstrdup(oldest->key);
        (void)map_remove(r->entries, out);
    }
}

static struct entry *add(struct revisions *r, const char *key)
{
    struct entry *e = xcalloc(1, sizeof *e);
    e->owner = r;
    e->key = xstrdup(key);
    (void)map_set(r->entries, key, e);
    use(r, e);
    make_room(r, e);
    return e;
}

static void wake_all(struct entry *e)
{
    struct revisions *r = e->owner;
    struct map *waiting = steal_ptr(e->waiting);
    const char *key;
    void *value;
    for (size_t i = 0; waiting && map_next(waiting, &i, &key, &value);)
        r->wake(r->ctx, key);
    map_free(waiting);
}

static void fetched(void *ctx, cJSON **object, struct err *failure)
{
    struct entry *e = ctx;
    e->call = NULL;
    if (err_is_set(failure))
        e->failure = *failure;
    else
        (void)revision_decode(*object, &e->pipeline, &e->failure);
    wake_all(e);
}

int revisions_get(struct revisions *r, const char *ns, const char *name, const char *key,
                  const struct pipeline **ret, struct err *err)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", ns, name);
    struct entry *e = map_get(r->entries, path);
    if (e && err_is_set(&e->failure)) {
        struct err failure = e->failure;
        (void)map_remove(r->entries, path);
        return err_fail(err, failure.class_, failure.exit_code, failure.reason,
                        "revision %s of the pipeline: %s", name, failure.msg);
    }
    if (!e) {
        e = add(r, path);
        e->waiting = map_new(MAX_WAITING, NULL);
        const struct kube_request get = {.verb = KUBE_GET,
                                         .resource = &KUBE_CONTROLLER_REVISIONS,
                                         .ns = ns,
                                         .name = name};
        e->call = kube_start(r->client, &get, fetched, e);
    }
    use(r, e);
    if (!e->pipeline) {
        (void)map_set(e->waiting, key, r);
        *ret = NULL;
        return 0;
    }
    *ret = e->pipeline;
    return 0;
}

void revisions_put(struct revisions *r, const char *ns, const char *name, struct pipeline *p)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", ns, name);
    struct entry *e = map_get(r->entries, path);
    if (e && e->pipeline) {
        pipeline_free(p);
        return;
    }
    if (!e)
        e = add(r, path);
    e->call = kube_cancel(e->call);
    err_clear(&e->failure);
    e->pipeline = p;
    use(r, e);
    wake_all(e);
}
