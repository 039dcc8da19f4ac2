/* Where the data is: a file, a folder or a glob, listed, pinned and cut into partitions.
 *
 * A partition is the folder below the source's root that `partition` has the depth of ("day=2026-01-31": one level). Without
 * `partition`: the leading folders named key=value, else each file by itself. Partitions are in natural order (numbers by
 * value), files in byte order within. Names that begin with '.' or '_' are not data. Every file is pinned by
 * size and ETag (file://: size, mtime and inode) when it is listed; staging it later fails with ERR_CONFLICT, exit 75,
 * reason "source-changed", when it is another one by then. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/cleanup.h"
#include "common/store/store.h"
#include "stages/data-validate/config.h"
#include "stages/runtime/stage.h"

struct source_file {
    char *key; /* below the root */
    int64_t size;
    char etag[STORE_ETAG_MAX];
    enum format format; /* never FORMAT_AUTO */
};

struct partition {
    char *name;
    size_t first, n; /* range of files */
    int64_t bytes;
};

struct source {
    struct store *store; /* borrowed from the run */
    char *root;          /* URL of the folder */
    struct source_file *files;
    size_t n_files;
    struct partition *partitions; /* the last one is the newest wanted */
    size_t n_partitions;
};

/* Lists everything up to `partition` (NULL: everything). Nothing there, or the partition missing: ERR_NOTFOUND, exit 66. */
int source_resolve(struct stage_run *run, const char *uri, enum format format, const char *partition,
                   struct source **ret, struct err *err);
struct source *source_free(struct source *s);
/* What a memo depends on: [{"key", "size", "etag"}] of the partitions from…n_partitions − 1. Caller owns. */
cJSON *source_listing(const struct source *s, size_t from);
/* Brings one file to `path`, a new file of ours. */
int source_stage(const struct source *s, const struct source_file *f, const char *path, struct err *err);
/* "s3://lake/clicks/day=2026-01-31/a.parquet", for messages; caller frees. */
char *source_url(const struct source *s, const struct source_file *f);
/* Day of the last YYYY-MM-DD in a partition's name, as days since 1970; false if it has none. */
bool source_partition_day(const char *name, int64_t *ret);

DEFINE_CLEANUP(struct source *, source_free);
#define _cleanup_source_ CLEANUP(source_free_cleanup)
