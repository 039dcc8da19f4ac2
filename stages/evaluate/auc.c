/* AUC: see auc.h. */
#include "stages/evaluate/auc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { RADIX_BITS = 11, RADIX = 1 << RADIX_BITS, PASSES = 3 };

/* Unsigned order of the result = numeric order of the float; -0 sorts as +0. */
static uint32_t sort_key(float f)
{
    uint32_t bits;
    f += 0.0f;
    memcpy(&bits, &f, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct entry {
    uint32_t key, row;
};

void auc_sort(const float *score, size_t n, uint32_t *ret_order)
{
    struct entry *from = xreallocarray(NULL, n ? n : 1, sizeof *from),
                 *to = xreallocarray(NULL, n ? n : 1, sizeof *to);
    size_t(*counts)[RADIX] = xcalloc(PASSES, sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        from[i] = (struct entry){sort_key(score[i]), (uint32_t)i};
        for (int p = 0; p < PASSES; p++)
            counts[p][(from[i].key >> (p * RADIX_BITS)) & (RADIX - 1)]++;
    }
    for (int p = 0; p < PASSES; p++) {
        size_t offset = 0;
        for (int d = 0; d < RADIX; d++) {
            size_t c = counts[p][d];
            counts[p][d] = offset;
            offset += c;
        }
        for (size_t i = 0; i < n; i++)
            to[counts[p][(from[i].key >> (p * RADIX_BITS)) & (RADIX - 1)]++] = from[i];
        struct entry *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < n; i++)
        ret_order[i] = from[i].row;
    free(from);
    free(to);
    free(counts);
}

double auc_of_order(const uint32_t *order, const float *score, const float *label, const float *weight,
                    const float *multiplicity, size_t n)
{
    double wins = 0, negatives = 0, positives = 0;
    for (size_t i = 0; i < n;) {
        double tied[2] = {0, 0};
        float s = score[order[i]];
        size_t j = i;
        for (; j < n && score[order[j]] == s; j++) {
            uint32_t row = order[j];
            tied[label[row] > 0.5f] +=
                (weight ? (double)weight[row] : 1) * (multiplicity ? (double)multiplicity[row] : 1);
        }
        wins += tied[1] * (negatives + tied[0] / 2);
        negatives += tied[0];
        positives += tied[1];
        i = j;
    }
    return positives > 0 && negatives > 0 ? wins / positives / negatives : NAN;
}

/* ranks[i]: 1-based rank of value i, the mean over ties. */
static void midranks(const float *value, size_t n, double *ranks)
{
    uint32_t *order = xreallocarray(NULL, n ? n : 1, sizeof *order);
    auc_sort(value, n, order);
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j < n && value[order[j]] == value[order[i]])
            j++;
        for (size_t k = i; k < j; k++)
            ranks[order[k]] = 0.5 * (double)(i + j - 1) + 1;
        i = j;
    }
    free(order);
}

/* Structural components: for each positive the share of negatives it beats, for each negative the share of positives that beat it. */
static void components(const float *score, const uint32_t *positive, size_t m, const uint32_t *negative,
                       size_t n, double *v10, double *v01)
{
    float *all = xreallocarray(NULL, m + n, sizeof *all);
    double *ranks = xreallocarray(NULL, m + n, sizeof *ranks),
           *within = xreallocarray(NULL, m + n, sizeof *within);
    for (size_t i = 0; i < m; i++)
        all[i] = score[positive[i]];
    for (size_t j = 0; j < n; j++)
        all[m + j] = score[negative[j]];
    midranks(all, m + n, ranks);
    midranks(all, m, within);
    midranks(all + m, n, within + m);
    for (size_t i = 0; i < m; i++)
        v10[i] = (ranks[i] - within[i]) / (double)n;
    for (size_t j = 0; j < n; j++)
        v01[j] = 1 - (ranks[m + j] - within[m + j]) / (double)m;
    free(all);
    free(ranks);
    free(within);
}

static double variance_of_difference(const double *a, const double *b, size_t n)
{
    double mean = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        mean += a[i] - b[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        sum += (a[i] - b[i] - mean) * (a[i] - b[i] - mean);
    return sum / (double)(n - 1);
}

double auc_delong_se(const float *score_a, const float *score_b, const float *label, size_t rows)
{
    uint32_t *positive = xreallocarray(NULL, rows ? rows : 1, sizeof *positive),
             *negative = xreallocarray(NULL, rows ? rows : 1, sizeof *negative);
    size_t m = 0, n = 0;
    for (size_t i = 0; i < rows; i++) {
        if (label[i] > 0.5f)
            positive[m++] = (uint32_t)i;
        else
            negative[n++] = (uint32_t)i;
    }
    double se = NAN;
    if (m > 1 && n > 1) {
        double *v = xreallocarray(NULL, 2 * (m + n), sizeof *v);
        components(score_a, positive, m, negative, n, v, v + 2 * m);
        components(score_b, positive, m, negative, n, v + m, v + 2 * m + n);
        se = sqrt(variance_of_difference(v, v + m, m) / (double)m +
                  variance_of_difference(v + 2 * m, v + 2 * m + n, n) / (double)n);
        free(v);
    }
    free(positive);
    free(negative);
    return se;
}
