/* Candidate beside baseline on the same rows: values, intervals, differences, slices, and the gate's verdict. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "stages/evaluate/evaluateconfig.h"
#include "stages/evaluate/metric.h"

/* The rows both models scored. */
struct comparison_rows {
    struct scored candidate;
    struct scored baseline; /* n 0: there is none */
    /* Slice columns: value number of each row (n_slices arrays) and the values' names, sorted. */
    const uint32_t *slice_value[EVALUATE_SLICES_MAX];
    char *const *slice_names[EVALUATE_SLICES_MAX];
    size_t n_slice_names[EVALUATE_SLICES_MAX];
};

/* NaN where undefined. Intervals are central 95 %. `improvement` is candidate - baseline, turned round where less is better. */
struct measured {
    double value, low, high;
    double baseline;
    double delta, delta_low, delta_high; /* candidate - baseline */
    const char *undefined;               /* why value is NaN; "" */
};

struct slice_measured {
    const char *column, *value; /* borrowed from rows */
    size_t rows;
    bool supported;           /* enough rows; else metrics are NaN */
    struct measured *metrics; /* n_metrics; no intervals */
};

struct rule_verdict {
    bool passed;
    double found, limit; /* what was compared */
    char why[256];
};

struct comparison {
    struct measured metrics[EVALUATE_METRICS_MAX];
    struct slice_measured *slices;
    size_t n_slices;
    struct rule_verdict rules[EVALUATE_RULES_MAX];
    bool has_baseline, contaminated, gate_passed;
    size_t groups_counted, groups_without_positive;
};

/* contaminated: a test row is not later than the newest row the baseline was trained on; every rule that compares then fails. */
void comparison_run(const struct evaluateconfig *config, const struct comparison_rows *rows,
                    bool contaminated, int threads, struct comparison *ret);
void comparison_release(struct comparison *c);
