/* Columns that predict the label too well to be honest: the area under the ROC curve of each column alone.
 *
 * Numbers are ranked (exactly, with ties; NULL lowest); texts, and integers with few values, are replaced by the label's share
 * among rows of the other half with the same value, so that an identifier does not predict itself. The larger of both counts. */
#pragma once

#include "stages/data-validate/scan.h"

struct leak {
    size_t column; /* schema index */
    double auc;    /* 0.5…1, whichever direction */
};
/* Rows of several files, in file order. *ret has *ret_n entries, best predictor first; caller frees. Fewer than 2 rows of either
 * label: none. */
void leakage_measure(const struct scan_plan *plan, const struct leak_rows *const *parts, size_t n_parts,
                     const struct stats *columns, struct leak **ret, size_t *ret_n);
