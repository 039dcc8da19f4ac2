/* The networks once more, in double precision and as plainly as the formulas stand in network.h: what the engine is
 * compared with. Test-only; static functions in a header so that each test stays one file. */
#pragma once

#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "stages/model/backend.h"
#include "stages/model/rng.h"

enum { REF_WIDTH = 256 };

static const char *const ref_dense[] = {"price", "age", "speed"};
static const char *const ref_cat[] = {"item", "hour", "word"};
static const size_t ref_ids[] = {40, 7, 300};

static inline int ref_network(const char *network, const char *embeddings, struct network **ret,
                              struct err *err)
{
    struct network_inputs in = {.n_dense = 3,
                                .n_cat = 3,
                                .dense_names = ref_dense,
                                .cat_names = ref_cat,
                                .cardinalities = ref_ids};
    _cleanup_json_ cJSON *n = cJSON_Parse(network), *e = embeddings ? cJSON_Parse(embeddings) : NULL;
    struct json_path root = {.key = "trainDdp"};
    return network_new(n, e, &root, &in, ret, err);
}

/* A batch of pseudo-random rows. */
struct ref_batch {
    struct batch b;
    float *dense, *label, *weight;
    int32_t *cat;
};

static inline struct ref_batch ref_batch_new(size_t n, uint64_t seed, bool weighted)
{
    struct ref_batch r = {.dense = xcalloc(n * 3, 4),
                          .label = xcalloc(n, 4),
                          .weight = xcalloc(n, 4),
                          .cat = xcalloc(n * 3, 4)};
    for (size_t i = 0; i < n; i++) {
        uint32_t w[4], v[4];
        rng_words(seed, RNG_ROWS, 1, 0, i, w);
        rng_words(seed, RNG_ROWS, 2, 0, i, v);
        for (size_t j = 0; j < 3; j++) {
            r.dense[i * 3 + j] = 2 * rng_unit(w[j]) - 1;
            r.cat[i * 3 + j] = (int32_t)(v[j] % ref_ids[j]);
        }
        r.label[i] = (float)(w[3] & 1);
        r.weight[i] = weighted ? 0.25F + rng_unit(v[3]) : 1;
    }
    r.b = (struct batch){.n = n,
                         .dense = r.dense,
                         .cat = r.cat,
                         .label = r.label,
                         .weight = r.weight,
                         .step = 5,
                         .first_row = 100};
    return r;
}

static inline void ref_batch_free(struct ref_batch *r)
{
    free(r->dense);
    free(r->label);
    free(r->weight);
    free(r->cat);
}

static inline void ref_matrix(const struct network_matrix *m, const double *w, const double *in, double *out)
{
    for (size_t j = 0; j < m->out; j++) {
        out[j] = m->has_bias ? w[m->bias + j] : 0;
        for (size_t i = 0; i < m->in; i++)
            out[j] += in[i] * w[m->weight + i * m->ld + j];
    }
}

static inline bool ref_dropped(const struct network *net, uint64_t seed, const struct batch *b, size_t l,
                               size_t row, size_t unit)
{
    uint32_t words[4];
    rng_words(seed, RNG_DROPOUT, (uint32_t)(l << 20 | unit / 4), (uint32_t)(b->first_row + (int64_t)row),
              (uint64_t)b->step, words);
    return rng_unit(words[unit % 4]) < (float)net->dropout;
}

static inline double ref_logit(const struct network *net, const double *w, const struct batch *b, size_t row,
                               uint64_t seed, bool training)
{
    double x0[REF_WIDTH] = {0}, x[REF_WIDTH] = {0}, u[REF_WIDTH], low[REF_WIDTH], h[REF_WIDTH],
           next[REF_WIDTH];
    double z = w[net->head_bias];
    for (size_t t = 0; t < net->cat_width; t++) {
        const struct network_table *table = &net->tables[t];
        const double *e = w + table->offset + (size_t)b->cat[row * net->cat_width + t] * table->width;
        for (size_t i = 0; i < table->dim; i++)
            x0[table->x_offset + i] = e[i];
        z += table->linear ? e[table->dim] : 0;
    }
    for (size_t i = 0; i < net->dense_width; i++) {
        double v = (double)b->dense[row * net->dense_width + i];
        if (net->x_width)
            x0[net->dense_x_offset + i] = v;
        z += net->linear ? w[net->linear_dense + i] * v : 0;
    }
    memcpy(x, x0, sizeof x);
    for (size_t l = 0; l < net->n_cross; l++) {
        const struct network_cross *c = &net->cross[l];
        if (c->low_rank) {
            ref_matrix(&c->v, w, x, low);
            ref_matrix(&c->u, w, low, u);
        } else {
            ref_matrix(&c->full, w, x, u);
        }
        for (size_t i = 0; i < net->x_width; i++)
            x[i] += x0[i] * u[i];
    }
    memcpy(h, net->stacked ? x : x0, sizeof h);
    for (size_t l = 0; l < net->n_deep; l++) {
        ref_matrix(&net->deep[l], w, h, next);
        for (size_t i = 0; i < net->deep[l].out; i++) {
            double y = next[i] > 0 ? next[i] : 0;
            if (training && net->dropout > 0)
                y = ref_dropped(net, seed, b, l, row, i) ? 0 : y / (1 - net->dropout);
            h[i] = y;
        }
    }
    for (size_t i = 0; net->head_x && i < net->x_width; i++)
        z += x[i] * w[net->head_x_weight + i];
    for (size_t i = 0; net->head_deep && i < net->deep[net->n_deep - 1].out; i++)
        z += h[i] * w[net->head_deep_weight + i];
    return z;
}

static inline double ref_loss(const struct loss *l, double z, double y)
{
    if (l->kind == LOSS_BCE) {
        y = y * (1 - l->label_smoothing) + l->label_smoothing / 2;
        return fmax(z, 0) + log1p(exp(-fabs(z))) - y * z;
    }
    double d = z - y;
    if (l->kind == LOSS_MSE)
        return d * d;
    return fabs(d) <= l->delta ? 0.5 * d * d : l->delta * (fabs(d) - 0.5 * l->delta);
}

static inline double ref_total(const struct network *net, const double *w, const struct batch *b,
                               const struct loss *l, uint64_t seed)
{
    double sum = 0;
    for (size_t r = 0; r < b->n; r++)
        sum += (double)b->weight[r] * ref_loss(l, ref_logit(net, w, b, r, seed, true), (double)b->label[r]);
    return sum;
}

/* Weights with every tensor filled, biases and linear weights too. */
static inline float *ref_weights(const struct network *net, uint64_t seed)
{
    float *w = xcalloc(net->n_total, sizeof *w);
    network_init(net, seed, w);
    for (size_t i = 0, n = network_tensor_count(net); i < n; i++) {
        struct network_tensor t;
        network_tensor(net, i, &t);
        size_t cols = t.cols ? t.cols : 1;
        for (size_t e = 0; e < t.rows * cols; e++) {
            uint32_t words[4];
            rng_words(seed, RNG_ROWS, 77, (uint32_t)i, e, words);
            float *at = w + t.offset + e / cols * t.row_step + e % cols * t.col_step;
            *at = *at * 3 + 0.1F * (2 * rng_unit(words[0]) - 1);
        }
    }
    return w;
}
