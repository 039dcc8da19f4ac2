/* Vocabularies by counting: the table engine's integer counts are exact, whatever its threads.
 *
 * Order: count descending, then value ascending (integers by value, texts bytewise), or by value alone. NULL is no value. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/table/table.h"
#include "stages/tensor/vocabulary.h"

struct vocabularyfit {
    const char *name, *sql; /* of the feature; the expression, checked */
    enum column_type type;  /* COLUMN_I64 or COLUMN_STR */
    int64_t min_count, max_size;
    struct vocabulary *vocabulary; /* new and empty; filled and finished */
    int64_t size;                  /* working state */
};

enum vocabularyfit_order { VOCABULARYFIT_BY_COUNT, VOCABULARYFIT_BY_VALUE };
/* All of them over `relation`, many in one scan. */
int vocabularyfit_run(struct table *t, const char *relation, enum vocabularyfit_order order,
                      struct vocabularyfit *fits, size_t n, struct err *err);
