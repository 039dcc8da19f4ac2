/* See reflectors.h. */
#include "operator/kube/reflectors.h"

#include <string.h>

#include "common/base/alloc.h"

struct reflectors {
    size_t n, synced;
    char **namespaces; /* of each; NULL: the only one, of all */
    struct reflector **items;
    void (*all_synced)(void *ctx);
    void (*changed)(void *ctx, const void *old, const void *now);
    void *(*trim)(void *ctx, const cJSON *object);
    void *ctx;
};

static void *trim(void *ctx, const cJSON *object)
{
    struct reflectors *r = ctx;
    return r->trim(r->ctx, object);
}

static void changed(void *ctx, const void *old, const void *now)
{
    struct reflectors *r = ctx;
    if (r->changed)
        r->changed(r->ctx, old, now);
}

static void one_synced(void *ctx)
{
    struct reflectors *r = ctx;
    r->synced++;
    if (r->synced == r->n && r->all_synced)
        r->all_synced(r->ctx);
}

struct reflectors *reflectors_new(struct kube_client *c, const struct reflector_config *config,
                                  const char *const *namespaces)
{
    struct reflectors *r = xcalloc(1, sizeof *r);
    r->all_synced = config->synced;
    r->changed = config->changed;
    r->trim = config->trim;
    r->ctx = config->ctx;
    r->n = 1;
    if (namespaces)
        for (r->n = 0; namespaces[r->n];)
            r->n++;
    r->items = xcalloc(r->n + 1, sizeof(struct reflector *));
    r->namespaces = xcalloc(r->n + 1, sizeof(char *));
    struct reflector_config own = *config;
    own.trim = trim;
    own.changed = changed;
    own.synced = one_synced;
    own.ctx = r;
    for (size_t i = 0; i < r->n; i++) {
        own.ns = namespaces ? namespaces[i] : NULL;
        r->namespaces[i] = own.ns ? xstrdup(own.ns) : NULL;
        r->items[i] = reflector_new(c, &own);
    }
    return r;
}

struct reflectors *reflectors_free(struct reflectors *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n; i++) {
        reflector_free(r->items[i]);
        free(r->namespaces[i]);
    }
    free(r->items);
    free(r->namespaces);
    free(r);
    return NULL;
}

bool reflectors_is_synced(const struct reflectors *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (!reflector_is_synced(r->items[i]))
            return false;
    return true;
}

int64_t reflectors_heard_ms(const struct reflectors *r)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < r->n; i++) {
        int64_t heard = reflector_heard_ms(r->items[i]);
        oldest = heard < oldest ? heard : oldest;
    }
    return r->n ? oldest : 0;
}

size_t reflectors_count(const struct reflectors *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += reflector_count(r->items[i]);
    return n;
}

const void *reflectors_get(const struct reflectors *r, const char *ns, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (!r->namespaces[i] || strcmp(r->namespaces[i], ns) == 0)
            return reflector_get(r->items[i], ns, name);
    return NULL;
}

struct visit {
    bool (*each)(void *ctx, const void *trimmed);
    void *ctx;
    bool ended;
};

static bool visit(void *ctx, const void *trimmed)
{
    struct visit *v = ctx;
    v->ended = !v->each(v->ctx, trimmed);
    return !v->ended;
}

void reflectors_each(const struct reflectors *r, bool (*each)(void *ctx, const void *trimmed), void *ctx)
{
    struct visit v = {.each = each, .ctx = ctx};
    for (size_t i = 0; i < r->n && !v.ended; i++)
        reflector_each(r->items[i], visit, &v);
}
