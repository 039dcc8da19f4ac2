/* Metrics as the manifest names them, measured on scored rows.
 *
 * A metric is prepared once per model and set of rows (sorting, per-row losses, per-group values) and then evaluated
 * any number of times with the multiplicities of a bootstrap sample. AUC and row metrics score rows as logged, ranking metrics as served
 * (servingValues: the position is unknown when serving). Undefined is NaN with a reason, never 0. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

/* Rows in a total order, groups contiguous. */
struct scored {
    size_t n;
    const float *logged, *served; /* scores; served may equal logged */
    const float *label;
    const float *weight;   /* NULL: 1 */
    const uint32_t *group; /* group number of each row, 0, 0, 1, …; NULL: no groups */
    size_t n_groups;
};

enum metric_kind {
    METRIC_AUC,
    METRIC_LOGLOSS,
    METRIC_BRIER,
    METRIC_ACCURACY,
    METRIC_MSE,
    METRIC_RMSE,
    METRIC_MAE,
    METRIC_NDCG,
    METRIC_MRR
};

struct metric_name {
    enum metric_kind kind;
    size_t k;       /* of "@k", else 0 */
    char text[64];  /* "ndcg@10" */
    char value[64]; /* "ndcg_at_10": the step's value */
    bool higher_is_better;
    bool ranking; /* per group, scored as served */
};
/* Unknown names are ERR_INVALID, exit 78, with a suggestion. */
int metric_name_parse(const char *text, struct metric_name *ret, struct err *err);

struct metric;                                                                        /* opaque: prepared */
struct metric *metric_new(const struct metric_name *name, const struct scored *rows); /* borrows rows */
struct metric *metric_free(struct metric *m);
/* multiplicity per row [n] and per group [n_groups] of a bootstrap sample; both NULL: as measured. NaN when undefined. */
double metric_value(const struct metric *m, const float *row_multiplicity, const float *group_multiplicity);
/* Why it is NaN; "" when it is not. */
const char *metric_undefined_reason(const struct metric *m);
