/* What is trained: a network description (manifest: trainDdp.network, .embeddings) applied to the inputs of a feature
 * spec, laid out as one array of floats.
 *
 * Input of a row: x0 = [embedding of categorical 0 | … | dense features], padded with zeros to a multiple of 16.
 *   logistic  z = bias + w·dense + Σ linear[cat]
 *   mlp       z = bias + head·deep(x0)
 *   dcnV2     cross: x_{l+1} = x0 ⊙ (W_l x_l + b_l) + x_l, with rank n: W = U·Vᵀ (Wang et al., "DCN V2", WWW 2021);
 *             parallel: z = bias + head·[x_L | deep(x0)]; stacked: z = bias + head·deep(x_L); linearTerm adds logistic's sum.
 * deep = (matrix, bias, ReLU, dropout) per width. Weights are the score's only parameters, so any server can rebuild it.
 *
 * Layout: dense parameters first ([0, n_dense): cross layers, deep layers, head: the order in which a forward pass meets
 * them, so that a backward pass completes gradients from the end), then the tables. A matrix is in × ld(out); a table
 * row holds the embedding and, with a linear term, one weight more. Padding is zero and stays zero. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/base/json.h"

enum network_kind { NETWORK_LOGISTIC, NETWORK_MLP, NETWORK_DCN_V2 };

struct network_table {
    char *name;
    size_t rows, dim, width; /* width = dim + 1 with a linear weight */
    size_t offset;           /* in the weights */
    size_t x_offset;         /* column of x0 */
    bool linear;
};

struct network_matrix {
    char name[48];
    size_t in, out, ld;
    size_t weight, bias; /* offsets */
    bool has_bias;
};

struct network_cross {
    bool low_rank;
    struct network_matrix full; /* or, low rank: */
    struct network_matrix v, u; /* x → rank, without bias; rank → x */
};

/* What a network is applied to. Strings are copied. */
struct network_inputs {
    size_t n_dense, n_cat;
    const char *const *dense_names;
    const char *const *cat_names;
    const size_t *cardinalities;
};

struct network {
    enum network_kind kind;
    bool stacked, linear;
    double dropout;
    size_t dense_width, cat_width;
    char **dense_names;
    struct network_table *tables; /* [cat_width] */
    size_t x_width, x_ld, dense_x_offset;
    size_t n_cross, n_deep;
    struct network_cross *cross;
    struct network_matrix *deep;
    bool head_x, head_deep;                                          /* which parts the head sees */
    size_t head_x_weight, head_deep_weight, head_bias, linear_dense; /* offsets */
    size_t n_dense, n_total;                                         /* floats */
    cJSON *description; /* {"network": …, "embeddings": …} with every default written out */
};

/* Fields outside logistic, mlp, dcnV2 are a clear error (exit 78). embeddings may be NULL. */
int network_new(const cJSON *description, const cJSON *embeddings, const struct json_path *path,
                const struct network_inputs *inputs, struct network **ret, struct err *err);
struct network *network_free(struct network *n);

/* Starting weights, a function of the seed: embeddings uniform with deviation initScale, matrices uniform in ±sqrt(6 / in) before a ReLU (He)
 * and ±sqrt(6 / (in + out)) elsewhere (Glorot), biases and linear weights 0. */
void network_init(const struct network *n, uint64_t seed, float *weights);

/* The weights as named tensors, as PyTorch would name and shape them (matrices [out, in]). */
struct network_tensor {
    char name[192];
    size_t rows, cols;                 /* cols 0: one-dimensional [rows] */
    size_t offset, row_step, col_step; /* element (i, j) at weights[offset + i·row_step + j·col_step] */
};
size_t network_tensor_count(const struct network *n);
void network_tensor(const struct network *n, size_t i, struct network_tensor *ret);
/* Between the weights and a packed row-major array of the tensor. */
void network_tensor_get(const struct network_tensor *t, const float *weights, float *ret);
void network_tensor_set(const struct network_tensor *t, const float *values, float *weights);
/* The name of the layer that holds a parameter's offset, for messages. */
const char *network_layer_of(const struct network *n, size_t offset);

DEFINE_CLEANUP(struct network *, network_free);
#define _cleanup_network_ CLEANUP(network_free_cleanup)
