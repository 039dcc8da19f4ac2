/* Checkpoints: see checkpoint.h. */
#include "stages/train-ddp/checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/tensor/safetensors.h"

enum { MANIFEST_MAX = 16 * 1024, STATE_MAX = 64 * 1024 * 1024, NAMES_MAX = 10000 };

static const char *const file_names[] = {"state.safetensors", "state.json"};

struct name {
    int64_t step, attempt;
};

struct names {
    struct name *items;
    size_t n, capacity;
};

struct checkpoints {
    struct store *store;
    char *prefix, *previous_prefix, *scratch, *fingerprint;
    int attempt, keep;
    bool claim;
    struct names kept;     /* below prefix, ascending */
    pthread_mutex_t mutex; /* what follows */
    pthread_t thread;
    bool started, busy;
    struct checkpoint_data data;
    struct err failure;
    int64_t newest, last_ms;
};

static char *key_of(const char *prefix, const char *rest)
{
    return *prefix ? fs_join(prefix, rest) : xstrdup(rest);
}

static char *file_key(const char *prefix, const struct name *n, const char *file)
{
    _cleanup_free_ char *rest = xasprintf("%" PRId64 "-a%" PRId64 "/%s", n->step, n->attempt, file);
    return key_of(prefix, rest);
}

/* --- listing ---------------------------------------------------------------------------------------- */

static void add_name(struct names *names, const struct name *n)
{
    if (names->n == NAMES_MAX)
        return;
    names->items = grow_array(names->items, &names->capacity, names->n, sizeof *names->items);
    names->items[names->n++] = *n;
}

static int compare_names(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    return x->attempt < y->attempt ? -1 : x->attempt > y->attempt;
}

struct listing {
    size_t skip; /* bytes of the prefix and its slash */
    struct names names;
    int64_t highest_claim;
};

/* "<step>-a<attempt>/manifest.json" and "claims/<attempt>.json"; anything else is not ours to judge. */
static int note_object(void *ctx, const struct store_object *o, struct err *err)
{
    (void)err;
    struct listing *l = ctx;
    const char *rest = strlen(o->key) > l->skip ? o->key + l->skip : "";
    struct name n;
    char tail[32] = "";
    if (sscanf(rest, "%" SCNd64 "-a%" SCNd64 "/%31s", &n.step, &n.attempt, tail) == 3 &&
        strcmp(tail, "manifest.json") == 0)
        add_name(&l->names, &n);
    else if (sscanf(rest, "claims/%" SCNd64 "%31s", &n.attempt, tail) == 2 && strcmp(tail, ".json") == 0 &&
             n.attempt > l->highest_claim)
        l->highest_claim = n.attempt;
    return 0;
}

static int list_prefix(struct checkpoints *c, const char *prefix, struct listing *ret, struct err *err)
{
    _cleanup_free_ char *below = *prefix ? xasprintf("%s/", prefix) : xstrdup("");
    *ret = (struct listing){.skip = strlen(below), .highest_claim = -1};
    if (store_list(c->store, below, note_object, ret, err) < 0) {
        free(ret->names.items);
        return err_wrap(err, "listing checkpoints");
    }
    if (ret->names.n)
        qsort(ret->names.items, ret->names.n, sizeof *ret->names.items, compare_names);
    return 0;
}

static int stale(const struct checkpoints *c, int64_t other, struct err *err)
{
    return err_fail(err, ERR_CONFLICT, EXITCODE_TEMPFAIL, "stale-attempt",
                    "attempt %d may not write checkpoints any more: attempt %" PRId64 " has taken over",
                    c->attempt, other);
}

static int claim(struct checkpoints *c, struct err *err)
{
    char nonce[33];
    random_name(nonce, 32);
    _cleanup_free_ char *rest = xasprintf("claims/%d.json", c->attempt), *key = key_of(c->prefix, rest);
    _cleanup_free_ char *text = xasprintf("{\"attempt\":%d,\"nonce\":\"%s\"}", c->attempt, nonce);
    failpoint("checkpoint.claim");
    if (store_put(c->store, key, text, strlen(text), STORE_IF_NONE, NULL, NULL, err) == 0)
        return 0;
    if (err->class_ != ERR_EXISTS)
        return err_wrap(err, "claiming checkpoints");
    err_clear(err);
    _cleanup_free_ char *found = NULL;
    size_t len;
    if (store_get(c->store, key, MANIFEST_MAX, &found, &len, NULL, err) < 0)
        return err_wrap(err, "claiming checkpoints");
    if (strcmp(found, text) == 0)
        return 0; /* our own write, whose reply was lost */
    return err_fail(err, ERR_CONFLICT, EXITCODE_TEMPFAIL, "stale-attempt",
                    "another process has claimed the checkpoints of attempt %d", c->attempt);
}

int checkpoints_open(const struct checkpoint_options *o, struct checkpoints **ret, struct err *err)
{
    _cleanup_checkpoints_ struct checkpoints *c = xcalloc(1, sizeof *c);
    c->store = o->store;
    c->prefix = xstrdup(o->prefix);
    c->previous_prefix = o->previous_prefix ? xstrdup(o->previous_prefix) : NULL;
    c->scratch = xstrdup(o->scratch);
    c->fingerprint = xstrdup(o->fingerprint);
    c->attempt = o->attempt;
    c->keep = o->keep;
    c->claim = o->claim;
    c->newest = -1;
    pthread_mutex_init(&c->mutex, NULL);
    struct listing l;
    if (list_prefix(c, c->prefix, &l, err) < 0)
        return -1;
    c->kept = l.names;
    if (c->claim && l.highest_claim > c->attempt)
        return stale(c, l.highest_claim, err);
    if (c->claim && claim(c, err) < 0)
        return -1;
    *ret = steal_ptr(c);
    return 0;
}

static void join(struct checkpoints *c)
{
    if (c->started)
        pthread_join(c->thread, NULL);
    c->started = false;
}

struct checkpoints *checkpoints_free(struct checkpoints *c)
{
    if (!c)
        return NULL;
    join(c);
    pthread_mutex_destroy(&c->mutex);
    free(c->prefix);
    free(c->previous_prefix);
    free(c->scratch);
    free(c->fingerprint);
    free(c->kept.items);
    return xfree(c);
}

/* --- saving ------------------------------------------------------------------------------------------ */

static int write_state(const struct checkpoints *c, const char *path, struct err *err)
{
    const struct checkpoint_data *d = &c->data;
    struct safetensors_tensor t[3] = {{.name = "weights",
                                       .dtype = SAFETENSORS_F32,
                                       .rank = 1,
                                       .shape = {(int64_t)d->n_weights},
                                       .data = d->weights}};
    size_t n = 1;
    if (d->n_optimizer)
        t[n++] = (struct safetensors_tensor){.name = "optimizer",
                                             .dtype = SAFETENSORS_F32,
                                             .rank = 1,
                                             .shape = {(int64_t)d->n_optimizer},
                                             .data = d->optimizer};
    if (d->has_best)
        t[n++] = (struct safetensors_tensor){.name = "best",
                                             .dtype = SAFETENSORS_F32,
                                             .rank = 1,
                                             .shape = {(int64_t)d->n_weights},
                                             .data = d->best};
    return safetensors_write(path, t, n, NULL, err);
}

static int upload_files(struct checkpoints *c, const struct name *n, cJSON *files, struct err *err)
{
    _cleanup_free_ char *tensors = fs_join(c->scratch, file_names[0]),
                        *text = fs_join(c->scratch, file_names[1]);
    const char *const paths[] = {tensors, text};
    if (write_state(c, tensors, err) < 0 ||
        fs_write_atomic(text, c->data.text, strlen(c->data.text), err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        char sha256[DIGEST_HEX];
        int64_t size;
        _cleanup_free_ char *key = file_key(c->prefix, n, file_names[i]);
        if (sha256_file(paths[i], sha256, &size, err) < 0)
            return -1;
        cJSON *file = json_object();
        json_add_string(file, "name", file_names[i]);
        json_add_string(file, "sha256", sha256);
        json_add_int64_string(file, "size", size);
        json_append(files, file);
        failpoint("checkpoint.upload");
        if (store_put_file_moving(c->store, key, paths[i], sha256, err) < 0)
            return -1;
        (void)unlink(paths[i]);
    }
    return 0;
}

static int commit(struct checkpoints *c, const struct name *n, const cJSON *manifest, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
    _cleanup_free_ char *key = file_key(c->prefix, n, "manifest.json");
    if (json_canonical(manifest, &text, err) < 0)
        return -1;
    if (c->claim) {
        struct listing l;
        if (list_prefix(c, c->prefix, &l, err) < 0)
            return -1;
        free(l.names.items);
        if (l.highest_claim > c->attempt)
            return stale(c, l.highest_claim, err);
    }
    failpoint("checkpoint.before");
    int r = store_put(c->store, key, text.data, text.len, STORE_IF_NONE, NULL, NULL, err);
    if (r < 0 && err->class_ == ERR_EXISTS) {
        /* Ours with a lost reply, or the same step by hand again: the same bytes either way, or the files just written would not fit. */
        err_clear(err);
        r = c->claim ? 0 : store_put(c->store, key, text.data, text.len, STORE_ALWAYS, NULL, NULL, err);
    }
    failpoint("checkpoint.after");
    return r;
}

/* The oldest beyond `keep` go, manifest first; what fails to go is tried again next time. */
static void prune(struct checkpoints *c)
{
    while (c->kept.n > (size_t)c->keep) {
        struct err ignored = ERR_INIT;
        _cleanup_free_ char *manifest = file_key(c->prefix, &c->kept.items[0], "manifest.json");
        if (store_delete(c->store, manifest, &ignored) < 0)
            return;
        for (size_t i = 0; i < ARRAY_SIZE(file_names); i++) {
            _cleanup_free_ char *key = file_key(c->prefix, &c->kept.items[0], file_names[i]);
            err_clear(&ignored);
            (void)store_delete(c->store, key, &ignored);
        }
        c->kept.n--;
        memmove(c->kept.items, c->kept.items + 1, c->kept.n * sizeof *c->kept.items);
    }
}

static int upload(struct checkpoints *c, struct err *err)
{
    struct name n = {.step = c->data.step, .attempt = c->attempt};
    _cleanup_json_ cJSON *manifest = json_object();
    cJSON *files = json_array();
    json_add(manifest, "files", files);
    json_add_string(manifest, "fingerprint", c->fingerprint);
    json_add_int(manifest, "step", n.step);
    json_add_int(manifest, "attempt", n.attempt);
    if (upload_files(c, &n, files, err) < 0 || commit(c, &n, manifest, err) < 0)
        return err_wrap(err, "checkpoint of step %" PRId64, n.step);
    bool known = c->kept.n && compare_names(&c->kept.items[c->kept.n - 1], &n) == 0;
    if (!known)
        add_name(&c->kept, &n);
    prune(c);
    return 0;
}

static void *upload_thread(void *arg)
{
    struct checkpoints *c = arg;
    struct err err = ERR_INIT;
    int64_t start = clock_system.mono_ms(clock_system.ctx);
    int r = upload(c, &err);
    pthread_mutex_lock(&c->mutex);
    if (r < 0)
        c->failure = err;
    else
        c->newest = c->data.step;
    c->last_ms = clock_system.mono_ms(clock_system.ctx) - start;
    free(c->data.text);
    c->data.text = NULL;
    c->busy = false;
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

bool checkpoints_idle(struct checkpoints *c)
{
    pthread_mutex_lock(&c->mutex);
    bool idle = !c->busy;
    pthread_mutex_unlock(&c->mutex);
    return idle;
}

void checkpoints_save(struct checkpoints *c, const struct checkpoint_data *data)
{
    if (!checkpoints_idle(c))
        BUG("a checkpoint is still being written");
    join(c);
    c->data = *data;
    c->busy = true;
    int e = pthread_create(&c->thread, NULL, upload_thread, c);
    c->started = e == 0;
    if (e)
        (void)upload_thread(c); /* no thread to be had: then here and now */
}

void checkpoints_await(struct checkpoints *c)
{
    join(c);
}

bool checkpoints_take_failure(struct checkpoints *c, struct err *ret)
{
    pthread_mutex_lock(&c->mutex);
    bool failed = err_is_set(&c->failure);
    if (failed)
        *ret = c->failure;
    err_clear(&c->failure);
    pthread_mutex_unlock(&c->mutex);
    return failed;
}

int64_t checkpoints_newest(struct checkpoints *c)
{
    pthread_mutex_lock(&c->mutex);
    int64_t n = c->newest;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

int64_t checkpoints_last_ms(struct checkpoints *c)
{
    pthread_mutex_lock(&c->mutex);
    int64_t ms = c->last_ms;
    pthread_mutex_unlock(&c->mutex);
    return ms;
}

/* --- restoring --------------------------------------------------------------------------------------- */

static int fetch_file(struct checkpoints *c, const char *prefix, const struct name *n, const cJSON *file,
                      const char *path, struct err *err)
{
    struct json_path at = {.key = "files"};
    const char *sha256;
    int64_t size;
    if (json_get_string(file, &at, "sha256", &sha256, err) < 0 ||
        json_get_int(file, &at, "size", &size, err) < 0)
        return -1;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, "name"));
    _cleanup_free_ char *key = file_key(prefix, n, name ? name : "");
    (void)unlink(path);
    return store_get_file(c->store, key, path, sha256, size, NULL, err);
}

static int read_tensor(const struct safetensors *f, const char *name, size_t n, float *ret, struct err *err)
{
    const struct safetensors_tensor *t;
    int64_t shape[] = {(int64_t)n};
    if (safetensors_get(f, name, SAFETENSORS_F32, 1, shape, &t, err) < 0)
        return -1;
    if (n)
        memcpy(ret, t->data, n * sizeof *ret);
    return 0;
}

static int read_state(const char *tensors, const char *text, struct checkpoint_data *ret, struct err *err)
{
    _cleanup_safetensors_ struct safetensors *f = NULL;
    size_t len;
    if (safetensors_open(tensors, &f, err) < 0 ||
        read_tensor(f, "weights", ret->n_weights, ret->weights, err) < 0 ||
        (ret->n_optimizer && read_tensor(f, "optimizer", ret->n_optimizer, ret->optimizer, err) < 0))
        return -1;
    ret->has_best = ret->best && safetensors_find(f, "best");
    if (ret->has_best && read_tensor(f, "best", ret->n_weights, ret->best, err) < 0)
        return -1;
    return fs_read_file(text, STATE_MAX, &ret->text, &len, err);
}

/* Any failure means: not this one. */
static int restore_one(struct checkpoints *c, const char *prefix, const struct name *n,
                       struct checkpoint_data *ret, struct err *err)
{
    _cleanup_free_ char *key = file_key(prefix, n, "manifest.json"), *text = NULL;
    _cleanup_free_ char *tensors = fs_join(c->scratch, "restore.safetensors"),
                        *state = fs_join(c->scratch, "restore.json");
    _cleanup_json_ cJSON *manifest = NULL;
    size_t len;
    const char *fingerprint;
    const cJSON *files;
    if (store_get(c->store, key, MANIFEST_MAX, &text, &len, NULL, err) < 0 ||
        json_parse(text, len, MANIFEST_MAX, &manifest, err) < 0 ||
        json_get_string(manifest, NULL, "fingerprint", &fingerprint, err) < 0 ||
        json_get_array(manifest, NULL, "files", &files, err) < 0)
        return -1;
    if (strcmp(fingerprint, c->fingerprint) != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "fingerprint",
                        "it was written for another config, data or vector level");
    const char *const paths[] = {tensors, state};
    if (cJSON_GetArraySize(files) != (int)ARRAY_SIZE(paths))
        return err_set(err, ERR_INVALID, "its manifest names %d files", cJSON_GetArraySize(files));
    for (int i = 0; i < (int)ARRAY_SIZE(paths); i++)
        if (fetch_file(c, prefix, n, cJSON_GetArrayItem(files, i), paths[i], err) < 0)
            return -1;
    int r = read_state(tensors, state, ret, err);
    (void)unlink(tensors);
    (void)unlink(state);
    ret->step = n->step;
    return r;
}

static int restore_from(struct checkpoints *c, const char *prefix, struct checkpoint_data *ret,
                        bool *ret_found, struct err *err)
{
    struct listing l;
    if (list_prefix(c, prefix, &l, err) < 0)
        return -1;
    for (size_t i = l.names.n; i-- > 0 && !*ret_found;) {
        struct err why = ERR_INIT;
        if (restore_one(c, prefix, &l.names.items[i], ret, &why) == 0) {
            *ret_found = true;
        } else if (why.class_ == ERR_RETRY) { /* the store, not the checkpoint: do not lose work over it */
            int64_t step = l.names.items[i].step;
            free(l.names.items);
            *err = why;
            return err_wrap(err, "restoring the checkpoint of step %" PRId64, step);
        }
    }
    free(l.names.items);
    return 0;
}

int checkpoints_restore(struct checkpoints *c, struct checkpoint_data *ret, bool *ret_found, struct err *err)
{
    *ret_found = false;
    if (restore_from(c, c->prefix, ret, ret_found, err) < 0)
        return -1;
    if (!*ret_found && c->previous_prefix && restore_from(c, c->previous_prefix, ret, ret_found, err) < 0)
        return -1;
    if (*ret_found)
        c->newest = ret->step;
    return 0;
}
