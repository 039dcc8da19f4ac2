/* The gate: rules over measured values. Absolute limits hold always; a rule that compares passes when the one-sided lower
 * limit of the improvement over the baseline exceeds minDelta (absolute) or minRelativeDelta (of the baseline's value).
 *
 * Lower limits: DeLong for an unweighted AUC without groups; else the paired bootstrap (over groups where there are any).
 * Improvement is candidate - baseline, turned round for metrics where less is better. Without a baseline these rules answer as onMissing says;
 * against a contaminated one they fail. Undefined values fail, with the reason. */
#pragma once

#include "stages/evaluate/comparison.h"

/* samples: [bootstrap_samples][2 × n_metrics], candidate first; [n_metrics] without a baseline. Fills c->rules and c->gate_passed. */
void gate_decide(const struct evaluateconfig *config, const struct comparison_rows *rows,
                 const double *samples, struct comparison *c);
