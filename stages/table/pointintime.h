/* Windows that see earlier rows only: what was known at the moment of a row.
 *
 * The user writes aggregates with OVER (PARTITION BY …) and nothing else in the parentheses; this gives each such window the order of
 * the time column and a frame that ends one microsecond before the row's own time, so rows of the same instant do not see each
 * other either. Allowed are count, sum, avg, min, max, bool_and and bool_or, sum and avg over exact numbers only (integers, DECIMAL): their
 * results depend neither on the order of equal times nor on the engine's threads. */
#pragma once

#include "common/base/err.h"
#include "stages/table/table.h"

/* Over `relation` (ours), which has the TIMESTAMP column `time`. Refusals: exit 78. Caller frees. */
int pointintime_rewrite(struct table *t, const char *sql, const char *relation, const char *time, char **ret,
                        struct err *err);
