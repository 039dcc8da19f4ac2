/* Where training runs: one struct of functions. The CPU back end (cpu/) fills it; the trainer knows no other.
 *
 * A step of one worker: train() computes the sums of loss and gradients over its rows (not divided by
 * anything); the caller adds the dense gradients of all workers in place and hands every worker's table rows to
 * apply(), which divides by the global weight, clips and updates. All sums have a fixed order. Memory is
 * allocated at open() only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/model/network.h"
#include "stages/model/optimizer.h"

struct backend_options {
    const char *isa; /* determinism.isa */
    int threads;
    size_t max_rows;                   /* of a batch given to train() or score() */
    bool training;                     /* false: score() only */
    const struct objective *objective; /* training; borrowed for the back end's life */
    uint64_t seed;                     /* of dropout */
};

/* Rows of one batch, row-major; borrowed for the call. */
struct batch {
    size_t n;
    const float *dense;  /* [n, dense_width] */
    const int32_t *cat;  /* [n, cat_width] */
    const float *label;  /* [n]; not for score() */
    const float *weight; /* [n]; not for score() */
    int64_t step;        /* for dropout and messages: from 0 over all epochs */
    int64_t first_row;   /* position of row 0 in the global batch */
};

struct train_sums {
    double loss, weight;
};

/* Called during train() when the gradients of dense parameters [begin, n_dense) are complete; begin falls call by call to 0. */
typedef void gradient_ready(void *ctx, size_t begin);

/* One worker's gradient rows of one table: rows ascending, values[n][width]. */
struct sparse_rows {
    size_t n;
    const int32_t *rows;
    const float *values;
};

struct apply {
    double weight;    /* of the global batch: gradients are divided by it */
    double lr_factor; /* from the schedule */
    int64_t step;     /* from 0 */
    size_t workers;
    const struct sparse_rows *tables; /* [workers][cat_width], in rank order */
};

struct backend_state; /* opaque, the back end's own */

enum backend_part {
    BACKEND_WEIGHTS /* n_total floats */,
    BACKEND_OPTIMIZER /* backend->optimizer_floats() */
};

struct backend {
    const char *name;
    /* Bytes open() would allocate. */
    size_t (*memory)(const struct network *net, const struct backend_options *o);
    int (*open)(const struct network *net, const struct backend_options *o, struct backend_state **ret,
                struct err *err);
    void (*close)(struct backend_state *s);
    const char *(*level)(const struct backend_state *s); /* vector level or device, for provenance */

    size_t (*optimizer_floats)(const struct backend_state *s);
    void (*read)(const struct backend_state *s, enum backend_part part, float *ret);
    void (*write)(struct backend_state *s, enum backend_part part, const float *from);
    /* Of weights and optimiser state: equal on all replicas or something is broken. */
    uint64_t (*hash)(const struct backend_state *s, uint64_t seed);

    /* An input that is no number or out of range is exit 65, reason "bad-data"; a loss or layer that is not
     * finite is exit 65, reason "diverged", naming step, layer and row. ready may be NULL. */
    int (*train)(struct backend_state *s, const struct batch *b, gradient_ready *ready, void *ctx,
                 struct train_sums *ret, struct err *err);
    /* After train(): sums over this worker's rows. The dense ones [n_dense] may be changed in place until apply(). */
    float *(*gradients)(struct backend_state *s);
    void (*table_rows)(struct backend_state *s, struct sparse_rows *ret /* [cat_width] */);
    int (*apply)(struct backend_state *s, const struct apply *a, double *ret_norm, struct err *err);

    /* ret[b->n]: probabilities for bce, values otherwise. A row's score does not depend on the others. */
    int (*score)(struct backend_state *s, const struct batch *b, enum loss_kind loss, float *ret,
                 struct err *err);
};

extern const struct backend backend_cpu;
