/* metrics.json and what it shares with the report: see outputs.h. */
#include "stages/evaluate/outputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/evaluate/auc.h"

size_t outputs_calibration(const struct scored *s, struct calibration_bin ret[static CALIBRATION_BINS])
{
    size_t bins = s->n < CALIBRATION_BINS ? s->n : CALIBRATION_BINS;
    uint32_t *order = xreallocarray(NULL, s->n + 1, sizeof *order);
    auc_sort(s->logged, s->n, order);
    for (size_t b = 0; b < bins; b++) {
        size_t first = s->n * b / bins, end = s->n * (b + 1) / bins;
        double score = 0, label = 0;
        for (size_t i = first; i < end; i++) {
            score += (double)s->logged[order[i]];
            label += (double)s->label[order[i]];
        }
        ret[b] = (struct calibration_bin){score / (double)(end - first), label / (double)(end - first),
                                          end - first};
    }
    free(order);
    return bins;
}

struct confusion outputs_confusion(const struct scored *s, double threshold)
{
    struct confusion c = {.threshold = threshold};
    for (size_t i = 0; i < s->n; i++) {
        bool positive = s->label[i] > 0.5f;
        if ((double)s->logged[i] >= threshold)
            *(positive ? &c.true_positive : &c.false_positive) += 1;
        else
            *(positive ? &c.false_negative : &c.true_negative) += 1;
    }
    return c;
}

static void add_number(cJSON *o, const char *key, double v)
{
    if (isnan(v))
        json_add(o, key, cJSON_CreateNull());
    else
        json_add_double(o, key, v);
}

static cJSON *measured_to_json(const struct measured *m, bool has_baseline, bool intervals)
{
    cJSON *o = json_object();
    add_number(o, "value", m->value);
    if (isnan(m->value))
        json_add_string(o, "undefined", m->undefined);
    if (intervals) {
        add_number(o, "low", m->low);
        add_number(o, "high", m->high);
    }
    if (has_baseline) {
        add_number(o, "baseline", m->baseline);
        add_number(o, "delta", m->delta);
    }
    if (has_baseline && intervals) {
        add_number(o, "deltaLow", m->delta_low);
        add_number(o, "deltaHigh", m->delta_high);
    }
    return o;
}

static cJSON *metrics_to_json(const struct outputs *o, const struct measured *metrics, bool intervals)
{
    cJSON *all = json_object();
    for (size_t m = 0; m < o->config->n_metrics; m++)
        json_add(all, o->config->metrics[m].text,
                 measured_to_json(&metrics[m], o->comparison->has_baseline, intervals));
    return all;
}

static cJSON *slices_to_json(const struct outputs *o)
{
    cJSON *list = json_array();
    for (size_t i = 0; i < o->comparison->n_slices; i++) {
        const struct slice_measured *slice = &o->comparison->slices[i];
        cJSON *entry = json_object();
        json_add_string(entry, "column", slice->column);
        json_add_string(entry, "value", slice->value);
        json_add_int(entry, "rows", (int64_t)slice->rows);
        json_add(entry, "metrics", metrics_to_json(o, slice->metrics, false));
        json_append(list, entry);
    }
    return list;
}

static cJSON *gate_to_json(const struct outputs *o)
{
    cJSON *list = json_array();
    for (size_t i = 0; i < o->config->n_rules; i++) {
        const struct rule_verdict *v = &o->comparison->rules[i];
        cJSON *entry = json_object();
        json_add_string(entry, "metric", o->config->metrics[o->config->rules[i].metric].text);
        json_add_bool(entry, "passed", v->passed);
        add_number(entry, "found", v->found);
        add_number(entry, "limit", v->limit);
        json_add_string(entry, "why", v->why);
        json_append(list, entry);
    }
    return list;
}

static cJSON *calibration_to_json(const struct scored *s)
{
    struct calibration_bin bins[CALIBRATION_BINS];
    cJSON *list = json_array();
    size_t n = outputs_calibration(s, bins);
    for (size_t b = 0; b < n; b++) {
        cJSON *entry = json_object();
        json_add_double(entry, "score", bins[b].score);
        json_add_double(entry, "observed", bins[b].observed);
        json_add_int(entry, "rows", (int64_t)bins[b].rows);
        json_append(list, entry);
    }
    return list;
}

static cJSON *thresholds_to_json(const struct scored *s)
{
    cJSON *list = json_array();
    for (int t = 1; t < 20; t++) {
        struct confusion c = outputs_confusion(s, t / 20.0);
        cJSON *entry = json_object();
        json_add_double(entry, "threshold", c.threshold);
        json_add_int(entry, "truePositive", (int64_t)c.true_positive);
        json_add_int(entry, "falsePositive", (int64_t)c.false_positive);
        json_add_int(entry, "trueNegative", (int64_t)c.true_negative);
        json_add_int(entry, "falseNegative", (int64_t)c.false_negative);
        json_append(list, entry);
    }
    return list;
}

int outputs_write_metrics(const struct outputs *o, const char *dir, struct err *err)
{
    _cleanup_json_ cJSON *document = json_object();
    const struct comparison *c = o->comparison;
    json_add_string(document, "model", o->model_digest);
    if (o->baseline_digest)
        json_add_string(document, "baseline", o->baseline_digest);
    json_add_int(document, "rows", (int64_t)o->rows->candidate.n);
    json_add_int(document, "groups", (int64_t)c->groups_counted);
    json_add_int(document, "groupsWithoutPositive", (int64_t)c->groups_without_positive);
    json_add_bool(document, "contaminated", c->contaminated);
    json_add_string(document, "scoring",
                    "auc and row metrics as logged; ranking metrics as served (servingValue)");
    json_add(document, "metrics", metrics_to_json(o, c->metrics, true));
    json_add(document, "slices", slices_to_json(o));
    json_add(document, "gate", gate_to_json(o));
    json_add_bool(document, "gate_passed", c->gate_passed);
    json_add(document, "calibration", calibration_to_json(&o->rows->candidate));
    json_add(document, "thresholds", thresholds_to_json(&o->rows->candidate));
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REPORT_BYTES);
    _cleanup_free_ char *path = fs_join(dir, "metrics.json");
    if (json_canonical(document, &text, err) < 0)
        return -1;
    return fs_write_atomic(path, buf_str(&text), text.len, err);
}
