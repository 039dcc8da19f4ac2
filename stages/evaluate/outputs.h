/* What the stage leaves: metrics.json for machines and report.html for people; both functions of the comparison alone, so that equal
 * inputs give equal bytes. */
#pragma once

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/evaluate/comparison.h"

struct outputs {
    const struct evaluateconfig *config;
    const struct comparison_rows *rows;
    const struct comparison *comparison;
    const char *model_digest, *baseline_digest; /* baseline NULL: none */
    int64_t baseline_version;
};
/* {"rows", "groups", "metrics": {name: {"value", "low", "high", "undefined"?, "baseline"?, "delta"?, …}}, "slices", "gate", "gate_passed",
 * "calibration", "thresholds", "contaminated"}; undefined values are null with a reason. */
int outputs_write_metrics(const struct outputs *o, const char *dir, struct err *err);
int outputs_write_report(const struct outputs *o, const char *dir, struct err *err);

/* Reliability in equal-count bins of the logged score: mean score, share of positives, rows. */
enum { CALIBRATION_BINS = 20 };
struct calibration_bin {
    double score, observed;
    size_t rows;
};
size_t outputs_calibration(const struct scored *s, struct calibration_bin ret[static CALIBRATION_BINS]);

/* The confusion at a threshold on the logged score. */
struct confusion {
    double threshold;
    size_t true_positive, false_positive, true_negative, false_negative;
};
struct confusion outputs_confusion(const struct scored *s, double threshold);
