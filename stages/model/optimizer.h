/* What trainDdp's optimizers, schedule, loss and clip say, decoded; and the learning rate of a step.
 *
 * Formulas are those of torch.optim: SGD (momentum without dampening), Adam (L2 added to the gradient), AdamW (decoupled).
 * Tables: sparseAdam is torch.optim.SparseAdam (moments and weights of touched rows only; the step count of the bias
 * correction is the table's, not the row's; eps joins the uncorrected root); rowwiseAdagrad keeps one sum of mean squared
 * gradients a row; sgd touches rows only. A dense optimiser named for tables means its dense definition: rows
 * without gradient take part with gradient 0. clip.globalNorm bounds the Euclidean norm of the dense parameters'
 * gradient (as torch.nn.utils.clip_grad_norm_); tables are neither counted nor clipped. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/json.h"

enum optimizer_kind {
    OPTIMIZER_SGD,
    OPTIMIZER_MOMENTUM,
    OPTIMIZER_ADAM,
    OPTIMIZER_ADAMW,
    OPTIMIZER_SPARSE_ADAM,
    OPTIMIZER_ROWWISE_ADAGRAD
};

struct optimizer {
    enum optimizer_kind kind;
    double lr, beta1, beta2, eps, weight_decay, momentum;
};

enum loss_kind { LOSS_BCE, LOSS_MSE, LOSS_HUBER };

struct loss {
    enum loss_kind kind;
    double label_smoothing; /* bce */
    double delta;           /* huber */
};

enum { SCHEDULE_POINTS = 100 };
enum schedule_decay { DECAY_STEPS, DECAY_LINEAR, DECAY_COSINE };
struct schedule {
    int64_t warmup_steps;
    enum schedule_decay decay;
    size_t n;
    double at[SCHEDULE_POINTS]; /* shares of all steps, rising; none: no decay */
    double factor;              /* at each */
    double floor;               /* linear, cosine: share left at the end */
};

struct objective {
    struct optimizer dense, tables;
    struct loss loss;
    struct schedule schedule;
    double clip_norm; /* 0: none */
};

/* From the step's config (keys loss, optimizers, schedule, clip); defaults: bce, adamw and sparseAdam with lr 0.001. */
int objective_decode(const cJSON *config, const struct json_path *path, struct objective *ret,
                     struct err *err);
/* The factor on every learning rate in step `step` (from 0) of `total`. */
double schedule_factor(const struct schedule *s, int64_t step, int64_t total);
const char *loss_name(enum loss_kind kind);
/* "bce", … ; unknown: negative. */
int loss_parse(const char *name, enum loss_kind *ret);
