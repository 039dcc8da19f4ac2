/* One page of a ListObjectsV2 answer; apart because it is pure, and fuzzed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/store/store.h"

struct s3_page {
    bool truncated;
    char *next; /* owned by the caller; NULL unless truncated */
};

/* Calls `each` for every <Contents>, with the bucket's keys. Malformed: ERR_INVALID. */
int s3_list_page(const char *text, size_t len,
                 int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
                 struct s3_page *ret, struct err *err);
