/* Cuts a watch's stream into its lines, one JSON document each. */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"

struct framer {
    struct buf rest; /* the beginning of a line whose end has not come */
};
void framer_init(struct framer *f);
void framer_release(struct framer *f);
/* Forgets an unfinished line (the stream was cut there). */
void framer_reset(struct framer *f);
/* Calls `line` for each line that is complete now (without its end, NUL-terminated, never empty, and may be changed); negative ends it with line's err. A
 * line beyond LIMIT_KUBE_OBJECT_BYTES is ERR_INVALID. */
int framer_feed(struct framer *f, const char *data, size_t len,
                int (*line)(void *ctx, char *text, size_t len, struct err *err), void *ctx, struct err *err);
