/* See events.h. An Event is created once; what is said again raises the count of its series by a patch. */
#include "operator/kube/events.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "operator/kube/client-internal.h"

enum {
    KEEP_MS = 10 * 60 * 1000, /* an event is the same as an earlier one for so long */
    DIFFERENT = 10,           /* messages of one object and reason, then they are combined */
    BURST = 25,
    REFILL_MS = 10 * 1000, /* one more event of an object */
    MAX_KEPT = 4096,
    MAX_WAITING = 256,
    MAX_IN_FLIGHT = 4,
    TIME_MAX = 40,
    NAME_MAX_BYTES = 253,
};

struct said { /* one Event */
    char *key;
    cJSON *body;
    char *name, *ns;
    int64_t count, last_ms; /* monotonic */
    bool there;             /* created */
    bool busy;              /* waits, or is being sent */
    int64_t sent_count;
};

struct about { /* an object: how much it may say; an object and reason: how much it has said */
    int64_t tokens, refilled_ms, last_ms;
    int64_t different, since_ms;
};

struct recorder {
    struct kube_client *client;
    char *component, *instance;
    struct map *said, *about;
    char *waiting[MAX_WAITING]; /* keys, a ring */
    size_t first, n_waiting;
    struct sending {
        struct recorder *r;
        char *key;
        struct kube_call *call;
    } sending[MAX_IN_FLIGHT];
};

static void said_free(void *p)
{
    struct said *s = p;
    free(s->key);
    free(s->name);
    free(s->ns);
    cJSON_Delete(s->body);
    free(s);
}

struct recorder *recorder_new(struct kube_client *c, const char *component, const char *instance)
{
    struct recorder *r = xcalloc(1, sizeof *r);
    r->client = c;
    r->component = xstrdup(component);
    r->instance = xstrndup(*instance ? instance : component, 128);
    r->said = map_new(2 * MAX_KEPT, said_free);
    r->about = map_new(4 * MAX_KEPT, free);
    for (size_t i = 0; i < MAX_IN_FLIGHT; i++)
        r->sending[i].r = r;
    return r;
}

struct recorder *recorder_free(struct recorder *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < MAX_IN_FLIGHT; i++) {
        kube_cancel(r->sending[i].call);
        free(r->sending[i].key);
    }
    for (size_t i = 0; i < r->n_waiting; i++)
        free(r->waiting[(r->first + i) % MAX_WAITING]);
    map_free(r->said);
    map_free(r->about);
    free(r->component);
    free(r->instance);
    free(r);
    return NULL;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void now_text(char ret[static TIME_MAX])
{
    char text[CLOCK_RFC3339_MAX];
    int64_t now = clock_system.wall_ms(clock_system.ctx);
    clock_format_rfc3339(now / 1000 * 1000, text);
    (void)snprintf(ret, TIME_MAX, "%.19s.%03d000Z", text, (int)(now % 1000));
}

static void add_series(cJSON *object, int64_t count)
{
    char now[TIME_MAX];
    cJSON *series = json_object();
    now_text(now);
    json_add_int(series, "count", count);
    json_add_string(series, "lastObservedTime", now);
    json_add(object, "series", series);
}

static void send_next(struct recorder *r);

static void wait_in_line(struct recorder *r, struct said *s)
{
    if (s->busy || r->n_waiting == MAX_WAITING)
        return; /* with the next one that is said of it */
    s->busy = true;
    r->waiting[(r->first + r->n_waiting++) % MAX_WAITING] = xstrdup(s->key);
    send_next(r);
}

static void sent(void *ctx, cJSON **object, struct err *failure)
{
    struct sending *sending = ctx;
    struct recorder *r = sending->r;
    struct said *s = map_get(r->said, sending->key);
    (void)object;
    sending->call = NULL;
    sending->key = xfree(sending->key);
    if (s) {
        s->busy = false;
        if (s->there && failure->class_ == ERR_NOTFOUND) {
            s->there = false; /* the API server forgets events after an hour */
            wait_in_line(r, s);
        } else if (err_is_set(failure)) {
            (void)map_remove(r->said, s->key); /* best effort */
        } else {
            s->there = true;
            if (s->count > s->sent_count)
                wait_in_line(r, s);
        }
    }
    send_next(r);
}

static void send(struct sending *sending, struct said *s)
{
    struct recorder *r = sending->r;
    _cleanup_json_ cJSON *patch = NULL;
    s->sent_count = s->count;
    struct kube_request request = {.resource = &KUBE_EVENTS, .ns = s->ns, .brief = true};
    if (s->there) {
        patch = json_object();
        add_series(patch, s->count);
        request.verb = KUBE_MERGE;
        request.name = s->name;
        request.body = patch;
    } else {
        request.verb = KUBE_CREATE;
        request.body = s->body;
        cJSON_DeleteItemFromObjectCaseSensitive(s->body, "series");
        if (s->count > 1)
            add_series(s->body, s->count);
    }
    sending->key = xstrdup(s->key);
    sending->call = kube_start(r->client, &request, sent, sending);
}

static void send_next(struct recorder *r)
{
    for (size_t i = 0; i < MAX_IN_FLIGHT && r->n_waiting; i++) {
        if (r->sending[i].call)
            continue;
        _cleanup_free_ char *key = r->waiting[r->first];
        r->first = (r->first + 1) % MAX_WAITING;
        r->n_waiting--;
        struct said *s = map_get(r->said, key);
        if (s)
            send(&r->sending[i], s);
    }
}

/* --- what is said --------------------------------------------------------------------------------------------------- */

/* Removes what is at least so old; what is being sent stays. */
static void drop(struct map *m, bool said, int64_t now, int64_t age)
{
    _cleanup_free_ const char **old = xcalloc(map_size(m) + 1, sizeof *old);
    size_t n = 0;
    const char *key;
    void *value;
    for (size_t i = 0; map_next(m, &i, &key, &value);) {
        const struct said *s = value;
        const struct about *a = value;
        if (said ? !s->busy && now - s->last_ms >= age : now - a->last_ms >= age)
            old[n++] = key;
    }
    for (size_t i = 0; i < n; i++)
        (void)map_remove(m, old[i]);
}

/* Forgets what is old, and when that is not enough everything: the counts begin anew. */
static void make_room(struct recorder *r, int64_t now)
{
    for (int64_t age = KEEP_MS; age >= 0; age -= KEEP_MS) {
        if (map_size(r->said) < MAX_KEPT && map_size(r->about) < 2 * MAX_KEPT)
            return;
        drop(r->said, true, now, age);
        drop(r->about, false, now, age);
    }
}

/* At most max bytes, cut between characters. */
static char *cut(const char *text, size_t max)
{
    size_t n = strlen(text);
    if (n > max)
        for (n = max; n && ((unsigned char)text[n] & 0xc0) == 0x80;)
            n--;
    return xstrndup(text, n);
}

static struct about *about_of(struct recorder *r, const char *key, int64_t now)
{
    struct about *a = map_get(r->about, key);
    if (!a) {
        a = xcalloc(1, sizeof *a);
        a->tokens = BURST;
        a->refilled_ms = a->since_ms = now;
        (void)map_set(r->about, key, a);
    }
    a->last_ms = now;
    return a;
}

static bool may_say(struct recorder *r, const char *uid, int64_t now)
{
    struct about *a = about_of(r, uid, now);
    int64_t more = (now - a->refilled_ms) / REFILL_MS;
    a->refilled_ms += more * REFILL_MS;
    a->tokens = a->tokens + more > BURST ? BURST : a->tokens + more;
    if (a->tokens == 0)
        return false;
    a->tokens--;
    return true;
}

/* Whether this message, new for its object and reason, is one too many. */
static bool too_many_different(struct recorder *r, const char *uid, const char *reason, int64_t now)
{
    _cleanup_free_ char *key = xasprintf("%s\n%s", uid, reason);
    struct about *a = about_of(r, key, now);
    if (now - a->since_ms >= KEEP_MS) {
        a->different = 0;
        a->since_ms = now;
    }
    return ++a->different > DIFFERENT;
}

static cJSON *event_body(const struct recorder *r, const struct kube_reference *about, bool warning,
                         const char *reason, const char *note, const char *name)
{
    cJSON *o = kube_object(&KUBE_EVENTS, about->ns, name), *regarding = json_object();
    char now[TIME_MAX];
    _cleanup_buf_ struct buf version = BUF_INIT(256);
    now_text(now);
    kube_api_version(about->resource, &version);
    json_add_string(o, "eventTime", now);
    json_add_string(o, "reportingController", r->component);
    json_add_string(o, "reportingInstance", r->instance);
    json_add_string(o, "action", "Reconcile");
    json_add_string(o, "reason", reason);
    json_add_string(o, "type", warning ? "Warning" : "Normal");
    json_add_string(regarding, "apiVersion", buf_str(&version));
    json_add_string(regarding, "kind", about->resource->kind);
    json_add_string(regarding, "namespace", about->ns);
    json_add_string(regarding, "name", about->name);
    json_add_string(regarding, "uid", about->uid);
    json_add(o, "regarding", regarding);
    json_add_string(o, "note", note);
    return o;
}

static struct said *first_time(struct recorder *r, const struct kube_reference *about, bool warning,
                               const char *reason, const char *note, const char *key)
{
    enum { RANDOM = 10 };
    char random[RANDOM + 1];
    struct said *s = xcalloc(1, sizeof *s);
    random_name(random, RANDOM);
    s->key = xstrdup(key);
    s->ns = xstrdup(about->ns);
    s->name = xasprintf("%.*s.%s", NAME_MAX_BYTES - RANDOM - 1, about->name, random);
    s->body = event_body(r, about, warning, reason, note, s->name);
    (void)map_set(r->said, key, s);
    return s;
}

void recorder_event(struct recorder *r, const struct kube_reference *about, bool warning, const char *reason,
                    const char *message)
{
    int64_t now = loop_now_ms();
    make_room(r, now);
    if (!may_say(r, about->uid, now))
        return;
    _cleanup_free_ char *note = cut(message, LIMIT_MESSAGE_BYTES),
                        *key = xasprintf("%s\n%s\n%s", about->uid, reason, note);
    struct said *s = map_get(r->said, key);
    if (s && now - s->last_ms >= KEEP_MS && !s->busy) {
        (void)map_remove(r->said, key);
        s = NULL;
    }
    if (!s && too_many_different(r, about->uid, reason, now)) {
        free(key);
        key = xasprintf("%s\n%s\n\n", about->uid, reason);
        s = map_get(r->said, key);
        _cleanup_free_ char *example = cut(note, LIMIT_MESSAGE_BYTES - 80);
        _cleanup_free_ char *combined =
            xasprintf("more than %d different messages in ten minutes, such as: %s", DIFFERENT, example);
        if (!s)
            s = first_time(r, about, warning, reason, combined, key);
    }
    if (!s)
        s = first_time(r, about, warning, reason, note, key);
    s->count++;
    s->last_ms = now;
    wait_in_line(r, s);
}
