/* See keysecret.h. */
#include "operator/controller/keysecret.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/backoff.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/http/loop.h"
#include "operator/controller/labels.h"

enum { FIRST_MS = 200, MAX_MS = 10 * 1000 };
static const char data_key[] = "key";

struct keysecret {
    struct kube_client *client;
    struct loop *loop;
    char *ns, *name;
    void (*ready)(void *ctx, const void *key, size_t len);
    void (*failed)(void *ctx, const char *message);
    void *ctx;
    struct kube_call *call;
    struct loop_timer *timer;
    struct backoff backoff;
};

static void look(void *ctx);

static void later(struct keysecret *k, const char *why)
{
    if (why)
        k->failed(k->ctx, why);
    k->timer = loop_timer_start(k->loop, backoff_next_ms(&k->backoff), look, k);
}

/* The key of a Secret, or a reason why it has none. */
static void use(struct keysecret *k, const cJSON *secret)
{
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(secret, "data"),
                *value = cJSON_GetObjectItemCaseSensitive(data, data_key);
    _cleanup_free_ uint8_t *key = NULL;
    size_t len = 0;
    struct err err = ERR_INIT;
    if (cJSON_IsString(value) && base64_decode(value->valuestring, &key, &len, &err) == 0 &&
        len >= KEYSECRET_BYTES) {
        k->ready(k->ctx, key, len);
        return;
    }
    _cleanup_free_ char *why = xasprintf(
        "Secret %s/%s: expected data.%s of at least %d bytes, found %zu; delete it, and it is made anew",
        k->ns, k->name, data_key, KEYSECRET_BYTES, len);
    later(k, why);
}

static void created(void *ctx, cJSON **object, struct err *failure)
{
    struct keysecret *k = ctx;
    k->call = NULL;
    if (!err_is_set(failure))
        use(k, *object);
    else if (failure->class_ == ERR_EXISTS)
        later(k, NULL); /* another was first: read its key */
    else
        later(k, failure->msg);
}

static void create(struct keysecret *k)
{
    uint8_t key[KEYSECRET_BYTES];
    random_bytes(key, sizeof key);
    _cleanup_free_ char *text = base64_encode(key, sizeof key);
    _cleanup_json_ cJSON *body = kube_object(&KUBE_SECRETS, k->ns, k->name);
    cJSON *data = json_object(), *labels = json_object();
    json_add_string(data, data_key, text);
    json_add_string(labels, LABEL_MANAGED_BY, MANAGED_BY);
    json_add(cJSON_GetObjectItemCaseSensitive(body, "metadata"), "labels", labels);
    json_add_string(body, "type", "Opaque");
    json_add(body, "data", data);
    const struct kube_request r = {.verb = KUBE_CREATE, .resource = &KUBE_SECRETS, .ns = k->ns, .body = body};
    k->call = kube_start(k->client, &r, created, k);
}

static void fetched(void *ctx, cJSON **object, struct err *failure)
{
    struct keysecret *k = ctx;
    k->call = NULL;
    if (!err_is_set(failure))
        use(k, *object);
    else if (failure->class_ == ERR_NOTFOUND)
        create(k);
    else
        later(k, failure->msg);
}

static void look(void *ctx)
{
    struct keysecret *k = ctx;
    k->timer = NULL;
    const struct kube_request r = {.verb = KUBE_GET, .resource = &KUBE_SECRETS, .ns = k->ns, .name = k->name};
    k->call = kube_start(k->client, &r, fetched, k);
}

struct keysecret *keysecret_new(struct loop *loop, struct kube_client *c, const char *ns, const char *name,
                                void (*ready)(void *ctx, const void *key, size_t len),
                                void (*failed)(void *ctx, const char *message), void *ctx)
{
    struct keysecret *k = xcalloc(1, sizeof *k);
    *k = (struct keysecret){.client = c,
                            .loop = loop,
                            .ns = xstrdup(ns),
                            .name = xstrdup(name),
                            .ready = ready,
                            .failed = failed,
                            .ctx = ctx};
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    backoff_init(&k->backoff, FIRST_MS, MAX_MS, seed);
    look(k);
    return k;
}

struct keysecret *keysecret_free(struct keysecret *k)
{
    if (!k)
        return NULL;
    kube_cancel(k->call);
    loop_timer_cancel(k->timer);
    free(k->ns);
    free(k->name);
    free(k);
    return NULL;
}
