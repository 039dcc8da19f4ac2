/* See lease.h. One call at a time: read, then create or update by what was read; the holder updates what it wrote last and reads again after a
 * conflict. Times of others are never compared with our clock: what counts is how long a record has not changed before our eyes. */
#include "operator/kube/lease.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/kube/client-internal.h"

enum { DURATION_MS = 15 * 1000, RENEW_MS = 10 * 1000, RETRY_MS = 2 * 1000, TIME_MAX = 40 };

struct lease {
    struct kube_client *client;
    struct loop *loop;
    char *ns, *name, *identity;
    int64_t duration_ms, renew_ms, retry_ms;
    void (*changed)(void *ctx, bool leading);
    void *ctx;
    struct kube_call *call;
    struct loop_timer *retry, *deadline, *unanswered;
    cJSON *seen;           /* the Lease as it was last read or written; NULL: none yet, or to be read again */
    char *version;         /* its resourceVersion when it was seen to change; NULL */
    int64_t changed_at_ms; /* when that was */
    int64_t sent_at_ms;    /* of the write under way: a renewal counts from before it was sent */
    char *holder;
    bool leading, releasing;
    void (*released)(void *ctx);
    void *released_ctx;
};

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static const char *text_or(const cJSON *o, const char *key, const char *fallback)
{
    const cJSON *v = get(o, key);
    return cJSON_IsString(v) ? v->valuestring : fallback;
}

static void step(void *ctx);

static void schedule(struct lease *l)
{
    uint8_t r[1];
    random_bytes(r, sizeof r);
    loop_timer_cancel(l->retry);
    l->retry = loop_timer_start(l->loop, l->retry_ms + l->retry_ms * r[0] / 1024, step, l);
}

struct lease *lease_new(struct kube_client *c, const struct lease_config *config)
{
    struct lease *l = xcalloc(1, sizeof *l);
    l->client = c;
    l->loop = kube_client_loop(c);
    l->ns = xstrdup(config->ns);
    l->name = xstrdup(config->name);
    l->identity = xstrdup(config->identity);
    l->duration_ms = config->duration_ms ? config->duration_ms : DURATION_MS;
    l->renew_ms = config->renew_ms ? config->renew_ms : RENEW_MS;
    l->retry_ms = config->retry_ms ? config->retry_ms : RETRY_MS;
    l->changed = config->changed;
    l->ctx = config->ctx;
    l->holder = xstrdup("");
    l->retry = loop_timer_start(l->loop, 0, step, l);
    return l;
}

struct lease *lease_free(struct lease *l)
{
    if (!l)
        return NULL;
    kube_cancel(l->call);
    loop_timer_cancel(l->retry);
    loop_timer_cancel(l->deadline);
    loop_timer_cancel(l->unanswered);
    cJSON_Delete(l->seen);
    free(l->version);
    free(l->holder);
    free(l->ns);
    free(l->name);
    free(l->identity);
    free(l);
    return NULL;
}

bool lease_leading(const struct lease *l)
{
    return l->leading;
}

const char *lease_holder(const struct lease *l)
{
    return l->holder;
}

static void set_leading(struct lease *l, bool leading)
{
    if (l->leading == leading)
        return;
    l->leading = leading;
    l->changed(l->ctx, leading);
}

static void too_late(void *ctx)
{
    struct lease *l = ctx;
    l->deadline = NULL;
    set_leading(l, false);
}

static void finished(struct lease *l);

/* The client waits longer for an answer than a Lease lasts. */
static void give_up(void *ctx)
{
    struct lease *l = ctx;
    l->unanswered = NULL;
    l->call = kube_cancel(l->call);
    cJSON_Delete(l->seen); /* a write may have happened: read before the next */
    l->seen = NULL;
    if (l->releasing)
        finished(l);
    else
        schedule(l);
}

static void start(struct lease *l, const struct kube_request *r,
                  void (*done)(void *ctx, cJSON **object, struct err *failure))
{
    l->call = kube_start(l->client, r, done, l);
    l->unanswered = loop_timer_start(l->loop, l->renew_ms, give_up, l);
}

static void answered(struct lease *l)
{
    l->call = NULL;
    l->unanswered = loop_timer_cancel(l->unanswered);
}

/* Takes the object. */
static void see(struct lease *l, cJSON *object)
{
    cJSON_Delete(l->seen);
    l->seen = object;
    const char *version = text_or(get(object, "metadata"), "resourceVersion", "");
    if (!text_equal(l->version, version)) {
        free(l->version);
        l->version = xstrdup(version);
        l->changed_at_ms = loop_now_ms();
    }
    free(l->holder);
    l->holder = xstrdup(text_or(get(object, "spec"), "holderIdentity", ""));
}

static void written(struct lease *l, cJSON **object, struct err *failure)
{
    if (err_is_set(failure)) {
        /* It may have happened, or another was first: read before the next try. The holder goes on until its deadline. */
        if (failure->class_ == ERR_CONFLICT || failure->class_ == ERR_EXISTS ||
            failure->class_ == ERR_NOTFOUND) {
            loop_timer_cancel(l->retry);
            l->retry = loop_timer_start(l->loop, l->retry_ms / 10, step, l);
            return;
        }
        schedule(l);
        return;
    }
    see(l, steal_ptr(*object));
    loop_timer_cancel(l->deadline);
    l->deadline = NULL;
    int64_t left = l->sent_at_ms + l->renew_ms - loop_now_ms();
    schedule(l);
    if (left <= 0)
        return; /* the answer took so long that it is worth nothing */
    l->deadline = loop_timer_start(l->loop, left, too_late, l);
    set_leading(l, true);
}

static void let_go(struct lease *l);

static void write_done(void *ctx, cJSON **object, struct err *failure)
{
    struct lease *l = ctx;
    answered(l);
    if (err_is_set(failure)) {
        cJSON_Delete(l->seen);
        l->seen = NULL;
    }
    if (l->releasing && !err_is_set(failure))
        see(l, steal_ptr(*object));
    if (l->releasing)
        let_go(l);
    else
        written(l, object, failure);
}

static void now_text(char ret[static TIME_MAX])
{
    char text[CLOCK_RFC3339_MAX];
    int64_t now = clock_system.wall_ms(clock_system.ctx);
    clock_format_rfc3339(now / 1000 * 1000, text); /* …SSZ */
    (void)snprintf(ret, TIME_MAX, "%.19s.%03d000Z", text, (int)(now % 1000));
}

static void write_spec(struct lease *l, const char *holder, int64_t duration_ms,
                       void (*done)(void *ctx, cJSON **object, struct err *failure))
{
    cJSON *object = l->seen ? cJSON_Duplicate(l->seen, true) : kube_object(&KUBE_LEASES, l->ns, l->name);
    const cJSON *before = get(l->seen, "spec");
    cJSON *spec = json_object();
    char now[TIME_MAX];
    now_text(now);
    bool same = text_equal(text_or(before, "holderIdentity", ""), holder);
    const cJSON *transitions = get(before, "leaseTransitions");
    json_add_string(spec, "holderIdentity", holder);
    json_add_int(spec, "leaseDurationSeconds", duration_ms < 1000 ? 1 : duration_ms / 1000);
    json_add_string(spec, "acquireTime", same ? text_or(before, "acquireTime", now) : now);
    json_add_string(spec, "renewTime", now);
    json_add_int(spec, "leaseTransitions",
                 (cJSON_IsNumber(transitions) ? (int64_t)transitions->valuedouble : 0) +
                     (l->seen && !same && *holder ? 1 : 0));
    cJSON_DeleteItemFromObjectCaseSensitive(object, "spec");
    json_add(object, "spec", spec);
    const struct kube_request r = {.verb = l->seen ? KUBE_UPDATE : KUBE_CREATE,
                                   .resource = &KUBE_LEASES,
                                   .ns = l->ns,
                                   .name = l->seen ? l->name : NULL,
                                   .body = object};
    l->sent_at_ms = loop_now_ms();
    start(l, &r, done);
    cJSON_Delete(object);
}

/* What was read decides: free, ours, or unchanged for its whole duration. */
static void consider(struct lease *l)
{
    const cJSON *duration = get(get(l->seen, "spec"), "leaseDurationSeconds");
    int64_t duration_ms = cJSON_IsNumber(duration) ? (int64_t)duration->valuedouble * 1000 : l->duration_ms;
    bool free_now =
        !*l->holder || text_equal(l->holder, l->identity) || loop_now_ms() - l->changed_at_ms >= duration_ms;
    if (l->leading && !text_equal(l->holder, l->identity)) {
        l->deadline = loop_timer_cancel(l->deadline);
        set_leading(l, false);
    }
    if (free_now)
        write_spec(l, l->identity, l->duration_ms, write_done);
    else
        schedule(l);
}

static void read_done(void *ctx, cJSON **object, struct err *failure)
{
    struct lease *l = ctx;
    answered(l);
    if (err_is_set(failure) && failure->class_ != ERR_NOTFOUND) {
        if (l->releasing)
            let_go(l);
        else
            schedule(l);
        return;
    }
    if (err_is_set(failure)) {
        cJSON_Delete(l->seen);
        l->seen = NULL;
    } else {
        see(l, steal_ptr(*object));
    }
    if (l->releasing)
        let_go(l);
    else if (l->seen)
        consider(l);
    else
        write_spec(l, l->identity, l->duration_ms, write_done);
}

static void step(void *ctx)
{
    struct lease *l = ctx;
    l->retry = NULL;
    if (l->call)
        return;
    if (l->leading && l->seen) {
        write_spec(l, l->identity, l->duration_ms, write_done);
        return;
    }
    const struct kube_request r = {.verb = KUBE_GET, .resource = &KUBE_LEASES, .ns = l->ns, .name = l->name};
    start(l, &r, read_done);
}

/* --- giving it back --------------------------------------------------------------------------------------------- */

static void finished(struct lease *l)
{
    void (*released)(void *ctx) = l->released;
    l->released = NULL;
    if (released)
        released(l->released_ctx);
}

static void release_done(void *ctx, cJSON **object, struct err *failure)
{
    struct lease *l = ctx;
    answered(l);
    if (!err_is_set(failure))
        see(l, steal_ptr(*object));
    finished(l);
}

/* Nothing is under way any more. */
static void let_go(struct lease *l)
{
    if (l->seen && text_equal(l->holder, l->identity))
        write_spec(l, "", 1000, release_done);
    else
        finished(l);
}

static void release_soon(void *ctx)
{
    struct lease *l = ctx;
    l->retry = NULL;
    if (!l->call)
        let_go(l);
}

void lease_release(struct lease *l, void (*released)(void *ctx), void *ctx)
{
    l->releasing = true;
    l->released = released;
    l->released_ctx = ctx;
    l->deadline = loop_timer_cancel(l->deadline);
    loop_timer_cancel(l->retry);
    l->retry = loop_timer_start(l->loop, 0, release_soon, l); /* else the answer under way goes on to it */
    set_leading(l, false);
}
