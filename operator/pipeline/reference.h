/* Finding $(…) in text. See params.h for what is ours. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "operator/pipeline/expr.h"

enum reference_kind {
    REFERENCE_END,
    REFERENCE_TEXT,   /* text, len: as it stands */
    REFERENCE_ESCAPE, /* "$$(" before one of our prefixes; the text goes on behind it */
    REFERENCE_VALUE,  /* expr: a name or date(…); the caller's to free */
};
struct reference_piece {
    enum reference_kind kind;
    const char *text;
    size_t len;
    struct expr *expr;
};
/* The piece at *cursor, which moves behind it. */
int reference_next(const char **cursor, struct reference_piece *ret, struct err *err);
/* Whether there is any reference in the text (a malformed one counts). */
bool reference_any(const char *text);
/* The reference, if the text is one reference and nothing else; NULL if it is not. */
int reference_whole(const char *text, struct expr **ret, struct err *err);

/* What a text in a manifest is for, and so how values are inserted. */
enum reference_use { REFERENCE_PLAIN, REFERENCE_KUBERNETES, REFERENCE_SQL };
/* Of the field `key` of a step's body; for container bodies the first key below the body. */
enum reference_use reference_use_of(bool container, const char *key);
