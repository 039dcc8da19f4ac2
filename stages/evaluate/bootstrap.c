/* Bootstrap: see bootstrap.h. */
#include "stages/evaluate/bootstrap.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/alloc.h"

/* Multiplicity from 32 random bits by the cumulative Poisson(1) distribution. */
static float poisson_one(uint32_t bits)
{
    static const double cumulative[] = {0.36787944117144233, 0.73575888234288467, 0.91969860292860584,
                                        0.98101184312384626, 0.99634015317265634, 0.99940581518241836,
                                        0.99991675885071198, 0.99998975080332525, 0.9999988747974020,
                                        0.9999998885745217,  0.9999999899522336};
    double u = ((double)bits + 0.5) * 0x1p-32;
    int k = 0;
    while (k < (int)(sizeof cumulative / sizeof cumulative[0]) && u >= cumulative[k])
        k++;
    return (float)k;
}

/* SplitMix64's finaliser (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

struct worker {
    const struct bootstrap *b;
    const struct scored *rows;
    const struct metric *const *metrics;
    size_t n_metrics, first, step;
    double *values;
};

static void *run_samples(void *ctx)
{
    struct worker *w = ctx;
    const struct scored *s = w->rows;
    size_t units = s->group ? s->n_groups : s->n;
    float *per_unit = xreallocarray(NULL, units ? units : 1, sizeof *per_unit),
          *per_row = s->group ? xreallocarray(NULL, s->n ? s->n : 1, sizeof *per_row) : per_unit;
    for (size_t sample = w->first; sample < w->b->samples; sample += w->step) {
        uint64_t key = mix(mix(w->b->seed) ^ sample);
        for (size_t u = 0; u < units; u++)
            per_unit[u] = poisson_one((uint32_t)(mix(key ^ (u * 0xd1342543de82ef95u)) >> 32));
        for (size_t i = 0; s->group && i < s->n; i++)
            per_row[i] = per_unit[s->group[i]];
        for (size_t m = 0; m < w->n_metrics; m++)
            w->values[sample * w->n_metrics + m] =
                metric_value(w->metrics[m], per_row, s->group ? per_unit : NULL);
    }
    if (per_row != per_unit)
        free(per_row);
    free(per_unit);
    return NULL;
}

void bootstrap_run(const struct bootstrap *b, const struct scored *rows, const struct metric *const *metrics,
                   size_t n_metrics, double *ret_values)
{
    enum { THREADS_MAX = 64 };
    size_t threads = b->threads < 1 ? 1 : b->threads > THREADS_MAX ? THREADS_MAX : (size_t)b->threads;
    struct worker workers[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    for (size_t t = 0; t < threads; t++)
        workers[t] = (struct worker){b, rows, metrics, n_metrics, t, threads, ret_values};
    size_t started = 1;
    while (started < threads && pthread_create(&ids[started], NULL, run_samples, &workers[started]) == 0)
        started++;
    run_samples(&workers[0]);
    for (size_t t = started; t < threads; t++) /* could not be started: done here */
        run_samples(&workers[t]);
    for (size_t t = 1; t < started; t++)
        (void)pthread_join(ids[t], NULL);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double bootstrap_quantile(const double *values, size_t n, size_t stride, double p)
{
    double *sorted = xreallocarray(NULL, n ? n : 1, sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i * stride]))
            sorted[count++] = values[i * stride];
    qsort(sorted, count, sizeof *sorted, ascending);
    double result = NAN;
    if (count) {
        double at = p * (double)(count - 1);
        size_t low = (size_t)at;
        size_t high = low + 1 < count ? low + 1 : low;
        result = sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
    }
    free(sorted);
    return result;
}
