/* Which step needs which: inputs, `after`, and every step whose values a reference or `when` names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/pipeline.h"

struct dep {
    size_t step; /* the predecessor */
    bool data;   /* an input or a value in the body: skipped with its producer. Otherwise (`after`, `when`) skipped counts as done. */
};
struct deps {
    size_t n;
    struct {
        struct dep *items;
        size_t n;
    } *of;         /* per step */
    size_t *order; /* all steps, predecessors first, otherwise as written */
};
/* A cycle, or a step that needs itself, is ERR_INVALID naming its steps. */
int deps_new(const struct pipeline *p, struct deps **ret, struct err *err);
struct deps *deps_free(struct deps *d);
/* Marks (an array of n) grow by everything that needs a marked step, directly or not. */
void deps_mark_downstream(const struct deps *d, bool *marks);

DEFINE_CLEANUP(struct deps *, deps_free);
#define _cleanup_deps_ CLEANUP(deps_free_cleanup)
