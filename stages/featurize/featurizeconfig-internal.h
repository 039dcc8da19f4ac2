/* Between featurizeconfig.c and featurizeconfig_feature.c only. */
#pragma once

#include "common/base/json.h"
#include "stages/featurize/featurizeconfig.h"

/* ERR_INVALID, exit 78, "featurize.x.y: …". */
#define config_fail(path, err, ...) json_bad_config(path, NULL, err, __VA_ARGS__)
/* Index of the text in the NULL-terminated list, `fallback` if absent. */
int config_choice(const cJSON *o, const struct json_path *path, const char *key, const char *const *choices,
                  int fallback, int *ret, struct err *err);
int config_names(const cJSON *o, const struct json_path *path, const char *key, bool required,
                 struct config_names *ret, struct err *err);
int featurizeconfig_features(const cJSON *config, const struct json_path *root, struct featurizeconfig *c,
                             struct err *err);
