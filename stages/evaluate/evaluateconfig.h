/* The `evaluate` body of a manifest, decoded. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/evaluate/metric.h"

enum { EVALUATE_METRICS_MAX = 32, EVALUATE_RULES_MAX = 64, EVALUATE_SLICES_MAX = 64 };

/* One gate rule; limits that are not written are NaN. */
struct gate_rule {
    size_t metric; /* index into metrics */
    double min, max, min_delta, min_relative_delta;
    double confidence; /* of the one-sided lower limit of the improvement */
};

struct evaluateconfig {
    struct metric_name metrics[EVALUATE_METRICS_MAX];
    size_t n_metrics;
    const char *slices[EVALUATE_SLICES_MAX]; /* columns; borrowed */
    size_t n_slices;
    int64_t min_support;                         /* rows */
    const char *baseline_model, *baseline_alias; /* NULL: no comparison; borrowed */
    bool missing_baseline_passes;
    struct gate_rule rules[EVALUATE_RULES_MAX];
    size_t n_rules;
    int64_t bootstrap_samples, bootstrap_seed;
};
/* Borrows from `config`. Errors: exit 78 with the field's path. */
int evaluateconfig_decode(const cJSON *config, struct evaluateconfig *ret, struct err *err);
