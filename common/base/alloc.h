/* Small allocations abort on exhaustion: callers need no error path for them. Sizes that come from
 * outside are checked against limits.h first and go through buf.h or an explicit error. */
#pragma once

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* Aborts when n × size overflows. */
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull, warn_unused_result));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull, warn_unused_result));
char *xasprintf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), returns_nonnull, warn_unused_result));
/* free(), for NULL too, returning NULL: p = xfree(p). */
void *xfree(void *p);

/* Grows *items (element size `size`) so that index n fits, doubling. */
void *grow_array(void *items, size_t *capacity, size_t n, size_t size)
    __attribute__((returns_nonnull, warn_unused_result));
