/* artifact checkpoint: keeps <root>/checkpoint in the store while the step runs.
 *
 * A checkpoint is an artifact at <step>/checkpoints/<number>-a<attempt>/, numbered upwards; its manifest is written last, so
 * a half-uploaded one is none. Files that change while they are read make that upload fail, and the next one try again:
 * programs had better write beside and rename. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/artifact/helper.h"
#include "stages/runtime/progress.h"

enum { LAST_TRIES = 3, LAST_PAUSE_MS = 500, CHECKPOINTS_MAX = 10000 };

struct found {
    char *name; /* "<number>-a<attempt>" */
    int64_t number, attempt;
};
struct found_list {
    struct found *items;
    size_t n, capacity;
    size_t prefix_len;
};

static void release_found(struct found_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].name);
    free(list->items);
}

static int on_object(void *ctx, const struct store_object *o, struct err *err)
{
    struct found_list *list = ctx;
    struct found f = {0};
    const char *name = o->key + list->prefix_len;
    int len = 0;
    (void)err;
    if (sscanf(name, "%10" SCNd64 "-a%10" SCNd64 "%n", &f.number, &f.attempt, &len) != 2 ||
        !text_equal(name + len, "/manifest.json") || list->n == CHECKPOINTS_MAX)
        return 0;
    f.name = xstrndup(name, (size_t)len);
    list->items = grow_array(list->items, &list->capacity, list->n, sizeof *list->items);
    list->items[list->n++] = f;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? 1 : -1;
    return x->attempt < y->attempt ? 1 : x->attempt > y->attempt ? -1 : 0;
}

static int find(struct helper *h, const char *prefix, struct found_list *ret, struct err *err)
{
    _cleanup_free_ char *below = xasprintf("%s/", prefix);
    *ret = (struct found_list){.prefix_len = strlen(below)};
    if (store_list(h->store, below, on_object, ret, err) < 0)
        return -1;
    if (ret->n > 1)
        qsort(ret->items, ret->n, sizeof *ret->items, newest_first);
    return 0;
}

/* --- restoring -------------------------------------------------------------------------------------- */

/* The directory is a mount: emptied, never removed. */
static int empty_directory(const char *path, struct err *err)
{
    if (fs_mkdir_p(path, err) < 0)
        return -1;
    _cleanup_dir_ DIR *dir = opendir(path);
    if (!dir)
        return err_errno(err, errno, "cannot open %s", path);
    for (struct dirent *d; (d = readdir(dir));) {
        if (text_equal(d->d_name, ".") || text_equal(d->d_name, ".."))
            continue;
        _cleanup_free_ char *child = fs_join(path, d->d_name);
        if (fs_remove_tree(child, err) < 0)
            return -1;
    }
    return 0;
}

/* Copies, not links: the program goes on writing to them. */
static int copy_files(struct helper *h, const char *prefix, const struct artifact *a, const char *dir,
                      struct err *err)
{
    for (size_t i = 0; i < a->n_files; i++) {
        _cleanup_free_ char *key = artifact_file_key(prefix, &a->files[i]),
                            *path = fs_join(dir, a->files[i].name);
        _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
        if (fs_mkdir_p(parent, err) < 0 ||
            store_get_file(h->store, key, path, a->files[i].sha256, a->files[i].size, NULL, err) < 0)
            return -1;
    }
    return 0;
}

static int restore_from(struct helper *h, const char *prefix, bool *ret_done, struct err *err)
{
    _cleanup_free_ char *dir = helper_path(h, "checkpoint");
    struct found_list list;
    *ret_done = false;
    int r = find(h, prefix, &list, err);
    for (size_t i = 0; i < list.n && r == 0 && !*ret_done; i++) {
        _cleanup_free_ char *at = fs_join(prefix, list.items[i].name);
        _cleanup_artifact_ struct artifact *a = NULL;
        struct err why = ERR_INIT;
        r = empty_directory(dir, err);
        if (r == 0 && artifact_load(h->store, at, NULL, &a, &why) == 0 &&
            copy_files(h, at, a, dir, &why) == 0) {
            log_info("checkpoint restored", "checkpoint", at, "files", LOG_INT(a->n_files), NULL);
            *ret_done = true;
        } else if (r == 0) {
            log_warn("a checkpoint is not usable, trying the one before", "checkpoint", at, "why", why.msg,
                     NULL);
            r = empty_directory(dir, err);
        }
    }
    release_found(&list);
    return r;
}

/* The newest earlier restart that came to work: its checkpoints count if it did the same work and failed. */
static int previous_prefix(struct helper *h, const char *digest, char **ret, struct err *err)
{
    *ret = NULL;
    for (int64_t g = h->restart - 1; g >= 0; g--) {
        _cleanup_free_ char *step = commit_step_prefix(h->run_uid, h->step, h->index, g),
                            *key = fs_join(step, "work"), *theirs = NULL;
        struct err why = ERR_INIT;
        if (store_get(h->store, key, DIGEST_HEX, &theirs, NULL, NULL, &why) < 0) {
            if (why.class_ == ERR_NOTFOUND)
                continue;
            *err = why;
            return -1;
        }
        _cleanup_result_ struct result result = {0};
        bool succeeded;
        if (!text_equal(theirs, digest))
            return 0;
        if (commit_find(h->store, step, &succeeded, &result, err) < 0)
            return -1;
        if (!succeeded)
            *ret = fs_join(step, "checkpoints");
        return 0;
    }
    return 0;
}

int checkpoint_restore(struct helper *h, struct err *err)
{
    char digest[DIGEST_HEX];
    _cleanup_free_ char *own = fs_join(h->place.step, "checkpoints"), *work = fs_join(h->place.step, "work"),
                        *previous = NULL;
    if (helper_work_digest(h, digest, err) < 0)
        return -1;
    struct err lost = ERR_INIT;
    if (store_put(h->store, work, digest, strlen(digest), STORE_IF_NONE, NULL, NULL, &lost) < 0 &&
        lost.class_ != ERR_EXISTS) {
        *err = lost;
        return -1;
    }
    bool done;
    if (restore_from(h, own, &done, err) < 0)
        return -1;
    if (done || h->restart == 0)
        return 0;
    if (previous_prefix(h, digest, &previous, err) < 0)
        return -1;
    return previous ? restore_from(h, previous, &done, err) : 0;
}

/* --- uploading -------------------------------------------------------------------------------------- */

struct uploader {
    struct helper *h;
    char *prefix, *dir;
    struct progress *progress;
    int64_t number; /* of the last one */
    char last[DIGEST_HEX];
};

/* The manifest first: from then on it is none. */
static void drop_checkpoint(struct helper *h, const char *prefix)
{
    struct err ignored = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = NULL;
    _cleanup_free_ char *manifest = fs_join(prefix, "manifest.json");
    if (artifact_load(h->store, prefix, NULL, &a, &ignored) < 0 ||
        store_delete(h->store, manifest, &ignored) < 0)
        return;
    for (size_t i = 0; i < a->n_files; i++) {
        _cleanup_free_ char *key = artifact_file_key(prefix, &a->files[i]);
        (void)store_delete(h->store, key, &ignored);
        ignored = ERR_INIT;
    }
}

static void prune(struct uploader *u)
{
    struct found_list list;
    struct err ignored = ERR_INIT;
    (void)find(u->h, u->prefix, &list, &ignored);
    for (size_t i = (size_t)u->h->options.keep; i < list.n; i++) {
        _cleanup_free_ char *at = fs_join(u->prefix, list.items[i].name);
        drop_checkpoint(u->h, at);
    }
    release_found(&list);
}

/* So that the planner sees that an attempt which is preempted got further. */
static void report(struct uploader *u)
{
    _cleanup_json_ cJSON *metrics = json_object();
    json_add_double(metrics, "checkpoint_step", (double)u->number);
    progress_report(u->progress, -1, NULL, metrics);
}

/* Uploads what is there, unless it is what was uploaded last. */
static int upload(struct uploader *u, struct err *err)
{
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_describe(u->dir, "checkpoint", NULL, NULL, NULL, &a, err) < 0)
        return -1;
    if (a->n_files == 0 || text_equal(a->digest, u->last))
        return 0;
    _cleanup_free_ char *prefix =
        xasprintf("%s/%010" PRId64 "-a%" PRId64, u->prefix, u->number + 1, u->h->attempt);
    failpoint("helper.checkpoint.before");
    if (artifact_publish_copy(u->h->store, prefix, u->dir, a, err) < 0)
        return -1;
    failpoint("helper.checkpoint.after");
    memcpy(u->last, a->digest, sizeof u->last);
    u->number++;
    log_info("checkpoint uploaded", "checkpoint", prefix, "files", LOG_INT(a->n_files), NULL);
    report(u);
    prune(u);
    return 0;
}

/* Waits for the time or a signal to end; true: end. */
static bool wait_for(const sigset_t *set, int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    int number;
    do
        number = sigtimedwait(set, NULL, &t);
    while (number < 0 && errno == EINTR);
    return number > 0;
}

static int64_t now_ms(void)
{
    return clock_system.mono_ms(clock_system.ctx);
}

/* Told to end. The program may have ended, or be told at this very moment: it runs in an init container, and the kubelet knows no order between those and
 * sidecars. So what it writes in its last seconds may be still to come: uploading ends when nothing has changed for a while, or when
 * publish has left its mark, for then the program has ended. */
static int upload_last(struct uploader *u, struct err *err)
{
    _cleanup_free_ char *mark = helper_path(u->h, HELPER_PUBLISHED);
    int64_t changed_ms = now_ms();
    for (int failures = 0;;) {
        struct err why = ERR_INIT;
        int64_t before = u->number;
        bool ended = fs_exists(mark);
        int r = upload(u, &why);
        if (u->number != before)
            changed_ms = now_ms();
        bool quiet = ended || now_ms() - changed_ms >= u->h->options.settle_ms;
        if (r == 0 && quiet)
            return 0;
        if (r < 0 && ++failures >= LAST_TRIES && quiet) {
            *err = why;
            return err_wrap(err, "the last checkpoint");
        }
        clock_system.sleep_ms(clock_system.ctx, LAST_PAUSE_MS);
    }
}

static int keep_uploading(struct helper *h, struct err *err)
{
    sigset_t ending;
    (void)sigemptyset(&ending);
    (void)sigaddset(&ending, SIGTERM);
    (void)sigaddset(&ending, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ending, NULL);
    _cleanup_free_ char *prefix = fs_join(h->place.step, "checkpoints"), *dir = helper_path(h, "checkpoint");
    struct uploader u = {.h = h, .prefix = prefix, .dir = dir};
    struct found_list list;
    if (fs_mkdir_p(dir, err) < 0 || find(h, prefix, &list, err) < 0)
        return -1;
    u.number = list.n ? list.items[0].number : 0;
    release_found(&list);
    u.progress = progress_new(getenv(ENV_PROGRESS_URL), getenv(ENV_PROGRESS_TOKEN));
    log_info("watching", "directory", dir, "last", LOG_INT(u.number), NULL);
    while (!wait_for(&ending, h->options.every_ms)) {
        struct err why = ERR_INIT;
        if (upload(&u, &why) < 0)
            log_warn("no checkpoint this time", "why", why.msg, NULL);
    }
    int r = upload_last(&u, err);
    progress_free(u.progress);
    return r;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct helper h = {0};
    struct err err = ERR_INIT;
    int r = helper_start(cmd, argc, argv, &h, &err);
    return helper_finish(&h, r == 0 ? keep_uploading(&h, &err) : r, &err);
}

static const struct cli_option options[] = {
    HELPER_OPTIONS,
    {.name = "every",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     HELPER_AT(every_ms),
     .fallback = "60s",
     .min = 100,
     .max = 86400000,
     .help = "How often to look."},
    {.name = "settle",
     .kind = CLI_DURATION,
     .metavar = "TIME",
     HELPER_AT(settle_ms),
     .fallback = "5s",
     .min = 0,
     .max = 3600000,
     .help = "Told to end: for how long nothing may change before it does."},
    {.name = "keep",
     .kind = CLI_INT,
     .metavar = "N",
     HELPER_AT(keep),
     .fallback = "3",
     .min = 1,
     .max = 1000,
     .help = "How many checkpoints to keep."},
    CLI_END,
};

const struct cli_command command_checkpoint = {
    .name = "artifact checkpoint",
    .synopsis = "",
    .summary = "Upload ROOT/checkpoint while a step runs, and once more when told to end.",
    .description =
        "Runs beside the step's container until SIGTERM, and then until the directory has not changed for a while, since the program may have been told to end at the same time. A checkpoint is uploaded when the directory's content has changed since the last one; a half-uploaded "
        "one is never restored. Write files beside and rename them, so that none is caught half-written.",
    .options = options,
    .run = run,
};
