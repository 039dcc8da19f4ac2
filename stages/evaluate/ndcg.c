/* Ranking metrics: see ndcg.h. */
#include "stages/evaluate/ndcg.h"

#include <math.h>

/* Insertion sort, descending, stable: groups are small (tens of rows). */
static void sort_descending(const float *value, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i;
        for (; j > 0 && value[order[j - 1]] < value[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
}

static double discount(size_t rank) /* from 0 */
{
    return 1 / log2((double)rank + 2);
}

/* End of the run of equal scores that begins at position i. */
static size_t tie_end(const float *score, const size_t *order, size_t i, size_t n)
{
    size_t j = i + 1;
    while (j < n && score[order[j]] == score[order[i]])
        j++;
    return j;
}

double ndcg_at(const float *score, const float *label, size_t n, size_t k, size_t *order)
{
    double ideal = 0, dcg = 0;
    sort_descending(label, n, order);
    for (size_t i = 0; i < n && i < k; i++)
        if (label[order[i]] > 0)
            ideal += (double)label[order[i]] * discount(i);
    if (ideal <= 0)
        return NAN;
    sort_descending(score, n, order);
    for (size_t i = 0; i < n && i < k;) {
        size_t end = tie_end(score, order, i, n);
        double gain = 0, discounts = 0;
        for (size_t j = i; j < end; j++) {
            gain += (double)label[order[j]];
            if (j < k)
                discounts += discount(j);
        }
        dcg += gain / (double)(end - i) * discounts;
        i = end;
    }
    return dcg / ideal;
}

double mrr_at(const float *score, const float *label, size_t n, size_t k, size_t *order)
{
    size_t positives = 0;
    for (size_t i = 0; i < n; i++)
        positives += label[i] > 0.5f;
    if (!positives)
        return NAN;
    sort_descending(score, n, order);
    for (size_t i = 0; i < n && i < k;) {
        size_t end = tie_end(score, order, i, n), tied = end - i, hits = 0;
        for (size_t j = i; j < end; j++)
            hits += label[order[j]] > 0.5f;
        if (hits) {
            /* P(first hit at place t of the run) without replacement. */
            double expected = 0, none_before = 1;
            for (size_t t = 0; t + hits <= tied && i + t < k; t++) {
                double here = (double)hits / (double)(tied - t);
                expected += none_before * here / (double)(i + t + 1);
                none_before *= 1 - here;
            }
            return expected;
        }
        i = end;
    }
    return 0;
}
