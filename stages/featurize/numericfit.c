/* Statistics of numeric features: see numericfit.h. */
#include "stages/featurize/numericfit.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "stages/tensor/exactsum.h"

enum { BUFFERED = 32768, RANKS_MAX = 16, DIGIT_BITS = 16, DIGITS = 1 << DIGIT_BITS };

struct numericfit {
    int fd;
    double *buffer; /* BUFFERED */
    size_t used;
    int64_t present, missing;
};

int numericfit_new(const char *scratch, struct numericfit **ret, struct err *err)
{
    _cleanup_numericfit_ struct numericfit *f = xcalloc(1, sizeof *f);
    _cleanup_free_ char *path = xasprintf("%s/values-XXXXXX", scratch);
    f->fd = mkostemp(path, O_CLOEXEC);
    if (f->fd < 0)
        return err_errno(err, errno, "creating a file in the scratch directory '%s'", scratch);
    (void)unlink(path);
    f->buffer = xcalloc(BUFFERED, sizeof *f->buffer);
    *ret = steal_ptr(f);
    return 0;
}

struct numericfit *numericfit_free(struct numericfit *f)
{
    if (!f)
        return NULL;
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->buffer);
    free(f);
    return NULL;
}

static int flush(struct numericfit *f, struct err *err)
{
    const char *p = (const char *)f->buffer;
    size_t left = f->used * sizeof *f->buffer;
    while (left > 0) {
        ssize_t n = write(f->fd, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(
                err, errno, "writing to the scratch directory (raise the step's scratch.size if it is full)");
        p += n;
        left -= (size_t)n;
    }
    f->used = 0;
    return 0;
}

int numericfit_add(struct numericfit *f, double x, struct err *err)
{
    if (isnan(x)) {
        f->missing++;
        return 0;
    }
    f->present++;
    f->buffer[f->used++] = x;
    return f->used == BUFFERED ? flush(f, err) : 0;
}

/* --- order statistics ------------------------------------------------------------------------------------ */

/* Unsigned order of the keys is the order of the doubles. */
static uint64_t key_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 63 ? ~bits : bits | 1ULL << 63;
}

static double value_of(uint64_t key)
{
    uint64_t bits = key >> 63 ? key & ~(1ULL << 63) : ~key;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

struct target {
    uint64_t rank;    /* among the values that share the prefix */
    uint64_t prefix;  /* the key's digits found so far, the lower bits 0 */
    size_t histogram; /* targets with equal prefixes share one */
};

/* One pass: counts the next digit of the values under each distinct prefix, then moves every target one digit on. */
static void select_digit(const double *x, size_t n, int shift, struct target *t, size_t n_t, uint64_t *counts)
{
    uint64_t prefixes[RANKS_MAX];
    size_t distinct = 0;
    for (size_t i = 0; i < n_t; i++) {
        size_t k = 0;
        while (k < distinct && prefixes[k] != t[i].prefix)
            k++;
        if (k == distinct)
            prefixes[distinct++] = t[i].prefix;
        t[i].histogram = k;
    }
    memset(counts, 0, distinct * DIGITS * sizeof *counts);
    uint64_t above = shift + DIGIT_BITS == 64 ? 0 : ~0ULL << (shift + DIGIT_BITS);
    for (size_t i = 0; i < n; i++) {
        uint64_t key = key_of(x[i]);
        for (size_t k = 0; k < distinct; k++) {
            if ((key & above) == prefixes[k])
                counts[k * DIGITS + (key >> shift & (DIGITS - 1))]++;
        }
    }
    for (size_t i = 0; i < n_t; i++) {
        const uint64_t *c = counts + t[i].histogram * DIGITS;
        uint64_t digit = 0;
        while (t[i].rank >= c[digit])
            t[i].rank -= c[digit++];
        t[i].prefix |= digit << shift;
    }
}

void numericfit_quantiles(const double *x, size_t n, const double *q, size_t n_q, double *ret)
{
    struct target t[RANKS_MAX];
    if (n_q * 2 > RANKS_MAX)
        BUG("%zu quantiles at once", n_q);
    for (size_t i = 0; i < n_q; i++) {
        uint64_t low = (uint64_t)((double)(n - 1) * q[i]);
        t[2 * i] = (struct target){.rank = low};
        t[2 * i + 1] = (struct target){.rank = low + 1 < n ? low + 1 : low};
    }
    _cleanup_free_ uint64_t *counts = xcalloc((size_t)RANKS_MAX * DIGITS, sizeof *counts);
    for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS)
        select_digit(x, n, shift, t, 2 * n_q, counts);
    for (size_t i = 0; i < n_q; i++) {
        double position = (double)(n - 1) * q[i], low = value_of(t[2 * i].prefix),
               high = value_of(t[2 * i + 1].prefix);
        double part = position - floor(position);
        ret[i] = part == 0 ? low : low + part * (high - low);
    }
}

/* --- finishing -------------------------------------------------------------------------------------------- */

struct values {
    const double *x;
    size_t n;
};

static double clipped(double x, const struct config_feature *c, const struct numericfit_result *r)
{
    if (!c->clip)
        return x;
    return x < r->lowest ? r->lowest : x > r->highest ? r->highest : x;
}

static double mean_of(const struct values *v)
{
    struct exactsum s;
    exactsum_init(&s);
    for (size_t i = 0; i < v->n; i++)
        exactsum_add(&s, v->x[i]);
    return exactsum_value(&s) / (double)v->n;
}

/* Mean and population deviation over all rows: missing ones count as filled. */
static void standard(const struct values *v, const struct config_feature *c, struct numericfit_result *r)
{
    struct exactsum sum, squares;
    double n = (double)(r->present + r->missing), fill = clipped(r->fill, c, r);
    exactsum_init(&sum);
    exactsum_init(&squares);
    for (size_t i = 0; i < v->n; i++)
        exactsum_add(&sum, clipped(v->x[i], c, r));
    double mean = (exactsum_value(&sum) + (double)r->missing * fill) / n;
    for (size_t i = 0; i < v->n; i++) {
        double d = clipped(v->x[i], c, r) - mean;
        exactsum_add(&squares, d * d);
    }
    double d = fill - mean;
    double deviation = sqrt((exactsum_value(&squares) + (double)r->missing * d * d) / n);
    r->offset = mean;
    r->scale = deviation;
}

static void minmax(const struct values *v, const struct config_feature *c, struct numericfit_result *r)
{
    double low = clipped(r->missing ? r->fill : v->x[0], c, r), high = low;
    for (size_t i = 0; i < v->n; i++) {
        double x = clipped(v->x[i], c, r);
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    r->offset = low;
    r->scale = high - low;
}

static void compute(const struct values *v, const struct config_feature *c, struct numericfit_result *r)
{
    enum { MEDIAN, LOW, HIGH, Q25, Q75, N_QUANTILES };
    const double q[N_QUANTILES] = {0.5, c->clip ? c->clip_low : 0, c->clip ? c->clip_high : 1, 0.25, 0.75};
    double found[N_QUANTILES] = {0};
    bool need = c->impute == IMPUTE_MEDIAN || c->clip || c->scale == SCALE_ROBUST;
    if (need)
        numericfit_quantiles(v->x, v->n, q, N_QUANTILES, found);
    r->fill = c->impute == IMPUTE_MEDIAN ? found[MEDIAN] : c->impute == IMPUTE_ZERO ? 0 : mean_of(v);
    r->lowest = found[LOW];
    r->highest = found[HIGH];
    r->offset = 0;
    r->scale = 1;
    if (c->scale == SCALE_STANDARD)
        standard(v, c, r);
    else if (c->scale == SCALE_MINMAX)
        minmax(v, c, r);
    else if (c->scale == SCALE_ROBUST) {
        r->offset = clipped(found[MEDIAN], c, r);
        r->scale = clipped(found[Q75], c, r) - clipped(found[Q25], c, r);
    }
    if (!(r->scale > 0) || !isfinite(r->scale))
        r->scale = 1;
}

int numericfit_finish(struct numericfit *f, const struct config_feature *config,
                      struct numericfit_result *ret, struct err *err)
{
    struct numericfit_result r = {.present = f->present, .missing = f->missing};
    if (f->present == 0)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "feature",
            "feature '%s' is missing (NULL or not finite) in all %lld training rows: leave it out",
            config->name, (long long)f->missing);
    if (f->missing && config->impute == IMPUTE_NONE)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "feature",
            "feature '%s' is missing (NULL or not finite) in %lld of %lld training rows, and its impute is none: choose mean, median or zero",
            config->name, (long long)f->missing, (long long)(f->missing + f->present));
    if (flush(f, err) < 0)
        return -1;
    size_t bytes = (size_t)f->present * sizeof(double);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (map == MAP_FAILED)
        return err_errno(err, errno, "mapping %zu bytes of values", bytes);
    const struct values v = {.x = map, .n = (size_t)f->present};
    compute(&v, config, &r);
    (void)munmap(map, bytes);
    *ret = r;
    return 0;
}
