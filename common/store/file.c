/* The file:// back end: opening, reading, listing. An object is a regular file below the root. */
#include "common/store/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { COPY_CHUNK = 1 << 20 };

static char *path_of(const struct store *s, const char *key)
{
    return fs_join(file_store_of(s)->root, key);
}

void file_etag(const struct stat *st, char ret[static STORE_ETAG_MAX])
{
    (void)snprintf(ret, STORE_ETAG_MAX, "\"%" PRIx64 "-%" PRIx64 ".%09ld-%" PRIx64 "\"",
                   (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
                   (uint64_t)st->st_ino);
}

int file_stat(const struct store *s, const char *key, const char *path, struct stat *ret, struct err *err)
{
    if (stat(path, ret) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return store_err_missing(err, s, key);
        return err_errno(err, errno, "cannot look at %s", path);
    }
    return S_ISREG(ret->st_mode) ? 0 : store_err_missing(err, s, key);
}

static int open_object(const struct store *s, const char *key, int *ret_fd, struct stat *ret, struct err *err)
{
    _cleanup_free_ char *path = path_of(s, key);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return store_err_missing(err, s, key);
        return err_errno(err, errno, "cannot open %s", path);
    }
    if (fstat(fd, ret) < 0)
        return err_errno(err, errno, "cannot look at %s", path);
    if (!S_ISREG(ret->st_mode))
        return store_err_missing(err, s, key);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int read_exactly(int fd, int64_t offset, void *ret, size_t len, const char *what, struct err *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)ret + done, len - done, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read %s", what);
        if (n == 0)
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "short",
                            "%s ends at byte %" PRId64 ", expected %" PRId64, what, offset + (int64_t)done,
                            offset + (int64_t)len);
        done += (size_t)n;
    }
    return 0;
}

static int file_get(struct store *s, const char *key, size_t max, char **ret, size_t *ret_len, char *ret_etag,
                    struct err *err)
{
    _cleanup_close_ int fd = -1;
    struct stat st;
    if (open_object(s, key, &fd, &st, err) < 0)
        return -1;
    if ((uint64_t)st.st_size > max)
        return err_set(err, ERR_INVALID, "%s/%s has %lld bytes, more than the maximum of %zu", s->url, key,
                       (long long)st.st_size, max);
    size_t len = (size_t)st.st_size;
    _cleanup_free_ char *data = malloc(len + 1);
    if (!data)
        return err_set(err, ERR_TERMINAL, "%s/%s: no memory for %zu bytes", s->url, key, len);
    if (read_exactly(fd, 0, data, len, key, err) < 0)
        return -1;
    data[len] = '\0';
    if (ret_etag)
        file_etag(&st, ret_etag);
    *ret = steal_ptr(data);
    *ret_len = len;
    return 0;
}

static int file_get_range(struct store *s, const char *key, int64_t offset, size_t len, void *ret,
                          struct err *err)
{
    _cleanup_close_ int fd = -1;
    struct stat st;
    if (open_object(s, key, &fd, &st, err) < 0)
        return -1;
    return read_exactly(fd, offset, ret, len, key, err);
}

static int file_head(struct store *s, const char *key, struct store_object *ret, struct err *err)
{
    _cleanup_free_ char *path = path_of(s, key);
    struct stat st;
    if (file_stat(s, key, path, &st, err) < 0)
        return -1;
    struct store_object o = {.size = st.st_size,
                             .mtime_ms = st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000};
    file_etag(&st, o.etag);
    *ret = o;
    return 0;
}

static int copy_hashing(int in, int out, const char *what, char *sha256, int64_t *ret_size, struct err *err)
{
    _cleanup_free_ char *chunk = xmalloc(COPY_CHUNK);
    struct sha256 *hash = sha256_new();
    int64_t size = 0;
    for (;;) {
        ssize_t n = read(in, chunk, COPY_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            uint8_t digest[SHA256_LEN];
            sha256_final(hash, digest);
            if (n < 0)
                return err_errno(err, errno, "cannot read %s", what);
            hex_encode(digest, sizeof digest, sha256);
            *ret_size = size;
            return 0;
        }
        sha256_update(hash, chunk, (size_t)n);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(out, chunk + done, (size_t)(n - done));
            if (w < 0 && errno == EINTR)
                continue;
            if (w < 0) {
                sha256_free(hash);
                return err_errno(err, errno, "cannot write the copy of %s", what);
            }
            done += w;
        }
        size += n;
    }
}

int file_copy(int in, int out, const char *what, char *sha256, int64_t *ret_size, struct err *err)
{
    if (sha256)
        return copy_hashing(in, out, what, sha256, ret_size, err);
    int64_t size = 0;
    for (;;) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
        if (n > 0) {
            size += n;
            continue;
        }
        if (n == 0) {
            *ret_size = size;
            return 0;
        }
        if (errno == EINTR)
            continue;
        bool unsupported = errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP;
        if (!unsupported)
            return err_errno(err, errno, "cannot copy %s", what);
        char ignored[DIGEST_HEX];
        int64_t rest;
        if (copy_hashing(in, out, what, ignored, &rest, err) < 0)
            return -1;
        *ret_size = size + rest;
        return 0;
    }
}

static int file_get_file(struct store *s, const char *key, const char *path, const char *expect_sha256,
                         int64_t expect_size, const char *etag, struct err *err)
{
    _cleanup_close_ int in = -1;
    struct stat before, after;
    if (open_object(s, key, &in, &before, err) < 0)
        return -1;
    char found[STORE_ETAG_MAX], digest[DIGEST_HEX];
    file_etag(&before, found);
    if (etag && !text_equal(etag, found))
        return store_err_changed(err, s, key, etag, found);
    if (expect_size >= 0 && before.st_size != expect_size)
        return store_err_size(err, s, key, expect_size, before.st_size);

    /* Beside the target under another name first, so that `path` never holds half a file. */
    char suffix[9];
    random_name(suffix, 8);
    _cleanup_free_ char *temporary = xasprintf("%s.part-%s", path, suffix);
    _cleanup_close_ int out = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out < 0)
        return err_errno(err, errno, "cannot create %s", temporary);
    int64_t size;
    int r = file_copy(in, out, key, expect_sha256 ? digest : NULL, &size, err);
    if (r == 0 && fstat(in, &after) < 0)
        r = err_errno(err, errno, "cannot look at %s/%s", s->url, key);
    if (r == 0) { /* files that others write in place may change under us */
        char now[STORE_ETAG_MAX];
        file_etag(&after, now);
        if (!text_equal(found, now) || size != before.st_size)
            r = store_err_changed(err, s, key, found, now);
    }
    if (r == 0 && expect_sha256 && !text_equal(digest, expect_sha256))
        r = store_err_checksum(err, s, key, expect_sha256, digest);
    if (r == 0 && rename(temporary, path) < 0)
        r = err_errno(err, errno, "cannot rename %s to %s", temporary, path);
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

static char *file_local_path(const struct store *s, const char *key)
{
    return path_of(s, key);
}

/* --- listing ---------------------------------------------------------------------------------------- */

struct list_job {
    const struct store *store;
    const char *prefix;
    int (*each)(void *ctx, const struct store_object *object, struct err *err);
    void *ctx;
};

struct list_entry {
    char *sort_name; /* directories with a trailing slash, so that the walk visits keys in byte order */
    bool directory;
};

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct list_entry *)a)->sort_name, ((const struct list_entry *)b)->sort_name);
}

static int list_directory(const struct list_job *job, const char *key, int depth, struct err *err);

static int list_entry(const struct list_job *job, const char *key, const struct list_entry *entry, int depth,
                      struct err *err)
{
    _cleanup_free_ char *child = xasprintf("%s%s", key, entry->sort_name);
    size_t prefix_len = strlen(job->prefix), child_len = strlen(child);
    if (entry->directory) { /* go down where keys below may begin with the prefix */
        size_t common = prefix_len < child_len ? prefix_len : child_len;
        return strncmp(child, job->prefix, common) == 0 ? list_directory(job, child, depth + 1, err) : 0;
    }
    if (!text_starts_with(child, job->prefix))
        return 0;
    _cleanup_free_ char *path = path_of(job->store, child);
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0; /* deleted since the directory was read, or no object */
    struct store_object o = {.key = child,
                             .size = st.st_size,
                             .mtime_ms = st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000};
    file_etag(&st, o.etag);
    return job->each(job->ctx, &o, err);
}

static bool is_directory(const char *parent, const struct dirent *d)
{
    if (d->d_type != DT_UNKNOWN && d->d_type != DT_LNK)
        return d->d_type == DT_DIR;
    _cleanup_free_ char *path = fs_join(parent, d->d_name);
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* `key` is "" or ends with a slash. */
static int list_directory(const struct list_job *job, const char *key, int depth, struct err *err)
{
    if (depth > LIMIT_STORE_DEPTH)
        return err_set(err, ERR_INVALID, "%s/%s: more than %d nested directories", job->store->url, key,
                       LIMIT_STORE_DEPTH);
    _cleanup_free_ char *path = path_of(job->store, key);
    _cleanup_dir_ DIR *dir = opendir(path);
    if (!dir) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 0;
        return err_errno(err, errno, "cannot list %s", path);
    }
    struct list_entry *entries = NULL;
    size_t n = 0, capacity = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        if (text_equal(d->d_name, ".") || text_equal(d->d_name, "..") ||
            (!*key && text_equal(d->d_name, STORE_INTERNAL)))
            continue;
        entries = grow_array(entries, &capacity, n, sizeof *entries);
        bool directory = is_directory(path, d);
        entries[n++] = (struct list_entry){xasprintf("%s%s", d->d_name, directory ? "/" : ""), directory};
    }
    if (n > 1)
        qsort(entries, n, sizeof *entries, compare_entries);
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = list_entry(job, key, &entries[i], depth, err);
        free(entries[i].sort_name);
    }
    free(entries);
    return r;
}

static int file_list(struct store *s, const char *prefix,
                     int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
                     struct err *err)
{
    struct list_job job = {.store = s, .prefix = prefix, .each = each, .ctx = ctx};
    const char *slash = strrchr(prefix, '/');
    _cleanup_free_ char *start = xstrndup(prefix, slash ? (size_t)(slash - prefix) + 1 : 0);
    return list_directory(&job, start, 0, err);
}

/* --- life ------------------------------------------------------------------------------------------- */

static int file_probe(struct store *s, struct err *err)
{
    (void)s, (void)err; /* link(2) is conditional on every file system that has it */
    return 0;
}

static void file_free(struct store *s)
{
    free(file_store_of(s)->root);
    free(s);
}

int file_store_open(const struct store_config *config, const struct uri *uri, struct store **ret,
                    struct err *err)
{
    static const struct store_ops ops = {
        .free = file_free,
        .probe = file_probe,
        .get = file_get,
        .get_file = file_get_file,
        .get_range = file_get_range,
        .head = file_head,
        .put = file_put,
        .put_file = file_put_file,
        .remove = file_remove,
        .list = file_list,
        .local_path = file_local_path,
    };
    (void)config,
        (void)err; /* nothing is created or looked at before it is needed: a source may be read-only */
    struct file_store *f = xcalloc(1, sizeof *f);
    f->base.ops = &ops;
    f->root = xstrdup(uri->path);
    *ret = &f->base;
    return 0;
}
