/* Network descriptions and the layout of weights: see network.h. Tensor names and values: network_tensors.c. */
#include "stages/model/network.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { LANES = 16, MAX_LAYERS = 64, MAX_WIDTH = 65536, MAX_DIM = 4096, DEFAULT_DIM = 16 };
static const double default_init_scale = 0.05;

static size_t pad(size_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* --- decoding ------------------------------------------------------------------------------------ */

struct decoder {
    struct network *net;
    const struct network_inputs *inputs;
    const struct json_path *path; /* of what holds network and embeddings */
    cJSON *network;               /* resolved description, being written */
    cJSON *embeddings;
    int64_t deep[MAX_LAYERS], rank; /* rank 0: full */
};

static int only_option(const struct json_path *path, const cJSON *o, const char *what, const char *allowed,
                       struct err *err)
{
    return json_bad_config(path, NULL, err, "expected exactly one %s (%s), found %d keys", what, allowed,
                           cJSON_IsObject(o) ? cJSON_GetArraySize(o) : 0);
}

static int decode_deep(struct decoder *d, const cJSON *o, const struct json_path *path, const char *key,
                       bool required, struct err *err)
{
    const cJSON *list = NULL;
    if ((required ? json_get_array(o, path, key, &list, err) : json_get_array_or(o, path, key, &list, err)) <
        0)
        return -1;
    struct json_path list_path = {.parent = path, .key = key};
    cJSON *resolved = json_array();
    json_add(d->network, key, resolved);
    const cJSON *item;
    size_t n = 0;
    cJSON_ArrayForEach(item, list)
    {
        double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (n == MAX_LAYERS || v < 1 || v > MAX_WIDTH || v != (double)(int64_t)v)
            return json_bad_config(&list_path, NULL, err,
                                   "expected at most %d widths from 1 to %d, found %s at position %zu",
                                   MAX_LAYERS, MAX_WIDTH,
                                   cJSON_IsNumber(item) ? "another number" : "something else", n);
        d->deep[n++] = (int64_t)v;
        json_append(resolved, cJSON_CreateNumber(v));
    }
    if (required && !n)
        return json_bad_config(&list_path, NULL, err, "expected one width or more, found none");
    d->net->n_deep = n;
    return 0;
}

static int decode_hidden_options(struct decoder *d, const cJSON *o, const struct json_path *path,
                                 struct err *err)
{
    const char *activation;
    if (json_get_string_or(o, path, "activation", "relu", &activation, err) < 0 ||
        json_get_double_or(o, path, "dropout", 0, &d->net->dropout, err) < 0)
        return -1;
    if (strcmp(activation, "relu") != 0)
        return json_bad_config(path, "activation", err, "expected relu, found \"%s\"", activation);
    if (!(d->net->dropout >= 0 && d->net->dropout < 1))
        return json_bad_config(path, "dropout", err, "expected 0 or more and below 1, found %g",
                               d->net->dropout);
    json_add_string(d->network, "activation", activation);
    json_add_double(d->network, "dropout", d->net->dropout);
    return 0;
}

static int decode_mlp(struct decoder *d, const cJSON *o, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"deep", "hidden", "activation", "dropout", "linearTerm", NULL};
    d->net->kind = NETWORK_MLP;
    const char *widths = cJSON_HasObjectItem(o, "hidden") ? "hidden" : "deep";
    if (json_only_keys(o, path, keys, err) < 0 || decode_deep(d, o, path, widths, true, err) < 0 ||
        decode_hidden_options(d, o, path, err) < 0 ||
        json_get_bool_or(o, path, "linearTerm", false, &d->net->linear, err) < 0)
        return -1;
    json_add_bool(d->network, "linearTerm", d->net->linear);
    return 0;
}

static int decode_rank(struct decoder *d, const cJSON *o, const struct json_path *path, struct err *err)
{
    const cJSON *rank = cJSON_GetObjectItemCaseSensitive(o, "rank");
    d->rank = 0;
    if (!rank || (cJSON_IsString(rank) && strcmp(rank->valuestring, "full") == 0)) {
        json_add_string(d->network, "rank", "full");
        return 0;
    }
    /* A number, also as text: the field is int-or-string in the schema. */
    int64_t v = 0;
    struct err ignored = ERR_INIT;
    if (cJSON_IsNumber(rank) && rank->valuedouble == (double)(int64_t)rank->valuedouble)
        v = (int64_t)rank->valuedouble;
    else if (cJSON_IsString(rank) && text_parse_int(rank->valuestring, &v, &ignored) < 0)
        v = 0;
    if (v < 1 || v > MAX_WIDTH) {
        return json_bad_config(path, "rank", err, "expected \"full\" or a whole number from 1 to %d",
                               MAX_WIDTH);
    }
    d->rank = v;
    json_add_int(d->network, "rank", v);
    return 0;
}

static int decode_dcn(struct decoder *d, const cJSON *o, const struct json_path *path, struct err *err)
{
    static const char *const keys[] = {"crossLayers", "rank",      "deep",       "activation",
                                       "dropout",     "structure", "linearTerm", NULL};
    struct network *net = d->net;
    net->kind = NETWORK_DCN_V2;
    int64_t layers;
    const char *structure;
    if (json_only_keys(o, path, keys, err) < 0 ||
        json_get_int_in(o, path, "crossLayers", 2, 0, MAX_LAYERS, &layers, err) < 0 ||
        decode_rank(d, o, path, err) < 0 || decode_deep(d, o, path, "deep", false, err) < 0 ||
        decode_hidden_options(d, o, path, err) < 0 ||
        json_get_string_or(o, path, "structure", "parallel", &structure, err) < 0 ||
        json_get_bool_or(o, path, "linearTerm", true, &net->linear, err) < 0)
        return -1;
    if (strcmp(structure, "parallel") != 0 && strcmp(structure, "stacked") != 0)
        return json_bad_config(path, "structure", err, "expected parallel or stacked, found \"%s\"",
                               structure);
    net->stacked = strcmp(structure, "stacked") == 0 && net->n_deep;
    net->n_cross = (size_t)layers;
    json_add_int(d->network, "crossLayers", layers);
    json_add_string(d->network, "structure", structure);
    json_add_bool(d->network, "linearTerm", net->linear);
    return 0;
}

static int decode_network(struct decoder *d, const cJSON *description, struct err *err)
{
    static const char *const known[] = {"logistic", "mlp", "dcnV2", NULL};
    struct json_path path = {.parent = d->path, .key = "network"};
    if (!cJSON_IsObject(description) || cJSON_GetArraySize(description) != 1)
        return only_option(&path, description, "network", "logistic, mlp or dcnV2", err);
    const cJSON *body = description->child;
    struct json_path body_path = {.parent = &path, .key = body->string};
    bool is_known = false;
    for (size_t i = 0; known[i]; i++)
        is_known |= strcmp(body->string, known[i]) == 0;
    if (!is_known) {
        const char *nearest = text_nearest(body->string, known);
        return json_bad_config(&path, NULL, err,
                               "this version trains logistic, mlp and dcnV2; found \"%s\"%s%s%s",
                               body->string, nearest ? " (did you mean " : "", nearest ? nearest : "",
                               nearest ? "?)" : "");
    }
    if (!cJSON_IsObject(body)) {
        return json_bad_config(&body_path, NULL, err, "expected an object");
    }
    if (strcmp(body->string, "mlp") == 0)
        return decode_mlp(d, body, &body_path, err);
    if (strcmp(body->string, "dcnV2") == 0)
        return decode_dcn(d, body, &body_path, err);
    static const char *const none[] = {NULL};
    d->net->kind = NETWORK_LOGISTIC;
    d->net->linear = true;
    return json_only_keys(body, &body_path, none, err);
}

/* Widths of the tables. Logistic has none: only linear weights. */
static int decode_embeddings(struct decoder *d, const cJSON *o, struct err *err)
{
    static const char *const keys[] = {"default", "perFeature", "initScale", NULL};
    struct json_path path = {.parent = d->path, .key = "embeddings"};
    int64_t fallback = DEFAULT_DIM;
    double scale = default_init_scale;
    const cJSON *per = NULL;
    if (o && (json_only_keys(o, &path, keys, err) < 0 ||
              json_get_int_in(o, &path, "default", DEFAULT_DIM, 1, MAX_DIM, &fallback, err) < 0 ||
              json_get_double_or(o, &path, "initScale", default_init_scale, &scale, err) < 0 ||
              json_get_object_or(o, &path, "perFeature", &per, err) < 0))
        return -1;
    if (!(scale >= 0 && scale <= 100))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "embeddings.initScale: expected 0 to 100, found %g", scale);
    struct json_path per_path = {.parent = &path, .key = "perFeature"};
    const cJSON *item;
    cJSON_ArrayForEach(item, per)
    {
        bool found = false;
        for (size_t i = 0; i < d->inputs->n_cat; i++)
            found |= strcmp(item->string, d->inputs->cat_names[i]) == 0;
        if (!found)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                            "embeddings.perFeature.%s: no categorical feature has this name", item->string);
    }
    cJSON *resolved = json_object();
    for (size_t i = 0; i < d->inputs->n_cat; i++) {
        struct network_table *t = &d->net->tables[i];
        int64_t dim = fallback;
        if (per && json_get_int_in(per, &per_path, t->name, fallback, 1, MAX_DIM, &dim, err) < 0) {
            cJSON_Delete(resolved);
            return -1;
        }
        t->dim = d->net->kind == NETWORK_LOGISTIC ? 0 : (size_t)dim;
        json_add_int(resolved, t->name, dim);
    }
    json_add_int(d->embeddings, "default", fallback);
    json_add_double(d->embeddings, "initScale", scale);
    json_add(d->embeddings, "perFeature", resolved);
    return 0;
}

/* --- layout -------------------------------------------------------------------------------------- */

static void add_matrix(struct network *n, struct network_matrix *m, size_t in, size_t out, bool bias,
                       const char *kind, size_t index, const char *part)
{
    (void)snprintf(m->name, sizeof m->name, "%s.%zu%s", kind, index, part);
    m->in = in;
    m->out = out;
    m->ld = pad(out);
    m->weight = n->n_dense;
    n->n_dense += in * m->ld;
    m->has_bias = bias;
    m->bias = n->n_dense;
    n->n_dense += bias ? m->ld : 0;
}

static size_t add_vector(struct network *n, size_t width)
{
    size_t at = n->n_dense;
    n->n_dense += pad(width);
    return at;
}

static void lay_out(struct decoder *d)
{
    struct network *n = d->net;
    for (size_t i = 0; i < n->cat_width; i++) {
        n->tables[i].x_offset = n->x_width;
        n->x_width += n->tables[i].dim;
    }
    n->dense_x_offset = n->x_width;
    n->x_width += n->kind == NETWORK_LOGISTIC ? 0 : n->dense_width;
    n->x_ld = pad(n->x_width);
    n->cross = xcalloc(n->n_cross ? n->n_cross : 1, sizeof *n->cross);
    for (size_t l = 0; l < n->n_cross; l++) {
        struct network_cross *c = &n->cross[l];
        c->low_rank = d->rank > 0;
        if (c->low_rank) {
            add_matrix(n, &c->v, n->x_width, (size_t)d->rank, false, "cross", l, ".v");
            add_matrix(n, &c->u, (size_t)d->rank, n->x_width, true, "cross", l, ".u");
        } else {
            add_matrix(n, &c->full, n->x_width, n->x_width, true, "cross", l, "");
        }
    }
    n->deep = xcalloc(n->n_deep ? n->n_deep : 1, sizeof *n->deep);
    for (size_t l = 0; l < n->n_deep; l++)
        add_matrix(n, &n->deep[l], l ? (size_t)d->deep[l - 1] : n->x_width, (size_t)d->deep[l], true, "deep",
                   l, "");
    n->head_x = n->kind == NETWORK_DCN_V2 && !n->stacked;
    n->head_deep = n->n_deep > 0;
    if (n->head_x)
        n->head_x_weight = add_vector(n, n->x_width);
    if (n->head_deep)
        n->head_deep_weight = add_vector(n, n->deep[n->n_deep - 1].out);
    n->head_bias = add_vector(n, 1);
    if (n->linear && n->dense_width)
        n->linear_dense = add_vector(n, n->dense_width);
    n->n_total = n->n_dense;
    for (size_t i = 0; i < n->cat_width; i++) {
        struct network_table *t = &n->tables[i];
        t->linear = n->linear;
        t->width = t->dim + (t->linear ? 1 : 0);
        t->offset = n->n_total;
        n->n_total += pad(t->rows * t->width);
    }
}

int network_new(const cJSON *description, const cJSON *embeddings, const struct json_path *path,
                const struct network_inputs *inputs, struct network **ret, struct err *err)
{
    _cleanup_network_ struct network *n = xcalloc(1, sizeof *n);
    n->dense_width = inputs->n_dense;
    n->cat_width = inputs->n_cat;
    n->dense_names = xcalloc(n->dense_width + 1, sizeof *n->dense_names);
    for (size_t i = 0; i < n->dense_width; i++)
        n->dense_names[i] = xstrdup(inputs->dense_names[i]);
    n->tables = xcalloc(n->cat_width + 1, sizeof *n->tables);
    for (size_t i = 0; i < n->cat_width; i++) {
        n->tables[i].name = xstrdup(inputs->cat_names[i]);
        n->tables[i].rows = inputs->cardinalities[i];
    }
    if (n->dense_width + n->cat_width == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "the features have neither dense nor categorical inputs: nothing to train on");
    n->description = json_object();
    cJSON *wrapper = json_object();
    struct decoder d = {.net = n,
                        .inputs = inputs,
                        .path = path,
                        .network = json_object(),
                        .embeddings = json_object()};
    json_add(n->description, "network", wrapper);
    const char *kind =
        cJSON_IsObject(description) && description->child ? description->child->string : "none";
    json_add(wrapper, kind, d.network);
    json_add(n->description, "embeddings", d.embeddings);
    if (decode_network(&d, description, err) < 0 || decode_embeddings(&d, embeddings, err) < 0)
        return -1;
    lay_out(&d);
    *ret = steal_ptr(n);
    return 0;
}

struct network *network_free(struct network *n)
{
    if (!n)
        return NULL;
    for (size_t i = 0; n->tables && i < n->cat_width; i++)
        free(n->tables[i].name);
    for (size_t i = 0; n->dense_names && i < n->dense_width; i++)
        free(n->dense_names[i]);
    free(n->tables);
    free(n->dense_names);
    free(n->cross);
    free(n->deep);
    cJSON_Delete(n->description);
    return xfree(n);
}
