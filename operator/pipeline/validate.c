/* What a schema cannot say: see validate.h. */
#include "operator/pipeline/validate.h"

#include <string.h>

#include "common/base/alloc.h"
#include "operator/pipeline/dag.h"
#include "operator/pipeline/decode-internal.h"

/* A cycle is printed as a path: a → b → a. */
static void check_cycles(const struct decoder *d)
{
    struct err err = ERR_INIT;
    _cleanup_dag_ struct dag dag = {0};
    size_t at = 0;
    if (dag_init(&dag, d->p, &at, &err) < 0)
        decoder_step_finding(d, at, "", NULL, false, "%s", err.msg);
}

void validate(struct decoder *d)
{
    check_cycles(d);
}
