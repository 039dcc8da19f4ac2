/* Writing model.safetensors and model.json: see modelfile.h. */
#include "stages/model/modelfile.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/tensor/safetensors.h"

static int write_tensors(const char *dir, const struct network *net, const float *weights, struct err *err)
{
    size_t n = network_tensor_count(net), floats = 0;
    struct network_tensor *tensors = xcalloc(n, sizeof *tensors);
    struct safetensors_tensor *out = xcalloc(n, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        network_tensor(net, i, &tensors[i]);
        floats += tensors[i].rows * (tensors[i].cols ? tensors[i].cols : 1);
    }
    float *values = malloc(floats * sizeof *values), *at = values;
    int r = -1;
    if (!values) {
        (void)err_errno(err, 12 /* ENOMEM */, "cannot hold %zu weights for writing", floats);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const struct network_tensor *t = &tensors[i];
        network_tensor_get(t, weights, at);
        out[i] = (struct safetensors_tensor){.name = t->name,
                                             .dtype = SAFETENSORS_F32,
                                             .rank = t->cols ? 2 : 1,
                                             .shape = {(int64_t)t->rows, (int64_t)t->cols},
                                             .data = at};
        at += t->rows * (t->cols ? t->cols : 1);
    }
    char *path = fs_join(dir, "model.safetensors");
    r = safetensors_write(path, out, n, NULL, err);
    free(path);
out:
    free(values);
    free(out);
    free(tensors);
    return r;
}

static cJSON *inputs_document(const struct network *net)
{
    cJSON *inputs = json_object(), *dense = json_array(), *categorical = json_array();
    for (size_t i = 0; i < net->dense_width; i++)
        json_append(dense, cJSON_CreateString(net->dense_names[i]));
    for (size_t i = 0; i < net->cat_width; i++) {
        cJSON *c = json_object();
        json_add_string(c, "name", net->tables[i].name);
        json_add_int(c, "ids", (int64_t)net->tables[i].rows);
        json_append(categorical, c);
    }
    json_add(inputs, "dense", dense);
    json_add(inputs, "categorical", categorical);
    return inputs;
}

static cJSON *tensors_document(const struct network *net)
{
    cJSON *tensors = json_object();
    size_t n = network_tensor_count(net);
    for (size_t i = 0; i < n; i++) {
        struct network_tensor t;
        network_tensor(net, i, &t);
        cJSON *shape = json_array();
        json_append(shape, cJSON_CreateNumber((double)t.rows));
        if (t.cols)
            json_append(shape, cJSON_CreateNumber((double)t.cols));
        json_add(tensors, t.name, shape);
    }
    return tensors;
}

static cJSON *x0_document(const struct network *net)
{
    cJSON *x0 = json_array();
    for (size_t i = 0; net->x_width && i < net->cat_width; i++) {
        char *part = xasprintf("embedding.%s", net->tables[i].name);
        json_append(x0, cJSON_CreateString(part));
        free(part);
    }
    if (net->x_width && net->dense_width)
        json_append(x0, cJSON_CreateString("dense"));
    return x0;
}

int modelfile_write(const char *dir, const struct network *net, const float *weights, enum loss_kind loss,
                    const cJSON *extra, struct err *err)
{
    if (write_tensors(dir, net, weights, err) < 0)
        return -1;
    _cleanup_json_ cJSON *doc = json_object();
    json_add_string(doc, "format", "trainyard.model/1");
    const cJSON *item;
    cJSON_ArrayForEach(item, net->description) json_add(doc, item->string, cJSON_Duplicate(item, true));
    json_add_string(doc, "loss", loss_name(loss));
    json_add_string(doc, "output", loss == LOSS_BCE ? "probability" : "value");
    json_add(doc, "inputs", inputs_document(net));
    json_add(doc, "x0", x0_document(net));
    json_add(doc, "tensors", tensors_document(net));
    cJSON_ArrayForEach(item, extra) if (!cJSON_HasObjectItem(doc, item->string))
        json_add(doc, item->string, cJSON_Duplicate(item, true));
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_FEATURE_SPEC_BYTES);
    if (json_pretty(doc, &text) < 0 || buf_check(&text, "model.json", err) < 0)
        return err_is_set(err) ? -1 : buf_check(&text, "model.json", err);
    char *path = fs_join(dir, "model.json");
    int r = fs_write_atomic(path, text.data, text.len, err);
    free(path);
    return r;
}

void network_inputs_of_spec(const struct featurespec *spec, struct network_inputs_of_spec *ret)
{
    size_t dense = featurespec_dense_width(spec), cat = featurespec_cat_width(spec);
    ret->names = xcalloc(dense + cat + 1, sizeof *ret->names);
    ret->cardinalities = xcalloc(cat + 1, sizeof *ret->cardinalities);
    for (size_t i = 0; i < dense; i++)
        ret->names[i] = featurespec_dense_name(spec, i);
    for (size_t i = 0; i < cat; i++) {
        ret->names[dense + i] = featurespec_cat_name(spec, i);
        ret->cardinalities[i] = featurespec_cardinality(spec, i);
    }
    ret->inputs = (struct network_inputs){.n_dense = dense,
                                          .n_cat = cat,
                                          .dense_names = ret->names,
                                          .cat_names = ret->names + dense,
                                          .cardinalities = ret->cardinalities};
}

void network_inputs_of_spec_release(struct network_inputs_of_spec *n)
{
    free(n->names);
    free(n->cardinalities);
    *n = (struct network_inputs_of_spec){0};
}
