/* A trained model as files, and scoring with it on the CPU.
 *
 * <dir>/model.safetensors (weights), <dir>/model.json (graph: network description, tensors, input order and types, loss,
 * serving values, newest event time among the rows trained on), <dir>/feature-spec.json, <dir>/vocabularies.safetensors,
 * <dir>/golden.json. Scores are probabilities for bce, values for regression. Scoring a row does not depend on the batch
 * it is in (bit-equal for any batch size). */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "stages/tensor/featurespec.h"

struct model; /* opaque */

/* Verifies that tensors match the description and the feature spec in the same directory. */
int model_load(const char *dir, struct model **ret, struct err *err);
struct model *model_free(struct model *m);
const struct featurespec *model_featurespec(const struct model *m); /* borrowed */
const cJSON *model_document(const struct model *m);                 /* model.json, borrowed */
/* ret_scores: [in->n]. */
int model_score(struct model *m, const struct featurebatch *in, float *ret_scores, struct err *err);

DEFINE_CLEANUP(struct model *, model_free);
#define _cleanup_model_ CLEANUP(model_free_cleanup)
