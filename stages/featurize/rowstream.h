/* From a relation to transformed rows: the table engine evaluates raw columns, the feature spec is applied by the team's threads. */
#pragma once

#include "common/base/err.h"
#include "stages/featurize/fit.h"
#include "stages/featurize/parallel.h"
#include "stages/featurize/source.h"
#include "stages/tensor/featurespec.h"

struct rowstream {
    struct source *source;
    const struct featurespec *spec;
    const struct fit_carry *carry;
    struct parallel *team;
    const char *relation, *order_by; /* order_by NULL: rows come in any order */
};

/* Transformed rows; valid during the call. */
struct rowbatch {
    size_t n, n_carry;
    struct featurebatch features;
    float *label, *weight; /* label 0 without one; weight 1 */
    int64_t *group, *row_key;
    int32_t *carry; /* [n, n_carry] */
};

int rowstream_run(const struct rowstream *s,
                  int (*each)(void *ctx, const struct rowbatch *batch, struct err *err), void *ctx,
                  struct err *err);
