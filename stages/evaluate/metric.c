/* Metrics: see metric.h. */
#include "stages/evaluate/metric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/text.h"
#include "stages/evaluate/auc.h"
#include "stages/evaluate/ndcg.h"

static const struct {
    const char *name;
    enum metric_kind kind;
    bool higher, ranking;
} known[] = {
    {"auc", METRIC_AUC, true, false},      {"logloss", METRIC_LOGLOSS, false, false},
    {"brier", METRIC_BRIER, false, false}, {"accuracy", METRIC_ACCURACY, true, false},
    {"mse", METRIC_MSE, false, false},     {"rmse", METRIC_RMSE, false, false},
    {"mae", METRIC_MAE, false, false},     {"ndcg", METRIC_NDCG, true, true},
    {"mrr", METRIC_MRR, true, true},
};

static int unknown_name(const char *text, struct err *err)
{
    static const char *const names[] = {"auc",  "logloss", "brier",   "accuracy", "mse",
                                        "rmse", "mae",     "ndcg@10", "mrr@10",   NULL};
    const char *near = text_nearest(text, names);
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "metric",
        "unknown metric '%s'%s%s%s: expected auc, logloss, brier, accuracy, mse, rmse, mae, ndcg@k or mrr@k",
        text, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

int metric_name_parse(const char *text, struct metric_name *ret, struct err *err)
{
    size_t len = strcspn(text, "@");
    int64_t k = 0;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strlen(known[i].name) != len || memcmp(known[i].name, text, len) != 0)
            continue;
        if (known[i].ranking != (text[len] == '@'))
            break;
        if (known[i].ranking && (text_parse_int(text + len + 1, &k, err) < 0 || k < 1 || k > 100000)) {
            err_clear(err);
            break;
        }
        *ret = (struct metric_name){.kind = known[i].kind,
                                    .k = (size_t)k,
                                    .higher_is_better = known[i].higher,
                                    .ranking = known[i].ranking};
        (void)snprintf(ret->text, sizeof ret->text, "%s", text);
        (void)snprintf(ret->value, sizeof ret->value, known[i].ranking ? "%s_at_%lld" : "%s", known[i].name,
                       (long long)k);
        return 0;
    }
    return unknown_name(text, err);
}

struct metric {
    struct metric_name name;
    const struct scored *rows;
    uint32_t *order;   /* AUC */
    double *per_row;   /* row metrics */
    double *per_group; /* ranking metrics; NaN: not counted */
    const char *reason;
};

static double row_loss(enum metric_kind kind, double score, double label)
{
    /* The smallest normal distance from 0 and 1 that a float score can mean. */
    static const double tiny = 1e-7;
    double difference = score - label;
    switch (kind) {
    case METRIC_LOGLOSS:
        score = fmin(fmax(score, tiny), 1 - tiny);
        return -(label * log(score) + (1 - label) * log(1 - score));
    case METRIC_ACCURACY:
        return (score >= 0.5) == (label > 0.5);
    case METRIC_MAE:
        return fabs(difference);
    default: /* brier, mse, rmse */
        return difference * difference;
    }
}

static void prepare_groups(struct metric *m)
{
    const struct scored *s = m->rows;
    size_t largest = 1;
    for (size_t first = 0, end; first < s->n; first = end) {
        for (end = first; end < s->n && s->group[end] == s->group[first]; end++) {
        }
        largest = end - first > largest ? end - first : largest;
    }
    size_t *order = xreallocarray(NULL, largest, sizeof *order);
    m->per_group = xreallocarray(NULL, s->n_groups ? s->n_groups : 1, sizeof *m->per_group);
    for (size_t first = 0, end; first < s->n; first = end) {
        for (end = first; end < s->n && s->group[end] == s->group[first]; end++) {
        }
        double (*of)(const float *, const float *, size_t, size_t, size_t *) =
            m->name.kind == METRIC_NDCG ? ndcg_at : mrr_at;
        m->per_group[s->group[first]] =
            of(s->served + first, s->label + first, end - first, m->name.k, order);
    }
    free(order);
}

struct metric *metric_new(const struct metric_name *name, const struct scored *rows)
{
    struct metric *m = xcalloc(1, sizeof *m);
    m->name = *name;
    m->rows = rows;
    m->reason = "";
    if (name->ranking && rows->group) {
        prepare_groups(m);
    } else if (name->kind == METRIC_AUC) {
        m->order = xreallocarray(NULL, rows->n ? rows->n : 1, sizeof *m->order);
        auc_sort(rows->logged, rows->n, m->order);
    } else if (!name->ranking) {
        m->per_row = xreallocarray(NULL, rows->n ? rows->n : 1, sizeof *m->per_row);
        for (size_t i = 0; i < rows->n; i++)
            m->per_row[i] = row_loss(name->kind, (double)rows->logged[i], (double)rows->label[i]);
    }
    if (isnan(metric_value(m, NULL, NULL)))
        m->reason = rows->n == 0                    ? "there are no rows"
                    : name->ranking && !rows->group ? "the features have no group"
                    : name->ranking                 ? "no group has a positive label"
                    : name->kind == METRIC_AUC      ? "only one class occurs"
                                                    : "the weights sum to 0";
    return m;
}

struct metric *metric_free(struct metric *m)
{
    if (m) {
        free(m->order);
        free(m->per_row);
        free(m->per_group);
        free(m);
    }
    return NULL;
}

static double mean_of_rows(const struct metric *m, const float *multiplicity)
{
    double sum = 0, weights = 0;
    for (size_t i = 0; i < m->rows->n; i++) {
        double w =
            (m->rows->weight ? (double)m->rows->weight[i] : 1) * (multiplicity ? (double)multiplicity[i] : 1);
        sum += w * m->per_row[i];
        weights += w;
    }
    return weights > 0 ? sum / weights : NAN;
}

static double mean_of_groups(const struct metric *m, const float *multiplicity)
{
    double sum = 0, weights = 0;
    for (size_t g = 0; g < m->rows->n_groups; g++) {
        if (isnan(m->per_group[g]))
            continue;
        double w = multiplicity ? (double)multiplicity[g] : 1;
        sum += w * m->per_group[g];
        weights += w;
    }
    return weights > 0 ? sum / weights : NAN;
}

double metric_value(const struct metric *m, const float *row_multiplicity, const float *group_multiplicity)
{
    if (m->order)
        return auc_of_order(m->order, m->rows->logged, m->rows->label, m->rows->weight, row_multiplicity,
                            m->rows->n);
    if (m->per_group)
        return mean_of_groups(m, group_multiplicity);
    if (!m->per_row)
        return NAN;
    double mean = mean_of_rows(m, row_multiplicity);
    return m->name.kind == METRIC_RMSE ? sqrt(mean) : mean;
}

const char *metric_undefined_reason(const struct metric *m)
{
    return m->reason;
}
