/* The weights of a network as named tensors, and their starting values: see network.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "stages/model/network.h"
#include "stages/model/rng.h"

#define MATRIX_TENSORS(m) ((m)->has_bias ? 2U : 1U)

static size_t cross_tensors(const struct network_cross *c)
{
    return c->low_rank ? MATRIX_TENSORS(&c->v) + MATRIX_TENSORS(&c->u) : MATRIX_TENSORS(&c->full);
}

static size_t head_tensors(const struct network *n)
{
    return (n->head_x ? 1U : 0U) + (n->head_deep ? 1U : 0U) + 1U + (n->linear && n->dense_width ? 1U : 0U);
}

static size_t table_tensors(const struct network_table *t)
{
    return (t->dim ? 1U : 0U) + (t->linear ? 1U : 0U);
}

size_t network_tensor_count(const struct network *n)
{
    size_t count = head_tensors(n);
    for (size_t i = 0; i < n->n_cross; i++)
        count += cross_tensors(&n->cross[i]);
    for (size_t i = 0; i < n->n_deep; i++)
        count += MATRIX_TENSORS(&n->deep[i]);
    for (size_t i = 0; i < n->cat_width; i++)
        count += table_tensors(&n->tables[i]);
    return count;
}

/* A low-rank pair is one layer, "cross.0", whose tensors are v, u and bias. */
static void matrix_tensor(const struct network_matrix *m, size_t i, struct network_tensor *ret)
{
    size_t len = strlen(m->name);
    bool factor = len > 2 && m->name[len - 2] == '.' && (m->name[len - 1] == 'u' || m->name[len - 1] == 'v');
    if (i == 0) {
        *ret = (struct network_tensor){.rows = m->out,
                                       .cols = m->in,
                                       .offset = m->weight,
                                       .row_step = 1,
                                       .col_step = m->ld};
        (void)snprintf(ret->name, sizeof ret->name, "%s%s", m->name, factor ? "" : ".weight");
    } else {
        *ret = (struct network_tensor){.rows = m->out, .offset = m->bias, .row_step = 1};
        (void)snprintf(ret->name, sizeof ret->name, "%.*s.bias", (int)(factor ? len - 2 : len), m->name);
    }
}

static void vector_tensor(const char *name, size_t offset, size_t width, struct network_tensor *ret)
{
    *ret = (struct network_tensor){.rows = width, .offset = offset, .row_step = 1};
    (void)snprintf(ret->name, sizeof ret->name, "%s", name);
}

static void table_tensor(const struct network_table *t, bool linear, struct network_tensor *ret)
{
    *ret = (struct network_tensor){.rows = t->rows,
                                   .cols = linear ? 0 : t->dim,
                                   .offset = t->offset + (linear ? t->dim : 0),
                                   .row_step = t->width,
                                   .col_step = 1};
    (void)snprintf(ret->name, sizeof ret->name, "%s.%s.weight", linear ? "linear" : "embedding", t->name);
}

static void head_tensor(const struct network *n, size_t i, struct network_tensor *ret)
{
    if (n->head_x && i-- == 0)
        vector_tensor("head.cross.weight", n->head_x_weight, n->x_width, ret);
    else if (n->head_deep && i-- == 0)
        vector_tensor("head.deep.weight", n->head_deep_weight, n->deep[n->n_deep - 1].out, ret);
    else if (i-- == 0)
        vector_tensor("head.bias", n->head_bias, 1, ret);
    else
        vector_tensor("linear.dense.weight", n->linear_dense, n->dense_width, ret);
}

void network_tensor(const struct network *n, size_t i, struct network_tensor *ret)
{
    for (size_t l = 0; l < n->n_cross; l++) {
        const struct network_cross *c = &n->cross[l];
        size_t count = cross_tensors(c);
        if (i < count) {
            if (!c->low_rank)
                matrix_tensor(&c->full, i, ret);
            else if (i == 0)
                matrix_tensor(&c->v, 0, ret);
            else
                matrix_tensor(&c->u, i - 1, ret);
            return;
        }
        i -= count;
    }
    for (size_t l = 0; l < n->n_deep; l++) {
        if (i < 2) {
            matrix_tensor(&n->deep[l], i, ret);
            return;
        }
        i -= 2;
    }
    if (i < head_tensors(n)) {
        head_tensor(n, i, ret);
        return;
    }
    i -= head_tensors(n);
    for (size_t t = 0; t < n->cat_width; t++) {
        size_t count = table_tensors(&n->tables[t]);
        if (i < count) {
            table_tensor(&n->tables[t], i > 0 || !n->tables[t].dim, ret);
            return;
        }
        i -= count;
    }
}

void network_tensor_get(const struct network_tensor *t, const float *weights, float *ret)
{
    size_t cols = t->cols ? t->cols : 1;
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < cols; j++)
            *ret++ = weights[t->offset + i * t->row_step + j * t->col_step];
}

void network_tensor_set(const struct network_tensor *t, const float *values, float *weights)
{
    size_t cols = t->cols ? t->cols : 1;
    for (size_t i = 0; i < t->rows; i++)
        for (size_t j = 0; j < cols; j++)
            weights[t->offset + i * t->row_step + j * t->col_step] = *values++;
}

const char *network_layer_of(const struct network *n, size_t offset)
{
    const char *name = "head";
    for (size_t l = 0; l < n->n_cross; l++) {
        const struct network_cross *c = &n->cross[l];
        const struct network_matrix *last = c->low_rank ? &c->u : &c->full;
        if (offset < last->bias + last->ld)
            return c->low_rank && offset < c->u.weight ? c->v.name : last->name;
    }
    for (size_t l = 0; l < n->n_deep; l++)
        if (offset < n->deep[l].bias + n->deep[l].ld)
            return n->deep[l].name;
    for (size_t t = 0; t < n->cat_width; t++)
        if (offset >= n->tables[t].offset)
            name = n->tables[t].name;
    return name;
}

/* --- starting values ------------------------------------------------------------------------------ */

/* Element e of tensor t: word e mod 4 of block e / 4, so the values depend on nothing but (seed, t, e). */
static void fill_uniform(const struct network_tensor *t, uint64_t seed, uint32_t index, double bound,
                         float *weights)
{
    size_t cols = t->cols ? t->cols : 1;
    uint32_t words[4] = {0};
    for (size_t e = 0; e < t->rows * cols; e++) {
        if (e % 4 == 0)
            rng_words(seed, RNG_INIT, index, 0, e / 4, words);
        float u = rng_unit(words[e % 4]);
        weights[t->offset + e / cols * t->row_step + e % cols * t->col_step] =
            (float)bound * (2.0F * u - 1.0F);
    }
}

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

void network_init(const struct network *n, uint64_t seed, float *weights)
{
    memset(weights, 0, n->n_total * sizeof *weights);
    const cJSON *embeddings = cJSON_GetObjectItemCaseSensitive(n->description, "embeddings");
    double scale = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(embeddings, "initScale"));
    size_t count = network_tensor_count(n);
    for (size_t i = 0; i < count; i++) {
        struct network_tensor t;
        network_tensor(n, i, &t);
        double bound;
        if (starts(t.name, "embedding."))
            bound = scale * sqrt(3.0); /* whose deviation is `scale` */
        else if (starts(t.name, "deep.") && t.cols)
            bound = sqrt(6.0 / (double)t.cols);
        else if (starts(t.name, "cross.") && t.cols)
            bound = sqrt(6.0 / (double)(t.cols + t.rows));
        else if (starts(t.name, "head.") && t.rows > 1)
            bound = sqrt(6.0 / (double)(t.rows + 1));
        else
            continue;
        fill_uniform(&t, seed, (uint32_t)i, bound, weights);
    }
}
