/* Artifacts: a set of files described by a canonical manifest.json, whose SHA-256 is the artifact's digest.
 *
 * manifest.json = {"config": {…}, "files": [{"name", "sha256", "shared"?: true, "size": "123"}], "inputs": {name: digest},
 * "type", "version": 1}, canonical (RFC 8785), files sorted by name. It holds nothing that differs between equal runs:
 * no URI, host, run name, time, duration. A file marked shared lives at shared/sha256/<digest> below the store's root, so that
 * artifacts which have it in common store it once; all others live beside the manifest. Files are uploaded first,
 * the manifest last; the commit is the step's result.json (stages/runtime). */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/digest.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct artifact_file {
    char *name; /* relative, safe */
    int64_t size;
    char sha256[DIGEST_HEX];
    bool shared;
};

struct artifact {
    char *type; /* "snapshot", "features", "model", "report", … */
    struct artifact_file *files;
    size_t n_files;
    cJSON *config; /* without location fields */
    cJSON *inputs; /* object: input name → digest (or list of digests) */
    char digest[DIGEST_HEX];
};

/* Describes the files of `dir` (hashing them all). config and inputs are duplicated. Files whose name starts with
 * shared_prefix (NULL: none) are marked shared. */
int artifact_describe(const char *dir, const char *type, const cJSON *config, const cJSON *inputs,
                      const char *shared_prefix, struct artifact **ret, struct err *err);
struct artifact *artifact_free(struct artifact *a);
/* Removes from a copy of `config` every field that says where rather than what (the one list: artifact.c). */
cJSON *artifact_config_without_locations(const cJSON *config);

/* By hand: writes manifest.json beside the files of dir. */
int artifact_write_manifest(const char *dir, const struct artifact *a, struct err *err);
/* Uploads files (shared ones only if absent), verifies, then writes <prefix>/manifest.json. Consumes the files of dir on local stores. */
int artifact_publish(struct store *s, const char *prefix, const char *dir, const struct artifact *a,
                     struct err *err);
/* The same, leaving the files of dir alone: for directories somebody goes on writing to. A file that changed since it was
 * described is ERR_TERMINAL, reason "checksum", and no manifest is written. */
int artifact_publish_copy(struct store *s, const char *prefix, const char *dir, const struct artifact *a,
                          struct err *err);
/* Reads and verifies the manifest against expect_digest (NULL: any); missing → exit 66, reason artifact-missing. */
int artifact_load(struct store *s, const char *prefix, const char *expect_digest, struct artifact **ret,
                  struct err *err);
/* Brings all files (or those whose name starts with only_prefix) into `dir`, every one verified by digest; on file:// stores
 * hard links to the verified, read-only files where the file system allows, else copies. All files: then manifest.json comes too. A file that is gone or altered: exit 66, reason artifact-missing. */
int artifact_fetch(struct store *s, const char *prefix, const struct artifact *a, const char *only_prefix,
                   const char *dir, struct err *err);
/* The manifest of a directory that artifact_fetch() filled (or a hand-run stage wrote); its files are not looked at. */
int artifact_load_dir(const char *dir, const char *expect_digest, struct artifact **ret, struct err *err);
/* The key of one file below the store's root; caller frees. */
char *artifact_file_key(const char *prefix, const struct artifact_file *f);

DEFINE_CLEANUP(struct artifact *, artifact_free);
#define _cleanup_artifact_ CLEANUP(artifact_free_cleanup)
