/* The only growable buffer. Its maximum is given at init; an append beyond it fails the buffer once
 * and for all (contents freed, every later append fails), so a chain of appends needs one check at
 * its end: buf_failed() or the result of the last call. data is NUL-terminated whenever non-NULL. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct buf {
    char *data; /* NULL while empty and after a failure; else NUL-terminated */
    size_t len; /* without the NUL */
    size_t capacity;
    size_t max; /* of len */
    bool failed;
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
/* Empties, keeps memory and maximum, forgets a failure. */
void buf_reset(struct buf *b);

/* 0, or -1 once the maximum was passed. */
int buf_add(struct buf *b, const void *data, size_t len);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

bool buf_failed(const struct buf *b);
/* Error "what: larger than N bytes" (ERR_INVALID) if the buffer failed. */
int buf_check(const struct buf *b, const char *what, struct err *err);
/* The text; "" while empty. Borrowed until the next change. */
const char *buf_str(const struct buf *b);
/* Hands the memory over (never NULL unless failed: an empty buffer gives ""); the buffer is empty afterwards. */
char *buf_take(struct buf *b) __attribute__((warn_unused_result));

static inline void buf_cleanup_func(struct buf *b)
{
    buf_release(b);
}
#define _cleanup_buf_ CLEANUP(buf_cleanup_func)
