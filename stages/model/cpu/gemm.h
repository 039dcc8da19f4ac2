/* Matrix products on packed panels: C = A·B (+ bias) and C += Aᵀ·B, at the sizes of rankers (a few hundred rows
 * of a few hundred columns). B is packed into panels of kernels.panel columns, each a contiguous K × panel block
 * (the last one narrower); A is read in place. Row counts are free, column counts of B and C multiples of 16. */
#pragma once

#include "stages/model/cpu/kernels.h"
#include "stages/model/cpu/pool.h"

/* Floats of a packed K × N matrix. */
size_t gemm_packed_size(size_t k, size_t n);
/* b: k rows of n columns, leading dimension ld (n a multiple of 16). */
void gemm_pack(const struct kernels *kn, const float *b, size_t ld, size_t k, size_t n, float *packed);
/* Packs the transpose of b (rows × cols, logical): K = cols, N = rows rounded up to 16, zeros in between. */
void gemm_pack_transposed(const struct kernels *kn, const float *b, size_t ld, size_t rows, size_t cols,
                          float *packed);

/* c[m][n] = a[m][k]·b + bias (NULL: 0), or += without bias when accumulate. */
void gemm(const struct kernels *kn, struct pool *pool, size_t m, size_t n, size_t k, const float *a,
          size_t lda, const float *packed, const float *bias, float *c, size_t ldc, bool accumulate);
/* c[m][n] += aᵀ·b: a[k][m], b[k][n] unpacked. scratch: gemm_scratch(n) floats. */
void gemm_transposed(const struct kernels *kn, struct pool *pool, size_t m, size_t n, size_t k,
                     const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc,
                     float *scratch);
size_t gemm_scratch(size_t n);
