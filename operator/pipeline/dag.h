/* The order of steps: who waits for whom. A step waits for the producers of its inputs and for the steps in `after`; a finally
 * step waits besides for every step that is none (that is the planner's to arrange; here it only follows them in the order). */
#pragma once

#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/pipeline.h"

struct dag {
    size_t n;
    size_t *order; /* step indexes: producers first, else in the manifest's order; finally steps last */
    struct dag_list {
        size_t *steps; /* ascending */
        size_t n;
    } * needs, *dependants; /* [n]: direct ones, each step once */
};

/* A cycle is ERR_INVALID with the path in the text and a step of it in *ret_at. */
int dag_init(struct dag *ret, const struct pipeline *p, size_t *ret_at, struct err *err);
void dag_release(struct dag *dag);
/* Marks `step` and everything that depends on it, directly or not; `marked` has n elements. */
void dag_mark_dependants(const struct dag *dag, size_t step, bool *marked);

static inline void dag_cleanup_func(struct dag *dag)
{
    dag_release(dag);
}
#define _cleanup_dag_ CLEANUP(dag_cleanup_func)
