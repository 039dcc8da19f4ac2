/* The file:// back end's own parts: reading and listing (file.c), writing (file_write.c). */
#pragma once

#include <sys/stat.h>

#include "common/store/store-internal.h"

struct file_store {
    struct store base;
    char *root;
    bool prepared; /* STORE_INTERNAL's folders exist, old leftovers were swept */
};

static inline struct file_store *file_store_of(const struct store *s)
{
    return (struct file_store *)s;
}

/* Made from size, modification time and inode. Every write makes a new inode while the old one still exists, and the
 * time has nanoseconds, so content cannot change and keep it. */
void file_etag(const struct stat *st, char ret[static STORE_ETAG_MAX]);
/* Regular files only: a directory is a missing object. */
int file_stat(const struct store *s, const char *key, const char *path, struct stat *ret, struct err *err);

/* Copies from `in` (from where it stands) to `out` until the end. With `sha256` not NULL the bytes pass through the
 * process and are hashed, else the kernel copies. */
int file_copy(int in, int out, const char *what, char *sha256, int64_t *ret_size, struct err *err);

int file_put(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
             const char *if_match_etag, char *ret_etag, struct err *err);
int file_put_file(struct store *s, const char *key, const char *path, const char *sha256, bool move,
                  struct err *err);
int file_remove(struct store *s, const char *key, struct err *err);
