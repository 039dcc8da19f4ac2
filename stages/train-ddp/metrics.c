/* Validation metrics: see metrics.h. */
#include "stages/train-ddp/metrics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { BLOCK = 65536, RADIX_BITS = 11, RADIX = 1 << RADIX_BITS };

struct keyed {
    uint32_t key; /* orders as the float does */
    uint32_t row;
};

static uint32_t order_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

/* Three stable passes of 11 bits; returns whichever array holds the result. */
static struct keyed *radix_sort(struct keyed *a, struct keyed *b, size_t n)
{
    for (int shift = 0; shift < 32; shift += RADIX_BITS) {
        size_t count[RADIX] = {0};
        for (size_t i = 0; i < n; i++)
            count[a[i].key >> shift & (RADIX - 1)]++;
        for (size_t i = 0, sum = 0; i < RADIX; i++) {
            size_t c = count[i];
            count[i] = sum;
            sum += c;
        }
        for (size_t i = 0; i < n; i++)
            b[count[a[i].key >> shift & (RADIX - 1)]++] = a[i];
        struct keyed *t = a;
        a = b;
        b = t;
    }
    return a;
}

double metrics_auc(const float *scores, const float *labels, const float *weights, size_t n)
{
    struct keyed *a = xcalloc(n + 1, sizeof *a), *b = xcalloc(n + 1, sizeof *b);
    for (size_t i = 0; i < n; i++)
        a[i] = (struct keyed){.key = order_of(scores[i]), .row = (uint32_t)i};
    const struct keyed *s = radix_sort(a, b, n);
    double below = 0, positives = 0, area = 0; /* weights of negatives below, of positives so far */
    for (size_t i = 0; i < n;) {
        double tied_positive = 0, tied_negative = 0;
        for (uint32_t key = s[i].key; i < n && s[i].key == key; i++) {
            double w = weights ? (double)weights[s[i].row] : 1;
            if (labels[s[i].row] > 0.5F)
                tied_positive += w;
            else
                tied_negative += w;
        }
        area += tied_positive * (below + 0.5 * tied_negative);
        below += tied_negative;
        positives += tied_positive;
    }
    free(a);
    free(b);
    return positives > 0 && below > 0 ? area / (positives * below) : (double)NAN;
}

typedef double row_loss(double score, double label, double delta);

static double logloss_of(double p, double y, double delta)
{
    (void)delta;
    p = p < 1e-15 ? 1e-15 : p > 1 - 1e-15 ? 1 - 1e-15 : p;
    return -(y * log(p) + (1 - y) * log1p(-p));
}

static double square_of(double z, double y, double delta)
{
    (void)delta;
    return (z - y) * (z - y);
}

static double huber_of(double z, double y, double delta)
{
    double a = fabs(z - y);
    return a <= delta ? 0.5 * a * a : delta * (a - 0.5 * delta);
}

static double mean_loss(row_loss *f, const float *scores, const float *labels, const float *weights, size_t n,
                        double delta)
{
    double sum = 0, weight = 0;
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        size_t end = n - begin < BLOCK ? n : begin + BLOCK;
        double s = 0, w = 0;
        for (size_t i = begin; i < end; i++) {
            double wi = weights ? (double)weights[i] : 1;
            s += wi * f((double)scores[i], (double)labels[i], delta);
            w += wi;
        }
        sum += s;
        weight += w;
    }
    return weight > 0 ? sum / weight : (double)NAN;
}

double metrics_logloss(const float *scores, const float *labels, const float *weights, size_t n)
{
    return mean_loss(logloss_of, scores, labels, weights, n, 0);
}

double metrics_mse(const float *scores, const float *labels, const float *weights, size_t n)
{
    return mean_loss(square_of, scores, labels, weights, n, 0);
}

double metrics_huber(const float *scores, const float *labels, const float *weights, size_t n, double delta)
{
    return mean_loss(huber_of, scores, labels, weights, n, delta);
}
