/* One optimiser step: dense parameters, then the touched rows of every table. Sums over workers in rank order, the
 * gradient norm over fixed blocks. */
#include <math.h>
#include <string.h>

#include "stages/model/cpu/engine.h"

enum { NORM_BLOCK = 4096 };

static double gradient_norm(const struct backend_state *s, double scale)
{
    double sum = 0;
    for (size_t i = 0; i < s->net->n_dense; i += NORM_BLOCK) {
        size_t n = s->net->n_dense - i < NORM_BLOCK ? s->net->n_dense - i : NORM_BLOCK;
        sum += (double)s->kn->sumsq(s->gradients + i, n, (float)scale);
    }
    return sqrt(sum);
}

/* Step t counts from 1, as in torch.optim. */
static struct adam_step adam_numbers(const struct optimizer *o, double lr, int64_t t, double scale)
{
    double bias1 = 1 - pow(o->beta1, (double)t), bias2 = 1 - pow(o->beta2, (double)t);
    struct adam_step s = {.beta1 = (float)o->beta1,
                          .beta2 = (float)o->beta2,
                          .eps = (float)o->eps,
                          .decay = 1,
                          .scale = (float)scale};
    if (o->kind == OPTIMIZER_SPARSE_ADAM) {
        s.step_size = (float)(lr * sqrt(bias2) / bias1);
        s.inv_sqrt_bias2 = 1;
    } else {
        s.step_size = (float)(lr / bias1);
        s.inv_sqrt_bias2 = (float)(1 / sqrt(bias2));
        if (o->kind == OPTIMIZER_ADAMW)
            s.decay = (float)(1 - lr * o->weight_decay);
        else
            s.l2 = (float)o->weight_decay;
    }
    return s;
}

/* Everything an update of some floats needs; m and v are where their moments lie. */
struct update {
    const struct kernels *kn;
    const struct optimizer *o;
    struct adam_step adam;
    double lr, scale;
};

static void update_floats(const struct update *u, float *w, float *m, float *v, const float *g, size_t n)
{
    switch (u->o->kind) {
    case OPTIMIZER_SGD:
        u->kn->sgd(w, g, n, (float)u->lr, (float)u->o->weight_decay, (float)u->scale);
        break;
    case OPTIMIZER_MOMENTUM:
        u->kn->momentum(w, m, g, n, (float)u->lr, (float)u->o->momentum, (float)u->o->weight_decay,
                        (float)u->scale);
        break;
    case OPTIMIZER_ROWWISE_ADAGRAD: /* one sum a row: m is it */
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): this kind has m, see optimizer state */
        *m += u->kn->sumsq(g, n, (float)u->scale) / (float)n;
        u->kn->sgd(w, g, n, (float)(u->lr / (sqrt((double)*m) + u->o->eps)), 0, (float)u->scale);
        break;
    default:
        u->kn->adam(w, m, v, g, n, &u->adam);
    }
}

static struct update make_update(const struct backend_state *s, const struct optimizer *o,
                                 const struct apply *a, double scale)
{
    double lr = o->lr * a->lr_factor;
    return (struct update){.kn = s->kn,
                           .o = o,
                           .lr = lr,
                           .scale = scale,
                           .adam = adam_numbers(o, lr, a->step + 1, scale)};
}

struct dense_job {
    struct backend_state *s;
    struct update u;
};

static void dense_part(void *ctx, int part, int parts)
{
    const struct dense_job *j = ctx;
    struct backend_state *s = j->s;
    size_t begin, end;
    pool_share(s->net->n_dense, KERNEL_LANES, part, parts, &begin, &end);
    update_floats(&j->u, s->weights + begin, s->dense_m ? s->dense_m + begin : NULL,
                  s->dense_v ? s->dense_v + begin : NULL, s->gradients + begin, end - begin);
}

/* --- tables ---------------------------------------------------------------------------------------- */

struct tables_job {
    struct backend_state *s;
    const struct apply *a;
    struct update u;
};

static void update_row(const struct tables_job *j, size_t t, size_t row, const float *g)
{
    struct backend_state *s = j->s;
    const struct network_table *table = &s->net->tables[t];
    size_t at = row * table->width;
    float *m = s->table_m[t], *v = s->table_v[t];
    if (m)
        m += j->u.o->kind == OPTIMIZER_ROWWISE_ADAGRAD ? row : at;
    update_floats(&j->u, s->weights + table->offset + at, m, v ? v + at : NULL, g, table->width);
}

/* First position whose row is not below `row`. */
static size_t lower_bound(const struct sparse_rows *r, size_t row)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((size_t)r->rows[mid] < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Rows [begin, end) of a table: a merge of the workers' ascending lists. A dense optimiser also visits rows between. */
static void update_range(const struct tables_job *j, size_t t, size_t begin, size_t end, float *sum,
                         const float *zeros, size_t *cursor)
{
    const struct backend_state *s = j->s;
    size_t workers = j->a->workers, cats = s->net->cat_width, width = s->net->tables[t].width;
    enum optimizer_kind kind = j->u.o->kind;
    bool visit_all = kind == OPTIMIZER_ADAM || kind == OPTIMIZER_ADAMW || kind == OPTIMIZER_MOMENTUM ||
                     (kind == OPTIMIZER_SGD && j->u.o->weight_decay > 0);
    for (size_t w = 0; w < workers; w++)
        cursor[w] = lower_bound(&j->a->tables[w * cats + t], begin);
    for (size_t next = begin;;) {
        size_t row = end;
        for (size_t w = 0; w < workers; w++) {
            const struct sparse_rows *r = &j->a->tables[w * cats + t];
            if (cursor[w] < r->n && (size_t)r->rows[cursor[w]] < row)
                row = (size_t)r->rows[cursor[w]];
        }
        for (; visit_all && next < row; next++)
            update_row(j, t, next, zeros);
        if (row == end)
            return;
        const float *g = NULL;
        for (size_t w = 0; w < workers; w++) {
            const struct sparse_rows *r = &j->a->tables[w * cats + t];
            if (cursor[w] == r->n || (size_t)r->rows[cursor[w]] != row)
                continue;
            const float *values = r->values + cursor[w]++ * width;
            if (!g) {
                g = values;
            } else {
                if (g != sum)
                    s->kn->copy(sum, g, width);
                s->kn->accumulate(sum, values, width);
                g = sum;
            }
        }
        update_row(j, t, row, g);
        next = row + 1;
    }
}

static void tables_part(void *ctx, int part, int parts)
{
    const struct tables_job *j = ctx;
    const struct network *net = j->s->net;
    size_t widest = 0;
    for (size_t t = 0; t < net->cat_width; t++)
        widest = net->tables[t].width > widest ? net->tables[t].width : widest;
    widest = kernel_pad(widest);
    float *mine = j->s->row + (size_t)part * (widest + j->a->workers * (sizeof(size_t) / sizeof(float)));
    size_t *cursor = (size_t *)(void *)mine;
    float *sum = mine + j->a->workers * (sizeof(size_t) / sizeof(float));
    const float *zeros = j->s->zeros;
    for (size_t t = 0; t < net->cat_width; t++) {
        size_t begin, end;
        pool_share(net->tables[t].rows, 1, part, parts, &begin, &end);
        update_range(j, t, begin, end, sum, zeros, cursor);
    }
}

int engine_apply(struct backend_state *s, const struct apply *a, double *ret_norm, struct err *err)
{
    const struct objective *o = s->o.objective;
    double scale = a->weight > 0 ? 1 / a->weight : 0;
    double norm = gradient_norm(s, scale);
    if (!isfinite(norm)) {
        size_t at = 0;
        while (at < s->net->n_dense && isfinite(s->gradients[at]))
            at++;
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "diverged",
            "training diverged in step %lld: the gradient of layer %s is not finite; lower the learning rate or set clip.globalNorm",
            (long long)a->step, network_layer_of(s->net, at));
    }
    double clip = o->clip_norm > 0 && norm > o->clip_norm ? o->clip_norm / (norm + 1e-6) : 1;
    struct dense_job dense = {.s = s, .u = make_update(s, &o->dense, a, scale * clip)};
    pool_run(s->pool, dense_part, &dense);
    if (s->net->cat_width) {
        struct tables_job tables = {.s = s, .a = a, .u = make_update(s, &o->tables, a, scale)};
        pool_run(s->pool, tables_part, &tables);
    }
    s->packed_current = false;
    *ret_norm = norm;
    return 0;
}
