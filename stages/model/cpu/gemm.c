/* Blocked matrix products: see gemm.h. Each element of C is one chain of multiply-adds in the order of k, so
 * neither blocking nor threads change a bit. */
#include "stages/model/cpu/gemm.h"

#include <string.h>

/* Rows of k that one packed block of gemm_transposed holds: 128 × 48 floats stay in the first-level cache. */
enum { BLOCK_K = 128 };

size_t gemm_packed_size(size_t k, size_t n)
{
    return k * kernel_pad(n);
}

size_t gemm_scratch(size_t n)
{
    return (size_t)BLOCK_K * kernel_pad(n);
}

/* Columns of the panel that starts at column j: as even as whole vectors allow, so that no narrow panel is left over. */
static size_t panel_width(const struct kernels *kn, size_t n, size_t j)
{
    size_t vecs = (n - j) / kn->native_lanes, most = kn->panel / kn->native_lanes;
    size_t panels = (vecs + most - 1) / most;
    return (vecs + panels - 1) / panels * kn->native_lanes;
}

void gemm_pack(const struct kernels *kn, const float *b, size_t ld, size_t k, size_t n, float *packed)
{
    for (size_t j = 0, width; j < n; j += width) {
        width = panel_width(kn, n, j);
        for (size_t p = 0; p < k; p++, packed += width)
            memcpy(packed, b + p * ld + j, width * sizeof *packed);
    }
}

void gemm_pack_transposed(const struct kernels *kn, const float *b, size_t ld, size_t rows, size_t cols,
                          float *packed)
{
    size_t n = kernel_pad(rows);
    for (size_t j = 0, width; j < n; j += width) {
        width = panel_width(kn, n, j);
        for (size_t i = 0; i < width; i++)
            for (size_t p = 0; p < cols; p++)
                packed[p * width + i] = j + i < rows ? b[(j + i) * ld + p] : 0;
        packed += cols * width;
    }
}

struct product {
    const struct kernels *kn;
    size_t m, n, k;
    const float *a, *packed, *bias;
    float *c;
    size_t lda, ldc;
    bool accumulate, transposed;
};

/* Panels outside, rows inside: a panel stays in the first-level cache while the rows of A stream past. */
static void product_part(void *ctx, int part, int parts)
{
    const struct product *x = ctx;
    const struct kernels *kn = x->kn;
    size_t begin, end;
    pool_share(x->m, kn->tile_rows, part, parts, &begin, &end);
    const float *panel = x->packed;
    for (size_t j = 0, width; j < x->n; j += width) {
        width = panel_width(kn, x->n, j);
        size_t vecs = width / kn->native_lanes;
        const float *bias = x->bias ? x->bias + j : NULL;
        for (size_t i = begin; i < end; i += kn->tile_rows) {
            size_t rows = end - i < kn->tile_rows ? end - i : kn->tile_rows;
            if (x->transposed)
                kn->tile_t(x->k, x->a + i, x->lda, panel, x->c + i * x->ldc + j, x->ldc, rows, vecs, bias,
                           x->accumulate);
            else
                kn->tile(x->k, x->a + i * x->lda, x->lda, panel, x->c + i * x->ldc + j, x->ldc, rows, vecs,
                         bias, x->accumulate);
        }
        panel += x->k * width;
    }
}

void gemm(const struct kernels *kn, struct pool *pool, size_t m, size_t n, size_t k, const float *a,
          size_t lda, const float *packed, const float *bias, float *c, size_t ldc, bool accumulate)
{
    struct product x = {.kn = kn,
                        .m = m,
                        .n = n,
                        .k = k,
                        .a = a,
                        .lda = lda,
                        .packed = packed,
                        .bias = bias,
                        .c = c,
                        .ldc = ldc,
                        .accumulate = accumulate};
    pool_run(pool, product_part, &x);
}

void gemm_transposed(const struct kernels *kn, struct pool *pool, size_t m, size_t n, size_t k,
                     const float *a, size_t lda, const float *b, size_t ldb, float *c, size_t ldc,
                     float *scratch)
{
    for (size_t p = 0; p < k; p += BLOCK_K) {
        size_t rows = k - p < BLOCK_K ? k - p : BLOCK_K;
        gemm_pack(kn, b + p * ldb, ldb, rows, n, scratch);
        struct product x = {.kn = kn,
                            .m = m,
                            .n = n,
                            .k = rows,
                            .a = a + p * lda,
                            .lda = lda,
                            .packed = scratch,
                            .c = c,
                            .ldc = ldc,
                            .accumulate = true,
                            .transposed = true};
        pool_run(pool, product_part, &x);
    }
}
