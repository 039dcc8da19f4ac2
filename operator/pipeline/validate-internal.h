/* What the files of validation share. */
#pragma once

#include "operator/pipeline/decode-internal.h"
#include "operator/pipeline/validate.h"

/* validate_refs.c: parameters' defaults; `when`, `set`, foreach and every reference in the bodies. */
void validate_parameters(struct decoder *d);
void validate_references(struct decoder *d, size_t step);
/* validate_steps.c: inputs, fan-out, finally, workers, pods, caching. */
void validate_step(struct decoder *d, size_t step);
/* validate_data.c, validate_training.c: the bodies of stages. */
void validate_data_validate(struct decoder *d, size_t step);
void validate_featurize(struct decoder *d, size_t step);
void validate_train_ddp(struct decoder *d, size_t step);
void validate_evaluate(struct decoder *d, size_t step);

/* The featurize step of this pipeline that makes the step's input `features`; NULL if another kind of step does. */
const struct step *validate_features_of(const struct decoder *d, size_t step);

static inline const cJSON *field(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}
static inline const char *text_field(const cJSON *object, const char *key)
{
    const cJSON *v = field(object, key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}
