/* Forward and backward pass of one chunk: see network.h for the formulas. Each pass over a matrix is split by
 * rows (or by columns where it sums over rows), so the number of threads changes no result. */
#include <math.h>
#include <string.h>

#include "stages/model/cpu/engine.h"
#include "stages/model/rng.h"

/* --- packing: once per change of the weights -------------------------------------------------------- */

static void pack(const struct backend_state *s, const struct network_matrix *m, const struct packed *p,
                 bool training)
{
    const float *w = s->weights + m->weight;
    gemm_pack(s->kn, w, m->ld, m->in, m->ld, p->forward);
    if (training)
        gemm_pack_transposed(s->kn, w, m->ld, m->in, m->out, p->backward);
}

void layers_pack(struct backend_state *s, bool training)
{
    for (size_t l = 0; l < s->net->n_cross; l++) {
        const struct network_cross *c = &s->net->cross[l];
        pack(s, c->low_rank ? &c->v : &c->full, &s->cross_a[l], training);
        if (c->low_rank)
            pack(s, &c->u, &s->cross_b[l], training);
    }
    for (size_t l = 0; l < s->net->n_deep; l++)
        pack(s, &s->net->deep[l], &s->deep[l], training);
}

/* --- forward --------------------------------------------------------------------------------------- */

/* x0 and the linear part of z. */
static void gather_part(void *ctx, int part, int parts)
{
    const struct chunk *c = ctx;
    const struct backend_state *s = c->s;
    const struct network *net = s->net;
    size_t begin, end;
    pool_share(c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    bool x0 = net->x_ld > 0;
    for (size_t r = begin; r < end; r++) {
        const int32_t *cat = c->b->cat + (c->row0 + r) * net->cat_width;
        const float *dense = c->b->dense + (c->row0 + r) * net->dense_width;
        float *x = x0 ? s->x[0] + r * net->x_ld : NULL;
        float z = s->weights[net->head_bias];
        for (size_t t = 0; t < net->cat_width; t++) {
            const struct network_table *table = &net->tables[t];
            const float *row = s->weights + table->offset + (size_t)cat[t] * table->width;
            if (r + 8 < end)
                __builtin_prefetch(s->weights + table->offset +
                                   (size_t)cat[8 * net->cat_width + t] * table->width);
            if (table->dim)
                s->kn->copy(x + table->x_offset, row, table->dim);
            if (table->linear)
                z += row[table->dim];
        }
        if (x0 && net->dense_width)
            memcpy(x + net->dense_x_offset, dense, net->dense_width * sizeof *x);
        if (net->linear)
            for (size_t i = 0; i < net->dense_width; i++)
                z += s->weights[net->linear_dense + i] * dense[i];
        s->z[r] = z;
    }
}

struct layer {
    const struct chunk *c;
    size_t l;
};

static void cross_part(void *ctx, int part, int parts)
{
    const struct layer *y = ctx;
    const struct backend_state *s = y->c->s;
    size_t begin, end, ld = s->net->x_ld;
    pool_share(y->c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    size_t at = begin * ld;
    s->kn->cross(s->x[y->l + 1] + at, s->x[0] + at, s->u[y->l] + at, s->x[y->l] + at, (end - begin) * ld);
}

/* Zeroes units with probability p and scales the others; which ones depends on seed, step, row and unit only. */
static void drop(const struct layer *y, size_t row, float *h, size_t width)
{
    const struct backend_state *s = y->c->s;
    double p = s->net->dropout;
    float keep = (float)(1 / (1 - p));
    uint32_t words[4] = {0};
    for (size_t i = 0; i < width; i++) {
        if (i % 4 == 0)
            rng_words(s->o.seed, RNG_DROPOUT, (uint32_t)(y->l << 20 | i / 4),
                      (uint32_t)(y->c->b->first_row + (int64_t)row), (uint64_t)y->c->b->step, words);
        h[i] = rng_unit(words[i % 4]) < (float)p ? 0 : h[i] * keep;
    }
}

static void relu_part(void *ctx, int part, int parts)
{
    const struct layer *y = ctx;
    const struct backend_state *s = y->c->s;
    const struct network_matrix *m = &s->net->deep[y->l];
    size_t begin, end;
    pool_share(y->c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    float *h = s->h[y->l] + begin * m->ld;
    s->kn->relu(h, (end - begin) * m->ld);
    if (y->c->training && s->net->dropout > 0)
        for (size_t r = begin; r < end; r++, h += m->ld)
            drop(y, y->c->row0 + r, h, m->out);
}

static void head_part(void *ctx, int part, int parts)
{
    const struct chunk *c = ctx;
    const struct backend_state *s = c->s;
    const struct network *net = s->net;
    size_t begin, end;
    pool_share(c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    if (net->head_x)
        s->kn->matvec(s->z + begin, s->x[net->n_cross] + begin * net->x_ld, net->x_ld,
                      s->weights + net->head_x_weight, end - begin, net->x_ld);
    if (net->head_deep) {
        size_t ld = net->deep[net->n_deep - 1].ld;
        s->kn->matvec(s->z + begin, s->h[net->n_deep - 1] + begin * ld, ld,
                      s->weights + net->head_deep_weight, end - begin, ld);
    }
}

void layers_forward(const struct chunk *c)
{
    struct backend_state *s = c->s;
    const struct network *net = s->net;
    pool_run(s->pool, gather_part, (void *)c);
    for (size_t l = 0; l < net->n_cross; l++) {
        const struct network_cross *k = &net->cross[l];
        const float *in = s->x[l];
        if (k->low_rank) {
            gemm(s->kn, s->pool, c->n, k->v.ld, net->x_width, in, net->x_ld, s->cross_a[l].forward, NULL,
                 s->low[l], k->v.ld, false);
            gemm(s->kn, s->pool, c->n, k->u.ld, k->u.in, s->low[l], k->v.ld, s->cross_b[l].forward,
                 s->weights + k->u.bias, s->u[l], net->x_ld, false);
        } else {
            gemm(s->kn, s->pool, c->n, k->full.ld, net->x_width, in, net->x_ld, s->cross_a[l].forward,
                 s->weights + k->full.bias, s->u[l], net->x_ld, false);
        }
        pool_run(s->pool, cross_part, &(struct layer){.c = c, .l = l});
    }
    const float *in = net->n_deep ? s->x[net->stacked ? net->n_cross : 0] : NULL;
    for (size_t l = 0, ld = net->x_ld; l < net->n_deep; l++) {
        const struct network_matrix *m = &net->deep[l];
        gemm(s->kn, s->pool, c->n, m->ld, m->in, in, ld, s->deep[l].forward, s->weights + m->bias, s->h[l],
             m->ld, false);
        pool_run(s->pool, relu_part, &(struct layer){.c = c, .l = l});
        in = s->h[l];
        ld = m->ld;
    }
    pool_run(s->pool, head_part, (void *)c);
}

/* --- backward -------------------------------------------------------------------------------------- */

struct column_sums {
    const struct kernels *kn;
    float *dw;
    const float *x, *dz;
    size_t ld, rows, cols;
};

static void column_sums_part(void *ctx, int part, int parts)
{
    const struct column_sums *k = ctx;
    size_t begin, end;
    pool_share(k->cols, KERNEL_LANES, part, parts, &begin, &end);
    k->kn->vecmat(k->dw + begin, k->x + begin, k->ld, k->dz, k->rows, end - begin);
}

/* dw[c] += Σ dz[r]·x[r][c] */
static void column_sums(const struct chunk *c, size_t at, const float *x, size_t ld, const float *dz)
{
    struct backend_state *s = c->s;
    pool_run(s->pool, column_sums_part,
             &(struct column_sums){
                 .kn = s->kn, .dw = s->gradients + at, .x = x, .dz = dz, .ld = ld, .rows = c->n, .cols = ld});
}

static void head_backward(const struct chunk *c)
{
    struct backend_state *s = c->s;
    const struct network *net = s->net;
    float bias = s->gradients[net->head_bias];
    for (size_t r = 0; r < c->n; r++)
        bias += s->dz[r];
    s->gradients[net->head_bias] = bias;
    if (net->linear)
        for (size_t i = 0; i < net->dense_width; i++) {
            float sum = s->gradients[net->linear_dense + i];
            const float *dense = c->b->dense + c->row0 * net->dense_width + i;
            for (size_t r = 0; r < c->n; r++)
                sum += s->dz[r] * dense[r * net->dense_width];
            s->gradients[net->linear_dense + i] = sum;
        }
    if (net->head_x)
        column_sums(c, net->head_x_weight, s->x[net->n_cross], net->x_ld, s->dz);
    if (net->head_deep)
        column_sums(c, net->head_deep_weight, s->h[net->n_deep - 1], net->deep[net->n_deep - 1].ld, s->dz);
}

/* Gradients of a matrix and its bias from its input and the gradient of its output. */
static void matrix_backward(const struct chunk *c, const struct network_matrix *m, const float *in,
                            size_t ld_in, const float *dy)
{
    struct backend_state *s = c->s;
    if (m->has_bias)
        column_sums(c, m->bias, dy, m->ld, NULL);
    gemm_transposed(s->kn, s->pool, m->in, m->ld, c->n, in, ld_in, dy, m->ld, s->gradients + m->weight, m->ld,
                    s->scratch);
}

/* Which pass over the rows a part function does. */
struct rows_job {
    const struct chunk *c;
    size_t l;
    const float *w;
    float *dx;
};

static void outer_part(void *ctx, int part, int parts)
{
    const struct rows_job *j = ctx;
    const struct backend_state *s = j->c->s;
    size_t begin, end;
    pool_share(j->c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    s->kn->outer(j->dx + begin * j->l, j->l, s->dz + begin, j->w, end - begin, j->l);
}

static void relu_backward_part(void *ctx, int part, int parts)
{
    const struct rows_job *j = ctx;
    const struct backend_state *s = j->c->s;
    size_t begin, end, ld = s->net->deep[j->l].ld;
    pool_share(j->c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    float keep = s->net->dropout > 0 ? (float)(1 / (1 - s->net->dropout)) : 1.0F;
    s->kn->relu_backward(j->dx + begin * ld, s->h[j->l] + begin * ld, keep, (end - begin) * ld);
}

/* Leaves the gradient of the deep part's input in `dx`. */
static void deep_backward(const struct chunk *c, float *dx, gradient_ready *ready, void *ctx)
{
    struct backend_state *s = c->s;
    const struct network *net = s->net;
    float *dy = s->dh[0], *next = s->dh[1];
    pool_run(s->pool, outer_part,
             &(struct rows_job){.c = c,
                                .l = net->deep[net->n_deep - 1].ld,
                                .w = s->weights + net->head_deep_weight,
                                .dx = dy});
    for (size_t l = net->n_deep; l-- > 0;) {
        const struct network_matrix *m = &net->deep[l];
        pool_run(s->pool, relu_backward_part, &(struct rows_job){.c = c, .l = l, .dx = dy});
        const float *in = l ? s->h[l - 1] : s->x[net->stacked ? net->n_cross : 0];
        size_t ld_in = l ? net->deep[l - 1].ld : net->x_ld;
        matrix_backward(c, m, in, ld_in, dy);
        if (ready)
            ready(ctx, m->weight);
        gemm(s->kn, s->pool, c->n, ld_in, m->out, dy, m->ld, s->deep[l].backward, NULL, l ? next : dx, ld_in,
             false);
        float *t = dy;
        dy = next;
        next = t;
    }
}

static void cross_backward_part(void *ctx, int part, int parts)
{
    const struct layer *y = ctx;
    const struct backend_state *s = y->c->s;
    size_t begin, end, ld = s->net->x_ld;
    pool_share(y->c->n, KERNEL_ROW_PAD, part, parts, &begin, &end);
    size_t at = begin * ld;
    s->kn->cross_backward(s->du + at, s->dx0 + at, s->g + at, s->x[0] + at, s->u[y->l] + at,
                          (end - begin) * ld);
}

/* g: gradient of x_{l+1} → of x_l; what concerns x0 and u is added to dx0 and left in du. */
static void cross_backward(const struct chunk *c, size_t l)
{
    struct backend_state *s = c->s;
    const struct network *net = s->net;
    const struct network_cross *k = &net->cross[l];
    pool_run(s->pool, cross_backward_part, &(struct layer){.c = c, .l = l});
    if (k->low_rank) {
        matrix_backward(c, &k->u, s->low[l], k->v.ld, s->du);
        gemm(s->kn, s->pool, c->n, k->v.ld, net->x_width, s->du, net->x_ld, s->cross_b[l].backward, NULL,
             s->dlow, k->v.ld, false);
        matrix_backward(c, &k->v, s->x[l], net->x_ld, s->dlow);
        gemm(s->kn, s->pool, c->n, net->x_ld, k->v.out, s->dlow, k->v.ld, s->cross_a[l].backward, NULL, s->g,
             net->x_ld, true);
    } else {
        matrix_backward(c, &k->full, s->x[l], net->x_ld, s->du);
        gemm(s->kn, s->pool, c->n, net->x_ld, net->x_width, s->du, net->x_ld, s->cross_a[l].backward, NULL,
             s->g, net->x_ld, true);
    }
}

void layers_backward(const struct chunk *c, gradient_ready *ready, void *ctx)
{
    struct backend_state *s = c->s;
    const struct network *net = s->net;
    head_backward(c);
    size_t first = net->head_x ? net->head_x_weight : net->head_deep ? net->head_deep_weight : net->head_bias;
    if (ready)
        ready(ctx, first);
    if (net->x_ld) {
        size_t floats = c->n * net->x_ld;
        if (net->head_deep)
            deep_backward(c, net->stacked ? s->g : s->dx0, ready, ctx);
        if (net->stacked || !net->head_deep)
            memset(s->dx0, 0, floats * sizeof *s->dx0);
        if (net->head_x)
            pool_run(s->pool, outer_part,
                     &(struct rows_job){.c = c,
                                        .l = net->x_ld,
                                        .w = s->weights + net->head_x_weight,
                                        .dx = s->g});
        for (size_t l = net->n_cross; l-- > 0;) {
            cross_backward(c, l);
            if (ready)
                ready(ctx, net->cross[l].low_rank ? net->cross[l].v.weight : net->cross[l].full.weight);
        }
        if (net->head_x || net->stacked)
            s->kn->add(s->dx0, s->g, floats);
    }
    sparse_scatter(c);
}

/* --- what is not finite ------------------------------------------------------------------------------ */

static bool first_bad(const float *x, size_t ld, size_t rows, size_t cols, size_t *ret_row, size_t *ret_col)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < cols; i++)
            if (!isfinite(x[r * ld + i])) {
                *ret_row = r;
                *ret_col = i;
                return true;
            }
    return false;
}

static int diverged(const struct chunk *c, const char *layer, size_t row, size_t unit, struct err *err)
{
    return err_fail(
        err, ERR_INVALID, EXITCODE_DATA, "diverged",
        "training diverged in step %lld: layer %s, unit %zu is not finite for row %lld of the global batch; lower the learning rate or clip gradients",
        (long long)c->b->step, layer, unit, (long long)(c->b->first_row + (int64_t)(c->row0 + row)));
}

int layers_diagnose(const struct chunk *c, struct err *err)
{
    const struct backend_state *s = c->s;
    const struct network *net = s->net;
    size_t row, col;
    if (first_bad(c->b->dense + c->row0 * net->dense_width, net->dense_width, c->n, net->dense_width, &row,
                  &col))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                        "dense input %s is not a finite number in step %lld, row %lld of the global batch",
                        net->dense_names[col], (long long)c->b->step,
                        (long long)(c->b->first_row + (int64_t)(c->row0 + row)));
    if (net->x_ld && first_bad(s->x[0], net->x_ld, c->n, net->x_width, &row, &col)) {
        size_t t = 0;
        while (t + 1 < net->cat_width && net->tables[t + 1].x_offset <= col)
            t++;
        return diverged(c, net->cat_width ? net->tables[t].name : "input", row, col, err);
    }
    for (size_t l = 0; l < net->n_cross; l++)
        if (first_bad(s->x[l + 1], net->x_ld, c->n, net->x_width, &row, &col))
            return diverged(c, net->cross[l].low_rank ? net->cross[l].u.name : net->cross[l].full.name, row,
                            col, err);
    for (size_t l = 0; l < net->n_deep; l++)
        if (first_bad(s->h[l], net->deep[l].ld, c->n, net->deep[l].out, &row, &col))
            return diverged(c, net->deep[l].name, row, col, err);
    if (first_bad(s->z, 1, c->n, 1, &row, &col))
        return diverged(c, "head", row, col, err);
    if (!first_bad(s->loss, 1, c->n, 1, &row, &col))
        row = 0;
    return diverged(c, "loss", row, 0, err);
}
