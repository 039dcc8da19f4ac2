/* Metrics of a whole validation split, exact and independent of the number of workers: every rank holds all scores. */
#pragma once

#include <stddef.h>

/* Area under the ROC curve, weighted, ties counting one half (Mann-Whitney); labels above 0.5 are positive. NaN when one
 * class is missing. Memory: 16 bytes a row during the call. weights NULL: 1 each. */
double metrics_auc(const float *scores, const float *labels, const float *weights, size_t n);
/* Means per weight, summed over fixed blocks of 65,536 rows: −log p of the label (p clipped at 1e-15); squared error. */
double metrics_logloss(const float *scores, const float *labels, const float *weights, size_t n);
double metrics_mse(const float *scores, const float *labels, const float *weights, size_t n);
double metrics_huber(const float *scores, const float *labels, const float *weights, size_t n, double delta);
