/* One step, many items: foreach and matrix, minSuccess, and the state of the step as a whole. */
#pragma once

#include <stdbool.h>

#include "operator/pipeline/expr.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/status.h"

bool fanout_is(const struct step *step);
/* Makes the step's items known. Items that existed before (a restart) keep their attempt numbers. More than
 * LIMIT_FANOUT_ITEMS is ERR_INVALID. */
int fanout_expand(const struct step *step, struct step_status *s, const struct expr_scope *scope,
                  struct err *err);
/* So many items have failed that minSuccess cannot be reached any more: the step has failed, though others may still run. */
bool fanout_doomed(const struct step *step, const struct step_status *s);
/* Sets s->state from its items, and says why at the step if it is a fan-out. */
void fanout_summarise(const struct step *step, struct step_status *s);
