/* The CPU's inner loops, once per vector level.
 *
 * kernels_template.h is compiled three times: for AVX-512, AVX2 and FMA, and in portable C (GCC vector types: SSE2, NEON,
 * …). Each gives one table of functions; kernels_get() picks one at run time, `determinism.isa` pins it.
 *
 * What makes results repeatable: each output element of a matrix product is one chain of multiply-adds in the
 * order of k, whatever the tile, the thread or the number of rows; dot products use 16 partial sums combined
 * by one fixed tree. So a row's score does not depend on its batch, and AVX2 and AVX-512 agree bit for bit; the
 * portable level rounds multiply and add apart.
 *
 * Matrices are row-major; `ld` (leading dimension) counts floats between rows and is a multiple of 16; columns from the
 * logical width up to ld hold zeros. Pointers come from the arena and are 64-byte aligned; rows beyond the
 * last, up to a multiple of KERNEL_ROW_PAD, may be read (their contents do not matter). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum { KERNEL_LANES = 16, KERNEL_ROW_PAD = 8 };

static inline size_t kernel_pad(size_t n)
{
    return (n + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

/* How a row of weights is updated. Adam's numbers as torch.optim has them, bias corrections folded in. */
struct adam_step {
    float beta1, beta2, eps;
    float step_size;      /* lr / (1 - beta1^t), for sparse: lr * sqrt(1 - beta2^t) / (1 - beta1^t) */
    float inv_sqrt_bias2; /* 1 / sqrt(1 - beta2^t); sparse: 1 (SparseAdam adds eps to the uncorrected root) */
    float decay;          /* decoupled: weights are multiplied by it first; 1 = none */
    float l2;             /* coupled: added to the gradient; 0 = none */
    float scale;          /* gradients are multiplied by it first (1 / global weight, clipping) */
};

struct kernels {
    const char *name;        /* "avx512", "avx2", "portable" */
    size_t tile_rows, panel; /* of the matrix product */

    /* One tile: c[0..rows)[0..vecs·lanes) = (bias or 0 or c) + a·b over k. b is packed (see gemm.h). `lanes_of_tile`
     * vectors of the native width. a: element (i, k) at a[i·rs + k] or, transposed, at a[k·rs + i]. */
    void (*tile)(size_t k, const float *a, size_t rs, const float *b, float *c, size_t ldc, size_t rows,
                 size_t vecs, const float *bias, bool accumulate);
    void (*tile_t)(size_t k, const float *a, size_t rs, const float *b, float *c, size_t ldc, size_t rows,
                   size_t vecs, const float *bias, bool accumulate);
    size_t native_lanes;

    /* Element by element over n (a multiple of 16). */
    void (*relu)(float *x, size_t n);
    void (*relu_backward)(float *g, const float *y, float scale, size_t n); /* g = y > 0 ? g·scale : 0 */
    void (*cross)(float *out, const float *x0, const float *u, const float *x, size_t n); /* x0·u + x */
    void (*cross_backward)(float *du, float *dx0, const float *g, const float *x0, const float *u,
                           size_t n); /* du = g·x0; dx0 += g·u */
    void (*add)(float *a, const float *b, size_t n);
    void (*scale)(float *a, float s, size_t n);

    /* z[r] += x[r]·w over n columns (a multiple of 16; both zero-padded). */
    void (*matvec)(float *z, const float *x, size_t ld, const float *w, size_t rows, size_t n);
    /* dw[c] += Σr dz[r]·x[r][c], in row order. dz NULL: ones. */
    void (*vecmat)(float *dw, const float *x, size_t ld, const float *dz, size_t rows, size_t n);
    /* dx[r][c] = dz[r]·w[c]. */
    void (*outer)(float *dx, size_t ld, const float *dz, const float *w, size_t rows, size_t n);

    /* Rows of any length: dst = src; dst += src. */
    void (*copy)(float *dst, const float *src, size_t n);
    void (*accumulate)(float *dst, const float *src, size_t n);

    /* Binary cross-entropy on logits: loss[i] = w·(softplus(z) − y'·z), dz[i] = w·(σ(z) − y'), where y' = y·(1 − s) + s/2. */
    void (*bce)(const float *z, const float *y, const float *w, float smoothing, float *dz, float *loss,
                size_t n);
    void (*sigmoid)(const float *z, float *p, size_t n);

    /* Optimisers over n elements of one row or one arena slice. */
    void (*adam)(float *w, float *m, float *v, const float *g, size_t n, const struct adam_step *s);
    void (*sgd)(float *w, const float *g, size_t n, float lr, float decay, float scale);
    void (*momentum)(float *w, float *m, const float *g, size_t n, float lr, float mu, float decay,
                     float scale);
    float (*sumsq)(const float *g, size_t n, float scale); /* 16 partial sums, fixed tree */
};

extern const struct kernels kernels_portable;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512;
#endif

/* isa: "native" (the best this CPU has), "avx2", "avx512", "portable". One that the CPU lacks: exit 69, naming what it has. */
int kernels_get(const char *isa, const struct kernels **ret, struct err *err);
