/* Buckets of records, spilled to one file in blocks: see spill.h. */
#include "stages/featurize/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"

enum { BLOCK_MIN = 16 * 1024, BLOCK_MAX = 1024 * 1024, BUCKETS_MAX = 4096 };

struct bucket {
    char *block;      /* being filled */
    size_t used;      /* bytes */
    int64_t *offsets; /* of the full blocks in the file */
    size_t n_blocks, capacity;
};

struct spill {
    size_t record_size, n_buckets;
    size_t block_bytes; /* a multiple of record_size */
    struct bucket *buckets;
    int fd;
    int64_t end;
};

size_t spill_choose_buckets(int64_t records, size_t record_size, int64_t bucket_bytes)
{
    size_t n = 1;
    while (n < BUCKETS_MAX && records * (int64_t)record_size / (int64_t)n > bucket_bytes)
        n *= 2;
    return n;
}

int spill_new(const char *scratch, size_t record_size, size_t buckets, int64_t memory_bytes,
              struct spill **ret, struct err *err)
{
    _cleanup_spill_ struct spill *s = xcalloc(1, sizeof *s);
    s->fd = -1;
    s->record_size = record_size;
    s->n_buckets = buckets;
    int64_t block = memory_bytes / (int64_t)buckets;
    block = block < BLOCK_MIN ? BLOCK_MIN : block > BLOCK_MAX ? BLOCK_MAX : block;
    s->block_bytes = ((size_t)block / record_size + 1) * record_size;
    s->buckets = xcalloc(buckets, sizeof *s->buckets);
    _cleanup_free_ char *path = xasprintf("%s/spill-XXXXXX", scratch);
    s->fd = mkostemp(path, O_CLOEXEC);
    if (s->fd < 0)
        return err_errno(err, errno, "creating a file in the scratch directory '%s'", scratch);
    (void)unlink(path);
    *ret = steal_ptr(s);
    return 0;
}

struct spill *spill_free(struct spill *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; s->buckets && i < s->n_buckets; i++) {
        free(s->buckets[i].block);
        free(s->buckets[i].offsets);
    }
    free(s->buckets);
    if (s->fd >= 0)
        (void)close(s->fd);
    free(s);
    return NULL;
}

static int block_flush(struct spill *s, struct bucket *b, struct err *err)
{
    for (size_t done = 0; done < b->used;) {
        ssize_t n = pwrite(s->fd, b->block + done, b->used - done, s->end + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(
                err, errno, "writing to the scratch directory (raise the step's scratch.size if it is full)");
        done += (size_t)n;
    }
    b->offsets = grow_array(b->offsets, &b->capacity, b->n_blocks, sizeof *b->offsets);
    b->offsets[b->n_blocks++] = s->end;
    s->end += (int64_t)b->used;
    b->used = 0;
    return 0;
}

int spill_add(struct spill *s, size_t bucket, const void *record, struct err *err)
{
    struct bucket *b = &s->buckets[bucket];
    if (!b->block)
        b->block = xmalloc(s->block_bytes);
    memcpy(b->block + b->used, record, s->record_size);
    b->used += s->record_size;
    return b->used == s->block_bytes ? block_flush(s, b, err) : 0;
}

size_t spill_buckets(const struct spill *s)
{
    return s->n_buckets;
}

size_t spill_count(const struct spill *s, size_t bucket)
{
    const struct bucket *b = &s->buckets[bucket];
    return (b->n_blocks * s->block_bytes + b->used) / s->record_size;
}

int spill_read(const struct spill *s, size_t bucket, void *to, struct err *err)
{
    const struct bucket *b = &s->buckets[bucket];
    char *p = to;
    for (size_t i = 0; i < b->n_blocks; i++) {
        for (size_t done = 0; done < s->block_bytes;) {
            ssize_t n = pread(s->fd, p + done, s->block_bytes - done, b->offsets[i] + (off_t)done);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return err_errno(err, n < 0 ? errno : EIO, "reading back from the scratch directory");
            done += (size_t)n;
        }
        p += s->block_bytes;
    }
    if (b->used)
        memcpy(p, b->block, b->used);
    return 0;
}
