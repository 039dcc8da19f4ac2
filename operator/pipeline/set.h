/* The step's `set`: a field of the body, by path, from text. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/err.h"

/* "trainDdp.optimizers.dense.adamw.lr" → its schema; the first part must be the step's body key. */
int set_find(const char *body_key, const char *field, const cJSON **ret_schema, struct err *err);
/* Text → value of the schema's type; lists are written as JSON. */
int set_typed(const cJSON *schema, const char *text, cJSON **ret, struct err *err);
/* Puts the value at the path below the body ("optimizers.dense.adamw.lr", "gate[1].min"), making mappings on the way; an
 * element of a list must exist. Takes the value. */
int set_place(cJSON *body, const char *field, cJSON *value, struct err *err);
