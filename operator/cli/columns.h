/* A table for people: columns as wide as what stands in them, two spaces apart, nothing after a line's last character. */
#pragma once

#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"

struct columns; /* opaque */

/* titles: NULL-terminated, borrowed until columns_free(). */
struct columns *columns_new(const char *const *titles);
struct columns *columns_free(struct columns *c);
/* The next cell, row by row; "" and NULL become "-". Control characters become spaces. */
void columns_add(struct columns *c, const char *text);
void columns_addf(struct columns *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Rows begun so far. */
size_t columns_rows(const struct columns *c);
/* The titles and all rows. */
void columns_print(const struct columns *c, struct buf *out);

DEFINE_CLEANUP(struct columns *, columns_free);
#define _cleanup_columns_ CLEANUP(columns_free_cleanup)
