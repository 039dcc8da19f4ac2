/* Model registry without a server: numbered versions and hash-chained alias logs as conditional writes
 * (contract section 6). Layout below the registry's root: models/<name>/versions/<n>.json,
 * models/<name>/aliases/<alias>/<seq>.json, models/<name>/aliases/<alias>.json (derived, for pollers),
 * models/<name>/payload/<model digest>/… and models/<name>/evaluation/<digest>/… (the files, published before the version).
 * Names match [a-z0-9]([a-z0-9-]*[a-z0-9])?, at most LIMIT_NAME. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/store/artifact.h"
#include "common/store/store.h"

/* Creates version n (1…n without gap under any number of writers) unless a version with the same key
 * (model digest, evaluation digest) exists: then that is the answer and *ret_created is false. `record` is the
 * version's document (lineage, metrics, creator, time); "version", "model" and "evaluation" are filled in here. */
int registry_add_version(struct store *s, const char *model, const char *model_digest, const char *evaluation_digest, const cJSON *record, int64_t *ret_version, bool *ret_created, struct err *err);
/* version 0: the newest. ERR_NOTFOUND if there is none. */
int registry_get_version(struct store *s, const char *model, int64_t version, cJSON **ret, struct err *err);
int registry_newest_version(struct store *s, const char *model, int64_t *ret, struct err *err); /* 0 = none */

/* Current target of an alias: 0 when the alias was never set. The newest record of the verified chain. */
int registry_get_alias(struct store *s, const char *model, const char *alias, int64_t *ret_version, cJSON **ret_record, struct err *err);
struct registry_change {
    const char *who, *why;
    int64_t at_ms;
    int64_t expect_from; /* the version the alias must point to now; -1: any. Mismatch: ERR_CONFLICT */
};
/* Appends one record to the alias's log; repairs <alias>.json. Moving to where it points already is success and appends nothing. */
int registry_set_alias(struct store *s, const char *model, const char *alias, int64_t version, const struct registry_change *change, struct err *err);
/* The alias a register step asked for: sets it only if this version was created now, or nobody moved it since this version was created. */
int registry_set_alias_once(struct store *s, const char *model, const char *alias, int64_t version, const struct registry_change *change, bool *ret_moved, struct err *err);
/* Array of records, oldest first; a broken chain is ERR_INVALID naming the record. */
int registry_alias_history(struct store *s, const char *model, const char *alias, cJSON **ret, struct err *err);

/* Arrays: of {"name", "newest", "aliases": {…}}; of version documents, newest first. */
int registry_list_models(struct store *s, cJSON **ret, struct err *err);
int registry_list_versions(struct store *s, const char *model, cJSON **ret, struct err *err);

/* Where a version's payload lives, relative to the registry's root; caller frees. */
char *registry_payload_prefix(const char *model, const char *model_digest);
char *registry_evaluation_prefix(const char *model, const char *evaluation_digest);
/* Reads every file of the version (model, evaluation, provenance), compares digests, checks the signature when the
 * version has one and `public_key_pem` is given. Adds a line per finding to `findings`; error = not verified. */
int registry_verify(struct store *s, const char *model, int64_t version, const char *public_key_pem, cJSON *findings, struct err *err);
