/* The register stage: payload by digest → provenance → one conditional write → alias (docs/reference/step-contract.md, section 7).
 *
 * Killed at any point and repeated, it ends in the same version: payloads are named by digest, and the version's key is the pair
 * (model digest, evaluation digest). Config: {"model", "alias"?, "signingSecret"?}. */
#pragma once

#include "common/base/err.h"
#include "stages/runtime/stage.h"

int register_work(struct stage_run *run, struct err *err);
