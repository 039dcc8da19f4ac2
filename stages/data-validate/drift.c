/* Distances of distributions. */
#include "stages/data-validate/drift.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

enum { NUMBER_BINS = 10, TEXT_BINS = 30 };

static void number_label(const struct stats *s, int32_t bucket, char *ret, size_t size)
{
    double edge = bucket > 0 ? histogram_edge(bucket) : histogram_far_edge(bucket);
    if (s->kind == STAT_TIME) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339((int64_t)(edge / 1000), time);
        (void)snprintf(ret, size, "≥ %.16s", time);
    } else {
        (void)snprintf(ret, size, "≥ %.4g", edge);
    }
}

/* Counts of `s` in the buckets from bounds[k] up to below bounds[k + 1]. */
static void count_bins(const struct stats *s, const int32_t *bounds, size_t n, double *ret)
{
    size_t k = 0;
    memset(ret, 0, n * sizeof *ret);
    for (size_t i = 0; i < s->histogram.n; i++) {
        while (k + 1 < n && s->histogram.bucket[i] >= bounds[k + 1])
            k++;
        ret[k] += (double)s->histogram.count[i];
    }
}

/* The infinities are counted apart; they go to the outermost bins' neighbour: a bin with the NaNs. */
static double outside(const struct stats *s)
{
    return (double)(s->nulls + s->nans + s->infinities);
}

static void add_null_bin(const struct stats *base, const struct stats *now, struct drift *d)
{
    if (outside(base) == 0 && outside(now) == 0)
        return;
    d->base[d->n] = outside(base);
    d->now[d->n] = outside(now);
    (void)snprintf(d->label[d->n++], sizeof d->label[0], "NULL");
}

static void bin_numbers(const struct stats *base, const struct stats *now, struct drift *d)
{
    int64_t total = histogram_total(&base->histogram), seen = 0;
    int32_t bounds[NUMBER_BINS];
    size_t n = 0;
    for (size_t i = 0; i < base->histogram.n; i++) {
        /* A new bin starts where the next tenth of the baseline does. */
        if (n == 0 || (n < NUMBER_BINS && seen * NUMBER_BINS >= total * (int64_t)n)) {
            number_label(base, base->histogram.bucket[i], d->label[n], sizeof d->label[0]);
            bounds[n++] = base->histogram.bucket[i];
        }
        seen += base->histogram.count[i];
    }
    count_bins(base, bounds, n, d->base);
    count_bins(now, bounds, n, d->now);
    d->n = n;
}

static void bin_texts(const struct stats *base, const struct stats *now, struct drift *d)
{
    const struct tally_entry *top[TEXT_BINS];
    size_t n = stats_top(base, TEXT_BINS, top);
    double base_rest = (double)(base->rows - base->nulls), now_rest = (double)(now->rows - now->nulls);
    for (size_t i = 0; i < n; i++) {
        const char *key = base->tally.arena + top[i]->offset;
        const struct tally_entry *e = tally_find(&now->tally, top[i]->hash, top[i]->length, key);
        d->base[i] = (double)top[i]->count;
        d->now[i] = e ? (double)e->count : 0;
        base_rest -= d->base[i];
        now_rest -= d->now[i];
        int len = top[i]->length < 40 ? (int)top[i]->length : 40;
        while (len > 0 && len < (int)top[i]->length && ((unsigned char)key[len] & 0xc0) == 0x80)
            len--;
        (void)snprintf(d->label[i], sizeof d->label[0], "%.*s", len, key);
    }
    d->n = n;
    if (base_rest > 0 || now_rest > 0) {
        d->base[n] = fmax(base_rest, 0);
        d->now[n] = fmax(now_rest, 0);
        (void)snprintf(d->label[n], sizeof d->label[0], "others");
        d->n++;
    }
}

static double sum(const double *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

/* Quantile 0.999 of χ² with `df` degrees of freedom (E. Wilson, M. Hilferty, 1931). */
static double chi2_quantile(double df)
{
    const double z = 3.0902323061678132;
    double h = 2 / (9 * df), t = 1 - h + z * sqrt(h);
    return df * t * t * t;
}

static double psi(const struct drift *d, double n, double m)
{
    double value = 0, k = (double)d->n;
    for (size_t i = 0; i < d->n; i++) {
        double q = (d->base[i] + 0.5) / (n + 0.5 * k), p = (d->now[i] + 0.5) / (m + 0.5 * k);
        value += (p - q) * log(p / q);
    }
    return value;
}

static double js(const struct drift *d, double n, double m)
{
    double value = 0;
    for (size_t i = 0; i < d->n; i++) {
        double q = d->base[i] / n, p = d->now[i] / m, mid = (p + q) / 2;
        value += (p > 0 ? p * log2(p / mid) : 0) / 2 + (q > 0 ? q * log2(q / mid) : 0) / 2;
    }
    return fmax(value, 0);
}

static double chi2(const struct drift *d, double n, double m)
{
    double value = 0;
    for (size_t i = 0; i < d->n; i++) {
        double column = d->base[i] + d->now[i];
        if (column == 0)
            continue;
        double eb = column * n / (n + m), en = column * m / (n + m);
        value += (d->base[i] - eb) * (d->base[i] - eb) / eb + (d->now[i] - en) * (d->now[i] - en) / en;
    }
    return sqrt(value / (n + m));
}

/* Over all buckets; for texts over the bins, whose order is by frequency. */
static double ks(const struct stats *base, const struct stats *now, const struct drift *d, double n, double m)
{
    double b = 0, c = 0, largest = 0;
    if (base->kind == STAT_TEXT) {
        for (size_t i = 0; i < d->n; i++) {
            b += d->base[i] / n;
            c += d->now[i] / m;
            largest = fmax(largest, fabs(b - c));
        }
        return largest;
    }
    double nb = (double)histogram_total(&base->histogram), nc = (double)histogram_total(&now->histogram);
    size_t i = 0, k = 0;
    while ((i < base->histogram.n || k < now->histogram.n) && nb > 0 && nc > 0) {
        int32_t at = i == base->histogram.n ? now->histogram.bucket[k] : base->histogram.bucket[i];
        if (k < now->histogram.n && now->histogram.bucket[k] < at)
            at = now->histogram.bucket[k];
        if (i < base->histogram.n && base->histogram.bucket[i] == at)
            b += (double)base->histogram.count[i++];
        if (k < now->histogram.n && now->histogram.bucket[k] == at)
            c += (double)now->histogram.count[k++];
        largest = fmax(largest, fabs(b / nb - c / nc));
    }
    return largest;
}

bool drift_compare(enum drift_method method, const struct stats *base, const struct stats *now,
                   struct drift *ret)
{
    *ret = (struct drift){0};
    bool base_number = base->kind != STAT_TEXT, now_number = now->kind != STAT_TEXT;
    if (base->kind == STAT_OTHER || now->kind == STAT_OTHER || base_number != now_number || base->rows == 0 ||
        now->rows == 0)
        return false;
    if (base_number)
        bin_numbers(base, now, ret);
    else
        bin_texts(base, now, ret);
    add_null_bin(base, now, ret);
    double n = sum(ret->base, ret->n), m = sum(ret->now, ret->n);
    if (n <= 0 || m <= 0)
        return false;
    double df = ret->n > 1 ? (double)ret->n - 1 : 1, quantile = chi2_quantile(df), width = 1 / n + 1 / m;
    switch (method) {
    case DRIFT_PSI:
        ret->value = psi(ret, n, m);
        ret->noise = quantile * width;
        break;
    case DRIFT_JS:
        ret->value = js(ret, n, m);
        ret->noise = quantile * width / (8 * log(2));
        break;
    case DRIFT_CHI2:
        ret->value = chi2(ret, n, m);
        ret->noise = sqrt(quantile / (n + m));
        break;
    case DRIFT_KS:
        ret->value = ks(base, now, ret, n, m);
        ret->noise = 1.9495 * sqrt(width);
        break;
    }
    return true;
}
