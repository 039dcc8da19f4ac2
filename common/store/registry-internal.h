/* What the registry's files share. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/digest.h"
#include "common/base/err.h"
#include "common/store/store.h"

/* A record and the SHA-256 of its bytes; ret_etag may be NULL. */
int registry_read_json(struct store *s, const char *key, cJSON **ret, char *ret_etag,
                       char ret_digest[static DIGEST_HEX], struct err *err);
