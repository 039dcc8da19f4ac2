/* Where a store's keys come from, in this order: mounted files (re-read when they change), a web identity token
 * exchanged at a security token service (refreshed five minutes before expiry), or values from the caller. */
#pragma once

#include <stdbool.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct credentials; /* opaque */

/* Borrowed until the next call with the same object. session_token is NULL if there is none. */
struct credential_values {
    const char *access_key_id, *secret_access_key, *session_token;
};

/* Copies what it needs; reads nothing yet. No source at all is ERR_INVALID, exit 78, naming the possible ones. */
int credentials_new(const struct store_config *config, struct credentials **ret, struct err *err);
struct credentials *credentials_free(struct credentials *c);
/* Reads or exchanges only when it has to. Blocks for an exchange. */
int credentials_get(struct credentials *c, struct credential_values *ret, struct err *err);
/* The store said that they have expired: forget them, so that the next get reads afresh. False when the source can only
 * give the same again. */
bool credentials_forget(struct credentials *c);

DEFINE_CLEANUP(struct credentials *, credentials_free);
#define _cleanup_credentials_ CLEANUP(credentials_free_cleanup)
