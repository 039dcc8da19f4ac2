/* What the files of the schema share. */
#pragma once

#include "operator/pipeline/schema.h"

/* NUL-terminated. */
extern const char schema_text_pipeline[];
extern const char schema_text_run[];
