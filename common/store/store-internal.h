/* What the back ends of a store share; not for users of store.h. */
#pragma once

#include "common/store/store.h"
#include "common/store/uri.h"

/* Our own objects (locks, temporary files, the probe) live below this name; listings leave it out. */
#define STORE_INTERNAL ".trainyard"

/* One back end. Keys were checked by store.c before they arrive here. */
struct store_ops {
    void (*free)(struct store *s);
    int (*probe)(struct store *s, struct err *err);
    int (*get)(struct store *s, const char *key, size_t max, char **ret, size_t *ret_len, char *ret_etag,
               struct err *err);
    int (*get_file)(struct store *s, const char *key, const char *path, const char *expect_sha256,
                    int64_t expect_size, const char *etag, struct err *err);
    int (*get_range)(struct store *s, const char *key, int64_t offset, size_t len, void *ret,
                     struct err *err);
    int (*head)(struct store *s, const char *key, struct store_object *ret, struct err *err);
    int (*put)(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
               const char *if_match_etag, char *ret_etag, struct err *err);
    int (*put_file)(struct store *s, const char *key, const char *path, const char *sha256, bool move,
                    struct err *err);
    int (*remove)(struct store *s, const char *key, struct err *err);
    int (*list)(struct store *s, const char *prefix,
                int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
                struct err *err);
    char *(*local_path)(const struct store *s, const char *key);
};

/* First member of each back end's own struct. */
struct store {
    const struct store_ops *ops;
    char *url;
    bool local;
    bool probed;
    struct store_config config; /* as it was opened, with strings of its own */
};

/* Back ends: `uri` is borrowed for the call. */
int file_store_open(const struct store_config *config, const struct uri *uri, struct store **ret,
                    struct err *err);
int s3_store_open(const struct store_config *config, const struct uri *uri, struct store **ret,
                  struct err *err);

/* Errors that both back ends phrase alike. */
int store_err_missing(struct err *err, const struct store *s, const char *key);
int store_err_checksum(struct err *err, const struct store *s, const char *key, const char *expected,
                       const char *found);
int store_err_size(struct err *err, const struct store *s, const char *key, int64_t expected, int64_t found);
int store_err_changed(struct err *err, const struct store *s, const char *key, const char *expected,
                      const char *found);
