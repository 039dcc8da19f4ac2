/* Inside the CPU back end: the state of one engine and the parts it is made of.
 *
 * A batch is processed in chunks of rows that fit the second-level cache: forward, loss and backward of a chunk before the
 * next. Chunks change no result: every sum over rows is one chain in row order. */
#pragma once

#include "stages/model/backend.h"
#include "stages/model/cpu/gemm.h"
#include "stages/model/cpu/kernels.h"
#include "stages/model/cpu/pool.h"

/* A matrix packed for x·W and, for training, for dy·Wᵀ. */
struct packed {
    float *forward, *backward;
};

/* Gradient rows of one table: which rows the batch touches (ascending) and where each is summed. */
struct sparse_table {
    uint64_t *bitmap;     /* [rows / 64] scratch, zero between batches */
    int32_t *slot_of_row; /* [rows]; valid for rows of this batch only */
    int32_t *rows;        /* [capacity] ascending */
    float *values;        /* [capacity][width] */
    size_t n, capacity;
};

struct backend_state {
    const struct network *net;
    const struct kernels *kn;
    struct pool *pool;
    struct backend_options o;
    char *arena; /* everything below lives in it */
    size_t arena_bytes;

    float *weights, *gradients;
    float *optimizer; /* moments; parts by the offsets below */
    size_t optimizer_floats;
    float *dense_m, *dense_v;
    float **table_m, **table_v; /* [cat_width] */
    bool packed_current;
    struct packed *cross_a, *cross_b, *deep; /* a: full or v; b: u */

    /* Activations of a chunk. */
    size_t chunk;
    float **x;   /* [n_cross + 1]: x[0] is x0 */
    float **u;   /* [n_cross]: W·x + b */
    float **low; /* [n_cross]: x·V */
    float **h;   /* [n_deep] */
    float *z, *loss;
    /* Gradients of a chunk. */
    float *dz, *g, *du, *dlow, *dx0, *dh[2];
    float *scratch; /* gemm_transposed */
    float *row;     /* per thread: cursors of the workers' lists, one summed row */
    float *zeros;   /* the gradient of a row that has none */

    struct sparse_table *sparse; /* [cat_width] */
    int32_t *slots;              /* [max_rows][cat_width] */
};

/* A chunk of a batch under work. */
struct chunk {
    struct backend_state *s;
    const struct batch *b;
    size_t row0, n;
    bool training;
};

/* layers.c */
void layers_pack(struct backend_state *s, bool training);
void layers_forward(const struct chunk *c);
void layers_backward(const struct chunk *c, gradient_ready *ready, void *ctx);
/* Names the first thing that is not finite; sets err in any case. */
int layers_diagnose(const struct chunk *c, struct err *err);
/* sparse.c */
void sparse_begin(struct backend_state *s, const struct batch *b);
void sparse_scatter(const struct chunk *c);
/* apply.c */
int engine_apply(struct backend_state *s, const struct apply *a, double *ret_norm, struct err *err);
