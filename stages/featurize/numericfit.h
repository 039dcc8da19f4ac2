/* Statistics of one numeric feature over the training split, exact and independent of the order of the rows.
 *
 * The values are kept in a scratch file (8 bytes a row) and mapped, so that memory stays bounded. Quantiles are exact order
 * statistics, found by radix selection on the bits of the double in four passes of integer counts, interpolated linearly between
 * neighbours (position (n − 1)·q). Sums are exact (stages/tensor/exactsum.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/featurize/featurizeconfig.h"

struct numericfit; /* opaque */

int numericfit_new(const char *scratch, struct numericfit **ret, struct err *err);
struct numericfit *numericfit_free(struct numericfit *f);
/* NaN: missing. */
int numericfit_add(struct numericfit *f, double x, struct err *err);

struct numericfit_result {
    double fill, lowest, highest, offset, scale;
    int64_t present, missing;
};
/* The steps of applying in order: what stands for missing values, then the clip's bounds (both over present values), then offset and
 * scale over all rows, filled and clipped. A constant feature gets scale 1. */
int numericfit_finish(struct numericfit *f, const struct config_feature *config,
                      struct numericfit_result *ret, struct err *err);

/* Exposed for tests: quantiles of x[0..n) (n > 0, no NaN). */
void numericfit_quantiles(const double *x, size_t n, const double *q, size_t n_q, double *ret);

DEFINE_CLEANUP(struct numericfit *, numericfit_free);
#define _cleanup_numericfit_ CLEANUP(numericfit_free_cleanup)
