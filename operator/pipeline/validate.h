/* What a schema cannot say: references, types, cycles, names, budgets. Called by the decoder on a filled pipeline; adds findings
 * with path, line and suggestion, and completes `after` of each step with the steps whose values it uses. */
#pragma once

struct decoder;

void validate(struct decoder *d);
