/* The file:// back end's writes.
 *
 * Content goes to <root>/.trainyard/tmp first, is fsynced, and gets its name in one step: rename(2), or link(2) where
 * the name must be new. A write that replaces or compares holds a lock of <root>/.trainyard/locks (one of 256, by the
 * key's hash) across comparing and renaming; the kernel drops it with the process, so a killed writer blocks nobody. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/text.h"
#include "common/store/file-internal.h"

enum { LEFTOVER_SECONDS = 24 * 3600, LOCKS = 256 };

static char *temporary_directory(const struct file_store *f)
{
    return xasprintf("%s/" STORE_INTERNAL "/tmp", f->root);
}

/* What killed writers left behind. Failing to remove something is no reason to fail a write. */
static void sweep(const char *directory)
{
    _cleanup_dir_ DIR *dir = opendir(directory);
    if (!dir)
        return;
    time_t now = time(NULL);
    for (struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_ctim.tv_sec + LEFTOVER_SECONDS < now)
            (void)unlinkat(dirfd(dir), d->d_name, 0);
    }
}

static int prepare(struct file_store *f, struct err *err)
{
    if (f->prepared)
        return 0;
    _cleanup_free_ char *tmp = temporary_directory(f);
    _cleanup_free_ char *locks = xasprintf("%s/" STORE_INTERNAL "/locks", f->root);
    if (fs_mkdir_p(tmp, err) < 0 || fs_mkdir_p(locks, err) < 0)
        return err_wrap(err, "store %s cannot be written", f->root);
    sweep(tmp);
    f->prepared = true;
    return 0;
}

/* The lock's descriptor; closing it unlocks. */
static int lock_key(const struct file_store *f, const char *key, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *path = xasprintf("%s/" STORE_INTERNAL "/locks/%02x", f->root,
                                          (unsigned)(xxh64(key, strlen(key), 0) % LOCKS));
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_errno(err, errno, "cannot open the lock %s", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_errno(err, errno, "cannot lock %s", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int make_parent(const char *path, struct err *err)
{
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    return fs_mkdir_p(parent, err);
}

static int sync_parent(const char *path, struct err *err)
{
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, errno, "cannot make %s durable", parent);
    return 0;
}

static int open_temporary(const struct file_store *f, mode_t mode, char **ret_path, int *ret_fd,
                          struct err *err)
{
    char name[17];
    random_name(name, 16);
    _cleanup_free_ char *dir = temporary_directory(f);
    _cleanup_free_ char *path = fs_join(dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(err, errno, "cannot create %s", path);
    *ret_path = steal_ptr(path);
    *ret_fd = fd;
    return 0;
}

static int write_all(int fd, const void *data, size_t len, const char *path, struct err *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot write %s", path);
        done += (size_t)n;
    }
    return 0;
}

/* The kernel stamps files with the coarse clock (milliseconds apart); ETags want the fine one. */
static int stamp_and_sync(int fd, const char *path, char *ret_etag, struct err *err)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct stat st;
    if (futimens(fd, (struct timespec[]){now, now}) < 0 || fsync(fd) < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot make %s durable", path);
    if (ret_etag)
        file_etag(&st, ret_etag);
    return 0;
}

static int lost_exists(struct err *err, const struct store *s, const char *key)
{
    return err_fail(err, ERR_EXISTS, 0, "exists", "%s/%s exists already", s->url, key);
}

/* Gives the finished temporary file its name, under the condition. The lock is held. */
static int publish(struct store *s, const char *key, const char *temporary, const char *path,
                   enum store_condition cond, const char *if_match_etag, struct err *err)
{
    if (cond == STORE_IF_NONE) {
        if (link(temporary, path) == 0) {
            (void)unlink(temporary);
            return 0;
        }
        bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK;
        if (no_links && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno == EEXIST)
            return lost_exists(err, s, key);
        return err_errno(err, errno, "cannot create %s", path);
    }
    if (cond == STORE_IF_MATCH) {
        struct stat st;
        char found[STORE_ETAG_MAX] = "none (the object is gone)";
        if (stat(path, &st) == 0)
            file_etag(&st, found);
        else if (errno != ENOENT && errno != ENOTDIR)
            return err_errno(err, errno, "cannot look at %s", path);
        if (!text_equal(found, if_match_etag))
            return err_fail(err, ERR_CONFLICT, 0, "conflict",
                            "%s/%s was changed by another writer: its ETag is %s, expected %s", s->url, key,
                            found, if_match_etag);
    }
    if (rename(temporary, path) < 0)
        return err_errno(err, errno, "cannot rename to %s", path);
    return 0;
}

/* Names the file under the key's lock, between the failpoints. */
static int publish_locked(struct store *s, const char *key, const char *temporary, enum store_condition cond,
                          const char *if_match_etag, struct err *err)
{
    _cleanup_free_ char *path = fs_join(file_store_of(s)->root, key);
    _cleanup_close_ int lock = -1;
    if (make_parent(path, err) < 0 || lock_key(file_store_of(s), key, &lock, err) < 0)
        return -1;
    failpoint(cond == STORE_ALWAYS ? "store.put.before" : "store.cas.before");
    if (publish(s, key, temporary, path, cond, if_match_etag, err) < 0 || sync_parent(path, err) < 0)
        return -1;
    failpoint(cond == STORE_ALWAYS ? "store.put.after" : "store.cas.after");
    return 0;
}

int file_put(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
             const char *if_match_etag, char *ret_etag, struct err *err)
{
    struct file_store *f = file_store_of(s);
    _cleanup_free_ char *temporary = NULL;
    _cleanup_close_ int fd = -1;
    char etag[STORE_ETAG_MAX];
    if (prepare(f, err) < 0 || open_temporary(f, 0666, &temporary, &fd, err) < 0)
        return -1;
    failpoint("store.upload");
    if (write_all(fd, data, len, temporary, err) < 0 || stamp_and_sync(fd, temporary, etag, err) < 0 ||
        publish_locked(s, key, temporary, cond, if_match_etag, err) < 0) {
        (void)unlink(temporary);
        return -1;
    }
    if (ret_etag)
        memcpy(ret_etag, etag, sizeof etag);
    return 0;
}

/* Takes the caller's file itself. 1: it lies on another file system. Its content is not read again: a rename cannot
 * damage it, and its digest was just computed by whoever describes it. */
static int take_file(struct store *s, const char *key, const char *path, struct err *err)
{
    struct file_store *f = file_store_of(s);
    char name[17];
    random_name(name, 16);
    _cleanup_free_ char *dir = temporary_directory(f);
    _cleanup_free_ char *temporary = fs_join(dir, name);
    if (rename(path, temporary) < 0) {
        if (errno == EXDEV)
            return 1;
        return err_errno(err, errno, "cannot move %s into the store", path);
    }
    failpoint("store.upload");
    _cleanup_close_ int fd = open(temporary, O_RDONLY | O_CLOEXEC);
    struct stat st;
    int r = 0;
    /* Read-only from now on: inputs are handed to consumers as links to this very file. */
    if (fd < 0 || fstat(fd, &st) < 0 || fchmod(fd, st.st_mode & 0555) < 0 || fsync(fd) < 0)
        r = err_errno(err, errno, "cannot make %s durable", path);
    if (r == 0)
        r = publish_locked(s, key, temporary, STORE_ALWAYS, NULL, err);
    if (r < 0)
        (void)rename(temporary, path); /* give it back, so that a retry finds it */
    return r;
}

static int copy_file(struct store *s, const char *key, const char *path, const char *sha256, struct err *err)
{
    _cleanup_close_ int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_errno(err, errno, "cannot open %s", path);
    struct stat st;
    if (fstat(in, &st) < 0)
        return err_errno(err, errno, "cannot look at %s", path);
    _cleanup_free_ char *temporary = NULL;
    _cleanup_close_ int out = -1;
    if (open_temporary(file_store_of(s), 0666, &temporary, &out, err) < 0)
        return -1;
    failpoint("store.upload");
    char digest[DIGEST_HEX];
    int64_t size;
    int r = file_copy(in, out, path, sha256 ? digest : NULL, &size, err);
    if (r == 0 && sha256 && !text_equal(digest, sha256))
        r = err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                     "%s: its digest is %s, expected %s: it changed since it was described", path, digest,
                     sha256);
    if (r == 0 && size != st.st_size)
        r = err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                     "%s: copied %" PRId64 " bytes of a file of %lld: it changed meanwhile", path, size,
                     (long long)st.st_size);
    if (r == 0 && fchmod(out, 0444) < 0)
        r = err_errno(err, errno, "cannot make %s read-only", temporary);
    if (r == 0)
        r = stamp_and_sync(out, temporary, NULL, err);
    if (r == 0)
        r = publish_locked(s, key, temporary, STORE_ALWAYS, NULL, err);
    if (r < 0)
        (void)unlink(temporary);
    return r;
}

int file_put_file(struct store *s, const char *key, const char *path, const char *sha256, bool move,
                  struct err *err)
{
    if (prepare(file_store_of(s), err) < 0)
        return -1;
    if (move) {
        int r = take_file(s, key, path, err);
        if (r <= 0)
            return r;
    }
    return copy_file(s, key, path, sha256, err);
}

int file_remove(struct store *s, const char *key, struct err *err)
{
    struct file_store *f = file_store_of(s);
    _cleanup_free_ char *path = fs_join(f->root, key);
    if (!fs_exists(path))
        return 0;
    _cleanup_close_ int lock = -1;
    if (prepare(f, err) < 0 || lock_key(f, key, &lock, err) < 0)
        return -1;
    if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
        return err_errno(err, errno, "cannot remove %s", path);
    return 0;
}
