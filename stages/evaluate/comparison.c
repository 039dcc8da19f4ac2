/* Comparison: see comparison.h. Rules are in gate.c. */
#include "stages/evaluate/comparison.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/evaluate/bootstrap.h"
#include "stages/evaluate/gate.h"

static void measure(const struct metric *candidate, const struct metric *baseline, struct measured *ret)
{
    *ret = (struct measured){.value = metric_value(candidate, NULL, NULL),
                             .low = NAN,
                             .high = NAN,
                             .baseline = NAN,
                             .delta = NAN,
                             .delta_low = NAN,
                             .delta_high = NAN};
    ret->undefined = metric_undefined_reason(candidate);
    if (baseline) {
        ret->baseline = metric_value(baseline, NULL, NULL);
        ret->delta = ret->value - ret->baseline;
    }
}

/* Central intervals from bootstrap samples laid out [sample][2 × metric (+1 baseline)]. */
static void add_intervals(const struct evaluateconfig *config, double *samples, size_t width,
                          bool has_baseline, struct comparison *c)
{
    size_t n = (size_t)config->bootstrap_samples;
    double *delta = xreallocarray(NULL, n, sizeof *delta);
    for (size_t m = 0; m < config->n_metrics; m++) {
        struct measured *r = &c->metrics[m];
        if (isnan(r->value))
            continue;
        r->low = bootstrap_quantile(samples + m, n, width, 0.025);
        r->high = bootstrap_quantile(samples + m, n, width, 0.975);
        if (!has_baseline)
            continue;
        for (size_t s = 0; s < n; s++)
            delta[s] = samples[s * width + m] - samples[s * width + config->n_metrics + m];
        r->delta_low = bootstrap_quantile(delta, n, 1, 0.025);
        r->delta_high = bootstrap_quantile(delta, n, 1, 0.975);
    }
    free(delta);
}

static void count_groups(const struct scored *s, struct comparison *c)
{
    for (size_t first = 0, end; s->group && first < s->n; first = end) {
        bool positive = false;
        for (end = first; end < s->n && s->group[end] == s->group[first]; end++)
            positive = positive || s->label[end] > 0;
        if (positive)
            c->groups_counted++;
        else
            c->groups_without_positive++;
    }
}

/* Rows of one slice, copied together; groups are renumbered. */
struct subset {
    float *logged, *served, *label, *weight;
    uint32_t *group;
    struct scored rows;
};

static void subset_take(struct subset *x, const struct scored *from, const uint32_t *value, uint32_t wanted,
                        size_t n)
{
    *x = (struct subset){
        .logged = xreallocarray(NULL, n + 1, sizeof *x->logged),
        .served = xreallocarray(NULL, n + 1, sizeof *x->served),
        .label = xreallocarray(NULL, n + 1, sizeof *x->label),
        .weight = from->weight ? xreallocarray(NULL, n + 1, sizeof *x->weight) : NULL,
        .group = from->group ? xreallocarray(NULL, n + 1, sizeof *x->group) : NULL,
    };
    size_t k = 0, groups = 0, last = SIZE_MAX;
    for (size_t i = 0; i < from->n; i++) {
        if (value[i] != wanted)
            continue;
        x->logged[k] = from->logged[i];
        x->served[k] = from->served[i];
        x->label[k] = from->label[i];
        if (x->weight)
            x->weight[k] = from->weight[i];
        if (x->group) {
            groups += from->group[i] != last;
            last = from->group[i];
            x->group[k] = (uint32_t)(groups - 1);
        }
        k++;
    }
    x->rows = (struct scored){k, x->logged, x->served, x->label, x->weight, x->group, groups};
}

static void subset_release(struct subset *x)
{
    free(x->logged);
    free(x->served);
    free(x->label);
    free(x->weight);
    free(x->group);
}

static void measure_slice(const struct evaluateconfig *config, const struct comparison_rows *rows,
                          size_t column, uint32_t value, struct slice_measured *slice)
{
    struct subset candidate, baseline = {0};
    subset_take(&candidate, &rows->candidate, rows->slice_value[column], value, slice->rows);
    if (rows->baseline.n)
        subset_take(&baseline, &rows->baseline, rows->slice_value[column], value, slice->rows);
    for (size_t m = 0; m < config->n_metrics; m++) {
        struct metric *a = metric_new(&config->metrics[m], &candidate.rows),
                      *b = rows->baseline.n ? metric_new(&config->metrics[m], &baseline.rows) : NULL;
        measure(a, b, &slice->metrics[m]);
        metric_free(a);
        metric_free(b);
    }
    subset_release(&candidate);
    subset_release(&baseline);
}

static void measure_slices(const struct evaluateconfig *config, const struct comparison_rows *rows,
                           struct comparison *c)
{
    for (size_t column = 0; column < config->n_slices; column++) {
        size_t values = rows->n_slice_names[column];
        size_t *counts = xcalloc(values + 1, sizeof *counts);
        for (size_t i = 0; i < rows->candidate.n; i++)
            counts[rows->slice_value[column][i]]++;
        c->slices = xreallocarray(c->slices, c->n_slices + values + 1, sizeof *c->slices);
        for (size_t v = 0; v < values; v++) {
            struct slice_measured *slice = &c->slices[c->n_slices++];
            *slice = (struct slice_measured){config->slices[column], rows->slice_names[column][v], counts[v],
                                             counts[v] >= (size_t)config->min_support,
                                             xcalloc(config->n_metrics, sizeof *slice->metrics)};
            if (slice->supported)
                measure_slice(config, rows, column, (uint32_t)v, slice);
            for (size_t m = 0; !slice->supported && m < config->n_metrics; m++)
                slice->metrics[m] = (struct measured){NAN, NAN, NAN, NAN, NAN, NAN, NAN, "too few rows"};
        }
        free(counts);
    }
}

void comparison_run(const struct evaluateconfig *config, const struct comparison_rows *rows,
                    bool contaminated, int threads, struct comparison *ret)
{
    struct comparison c = {.has_baseline = rows->baseline.n > 0, .contaminated = contaminated};
    struct metric *metrics[2 * EVALUATE_METRICS_MAX] = {0};
    size_t n = config->n_metrics, width = c.has_baseline ? 2 * n : n;
    for (size_t m = 0; m < n; m++) {
        metrics[m] = metric_new(&config->metrics[m], &rows->candidate);
        if (c.has_baseline)
            metrics[n + m] = metric_new(&config->metrics[m], &rows->baseline);
        measure(metrics[m], metrics[n + m], &c.metrics[m]);
    }
    double *samples = xreallocarray(NULL, (size_t)config->bootstrap_samples * width, sizeof *samples);
    struct bootstrap b = {(size_t)config->bootstrap_samples, (uint64_t)config->bootstrap_seed, threads};
    bootstrap_run(&b, &rows->candidate, (const struct metric *const *)metrics, width, samples);
    add_intervals(config, samples, width, c.has_baseline, &c);
    count_groups(&rows->candidate, &c);
    measure_slices(config, rows, &c);
    gate_decide(config, rows, samples, &c);
    free(samples);
    for (size_t m = 0; m < 2 * EVALUATE_METRICS_MAX; m++)
        metric_free(metrics[m]);
    *ret = c;
}

void comparison_release(struct comparison *c)
{
    for (size_t i = 0; i < c->n_slices; i++)
        free(c->slices[i].metrics);
    free(c->slices);
    *c = (struct comparison){0};
}
