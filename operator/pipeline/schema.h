/* The CRDs' schema, interpreted: what the API server checks, for files and for trees of our own making.
 *
 * Understood: type, properties, additionalProperties, required, items, enum, pattern (POSIX extended, in the subset it shares
 * with RE2), minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength, maxLength (characters), minItems, maxItems,
 * minProperties, maxProperties, default, oneOf / anyOf of `required`, allOf of these, format date-time,
 * x-kubernetes-int-or-string, x-kubernetes-preserve-unknown-fields, x-kubernetes-list-type set and map. Not CEL: validate.h
 * has the equivalents. Unknown fields and nulls are errors. A keyword that is not understood is a bug (tested). */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/json.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/yaml.h"

enum schema_kind { SCHEMA_PIPELINE, SCHEMA_RUN };

/* The CRD as a tree, and its openAPIV3Schema. Parsed from the embedded text on first use, then kept; thread-safe. */
const cJSON *schema_crd(enum schema_kind kind);
const cJSON *schema_root(enum schema_kind kind);
/* Of the version that this program knows: trainyard.dev/schema-version. */
const char *schema_version(void);

/* Checks `value` and puts defaults in. Findings carry path and line (lines may be NULL). */
void schema_check(const cJSON *schema, cJSON *value, const struct json_path *path,
                  const struct yaml_lines *lines, struct findings *findings);
/* Removes what equals its default, so that a schema that gains a default changes no hash. */
void schema_strip_defaults(const cJSON *schema, cJSON *value);

/* The schema of a field below an object's schema: "optimizers.dense.adamw.lr", "gate[1].min". An unknown name is ERR_INVALID
 * with a suggestion. */
int schema_find(const cJSON *schema, const char *field, const cJSON **ret, struct err *err);
/* "string", "integer", "number", "boolean", "array", "object", "int-or-string", or "any". */
const char *schema_type(const cJSON *schema);
/* First sentence of the description, without its full stop; "" if none. ret of at least SCHEMA_BRIEF_MAX bytes. */
enum { SCHEMA_BRIEF_MAX = 200 };
void schema_brief(const cJSON *schema, char ret[static SCHEMA_BRIEF_MAX]);
/* The openAPIV3Schema of a step's body: "trainDdp", …. */
const cJSON *schema_of_body(const char *body_key);
