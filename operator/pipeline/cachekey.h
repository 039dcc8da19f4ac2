/* The key under which a pure step's result can be found again, and the parts it was made of (contract.md §4).
 *
 * Key = SHA-256 of the canonical JSON of: kind, algorithm version, resolved config without location fields, input digests,
 * workers, threads, device, precision, ISA class; for containers the image is part of the config, and must be pinned. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "common/base/digest.h"
#include "operator/pipeline/jobspec.h"

/* featurize, trainDdp, container, and no finally step. */
bool cachekey_is_pure(const struct step *step);
/* image@sha256:<64 hex digits> */
bool cachekey_image_pinned(const char *image);

/* `job` with config and inputs. ret_parts: name → short digest or text ("config.epochs", "inputs.features", "workers"), for
 * explanations only. */
int cachekey_compute(const struct step *step, const struct job *job, const struct plan_options *options,
                     char ret_key[static DIGEST_HEX], cJSON **ret_parts, struct err *err);

/* The names of the parts that differ, "config.epochs, workers", at most three and how many more; "" if none. */
char *cachekey_difference(const cJSON *parts, const cJSON *earlier);
