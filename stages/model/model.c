/* Loading a model's files and scoring with them: see model.h. */
#include "stages/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/model/backend.h"
#include "stages/model/modelfile.h"
#include "stages/tensor/safetensors.h"

enum { SCORE_ROWS = 4096 };

struct model {
    struct featurespec *spec;
    cJSON *document;
    struct network *net;
    enum loss_kind loss;
    struct backend_state *engine;
};

struct model *model_free(struct model *m)
{
    if (!m)
        return NULL;
    backend_cpu.close(m->engine);
    network_free(m->net);
    featurespec_free(m->spec);
    cJSON_Delete(m->document);
    return xfree(m);
}
DEFINE_CLEANUP(char *, xfree);

static int read_document(struct model *m, const char *dir, struct err *err)
{
    CLEANUP(xfree_cleanup) char *path = fs_join(dir, "model.json");
    struct json_path root = {.key = "model.json"};
    const char *format, *loss;
    if (json_parse_file(path, LIMIT_FEATURE_SPEC_BYTES, &m->document, err) < 0)
        return -1;
    if (json_get_string(m->document, &root, "format", &format, err) < 0 ||
        json_get_string(m->document, &root, "loss", &loss, err) < 0)
        return -1;
    if (strcmp(format, "trainyard.model/1") != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "model",
                        "%s: expected format trainyard.model/1, found \"%s\"", path, format);
    if (loss_parse(loss, &m->loss) < 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "model", "%s: unknown loss \"%s\"", path, loss);
    return 0;
}

/* The document's inputs must be the feature spec's: names, order and numbers of ids. */
static int check_inputs(const struct model *m, struct err *err)
{
    struct json_path root = {.key = "model.json"}, path = {.parent = &root, .key = "inputs"};
    const cJSON *inputs, *dense, *categorical;
    if (json_get_object(m->document, &root, "inputs", &inputs, err) < 0 ||
        json_get_array(inputs, &path, "dense", &dense, err) < 0 ||
        json_get_array(inputs, &path, "categorical", &categorical, err) < 0)
        return -1;
    size_t n_dense = featurespec_dense_width(m->spec), n_cat = featurespec_cat_width(m->spec);
    if ((size_t)cJSON_GetArraySize(dense) != n_dense || (size_t)cJSON_GetArraySize(categorical) != n_cat)
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, "model",
            "model.json has %d dense and %d categorical inputs, feature-spec.json %zu and %zu: the files are not of one model",
            cJSON_GetArraySize(dense), cJSON_GetArraySize(categorical), n_dense, n_cat);
    for (size_t i = 0; i < n_dense; i++) {
        const char *name = cJSON_GetStringValue(cJSON_GetArrayItem(dense, (int)i));
        if (!name || strcmp(name, featurespec_dense_name(m->spec, i)) != 0)
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "model",
                            "dense input %zu is \"%s\" in model.json and \"%s\" in feature-spec.json", i,
                            name ? name : "?", featurespec_dense_name(m->spec, i));
    }
    for (size_t i = 0; i < n_cat; i++) {
        const cJSON *item = cJSON_GetArrayItem(categorical, (int)i);
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
        double ids = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "ids"));
        if (!name || strcmp(name, featurespec_cat_name(m->spec, i)) != 0 ||
            ids != (double)featurespec_cardinality(m->spec, i))
            return err_fail(
                err, ERR_INVALID, EXITCODE_DATA, "model",
                "categorical input %zu is \"%s\" with %.0f ids in model.json and \"%s\" with %zu in feature-spec.json",
                i, name ? name : "?", ids, featurespec_cat_name(m->spec, i),
                featurespec_cardinality(m->spec, i));
    }
    return 0;
}

static int read_weights(struct model *m, const char *dir, struct err *err)
{
    CLEANUP(xfree_cleanup) char *path = fs_join(dir, "model.safetensors");
    _cleanup_safetensors_ struct safetensors *file = NULL;
    if (safetensors_open(path, &file, err) < 0)
        return -1;
    CLEANUP(xfree_cleanup) char *memory = (char *)xcalloc(m->net->n_total, sizeof(float));
    float *weights = (float *)(void *)memory;
    size_t n = network_tensor_count(m->net);
    if (safetensors_count(file) != n)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "model",
                        "%s: expected %zu tensors for the network of model.json, found %zu", path, n,
                        safetensors_count(file));
    for (size_t i = 0; i < n; i++) {
        struct network_tensor t;
        const struct safetensors_tensor *found;
        network_tensor(m->net, i, &t);
        int64_t shape[2] = {(int64_t)t.rows, (int64_t)t.cols};
        if (safetensors_get(file, t.name, SAFETENSORS_F32, t.cols ? 2 : 1, shape, &found, err) < 0)
            return err_wrap(err, "%s", path);
        network_tensor_set(&t, found->data, weights);
    }
    backend_cpu.write(m->engine, BACKEND_WEIGHTS, weights);
    return 0;
}

int model_load(const char *dir, struct model **ret, struct err *err)
{
    _cleanup_model_ struct model *m = xcalloc(1, sizeof *m);
    if (read_document(m, dir, err) < 0 || featurespec_load(dir, &m->spec, err) < 0 ||
        check_inputs(m, err) < 0)
        return -1;
    struct network_inputs_of_spec inputs;
    network_inputs_of_spec(m->spec, &inputs);
    struct json_path root = {.key = "model.json"};
    int r = network_new(cJSON_GetObjectItemCaseSensitive(m->document, "network"),
                        cJSON_GetObjectItemCaseSensitive(m->document, "embeddings"), &root, &inputs.inputs,
                        &m->net, err);
    network_inputs_of_spec_release(&inputs);
    if (r < 0)
        return -1;
    struct backend_options o = {.isa = "native", .threads = 1, .max_rows = SCORE_ROWS};
    if (backend_cpu.open(m->net, &o, &m->engine, err) < 0 || read_weights(m, dir, err) < 0)
        return -1;
    *ret = steal_ptr(m);
    return 0;
}

const struct featurespec *model_featurespec(const struct model *m)
{
    return m->spec;
}

const cJSON *model_document(const struct model *m)
{
    return m->document;
}

int model_score(struct model *m, const struct featurebatch *in, float *ret_scores, struct err *err)
{
    if (in->dense_width != m->net->dense_width || in->cat_width != m->net->cat_width)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "model",
                        "the batch has %zu dense and %zu categorical inputs, the model %zu and %zu",
                        in->dense_width, in->cat_width, m->net->dense_width, m->net->cat_width);
    for (size_t row = 0; row < in->n; row += SCORE_ROWS) {
        size_t n = in->n - row < SCORE_ROWS ? in->n - row : SCORE_ROWS;
        struct batch b = {.n = n,
                          .dense = in->dense + row * in->dense_width,
                          .cat = in->cat + row * in->cat_width,
                          .first_row = (int64_t)row};
        if (backend_cpu.score(m->engine, &b, m->loss, ret_scores + row, err) < 0)
            return -1;
    }
    return 0;
}
