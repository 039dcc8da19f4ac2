/* The list of what is wrong with a manifest: see pipeline.h. */
#include <stdarg.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "operator/pipeline/pipeline.h"

enum { MESSAGE_MAX = 1024 };

void findings_release(struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->items[i].path);
        free(f->items[i].message);
    }
    free(f->items);
    *f = (struct findings){0};
}

void findings_add(struct findings *f, const char *path, int line, bool warning, const char *fmt, ...)
{
    if (f->n > LIMIT_FINDINGS)
        return;
    f->items = grow_array(f->items, &f->capacity, f->n, sizeof *f->items);
    if (f->n == LIMIT_FINDINGS) {
        f->items[f->n++] =
            (struct finding){.path = xstrdup(""),
                             .message = xasprintf("more than %d findings: the others are not shown",
                                                  LIMIT_FINDINGS)};
        return;
    }
    char message[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    /* Cut between characters. */
    size_t end = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;
    while (end && end == sizeof message - 1 && ((unsigned char)message[end] & 0xc0) == 0x80)
        end--;
    f->items[f->n++] = (struct finding){.path = xstrdup(path),
                                        .line = line,
                                        .message = xstrndup(message, end),
                                        .warning = warning};
}

int findings_error(const struct findings *f, size_t from, const char *file_name, struct err *err)
{
    const struct finding *first = NULL;
    size_t others = 0;
    for (size_t i = from; i < f->n; i++) {
        if (f->items[i].warning)
            continue;
        others += first != NULL;
        first = first ? first : &f->items[i];
    }
    if (!first)
        return 0;
    char place[256] = "", more[48] = "";
    if (file_name && first->line)
        (void)snprintf(place, sizeof place, "%s:%d: ", file_name, first->line);
    else if (file_name)
        (void)snprintf(place, sizeof place, "%s: ", file_name);
    else if (first->line)
        (void)snprintf(place, sizeof place, "line %d: ", first->line);
    if (others)
        (void)snprintf(more, sizeof more, " (and %zu more)", others);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest", "%s%s%s%s%s", place, first->path,
                    *first->path ? ": " : "", first->message, more);
}
