/* Files: whole-file reads with a maximum, atomic and durable writes, directory trees. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

#define FS_TEMP_PREFIX ".tmp-"

/* Reads at most max bytes (larger is ERR_INVALID); NUL-terminated; caller frees. */
int fs_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);
/* Writes to a temporary name beside `path` (it begins with FS_TEMP_PREFIX, for those who list the folder
 * after a crash), fsyncs file and directory, renames. */
int fs_write_atomic(const char *path, const void *data, size_t len, struct err *err);
/* Like write_atomic but fails with ERR_EXISTS if `path` exists (link(2), so it is one atomic step). */
int fs_write_exclusive(const char *path, const void *data, size_t len, struct err *err);
int fs_mkdir_p(const char *path, struct err *err);
/* Removes a tree; follows no symbolic link; a missing path is success. */
int fs_remove_tree(const char *path, struct err *err);
bool fs_exists(const char *path);
/* Every regular file below `dir`, as relative names sorted bytewise; caller frees with fs_list_release.
 * At most LIMIT_ARTIFACT_FILES; a symbolic link or special file is ERR_INVALID, never a silent omission. */
struct fs_list {
    char **names;
    int64_t *sizes;
    size_t n;
};
int fs_list_tree(const char *dir, struct fs_list *ret, struct err *err);
/* The same for a stage's inputs, where a symbolic link to a regular file (a local store's) counts as that file. */
int fs_list_inputs(const char *dir, struct fs_list *ret, struct err *err);
void fs_list_release(struct fs_list *list);
#define _cleanup_fs_list_ CLEANUP(fs_list_release)
/* A fresh directory "<parent>/<prefix>-XXXXXX"; caller frees the path and removes the tree. */
int fs_make_temp_dir(const char *parent, const char *prefix, char **ret, struct err *err);
/* "a/b": joins with exactly one slash; caller frees. */
char *fs_join(const char *a, const char *b) __attribute__((returns_nonnull, warn_unused_result));
/* A relative name without "", ".", "..", leading slash, backslash, control characters; each part ≤ 255 bytes. */
bool fs_safe_relative(const char *name);
