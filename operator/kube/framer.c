/* Lines of a stream; see framer.h. */
#include "operator/kube/framer.h"

#include <string.h>

#include "common/base/limits.h"

void framer_init(struct framer *f)
{
    f->rest = BUF_INIT(LIMIT_KUBE_OBJECT_BYTES);
}

void framer_release(struct framer *f)
{
    buf_release(&f->rest);
}

void framer_reset(struct framer *f)
{
    buf_release(&f->rest);
    framer_init(f);
}

int framer_feed(struct framer *f, const char *data, size_t len,
                int (*line)(void *ctx, char *text, size_t len, struct err *err), void *ctx, struct err *err)
{
    while (len) {
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) : len;
        (void)buf_add(&f->rest, data, n);
        if (buf_check(&f->rest, "an event of a watch", err) < 0)
            return -1;
        if (!end)
            return 0;
        data += n + 1;
        len -= n + 1;
        if (f->rest.len && line(ctx, f->rest.data, f->rest.len, err) < 0)
            return -1;
        /* A large object's buffer is not kept for the small ones that follow. */
        if (f->rest.len > 64 * 1024)
            framer_reset(f);
        else
            buf_reset(&f->rest);
    }
    return 0;
}
