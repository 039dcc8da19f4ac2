/* How far two samples of a column are apart, and how far apart chance alone could put them.
 *
 * Numbers are compared over ten bins that hold equal shares of the baseline (KS: over all buckets), texts over the baseline's thirty
 * most frequent values and the rest; NULL (with NaN) is a bin of its own. Measures:
 *   psi   Σ (p − q)·ln(p / q), counts smoothed by 1/2
 *   ks    largest distance of the cumulative shares, 0…1
 *   js    Jensen–Shannon divergence in bits, 0…1
 *   chi2  Cramér's V of the 2 × k table, 0…1
 * `noise` is the value that equal distributions exceed once in a thousand samples of these sizes (χ² approximation, quantile by
 * Wilson and Hilferty; KS by its asymptotic law): below it a difference says nothing. */
#pragma once

#include "stages/data-validate/config.h"
#include "stages/data-validate/stats.h"

enum { DRIFT_BINS_MAX = 34 };

struct drift {
    double value, noise;
    size_t n;                                         /* bins */
    double base[DRIFT_BINS_MAX], now[DRIFT_BINS_MAX]; /* counts */
    char label[DRIFT_BINS_MAX][48];
};

/* false: nothing to compare (no rows on a side, or other kinds of columns). */
bool drift_compare(enum drift_method method, const struct stats *base, const struct stats *now,
                   struct drift *ret);
