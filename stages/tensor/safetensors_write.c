/* Writing of safetensors files: see safetensors.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/tensor/safetensors.h"

enum { HEADER_ALIGN = 64 };

struct entry {
    const struct safetensors_tensor *t;
    uint64_t bytes;
};

static int in_file_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    size_t p = safetensors_dtype_size(x->t->dtype), q = safetensors_dtype_size(y->t->dtype);
    return p != q ? (p > q ? -1 : 1) : strcmp(x->t->name, y->t->name);
}

static int entries_make(const char *path, const struct safetensors_tensor *tensors, size_t n,
                        struct entry *ret, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = safetensors_dtype_size(tensors[i].dtype);
        for (size_t k = 0; k < tensors[i].rank; k++) {
            if (tensors[i].shape[k] < 0 ||
                __builtin_mul_overflow(bytes, (uint64_t)tensors[i].shape[k], &bytes))
                return err_set(err, ERR_TERMINAL, "writing '%s': tensor '%s' has an impossible shape", path,
                               tensors[i].name);
        }
        ret[i] = (struct entry){.t = &tensors[i], .bytes = bytes};
    }
    qsort(ret, n, sizeof *ret, in_file_order);
    return 0;
}

static void header_add(struct buf *h, const struct entry *e, uint64_t offset)
{
    (void)json_quote(h, e->t->name, strlen(e->t->name));
    (void)buf_addf(h, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype_name(e->t->dtype));
    for (size_t k = 0; k < e->t->rank; k++)
        (void)buf_addf(h, "%s%lld", k ? "," : "", (long long)e->t->shape[k]);
    (void)buf_addf(h, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                   (unsigned long long)(offset + e->bytes));
}

static int header_make(const char *path, const struct entry *entries, size_t n, const cJSON *metadata,
                       struct buf *h, struct err *err)
{
    /* The eight bytes of the length stand in front, so that header and length are padded together with the data's start. */
    (void)buf_add(h, "\0\0\0\0\0\0\0\0{", 9);
    if (metadata) {
        (void)buf_adds(h, "\"__metadata__\":");
        if (json_canonical(metadata, h, err) < 0)
            return err_wrap(err, "writing '%s'", path);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(entries[i].t->name, entries[i - 1].t->name) == 0 &&
            entries[i].t->dtype == entries[i - 1].t->dtype)
            return err_set(err, ERR_TERMINAL, "writing '%s': two tensors are named '%s'", path,
                           entries[i].t->name);
        if (i || metadata)
            (void)buf_addc(h, ',');
        header_add(h, &entries[i], offset);
        offset += entries[i].bytes;
    }
    (void)buf_addc(h, '}');
    while (!buf_failed(h) && h->len % HEADER_ALIGN != 0)
        (void)buf_addc(h, ' ');
    if (buf_check(h, "safetensors header", err) < 0)
        return err_wrap(err, "writing '%s'", path);
    uint64_t length = h->len - 8;
    for (int i = 0; i < 8; i++)
        h->data[i] = (char)(length >> (8 * i));
    return 0;
}

static int write_all(int fd, const char *path, const void *data, size_t len, struct err *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t got = write(fd, p, len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno, "writing '%s'", path);
        p += got;
        len -= (size_t)got;
    }
    return 0;
}

int safetensors_write(const char *path, const struct safetensors_tensor *tensors, size_t n,
                      const cJSON *metadata, struct err *err)
{
    _cleanup_free_ struct entry *entries = xcalloc(n + 1, sizeof *entries);
    _cleanup_buf_ struct buf header = BUF_INIT(LIMIT_SAFETENSORS_HEADER_BYTES);
    if (entries_make(path, tensors, n, entries, err) < 0 ||
        header_make(path, entries, n, metadata, &header, err) < 0)
        return -1;
    /* A fresh file, for the old one may still be mapped by a reader. */
    (void)unlink(path);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, errno, "creating '%s'", path);
    if (write_all(fd, path, header.data, header.len, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (write_all(fd, path, entries[i].t->data, entries[i].bytes, err) < 0)
            return -1;
    }
    if (close(steal_fd(&fd)) < 0)
        return err_errno(err, errno, "closing '%s'", path);
    return 0;
}
