#include "operator/cli/local/progress.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/local/progress-internal.h"

enum { METRICS_MAX = 32 };

struct progress *progress_new(const char *run_uid, const uint8_t key[static SHA256_LEN])
{
    struct progress *p = xcalloc(1, sizeof *p);
    p->run_uid = xstrdup(run_uid);
    memcpy(p->key, key, SHA256_LEN);
    return p;
}

struct progress *progress_free(struct progress *p)
{
    if (!p)
        return NULL;
    progress_unlisten(p);
    for (size_t i = 0; i < p->n; i++) {
        cJSON_Delete(p->entries[i]->metrics);
        free(p->entries[i]->step);
        free(p->entries[i]);
    }
    free(p->entries);
    free(p->run_uid);
    free(p);
    return NULL;
}

static struct progress_entry *find(const struct progress *p, const char *step, int attempt, int64_t item)
{
    for (size_t i = p->n; i-- > 0;) { /* the newest attempts are asked for most */
        struct progress_entry *e = p->entries[i];
        if (e->attempt == attempt && e->item == item && strcmp(e->step, step) == 0)
            return e;
    }
    return NULL;
}

struct progress_entry *progress_begin(struct progress *p, const char *step, int attempt, int64_t item)
{
    struct progress_entry *e = find(p, step, attempt, item);
    if (e)
        return e;
    e = xcalloc(1, sizeof *e);
    *e = (struct progress_entry){.step = xstrdup(step),
                                 .item = item,
                                 .attempt = attempt,
                                 .fraction = -1,
                                 .checkpoint_step = -1};
    p->entries = grow_array(p->entries, &p->capacity, p->n, sizeof *p->entries);
    p->entries[p->n++] = e;
    return e;
}

void progress_end(struct progress *p, const char *step, int attempt, int64_t item)
{
    struct progress_entry *e = find(p, step, attempt, item);
    if (e)
        e->ended = true;
}

const struct progress_entry *progress_find(const struct progress *p, const char *step, int attempt,
                                           int64_t item)
{
    return find(p, step, attempt, item);
}

bool progress_changed(struct progress *p)
{
    bool changed = p->changed;
    p->changed = false;
    return changed;
}

void progress_sign(const uint8_t key[static SHA256_LEN], const char *purpose, const char *run_uid,
                   const char *step, int attempt, int64_t item, char ret[static DIGEST_HEX])
{
    _cleanup_free_ char *text = xasprintf("%s\n%s\n%s\n%d\n%" PRId64, purpose, run_uid, step, attempt, item);
    uint8_t mac[SHA256_LEN];
    hmac_sha256(key, SHA256_LEN, text, strlen(text), mac);
    hex_encode(mac, sizeof mac, ret);
}

/* --- requests -------------------------------------------------------------------------------------- */

static bool next_part(const char **cursor, char *ret, size_t size)
{
    const char *part;
    size_t len;
    if (!text_next_part(cursor, '/', &part, &len) || len == 0 || len >= size)
        return false;
    memcpy(ret, part, len);
    ret[len] = '\0';
    return true;
}

struct target {
    char run_uid[LIMIT_NAME + 1], step[LIMIT_NAME + 1];
    int64_t attempt, item;
};

static bool parse_path(const char *path, struct target *ret)
{
    char attempt[16], item[16];
    struct err err = ERR_INIT, err2 = ERR_INIT;
    if (!text_starts_with(path, PROGRESS_PATH))
        return false;
    const char *cursor = path + strlen(PROGRESS_PATH);
    return next_part(&cursor, ret->run_uid, sizeof ret->run_uid) &&
           next_part(&cursor, ret->step, sizeof ret->step) && next_part(&cursor, attempt, sizeof attempt) &&
           next_part(&cursor, item, sizeof item) && text_parse_int(attempt, &ret->attempt, &err) == 0 &&
           text_parse_int(item, &ret->item, &err2) == 0 && ret->attempt > 0 && ret->attempt < INT32_MAX &&
           ret->item >= 0 && !text_next_part(&cursor, '/', &(const char *){NULL}, &(size_t){0});
}

static bool authorized(const struct progress *p, const struct target *t, const char *authorization)
{
    static const char bearer[] = "Bearer ";
    char expected[DIGEST_HEX];
    if (!authorization || !text_starts_with(authorization, bearer) || strcmp(t->run_uid, p->run_uid) != 0)
        return false;
    const char *token = authorization + strlen(bearer);
    progress_sign(p->key, "progress", t->run_uid, t->step, (int)t->attempt, t->item, expected);
    return strlen(token) == DIGEST_HEX - 1 && bytes_equal_ct(token, expected, DIGEST_HEX - 1);
}

/* Numbers only, finite, bounded in count. */
static cJSON *copy_metrics(const cJSON *from)
{
    cJSON *to = json_object();
    const cJSON *m;
    int n = 0;
    cJSON_ArrayForEach(m, from)
    {
        if (cJSON_IsNumber(m) && isfinite(m->valuedouble) && n++ < METRICS_MAX)
            json_add_double(to, m->string, m->valuedouble);
    }
    return to;
}

/* Text from a step reaches a terminal: control characters must not. */
static void copy_message(const char *from, char *to, size_t size)
{
    size_t n = 0;
    for (; *from && n + 1 < size; from++)
        to[n++] = (unsigned char)*from < 0x20 || *from == 0x7f ? ' ' : *from;
    while (n > 0 && ((unsigned char)to[n - 1] & 0xc0) == 0x80 && n + 1 >= size)
        n--; /* cut in the middle of a character: drop what is left of it */
    to[n] = '\0';
}

static int accept(struct progress *p, struct progress_entry *e, const char *body, size_t len, int64_t now_ms)
{
    static const struct json_path root = {0};
    _cleanup_json_ cJSON *j = NULL;
    struct err err = ERR_INIT;
    double fraction;
    const char *message;
    const cJSON *metrics;
    int64_t checkpoint, rank;
    if (json_parse(body, len, LIMIT_PROGRESS_BYTES, &j, &err) < 0 || !cJSON_IsObject(j) ||
        json_get_double_or(j, &root, "fraction", -1, &fraction, &err) < 0 ||
        json_get_string_or(j, &root, "message", NULL, &message, &err) < 0 ||
        json_get_object_or(j, &root, "metrics", &metrics, &err) < 0 ||
        json_get_int_or(j, &root, "checkpoint_step", -1, &checkpoint, &err) < 0 ||
        json_get_int_or(j, &root, "rank", 0, &rank, &err) < 0)
        return 400;
    if (rank != 0) /* one voice an attempt */
        return 204;
    if (fraction >= 0)
        e->fraction = fraction > 1 ? 1 : fraction;
    if (message)
        copy_message(message, e->message, sizeof e->message);
    if (metrics) {
        cJSON_Delete(e->metrics);
        e->metrics = copy_metrics(metrics);
    }
    const cJSON *metric = cJSON_GetObjectItemCaseSensitive(metrics, "checkpoint_step");
    if (cJSON_IsNumber(metric) && metric->valuedouble > (double)checkpoint && metric->valuedouble < 9e15)
        checkpoint = (int64_t)metric->valuedouble;
    if (checkpoint > e->checkpoint_step)
        e->checkpoint_step = checkpoint;
    e->updated_ms = now_ms;
    p->changed = true;
    return 204;
}

int progress_handle(struct progress *p, const char *method, const char *path, const char *authorization,
                    const char *body, size_t len, int64_t now_ms)
{
    struct target t;
    if (!parse_path(path, &t))
        return 404;
    if (strcmp(method, "POST") != 0)
        return 405;
    if (!authorized(p, &t, authorization))
        return 401;
    struct progress_entry *e = find(p, t.step, (int)t.attempt, t.item);
    if (!e || e->ended)
        return 410;
    if (len > LIMIT_PROGRESS_BYTES)
        return 413;
    return accept(p, e, body, len, now_ms);
}
