/* Seeded bootstrap intervals of metrics and of paired differences.
 *
 * Poisson bootstrap (Chamandy et al. 2012): every unit (group where there is one, else row) gets a Poisson(1) multiplicity per sample, from a
 * counter-based generator keyed by (seed, sample, unit), so the answer depends on no thread count and no order. Candidate and baseline
 * are evaluated on the same samples. Percentile intervals. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "stages/evaluate/metric.h"

struct bootstrap {
    size_t samples;
    uint64_t seed;
    int threads;
};
/* values[sample * n_metrics + i] of metrics[i]; all over the same rows and groups. */
void bootstrap_run(const struct bootstrap *b, const struct scored *rows, const struct metric *const *metrics,
                   size_t n_metrics, double *ret_values);

/* The p-quantile (0…1, linear between order statistics) of n values with a stride; NaNs are left out; NaN if none is left. */
double bootstrap_quantile(const double *values, size_t n, size_t stride, double p);
