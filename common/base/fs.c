/* Files and directory trees: see fs.h. */
#include "common/base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { TREE_DEPTH_MAX = 128 }; /* each level holds a descriptor */

int fs_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "cannot read %s: expected a file, found a folder", path);
    /* The size is a hint only: files in /proc say 0, and a file may grow while it is read. */
    size_t capacity = st.st_size > 0 && (uintmax_t)st.st_size < max ? (size_t)st.st_size + 2 : 4096;
    _cleanup_free_ char *data = xmalloc(capacity);
    size_t len = 0;
    for (;;) {
        data = grow_array(data, &capacity, len + 1, 1);
        ssize_t n = read(fd, data + len, capacity - len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "cannot read %s at byte %zu", path, len);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > max)
            return err_set(err, ERR_INVALID, "%s is larger than the maximum of %zu bytes", path, max);
    }
    data[len] = '\0';
    *ret = steal_ptr(data);
    if (ret_len)
        *ret_len = len;
    return 0;
}

/* The folder part of a path; caller frees. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return xstrdup(".");
    return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

static int sync_folder(const char *folder, struct err *err)
{
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(err, errno, "cannot make the change in folder %s durable", folder);
    return 0;
}

static int write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A complete, synced file under a fresh temporary name in `folder`. */
static int write_temp(const char *folder, const char *path, const void *data, size_t len, char **ret,
                      struct err *err)
{
    char name[17];
    random_name(name, 16);
    _cleanup_free_ char *temp = xasprintf("%s/" FS_TEMP_PREFIX "%s", folder, name);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_errno(err, errno, "cannot create %s", path);
    int failed = write_all(fd, data, len) < 0 || fsync(fd) < 0;
    int e = errno;
    if (close(fd) < 0 && !failed) {
        failed = 1;
        e = errno;
    }
    if (failed) {
        (void)unlink(temp);
        return err_errno(err, e, "cannot write %s", path);
    }
    *ret = steal_ptr(temp);
    return 0;
}

int fs_write_atomic(const char *path, const void *data, size_t len, struct err *err)
{
    _cleanup_free_ char *folder = folder_of(path);
    _cleanup_free_ char *temp = NULL;
    if (write_temp(folder, path, data, len, &temp, err) < 0)
        return -1;
    if (rename(temp, path) < 0) {
        int e = errno;
        (void)unlink(temp);
        return err_errno(err, e, "cannot move the new content to %s", path);
    }
    return sync_folder(folder, err);
}

int fs_write_exclusive(const char *path, const void *data, size_t len, struct err *err)
{
    _cleanup_free_ char *folder = folder_of(path);
    _cleanup_free_ char *temp = NULL;
    if (write_temp(folder, path, data, len, &temp, err) < 0)
        return -1;
    int failed = link(temp, path) < 0, e = errno;
    (void)unlink(temp);
    if (failed)
        return err_errno(err, e, "cannot create %s", path);
    return sync_folder(folder, err);
}

static int make_dir(const char *path, struct err *err)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return 0;
    if (errno != EEXIST && errno != EISDIR && errno != EROFS)
        return err_errno(err, errno, "cannot create folder %s", path);
    int e = errno;
    if (stat(path, &st) < 0)
        return err_errno(err, e, "cannot create folder %s", path);
    if (!S_ISDIR(st.st_mode))
        return err_errno(err, ENOTDIR, "cannot create folder %s: a file is in its place", path);
    return 0;
}

int fs_mkdir_p(const char *path, struct err *err)
{
    _cleanup_free_ char *partial = xstrdup(path);
    for (char *p = partial + (*partial == '/'); *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        if (make_dir(partial, err) < 0)
            return -1;
        *p = '/';
    }
    return make_dir(path, err);
}

/* Opens a folder below `parent` without following a symbolic link. */
static DIR *open_dir_at(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int e = errno;
        (void)close(fd);
        errno = e;
    }
    return dir;
}

static bool dot_or_dotdot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* `shown` is the whole path, for messages. */
static int remove_at(int parent, const char *name, const char *shown, int depth, struct err *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_errno(err, errno, "cannot remove %s", shown);
    if (depth > TREE_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "cannot remove %s: more than %d levels deep", shown, TREE_DEPTH_MAX);
    {
        _cleanup_dir_ DIR *dir = open_dir_at(parent, name);
        if (!dir)
            return errno == ENOENT ? 0 : err_errno(err, errno, "cannot remove %s", shown);
        for (const struct dirent *e; (errno = 0, e = readdir(dir));) {
            if (dot_or_dotdot(e->d_name))
                continue;
            _cleanup_free_ char *child = fs_join(shown, e->d_name);
            if (remove_at(dirfd(dir), e->d_name, child, depth + 1, err) < 0)
                return -1;
        }
        if (errno)
            return err_errno(err, errno, "cannot list %s", shown);
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return err_errno(err, errno, "cannot remove %s", shown);
    return 0;
}

int fs_remove_tree(const char *path, struct err *err)
{
    return remove_at(AT_FDCWD, path, path, 0, err);
}

bool fs_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

struct listing {
    struct fs_list list;
    size_t names_capacity, sizes_capacity;
    const char *root;
    bool follow; /* a link to a regular file counts as that file */
};

static int list_entry(struct listing *l, const char *relative, const struct stat *st, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_INVALID,
                       "%s/%s is neither a regular file nor a folder: remove it or copy what it points to",
                       l->root, relative);
    size_t n = l->list.n;
    if (n >= LIMIT_ARTIFACT_FILES)
        return err_set(err, ERR_INVALID, "%s holds more than %d files", l->root, LIMIT_ARTIFACT_FILES);
    l->list.names = grow_array(l->list.names, &l->names_capacity, n, sizeof *l->list.names);
    l->list.sizes = grow_array(l->list.sizes, &l->sizes_capacity, n, sizeof *l->list.sizes);
    l->list.names[n] = xstrdup(relative);
    l->list.sizes[n] = st->st_size;
    l->list.n++;
    return 0;
}

static int list_at(struct listing *l, int parent, const char *name, const char *relative, int depth,
                   struct err *err)
{
    if (depth > TREE_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "%s/%s is more than %d levels deep", l->root, relative,
                       TREE_DEPTH_MAX);
    _cleanup_dir_ DIR *dir = depth ? open_dir_at(parent, name) : opendir(name);
    if (!dir)
        return err_errno(err, errno, "cannot list %s/%s", l->root, relative);
    for (const struct dirent *e; (errno = 0, e = readdir(dir));) {
        if (dot_or_dotdot(e->d_name))
            continue;
        _cleanup_free_ char *child = *relative ? fs_join(relative, e->d_name) : xstrdup(e->d_name);
        struct stat st;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_errno(err, errno, "cannot look at %s/%s", l->root, child);
        if (l->follow && S_ISLNK(st.st_mode)) {
            struct stat target;
            if (fstatat(dirfd(dir), e->d_name, &target, 0) == 0 && S_ISREG(target.st_mode))
                st = target;
        }
        int r = S_ISDIR(st.st_mode) ? list_at(l, dirfd(dir), e->d_name, child, depth + 1, err)
                                    : list_entry(l, child, &st, err);
        if (r < 0)
            return -1;
    }
    if (errno)
        return err_errno(err, errno, "cannot list %s/%s", l->root, relative);
    return 0;
}

struct pair {
    char *name;
    int64_t size;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

static void sort_list(struct fs_list *list)
{
    _cleanup_free_ struct pair *pairs = xcalloc(list->n, sizeof *pairs);
    for (size_t i = 0; i < list->n; i++)
        pairs[i] = (struct pair){list->names[i], list->sizes[i]};
    qsort(pairs, list->n, sizeof *pairs, by_name);
    for (size_t i = 0; i < list->n; i++) {
        list->names[i] = pairs[i].name;
        list->sizes[i] = pairs[i].size;
    }
}

static int list_tree(const char *dir, bool follow, struct fs_list *ret, struct err *err)
{
    struct listing l = {.root = dir, .follow = follow};
    if (list_at(&l, AT_FDCWD, dir, "", 0, err) < 0) {
        fs_list_release(&l.list);
        return -1;
    }
    if (l.list.n)
        sort_list(&l.list);
    *ret = l.list;
    return 0;
}

int fs_list_tree(const char *dir, struct fs_list *ret, struct err *err)
{
    return list_tree(dir, false, ret, err);
}

int fs_list_inputs(const char *dir, struct fs_list *ret, struct err *err)
{
    return list_tree(dir, true, ret, err);
}

void fs_list_release(struct fs_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->names[i]);
    free(list->names);
    free(list->sizes);
    *list = (struct fs_list){0};
}

int fs_make_temp_dir(const char *parent, const char *prefix, char **ret, struct err *err)
{
    _cleanup_free_ char *path = xasprintf("%s/%s-XXXXXX", parent, prefix);
    if (!mkdtemp(path))
        return err_errno(err, errno, "cannot create a temporary folder in %s", parent);
    *ret = steal_ptr(path);
    return 0;
}

char *fs_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    while (n && a[n - 1] == '/')
        n--;
    while (*b == '/')
        b++;
    if (!n && !*a)
        return xstrdup(b);
    return xasprintf("%.*s/%s", (int)n, a, b);
}

bool fs_safe_relative(const char *name)
{
    const char *cursor = name, *part;
    size_t len;
    while (text_next_part(&cursor, '/', &part, &len)) {
        bool dots = (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.');
        if (len == 0 || len > 255 || dots)
            return false;
    }
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || *p == '\\')
            return false;
    }
    return text_valid_utf8(name, strlen(name));
}
