/* Artifacts: describing, publishing, loading and fetching; the manifest itself is in artifact_manifest.c. */
#include "common/store/artifact.h"

#include <errno.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/artifact-internal.h"

/* Fields of a step's config that say where something is, not what: the same data from elsewhere is the same artifact. */
static const char *const location_fields[] = {LOCATION_FIELDS, NULL};

static bool is_location_field(const char *key)
{
    for (size_t i = 0; location_fields[i]; i++)
        if (text_equal(key, location_fields[i]))
            return true;
    return false;
}

/* A string that is a store URL keeps at most the digest it pins ("s3://lake/x@<digest>"). */
static bool drop_location_text(cJSON *value)
{
    const char *text = value->valuestring;
    if (!text_starts_with(text, "file://") && !text_starts_with(text, "s3://"))
        return false;
    const char *at = strrchr(text, '@');
    if (!at)
        return true;
    _cleanup_free_ char *digest = xstrdup(at);
    (void)cJSON_SetValuestring(value, digest);
    return false;
}

static void drop_locations(cJSON *node)
{
    cJSON *next;
    for (cJSON *child = node->child; child; child = next) {
        next = child->next;
        if ((child->string && is_location_field(child->string)) ||
            (cJSON_IsString(child) && drop_location_text(child)))
            cJSON_Delete(cJSON_DetachItemViaPointer(node, child));
        else
            drop_locations(child);
    }
}

cJSON *artifact_config_without_locations(const cJSON *config)
{
    cJSON *copy = config ? cJSON_Duplicate(config, true) : cJSON_CreateObject();
    if (!copy)
        BUG("no memory for a copy of the config");
    drop_locations(copy);
    return copy;
}

struct artifact *artifact_free(struct artifact *a)
{
    if (!a)
        return NULL;
    for (size_t i = 0; i < a->n_files; i++)
        free(a->files[i].name);
    free(a->files);
    free(a->type);
    cJSON_Delete(a->config);
    cJSON_Delete(a->inputs);
    free(a);
    return NULL;
}

int artifact_describe(const char *dir, const char *type, const cJSON *config, const cJSON *inputs,
                      const char *shared_prefix, struct artifact **ret, struct err *err)
{
    struct fs_list list = {0};
    if (fs_list_tree(dir, &list, err) < 0)
        return -1;
    _cleanup_artifact_ struct artifact *a = xcalloc(1, sizeof *a);
    a->type = xstrdup(type);
    a->config = config ? cJSON_Duplicate(config, true) : json_object();
    a->inputs = inputs ? cJSON_Duplicate(inputs, true) : json_object();
    a->files = xcalloc(list.n ? list.n : 1, sizeof *a->files);
    int r = 0;
    for (size_t i = 0; i < list.n && r == 0; i++) {
        struct artifact_file *f = &a->files[a->n_files];
        if (text_equal(list.names[i],
                       ARTIFACT_MANIFEST)) /* left by an earlier description of the same directory */
            continue;
        a->n_files++;
        f->name = xstrdup(list.names[i]);
        f->shared = shared_prefix && text_starts_with(f->name, shared_prefix);
        if (!fs_safe_relative(f->name)) {
            r = err_set(err, ERR_INVALID, "%s: the file name \"%s\" cannot be part of an artifact", dir,
                        f->name);
            break;
        }
        _cleanup_free_ char *path = fs_join(dir, f->name);
        r = sha256_file(path, f->sha256, &f->size, err);
    }
    fs_list_release(&list);
    if (r < 0)
        return -1;
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    if (artifact_manifest_format(a, &text, err) < 0)
        return -1;
    sha256_hex(buf_str(&text), text.len, a->digest);
    *ret = steal_ptr(a);
    return 0;
}

int artifact_write_manifest(const char *dir, const struct artifact *a, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    if (artifact_manifest_format(a, &text, err) < 0)
        return -1;
    _cleanup_free_ char *path = fs_join(dir, ARTIFACT_MANIFEST);
    return fs_write_atomic(path, buf_str(&text), text.len, err);
}

char *artifact_file_key(const char *prefix, const struct artifact_file *f)
{
    return f->shared ? xasprintf("%s/%s", LAYOUT_SHARED, f->sha256) : xasprintf("%s/%s", prefix, f->name);
}

/* Is the shared file there already? Its name is its digest; a wrong size means that something else went wrong. */
static int shared_exists(struct store *s, const char *key, const struct artifact_file *f, struct err *err)
{
    struct err probe = ERR_INIT;
    struct store_object o;
    if (store_head(s, key, &o, &probe) == 0)
        return o.size == f->size;
    if (probe.class_ == ERR_NOTFOUND)
        return 0;
    *err = probe;
    return -1;
}

static int publish_file(struct store *s, const char *prefix, const char *dir, const struct artifact_file *f,
                        bool move, struct err *err)
{
    _cleanup_free_ char *key = artifact_file_key(prefix, f);
    _cleanup_free_ char *path = fs_join(dir, f->name);
    if (f->shared) {
        int there = shared_exists(s, key, f, err);
        if (there < 0)
            return -1;
        if (there) {
            if (move && store_is_local(s) && unlink(path) < 0 && errno != ENOENT)
                return err_errno(err, errno, "cannot remove %s, which the store has already", path);
            return 0;
        }
    }
    return move ? store_put_file_moving(s, key, path, f->sha256, err)
                : store_put_file(s, key, path, f->sha256, err);
}

/* What publishing or fetching all files of an artifact is about; shared by threads, so only read. */
struct move_job {
    const char *prefix, *dir, *only_prefix;
    const struct artifact *a;
    bool move;
};

static int publish_one(void *ctx, struct store *s, size_t i, struct err *err)
{
    const struct move_job *job = ctx;
    if (publish_file(s, job->prefix, job->dir, &job->a->files[i], job->move, err) < 0)
        return err_wrap(err, "cannot publish %s", job->a->files[i].name);
    return 0;
}

static int publish(struct store *s, const char *prefix, const char *dir, const struct artifact *a, bool move,
                   struct err *err)
{
    struct move_job job = {.prefix = prefix, .dir = dir, .a = a, .move = move};
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    if (artifact_manifest_format(a, &text, err) < 0)
        return -1;
    if (artifact_each(s, a->n_files, publish_one, &job, err) < 0)
        return -1;
    _cleanup_free_ char *key = xasprintf("%s/%s", prefix, ARTIFACT_MANIFEST);
    return store_put(s, key, buf_str(&text), text.len, STORE_ALWAYS, NULL, NULL, err);
}

int artifact_publish(struct store *s, const char *prefix, const char *dir, const struct artifact *a,
                     struct err *err)
{
    return publish(s, prefix, dir, a, /* move= */ true, err);
}

int artifact_publish_copy(struct store *s, const char *prefix, const char *dir, const struct artifact *a,
                          struct err *err)
{
    return publish(s, prefix, dir, a, /* move= */ false, err);
}

/* What a consumer finds gone or altered is one thing to the planner: re-run the producer. */
static int missing(struct err *err, const struct store *s, const char *prefix, const char *what)
{
    struct err cause = *err;
    *err = ERR_INIT;
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, REASON_ARTIFACT_MISSING,
                    "the artifact %s/%s is not usable: %s: %s", store_url(s), prefix, what, cause.msg);
}

int artifact_load(struct store *s, const char *prefix, const char *expect_digest, struct artifact **ret,
                  struct err *err)
{
    _cleanup_free_ char *key = xasprintf("%s/%s", prefix, ARTIFACT_MANIFEST);
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (store_get(s, key, LIMIT_ARTIFACT_MANIFEST_BYTES, &text, &len, NULL, err) < 0)
        return err->class_ == ERR_NOTFOUND ? missing(err, s, prefix, "no manifest") : -1;
    char digest[DIGEST_HEX];
    sha256_hex(text, len, digest);
    if (expect_digest && !text_equal(digest, expect_digest))
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, REASON_ARTIFACT_MISSING,
                        "the artifact %s/%s is not the expected one: its digest is %s, expected %s",
                        store_url(s), prefix, digest, expect_digest);
    if (artifact_manifest_parse(text, len, ret, err) < 0)
        return err_wrap(err, "%s/%s", store_url(s), key);
    return 0;
}

static int make_parent(const char *path, struct err *err)
{
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    return fs_mkdir_p(parent, err);
}

/* A second name for the store's own file, once its bytes were verified. No symbolic link: DuckDB, for one, resolves them and then
 * sees a path outside what it may read. */
static int link_local(struct store *s, const char *key, const struct artifact_file *f, const char *path,
                      struct err *err)
{
    _cleanup_free_ char *target = store_local_path(s, key);
    char digest[DIGEST_HEX];
    int64_t size;
    if (sha256_file(target, digest, &size, err) < 0)
        return -1;
    if (size != f->size || !text_equal(digest, f->sha256))
        return err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                        "%s has %" PRId64 " bytes and the digest %s, expected %" PRId64 " and %s", target,
                        size, digest, f->size, f->sha256);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(err, errno, "cannot replace %s", path);
    if (link(target, path) == 0)
        return 0;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK)
        return err_errno(err, errno, "cannot link %s to %s", path, target);
    return store_get_file(s, key, path, f->sha256, f->size, NULL, err); /* another file system: copied */
}

/* A fetched directory describes itself, as a hand-made one does. */
static int write_manifest(const struct artifact *a, const char *dir, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    _cleanup_free_ char *path = fs_join(dir, ARTIFACT_MANIFEST);
    if (artifact_manifest_format(a, &text, err) < 0 || make_parent(path, err) < 0)
        return -1;
    return fs_write_atomic(path, buf_str(&text), text.len, err);
}

static int fetch_one(void *ctx, struct store *s, size_t i, struct err *err)
{
    const struct move_job *job = ctx;
    const struct artifact_file *f = &job->a->files[i];
    if (job->only_prefix && !text_starts_with(f->name, job->only_prefix))
        return 0;
    _cleanup_free_ char *key = artifact_file_key(job->prefix, f);
    _cleanup_free_ char *path = fs_join(job->dir, f->name);
    if (make_parent(path, err) < 0)
        return -1;
    int r = store_is_local(s) ? link_local(s, key, f, path, err)
                              : store_get_file(s, key, path, f->sha256, f->size, NULL, err);
    if (r == 0)
        return 0;
    bool gone = err->class_ == ERR_NOTFOUND || text_equal(err->reason, "checksum");
    return gone ? missing(err, s, job->prefix, f->name) : err_wrap(err, "cannot fetch %s", f->name);
}

int artifact_fetch(struct store *s, const char *prefix, const struct artifact *a, const char *only_prefix,
                   const char *dir, struct err *err)
{
    struct move_job job = {.prefix = prefix, .dir = dir, .only_prefix = only_prefix, .a = a};
    if (artifact_each(s, a->n_files, fetch_one, &job, err) < 0)
        return -1;
    return only_prefix ? 0 : write_manifest(a, dir, err);
}

int artifact_load_dir(const char *dir, const char *expect_digest, struct artifact **ret, struct err *err)
{
    _cleanup_free_ char *path = fs_join(dir, ARTIFACT_MANIFEST), *text = NULL;
    size_t len;
    if (fs_read_file(path, LIMIT_ARTIFACT_MANIFEST_BYTES, &text, &len, err) < 0)
        return -1;
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_manifest_parse(text, len, &a, err) < 0)
        return err_wrap(err, "%s", path);
    if (expect_digest && !text_equal(a->digest, expect_digest))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "checksum", "%s: its digest is %s, expected %s",
                        path, a->digest, expect_digest);
    *ret = steal_ptr(a);
    return 0;
}
