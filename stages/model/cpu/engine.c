/* The CPU back end: one arena laid out before the start, batches in chunks: see engine.h and backend.h. */
#include "stages/model/cpu/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/limits.h"

/* Rows of a chunk per thread: with layers of 130 units, x0, u, x and their gradients are about 1.5 MB. */
enum { CHUNK_ROWS = 256, ALIGN = 64 };

/* --- arena ----------------------------------------------------------------------------------------- */

struct arena {
    char *base; /* NULL: only counting */
    size_t used;
};

static void *take(struct arena *a, size_t n, size_t size)
{
    void *p = a->base ? a->base + a->used : NULL;
    a->used += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}
#define FLOATS(n) take(a, n, sizeof(float))

static size_t moments_of(const struct optimizer *o, size_t floats, size_t rows)
{
    switch (o->kind) {
    case OPTIMIZER_SGD:
        return 0;
    case OPTIMIZER_MOMENTUM:
        return kernel_pad(floats);
    case OPTIMIZER_ROWWISE_ADAGRAD:
        return kernel_pad(rows);
    default:
        return 2 * kernel_pad(floats);
    }
}

/* Two moments lie one after the other, each padded. */
static void place_moments(const struct optimizer *o, float **cursor, size_t floats, size_t rows,
                          float **ret_m, float **ret_v)
{
    size_t n = moments_of(o, floats, rows);
    *ret_m = n ? *cursor : NULL;
    *ret_v = n == 2 * kernel_pad(floats) && n ? *cursor + kernel_pad(floats) : NULL;
    *cursor += n;
}

static void lay_out_moments(struct backend_state *s, struct arena *a)
{
    const struct network *net = s->net;
    const struct objective *o = s->o.objective;
    s->optimizer_floats = moments_of(&o->dense, net->n_dense, 0);
    for (size_t t = 0; t < net->cat_width; t++)
        s->optimizer_floats +=
            moments_of(&o->tables, net->tables[t].rows * net->tables[t].width, net->tables[t].rows);
    s->optimizer = FLOATS(s->optimizer_floats);
    s->table_m = take(a, net->cat_width, sizeof *s->table_m);
    s->table_v = take(a, net->cat_width, sizeof *s->table_v);
    if (!a->base)
        return;
    float *cursor = s->optimizer;
    place_moments(&o->dense, &cursor, net->n_dense, 0, &s->dense_m, &s->dense_v);
    for (size_t t = 0; t < net->cat_width; t++)
        place_moments(&o->tables, &cursor, net->tables[t].rows * net->tables[t].width, net->tables[t].rows,
                      &s->table_m[t], &s->table_v[t]);
}

static void lay_out_sparse(struct backend_state *s, struct arena *a)
{
    const struct network *net = s->net;
    s->sparse = take(a, net->cat_width, sizeof *s->sparse);
    s->slots = take(a, s->o.max_rows * net->cat_width, sizeof *s->slots);
    size_t widest = 0;
    for (size_t t = 0; t < net->cat_width; t++) {
        const struct network_table *table = &net->tables[t];
        size_t capacity = table->rows < s->o.max_rows ? table->rows : s->o.max_rows;
        struct sparse_table st = {
            .bitmap = take(a, (table->rows + 63) / 64, sizeof(uint64_t)),
            .slot_of_row = take(a, table->rows, sizeof(int32_t)),
            .rows = take(a, capacity, sizeof(int32_t)),
            .values = FLOATS(capacity * table->width),
            .capacity = capacity,
        };
        if (a->base)
            s->sparse[t] = st;
        widest = table->width > widest ? table->width : widest;
    }
    s->zeros = FLOATS(kernel_pad(widest));
    s->row = FLOATS((size_t)s->o.threads * (kernel_pad(widest) + (size_t)LIMIT_WORKERS * 2));
}

static void pack_space(struct backend_state *s, struct arena *a, struct packed *p,
                       const struct network_matrix *m)
{
    struct packed q = {.forward = FLOATS(gemm_packed_size(m->in, m->ld))};
    if (s->o.training)
        q.backward = FLOATS(gemm_packed_size(m->out, m->in));
    if (a->base)
        *p = q;
}

static void lay_out_layers(struct backend_state *s, struct arena *a)
{
    const struct network *net = s->net;
    size_t rows = s->chunk, widest = net->x_ld, widest_low = 0;
    s->x = take(a, net->n_cross + 1, sizeof *s->x);
    s->u = take(a, net->n_cross, sizeof *s->u);
    s->low = take(a, net->n_cross, sizeof *s->low);
    s->h = take(a, net->n_deep, sizeof *s->h);
    s->cross_a = take(a, net->n_cross, sizeof *s->cross_a);
    s->cross_b = take(a, net->n_cross, sizeof *s->cross_b);
    s->deep = take(a, net->n_deep, sizeof *s->deep);
    for (size_t l = 0; l <= net->n_cross && net->x_ld; l++) {
        float *x = FLOATS(rows * net->x_ld);
        if (a->base)
            s->x[l] = x;
    }
    for (size_t l = 0; l < net->n_cross; l++) {
        const struct network_cross *c = &net->cross[l];
        float *u = FLOATS(rows * net->x_ld), *low = c->low_rank ? FLOATS(rows * c->v.ld) : NULL;
        pack_space(s, a, a->base ? &s->cross_a[l] : NULL, c->low_rank ? &c->v : &c->full);
        if (c->low_rank)
            pack_space(s, a, a->base ? &s->cross_b[l] : NULL, &c->u);
        widest_low = c->low_rank && c->v.ld > widest_low ? c->v.ld : widest_low;
        if (a->base) {
            s->u[l] = u;
            s->low[l] = low;
        }
    }
    for (size_t l = 0; l < net->n_deep; l++) {
        float *h = FLOATS(rows * net->deep[l].ld);
        pack_space(s, a, a->base ? &s->deep[l] : NULL, &net->deep[l]);
        if (a->base)
            s->h[l] = h;
        widest = net->deep[l].ld > widest ? net->deep[l].ld : widest;
    }
    s->z = FLOATS(rows);
    if (!s->o.training)
        return;
    s->loss = FLOATS(rows);
    s->dz = FLOATS(rows);
    s->g = FLOATS(rows * net->x_ld);
    s->du = FLOATS(rows * net->x_ld);
    s->dlow = FLOATS(rows * widest_low);
    s->dx0 = FLOATS(rows * net->x_ld);
    s->dh[0] = FLOATS(rows * widest);
    s->dh[1] = FLOATS(rows * widest);
    s->scratch = FLOATS(gemm_scratch(widest > widest_low ? widest : widest_low));
}

static void lay_out(struct backend_state *s, struct arena *a)
{
    s->weights = FLOATS(s->net->n_total);
    if (s->o.training) {
        s->gradients = FLOATS(s->net->n_dense);
        lay_out_moments(s, a);
        lay_out_sparse(s, a);
    }
    lay_out_layers(s, a);
}

static struct backend_state plan(const struct network *net, const struct backend_options *o)
{
    size_t most = (size_t)CHUNK_ROWS * (size_t)o->threads, rows = o->max_rows < most ? o->max_rows : most;
    struct backend_state s = {.net = net, .o = *o};
    s.chunk = (rows + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    return s;
}

/* --- open and close ---------------------------------------------------------------------------------- */

static size_t cpu_memory(const struct network *net, const struct backend_options *o)
{
    struct backend_state s = plan(net, o);
    struct arena a = {0};
    lay_out(&s, &a);
    return a.used;
}

static void cpu_close(struct backend_state *s)
{
    if (!s)
        return;
    pool_free(s->pool);
    if (s->arena)
        (void)munmap(s->arena, s->arena_bytes);
    free(s);
}

static int cpu_open(const struct network *net, const struct backend_options *o, struct backend_state **ret,
                    struct err *err)
{
    struct backend_state *s = xcalloc(1, sizeof *s);
    *s = plan(net, o);
    s->arena_bytes = cpu_memory(net, o);
    if (kernels_get(o->isa, &s->kn, err) < 0 || pool_new(o->threads, &s->pool, err) < 0) {
        cpu_close(s);
        return -1;
    }
    /* Zero pages: every buffer starts as zeros. */
    void *p = mmap(NULL, s->arena_bytes ? s->arena_bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        size_t bytes = s->arena_bytes;
        cpu_close(s);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "memory",
                        "the network needs %zu MiB, which this process cannot have", bytes >> 20);
    }
    (void)madvise(p, s->arena_bytes, MADV_HUGEPAGE); /* an advice; small pages work too */
    s->arena = p;
    struct arena a = {.base = s->arena};
    lay_out(s, &a);
    *ret = s;
    return 0;
}

static const char *cpu_level(const struct backend_state *s)
{
    return s->kn->name;
}

static size_t cpu_optimizer_floats(const struct backend_state *s)
{
    return s->optimizer_floats;
}

static void cpu_read(const struct backend_state *s, enum backend_part part, float *ret)
{
    if (part == BACKEND_WEIGHTS)
        memcpy(ret, s->weights, s->net->n_total * sizeof *ret);
    else if (s->optimizer_floats)
        memcpy(ret, s->optimizer, s->optimizer_floats * sizeof *ret);
}

static void cpu_write(struct backend_state *s, enum backend_part part, const float *from)
{
    if (part == BACKEND_WEIGHTS)
        memcpy(s->weights, from, s->net->n_total * sizeof *from);
    else if (s->optimizer_floats)
        memcpy(s->optimizer, from, s->optimizer_floats * sizeof *from);
    s->packed_current = false;
}

static uint64_t cpu_hash(const struct backend_state *s, uint64_t seed)
{
    uint64_t h = xxh64(s->weights, s->net->n_total * sizeof *s->weights, seed);
    return s->optimizer_floats ? xxh64(s->optimizer, s->optimizer_floats * sizeof *s->optimizer, h) : h;
}

/* --- batches --------------------------------------------------------------------------------------- */

static int check_ids(const struct backend_state *s, const struct batch *b, struct err *err)
{
    const struct network *net = s->net;
    for (size_t t = 0; t < net->cat_width; t++) {
        uint32_t rows = (uint32_t)net->tables[t].rows;
        bool bad = false;
        for (size_t r = 0; r < b->n; r++)
            bad |= (uint32_t)b->cat[r * net->cat_width + t] >= rows;
        for (size_t r = 0; bad && r < b->n; r++)
            if ((uint32_t)b->cat[r * net->cat_width + t] >= rows)
                return err_fail(
                    err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                    "categorical input %s: expected an id from 0 to %u, found %d in row %zu of the batch of step %lld",
                    net->tables[t].name, rows - 1, b->cat[r * net->cat_width + t], r, (long long)b->step);
    }
    return 0;
}

static int check_labels(const struct backend_state *s, const struct batch *b, struct err *err)
{
    bool bce = s->o.objective->loss.kind == LOSS_BCE;
    for (size_t r = 0; r < b->n; r++) {
        float y = b->label[r], w = b->weight[r];
        if (!isfinite(y) || (bce && !(y >= 0 && y <= 1)))
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                            "label: expected %s, found %g in row %lld of the global batch of step %lld",
                            bce ? "0 to 1 for loss bce" : "a finite number", (double)y,
                            (long long)(b->first_row + (int64_t)r), (long long)b->step);
        if (!(w >= 0 && isfinite(w)))
            return err_fail(
                err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                "weight: expected 0 or more, found %g in row %lld of the global batch of step %lld",
                (double)w, (long long)(b->first_row + (int64_t)r), (long long)b->step);
    }
    return 0;
}

/* Loss per row and its derivative by the logit. */
static void loss_of_chunk(const struct chunk *c)
{
    struct backend_state *s = c->s;
    const struct loss *l = &s->o.objective->loss;
    const float *y = c->b->label + c->row0, *w = c->b->weight + c->row0;
    if (l->kind == LOSS_BCE) {
        s->kn->bce(s->z, y, w, (float)l->label_smoothing, s->dz, s->loss, c->n);
        return;
    }
    float delta = l->kind == LOSS_HUBER ? (float)l->delta : INFINITY;
    for (size_t r = 0; r < c->n; r++) {
        float d = s->z[r] - y[r], a = fabsf(d);
        if (l->kind == LOSS_MSE) {
            s->loss[r] = w[r] * d * d;
            s->dz[r] = w[r] * 2 * d;
        } else {
            s->loss[r] = w[r] * (a <= delta ? 0.5F * d * d : delta * (a - 0.5F * delta));
            s->dz[r] = w[r] * (a <= delta ? d : copysignf(delta, d));
        }
    }
}

static int cpu_train(struct backend_state *s, const struct batch *b, gradient_ready *ready, void *ctx,
                     struct train_sums *ret, struct err *err)
{
    if (b->n > s->o.max_rows)
        BUG("batch of %zu rows, opened for %zu", b->n, s->o.max_rows);
    if (check_ids(s, b, err) < 0 || check_labels(s, b, err) < 0)
        return -1;
    if (!s->packed_current)
        layers_pack(s, true);
    s->packed_current = true;
    memset(s->gradients, 0, s->net->n_dense * sizeof *s->gradients);
    sparse_begin(s, b);
    struct train_sums sums = {0};
    for (size_t row = 0; row < b->n; row += s->chunk) {
        struct chunk c = {.s = s,
                          .b = b,
                          .row0 = row,
                          .n = b->n - row < s->chunk ? b->n - row : s->chunk,
                          .training = true};
        layers_forward(&c);
        loss_of_chunk(&c);
        double loss = 0;
        for (size_t r = 0; r < c.n; r++) {
            loss += (double)s->loss[r];
            sums.weight += (double)b->weight[row + r];
        }
        if (!isfinite(loss))
            return layers_diagnose(&c, err);
        sums.loss += loss;
        bool last = row + c.n == b->n;
        layers_backward(&c, last ? ready : NULL, ctx);
    }
    if (ready)
        ready(ctx, 0);
    *ret = sums;
    return 0;
}

static float *cpu_gradients(struct backend_state *s)
{
    return s->gradients;
}

static void cpu_table_rows(struct backend_state *s, struct sparse_rows *ret)
{
    for (size_t t = 0; t < s->net->cat_width; t++)
        ret[t] = (struct sparse_rows){.n = s->sparse[t].n,
                                      .rows = s->sparse[t].rows,
                                      .values = s->sparse[t].values};
}

static int cpu_score(struct backend_state *s, const struct batch *b, enum loss_kind loss, float *ret,
                     struct err *err)
{
    if (check_ids(s, b, err) < 0)
        return -1;
    if (!s->packed_current)
        layers_pack(s, s->o.training);
    s->packed_current = true;
    for (size_t row = 0; row < b->n; row += s->chunk) {
        struct chunk c = {.s = s, .b = b, .row0 = row, .n = b->n - row < s->chunk ? b->n - row : s->chunk};
        layers_forward(&c);
        if (loss == LOSS_BCE)
            s->kn->sigmoid(s->z, ret + row, c.n);
        else
            memcpy(ret + row, s->z, c.n * sizeof *ret);
    }
    return 0;
}

const struct backend backend_cpu = {
    .name = "cpu",
    .memory = cpu_memory,
    .open = cpu_open,
    .close = cpu_close,
    .level = cpu_level,
    .optimizer_floats = cpu_optimizer_floats,
    .read = cpu_read,
    .write = cpu_write,
    .hash = cpu_hash,
    .train = cpu_train,
    .gradients = cpu_gradients,
    .table_rows = cpu_table_rows,
    .apply = engine_apply,
    .score = cpu_score,
};
