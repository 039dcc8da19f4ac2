/* report.html: see outputs.h. Worst first: the verdict and the rules, then the metrics, then slices and plots. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "stages/evaluate/auc.h"
#include "stages/evaluate/outputs.h"
#include "stages/report/report.h"

static void verdict(struct report *r, const struct outputs *o)
{
    const struct comparison *c = o->comparison;
    if (o->config->n_rules == 0)
        report_verdict(r, REPORT_PLAIN, "No gate: this evaluation only measures.");
    else
        report_verdict(r, c->gate_passed ? REPORT_GOOD : REPORT_BAD,
                       c->gate_passed ? "The gate is open: every rule holds." : "The gate is closed.");
    if (c->contaminated)
        report_note(
            r, REPORT_BAD,
            "The baseline was trained on rows as new as these test rows: comparisons with it say nothing.");
    if (!o->config->n_rules)
        return;
    report_section(r, c->gate_passed ? REPORT_GOOD : REPORT_BAD, "Gate");
    static const char *const heads[] = {"rule", "holds", "why", NULL};
    report_table_begin(r, heads);
    for (int failed = 1; failed >= 0; failed--) {
        for (size_t i = 0; i < o->config->n_rules; i++) {
            if (c->rules[i].passed == failed)
                continue;
            report_row(r, failed ? REPORT_BAD : REPORT_GOOD);
            report_cell(r, "%s", o->config->metrics[o->config->rules[i].metric].text);
            report_cell_level(r, failed ? REPORT_BAD : REPORT_GOOD, "%s", failed ? "no" : "yes");
            report_cell(r, "%s", c->rules[i].why);
        }
    }
    report_table_end(r);
}

static void metrics(struct report *r, const struct outputs *o)
{
    const struct comparison *c = o->comparison;
    report_section(r, REPORT_PLAIN, "Metrics");
    report_text(
        r,
        "Test rows: %zu. Groups with a positive label: %zu, without: %zu (not counted by ranking metrics). AUC and row metrics score rows as they were logged; "
        "ranking metrics score them as they would be served. Intervals: 95 %% bootstrap.",
        o->rows->candidate.n, c->groups_counted, c->groups_without_positive);
    static const char *const alone[] = {"metric", "model", "low", "high", NULL};
    static const char *const beside[] = {"metric",     "model", "low",  "high", "baseline",
                                         "difference", "low",   "high", NULL};
    report_table_begin(r, c->has_baseline ? beside : alone);
    for (size_t m = 0; m < o->config->n_metrics; m++) {
        const struct measured *x = &c->metrics[m];
        double better = (o->config->metrics[m].higher_is_better ? 1 : -1) * x->delta;
        report_row(r, REPORT_PLAIN);
        if (isnan(x->value))
            report_cell(r, "%s (undefined: %s)", o->config->metrics[m].text, x->undefined);
        else
            report_cell(r, "%s", o->config->metrics[m].text);
        report_number(r, x->value);
        report_number(r, x->low);
        report_number(r, x->high);
        if (!c->has_baseline)
            continue;
        report_number(r, x->baseline);
        report_difference(r, better > 0 ? REPORT_GOOD : better < 0 ? REPORT_WARN : REPORT_PLAIN, x->delta);
        report_number(r, x->delta_low);
        report_number(r, x->delta_high);
    }
    report_table_end(r);
    report_text(r, "Model %.12s…", o->model_digest);
    if (c->has_baseline)
        report_text(r, "Baseline: version %lld (%.12s…), alias %s of model %s.",
                    (long long)o->baseline_version, o->baseline_digest, o->config->baseline_alias,
                    o->config->baseline_model);
    else if (o->config->baseline_model)
        report_note(r, REPORT_WARN,
                    "No version of model %s has the alias %s yet, so there is nothing to compare with.",
                    o->config->baseline_model, o->config->baseline_alias);
}

/* ROC points from rows in ascending score order, at most ROC_POINTS of them. */
enum { ROC_POINTS = 200 };

static size_t roc(const struct scored *s, double *x, double *y)
{
    uint32_t *order = xreallocarray(NULL, s->n + 1, sizeof *order);
    auc_sort(s->logged, s->n, order);
    double positives = 0, negatives = 0, true_positive = 0, false_positive = 0;
    for (size_t i = 0; i < s->n; i++)
        *(s->label[i] > 0.5f ? &positives : &negatives) += 1;
    size_t points = 0, stride = s->n / (ROC_POINTS - 2) + 1;
    x[points] = y[points] = 0;
    points++;
    for (size_t i = 0; i < s->n && positives > 0 && negatives > 0; i++) {
        *(s->label[order[s->n - 1 - i]] > 0.5f ? &true_positive : &false_positive) += 1;
        if (i % stride == stride - 1 || i + 1 == s->n) {
            x[points] = false_positive / negatives;
            y[points++] = true_positive / positives;
        }
    }
    free(order);
    return points;
}

static void plots(struct report *r, const struct outputs *o)
{
    const struct scored *a = &o->rows->candidate, *b = &o->rows->baseline;
    static const double diagonal[] = {0, 1};
    double x[2][ROC_POINTS + 2], y[2][ROC_POINTS + 2];
    report_section(r, REPORT_PLAIN, "Ranking and calibration");
    struct report_series curves[3] = {{.name = "model", .x = x[0], .y = y[0], .n = roc(a, x[0], y[0])}};
    size_t n = 1;
    if (b->n)
        curves[n++] =
            (struct report_series){.name = "baseline", .x = x[1], .y = y[1], .n = roc(b, x[1], y[1])};
    curves[n++] =
        (struct report_series){.name = "chance", .x = diagonal, .y = diagonal, .n = 2, .dashed = true};
    report_lines(r,
                 REPORT_PLOT(.title = "ROC", .x_label = "false positive rate",
                             .y_label = "true positive rate", .width = 420, .height = 360, .x_max = 1,
                             .y_max = 1),
                 curves, n);

    struct calibration_bin bins[2][CALIBRATION_BINS];
    double score[2][CALIBRATION_BINS], observed[2][CALIBRATION_BINS], largest = 0;
    size_t counts[2] = {outputs_calibration(a, bins[0]), b->n ? outputs_calibration(b, bins[1]) : 0};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < counts[k]; i++) {
            score[k][i] = bins[k][i].score;
            observed[k][i] = bins[k][i].observed;
            largest = fmax(largest, fmax(score[k][i], observed[k][i]));
        }
    double line[] = {0, largest};
    struct report_series reliability[3] = {
        {.name = "model", .x = score[0], .y = observed[0], .n = counts[0]}};
    n = 1;
    if (b->n)
        reliability[n++] =
            (struct report_series){.name = "baseline", .x = score[1], .y = observed[1], .n = counts[1]};
    reliability[n++] =
        (struct report_series){.name = "perfect", .x = line, .y = line, .n = 2, .dashed = true};
    report_lines(r,
                 REPORT_PLOT(.title = "Calibration", .x_label = "mean score (20 bins of equal size)",
                             .y_label = "share of positives", .width = 420, .height = 360),
                 reliability, n);
}

static void thresholds(struct report *r, const struct outputs *o)
{
    report_section(r, REPORT_PLAIN, "Thresholds");
    static const char *const heads[] = {"score at least",  "true positives",
                                        "false positives", "true negatives",
                                        "false negatives", "precision",
                                        "recall",          NULL};
    report_table_begin(r, heads);
    bool any = true; /* one line shows where no row is called positive any more */
    for (int t = 1; t < 20 && any; t++) {
        struct confusion c = outputs_confusion(&o->rows->candidate, t / 20.0);
        any = c.true_positive + c.false_positive > 0;
        size_t called = c.true_positive + c.false_positive, positives = c.true_positive + c.false_negative;
        report_row(r, REPORT_PLAIN);
        report_number(r, c.threshold);
        report_integer(r, (int64_t)c.true_positive);
        report_integer(r, (int64_t)c.false_positive);
        report_integer(r, (int64_t)c.true_negative);
        report_integer(r, (int64_t)c.false_negative);
        report_percent(r, called ? (double)c.true_positive / (double)called : NAN);
        report_percent(r, positives ? (double)c.true_positive / (double)positives : NAN);
    }
    report_table_end(r);
}

/* One table and one bar chart of the first metric per slice column. */
static void slices_of(struct report *r, const struct outputs *o, const char *column)
{
    const struct comparison *c = o->comparison;
    const char *heads[EVALUATE_METRICS_MAX + 3] = {column, "rows"};
    size_t width = o->config->n_metrics;
    for (size_t m = 0; m < width; m++)
        heads[2 + m] = o->config->metrics[m].text;
    report_heading(r, "By %s", column);
    report_table_begin(r, heads);
    const char **labels = xreallocarray(NULL, c->n_slices + 1, sizeof *labels);
    double *values = xreallocarray(NULL, c->n_slices + 1, sizeof *values),
           *baseline = xreallocarray(NULL, c->n_slices + 1, sizeof *baseline);
    size_t n = 0;
    for (size_t i = 0; i < c->n_slices; i++) {
        const struct slice_measured *slice = &c->slices[i];
        if (strcmp(slice->column, column) != 0)
            continue;
        report_row(r, REPORT_PLAIN);
        report_cell(r, "%s", slice->value);
        report_integer(r, (int64_t)slice->rows);
        for (size_t m = 0; m < width; m++)
            report_number(r, slice->metrics[m].value);
        labels[n] = slice->value;
        values[n] = slice->metrics[0].value;
        baseline[n++] = slice->metrics[0].baseline;
    }
    report_table_end(r);
    struct report_series series[] = {{.name = "model", .y = values, .n = n},
                                     {.name = "baseline", .y = baseline, .n = n}};
    if (n > 0 && n <= 40)
        report_bars(r, REPORT_PLOT(.title = o->config->metrics[0].text, .x_label = column), labels, series,
                    c->has_baseline ? 2 : 1);
    free(labels);
    free(values);
    free(baseline);
}

int outputs_write_report(const struct outputs *o, const char *dir, struct err *err)
{
    _cleanup_report_ struct report *r =
        report_new("Model evaluation", "candidate and baseline on the same held-out rows");
    verdict(r, o);
    metrics(r, o);
    if (o->config->n_slices)
        report_section(r, REPORT_PLAIN, "Slices");
    for (size_t i = 0; i < o->config->n_slices; i++)
        slices_of(r, o, o->config->slices[i]);
    plots(r, o);
    thresholds(r, o);
    _cleanup_buf_ struct buf html = BUF_INIT(LIMIT_REPORT_BYTES);
    _cleanup_free_ char *path = fs_join(dir, "report.html");
    if (report_finish(r, &html, err) < 0)
        return -1;
    return fs_write_atomic(path, buf_str(&html), html.len, err);
}
