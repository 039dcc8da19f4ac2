/* A kubeconfig file as a JSON tree: YAML or JSON text, one document, every scalar a string, anchors resolved. */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>

#include "common/base/err.h"

/* file_name is for messages. Nesting beyond LIMIT_JSON_DEPTH and more than LIMIT_YAML_NODES values are refused. */
int kubeyaml_parse(const char *text, size_t len, const char *file_name, cJSON **ret, struct err *err);
