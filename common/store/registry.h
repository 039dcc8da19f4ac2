/* Model registry without a server: numbered versions and hash-chained alias logs, all by conditional writes
 * (docs/reference/step-contract.md, section 7). Below the registry's root:
 *
 *   models/<name>/versions/<n>.json            1…n without gap or duplicate, under any number of writers
 *   models/<name>/aliases/<alias>/<seq>.json   the alias's log; each record names the SHA-256 of the one before
 *   models/<name>/aliases/<alias>.json         derived from the newest record, for pollers; repaired when stale
 *   models/<name>/payload/<digest>/…           a model's artifact       (published before the version)
 *   models/<name>/evaluation/<digest>/…        its evaluation's artifact     (likewise)
 *   models/<name>/provenance/<digest>.json     DSSE envelope, signed when a key was given   (likewise)
 *
 * Model and alias names match [a-z0-9]([a-z0-9-]*[a-z0-9])? with at most LIMIT_NAME characters; others are ERR_INVALID, exit 78. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/store/artifact.h"
#include "common/store/store.h"

int registry_check_name(const char *what, const char *name, struct err *err);

/* --- versions ---------------------------------------------------------------------------------- */

/* The first free number, unless a version has the same key (model digest, evaluation digest): then that one is the answer and
 * *ret_created is false. `record` (lineage, metrics, creator, time, "aliasSeq": {alias: seq read before}) becomes the document;
 * "version", "model" and "evaluation" are set here. */
int registry_add_version(struct store *s, const char *model, const char *model_digest,
                         const char *evaluation_digest, const cJSON *record, int64_t *ret_version,
                         bool *ret_created, struct err *err);
/* The version with this key; 0: none. */
int registry_find_version(struct store *s, const char *model, const char *model_digest,
                          const char *evaluation_digest, int64_t *ret_version, struct err *err);
/* ERR_NOTFOUND, naming what there is. */
int registry_get_version(struct store *s, const char *model, int64_t version, cJSON **ret, struct err *err);
/* 0: the model has none. */
int registry_newest_version(struct store *s, const char *model, int64_t *ret, struct err *err);
/* Array of version documents, newest first. */
int registry_list_versions(struct store *s, const char *model, cJSON **ret, struct err *err);
/* Array of {"name", "newest", "aliases": {alias: version}}, by name. The one place that uses a listing. */
int registry_list_models(struct store *s, cJSON **ret, struct err *err);

/* --- aliases ----------------------------------------------------------------------------------- */

struct registry_change {
    const char *who, *why;
    int64_t at_ms;
    int64_t
        expect_from; /* the version that the alias must point to now; -1: any. Mismatch: ERR_CONFLICT, exit 75 */
    bool automatic; /* made by a register step, not by a person */
};

/* Where the alias points: 0 when it was never set. *ret_seq (may be NULL) is the newest record's number, 0: none. */
int registry_get_alias(struct store *s, const char *model, const char *alias, int64_t *ret_version,
                       int64_t *ret_seq, struct err *err);
/* Appends a record and repairs <alias>.json. Pointing to where it points already is success and appends nothing. The version must exist. */
int registry_set_alias(struct store *s, const char *model, const char *alias, int64_t version,
                       const struct registry_change *change, struct err *err);
/* What a register step does, however often it is repeated: moves the alias to `version` unless a person moved it since
 * that version was created (its aliasSeq), or it points to a newer version already. *ret_moved: it points there now because of this call. */
int registry_set_alias_once(struct store *s, const char *model, const char *alias, int64_t version,
                            const struct registry_change *change, bool *ret_moved, struct err *err);
/* Array of records, oldest first: {"seq", "from", "to", "who", "why", "at", "automatic", "previous"}. A broken chain is ERR_INVALID naming the record. */
int registry_alias_history(struct store *s, const char *model, const char *alias, cJSON **ret,
                           struct err *err);
/* Where the alias pointed before the newest record's target became current (for rollback); ERR_NOTFOUND when there is nothing to go back to. */
int registry_previous_target(struct store *s, const char *model, const char *alias, int64_t *ret_version,
                             struct err *err);

/* --- payload ----------------------------------------------------------------------------------- */

/* Relative to the registry's root; caller frees. */
char *registry_payload_prefix(const char *model, const char *model_digest);
char *registry_evaluation_prefix(const char *model, const char *evaluation_digest);
char *registry_provenance_key(const char *model, const char *provenance_digest);
/* Publishes a fetched artifact (a directory with its manifest.json) below `prefix`, unless it is there already. */
int registry_publish_dir(struct store *s, const char *prefix, const char *dir, const char *digest,
                         struct err *err);

/* Reads every file of a version's model and evaluation and compares digests; opens its provenance, with public_key_pem (may be NULL) checks the
 * signature and that the statement names these digests. A line per finding goes to the array `findings`; an error means not verified. */
int registry_verify(struct store *s, const char *model, int64_t version, const char *public_key_pem,
                    const char *scratch, cJSON *findings, struct err *err);
