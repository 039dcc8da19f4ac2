/* Writing what model.h reads: model.safetensors and model.json.
 *
 * model.json = {"format": "trainyard.model/1", "network", "embeddings" (every default written out), "loss", "output":
 * "probability" | "value", "inputs": {"dense": [names], "categorical": [{"name", "ids"}]}, "x0": the input vector's parts in
 * order, "tensors": {name: shape}, and what `extra` adds}. Keys of extra replace none of these. */
#pragma once

#include <cjson/cJSON.h>

#include "stages/model/network.h"
#include "stages/model/optimizer.h"
#include "stages/tensor/featurespec.h"

/* `extra` may be NULL; duplicated. */
int modelfile_write(const char *dir, const struct network *net, const float *weights, enum loss_kind loss,
                    const cJSON *extra, struct err *err);

/* The inputs of a network as a feature spec has them. Strings are the spec's; the arrays are owned. */
struct network_inputs_of_spec {
    struct network_inputs inputs;
    const char **names; /* dense, then categorical; the strings are the spec's */
    size_t *cardinalities;
};
void network_inputs_of_spec(const struct featurespec *spec, struct network_inputs_of_spec *ret);
void network_inputs_of_spec_release(struct network_inputs_of_spec *n);
