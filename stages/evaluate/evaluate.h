/* The evaluate stage: score held-out rows with the model and with the registry's baseline, each under its own feature spec, compare, decide. */
#pragma once

#include "common/base/err.h"
#include "stages/runtime/stage.h"

int evaluate_work(struct stage_run *run, struct err *err);
