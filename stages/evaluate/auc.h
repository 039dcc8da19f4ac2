/* Exact area under the ROC curve, ties counted half (Mann-Whitney U), weighted, and DeLong's comparison of two. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Row numbers in ascending order of score, by a stable radix sort on the float's order-preserving bits (11 bits at a time).
 * NaN scores are the caller's error. ret_order: [n]. */
void auc_sort(const float *score, size_t n, uint32_t *ret_order);

/* order from auc_sort(). weight (may be NULL: 1) and multiplicity (may be NULL: 1; a bootstrap sample's) multiply. A label above 0.5 is
 * positive. NaN when a class has no weight. */
double auc_of_order(const uint32_t *order, const float *score, const float *label, const float *weight,
                    const float *multiplicity, size_t n);

/* Standard error of AUC(a) - AUC(b) on the same unweighted rows: DeLong, DeLong and Clarke-Pearson 1988 by the midrank algorithm of Sun and
 * Xu 2014. NaN when a class has fewer than two rows. Independent rows are assumed. */
double auc_delong_se(const float *score_a, const float *score_b, const float *label, size_t n);
