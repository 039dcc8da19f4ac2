/* What the files of parameters and references share. */
#pragma once

#include "common/base/buf.h"
#include "operator/pipeline/params.h"
#include "operator/pipeline/reference.h"

/* One text, inserted values written for `use`. */
int params_insert(const char *text, enum reference_use use, const struct expr_scope *scope, char **ret,
                  struct err *err);
/* Text → JSON of the type, or an error that says what was expected. */
int params_typed(enum param_type type, const char *text, cJSON **ret, struct err *err);
const char *param_type_name(enum param_type type);
