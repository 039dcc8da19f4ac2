/* The work of data-validate, from resolved config to outputs. */
#pragma once

#include "stages/runtime/stage.h"

int validate_work(struct stage_run *run, struct err *err);
