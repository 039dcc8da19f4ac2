/* Where a command works: the store and the registry (as descriptions, common/base/contract.h), and the directory with the
 * records of local runs beside them.
 *
 * The store is the manifest's unless --store or TRAINYARD_STORE says otherwise. A plain path means a file:// store. What a
 * description lacks is taken from the AWS_* variables that other S3 tools use (endpoint, region, CA bundle); a credentialsSecret
 * counts only when --secret names it, for the environment's keys are used otherwise.
 * Records live in <store>/local for file:// stores, else in $XDG_STATE_HOME/trainyard/<hash of the store's URL>. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/store/store.h"
#include "operator/pipeline/pipeline.h"

struct location {
    cJSON *store;
    cJSON *registry; /* NULL: the store */
    char *state_dir;
};

/* p, the two options and secrets (object: Secret's name → absolute directory) may be NULL. No store at all is exit 64. */
int location_resolve(const struct pipeline *p, const char *store_option, const char *registry_option,
                     const cJSON *secrets, struct location *ret, struct err *err);
/* For a store description that a record holds. */
int location_of_store(const cJSON *store, char **ret_state_dir, struct err *err);
void location_release(struct location *l);
#define _cleanup_location_ CLEANUP(location_release)

const char *location_url(const cJSON *description); /* borrowed */
/* The directory of a file:// URL, borrowed from it; NULL for others. */
const char *location_file_path(const char *url);
/* "x", "./x", "/x" → file:///…/x; URLs stay. Caller frees. */
int location_normalise(const char *text, char **ret, struct err *err);

/* Opens a store for reading and writing by this process. secrets: see above. */
int location_open(const cJSON *description, const cJSON *secrets, struct store **ret, struct err *err);

/* Stores that runs used, newest first, so that `trainyard get` needs no --store: a small file in the user's state directory.
 * Forgetting is harmless, so no error is reported. */
void location_remember(const char *url);
/* NULL-terminated; caller frees with location_known_free. */
char **location_known(void);
void location_known_free(char **urls);

/* "NAME=DIR" items → object; a directory that is not there is exit 78. */
int location_parse_secrets(const char *const *items, size_t n, cJSON **ret, struct err *err);
