/* Ranking metrics of one group (a query, a session): NDCG@k and MRR@k. */
#pragma once

#include <stddef.h>

/* Gain = label, discount 1/log2(rank + 1), ideal order cut at k as well; tied scores share the mean of their permutations
 * (McSherry and Najork 2008). NaN when no label is positive: the group is not counted. `order` is scratch for n indexes. */
double ndcg_at(const float *score, const float *label, size_t n, size_t k, size_t *order);
/* 1 / rank of the first positive (label above 0.5) within k, else 0; among ties the expected value of 1/rank. NaN without a positive. */
double mrr_at(const float *score, const float *label, size_t n, size_t k, size_t *order);
