/* Scope-bound cleanup and ownership transfer.
 *
 * Each owning type declares a `_cleanup_<type>_` attribute next to its `_free` or `_release`;
 * this header gives the plumbing and the attributes for the C library's own resources.
 * Not for C++ or CUDA translation units: their headers must not use these macros. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(func) __attribute__((cleanup(func)))

/* Defines `func##_cleanup(type *)` which calls func(*p): for destructors that take the value. */
#define DEFINE_CLEANUP(type, func)             \
    static inline void func##_cleanup(type *p) \
    {                                          \
        if (*p)                                \
            func(*p);                          \
    }                                          \
    struct cleanup_semicolon

static inline void cleanup_free_func(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_func(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
DEFINE_CLEANUP(FILE *, fclose);
DEFINE_CLEANUP(DIR *, closedir);

#define _cleanup_free_ CLEANUP(cleanup_free_func)
#define _cleanup_close_ CLEANUP(cleanup_close_func) /* int fd, -1 = none */
#define _cleanup_file_ CLEANUP(fclose_cleanup)
#define _cleanup_dir_ CLEANUP(closedir_cleanup)

/* Hands a pointer or descriptor over: the variable keeps NULL (or -1). */
#ifndef steal_ptr /* cppcheck, which cannot parse this one, brings its own */
#define steal_ptr(p)                    \
    ({                                  \
        __typeof__(p) steal_tmp_ = (p); \
        (p) = NULL;                     \
        steal_tmp_;                     \
    })
#endif
static inline int steal_fd(int *fd)
{
    int tmp = *fd;
    *fd = -1;
    return tmp;
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
