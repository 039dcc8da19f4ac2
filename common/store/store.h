/* Object store: one interface over file:// and s3://. Blocking; one handle per thread.
 *
 * Keys are relative to the store's URL, "/"-separated, safe (fs_safe_relative). Writes are atomic: an
 * object is there whole or not at all. Conditional writes decide races: IF_NONE loses with ERR_EXISTS,
 * IF_MATCH with ERR_CONFLICT. A conditional write whose reply was lost is retried and may then lose
 * against itself: callers read and adopt. Every transient failure (5xx, 429, time-out, reset, short body)
 * is retried inside with jittered back-off up to the deadline of the configuration; what comes out as
 * ERR_RETRY has outlived that. Missing objects are ERR_NOTFOUND, exit 66. Credentials refused: exit 78 (config).
 * Nothing here depends on listings being complete. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/err.h"

struct store; /* opaque */

enum store_addressing { STORE_ADDRESSING_AUTO, STORE_ADDRESSING_PATH, STORE_ADDRESSING_VIRTUAL };

/* All strings are copied; NULL = absent. */
struct store_config {
    const char *url;      /* file:///absolute/path, or s3://bucket[/prefix] */
    const char *endpoint; /* absent: AWS in `region` */
    const char *region;   /* absent: us-east-1 */
    enum store_addressing addressing;
    const char *
        credentials_dir; /* directory with files AWS_ACCESS_KEY_ID, …; absent: web identity if set below, else the three below */
    const char *access_key_id, *secret_access_key, *session_token; /* from the caller's environment */
    const char *web_identity_token_file, *role_arn, *sts_endpoint;
    const char *ca_file;
    const char *sse, *sse_key_id; /* "AES256", "aws:kms" */
    /* Over plain http, file bodies are signed with their SHA-256 (unless a known digest makes that needless). True: they
     * carry a CRC32C only, as over TLS: for a trusted network, at a third of the CPU time. */
    bool unsigned_payload;
    int64_t
        deadline_ms; /* for one request with its retries, counted from the last byte that came through; a file
                          * moves in requests of part_bytes. 0: 120 s */
    int connections; /* parallel parts; 0: 4 */
    int64_t part_bytes;        /* 0: 16 MiB */
    const struct clock *clock; /* NULL: system */
};

/* Fills `ret` from a store description (contract.h) whose credentialsSecret is looked up below secrets_dir. The strings
 * borrow from `description` except credentials_dir, which the config owns: release it. `env` (may be NULL: none)
 * supplies AWS_* variables when no Secret is named: it is called with a name and returns the value or NULL. */
int store_config_from_json(const cJSON *description, const char *secrets_dir,
                           const char *(*env)(const char *), struct store_config *ret, struct err *err);
void store_config_release(struct store_config *c);

int store_open(const struct store_config *config, struct store **ret, struct err *err);
struct store *store_free(struct store *s);
/* Another handle to the same store, for another thread. */
int store_clone(const struct store *s, struct store **ret, struct err *err);
/* Borrowed; as configured, without credentials. */
const char *store_url(const struct store *s);
bool store_is_local(const struct store *s);
/* Once per store: does it honour If-None-Match? Without it a clear error (exit 78). Result remembered in the handle. */
int store_probe(struct store *s, struct err *err);

enum { STORE_ETAG_MAX = 128 };
struct store_object {
    char *key; /* owned; NULL from store_head */
    int64_t size;
    int64_t mtime_ms;
    char etag[STORE_ETAG_MAX]; /* file://: made from size, mtime and inode; a change of content changes it */
};
void store_object_release(struct store_object *o);

/* Whole small object into memory, at most max bytes (larger: ERR_INVALID). NUL-terminated; caller frees. ret_etag may be NULL. */
int store_get(struct store *s, const char *key, size_t max, char **ret, size_t *ret_len, char *ret_etag,
              struct err *err);
/* Streams into a new file, resuming after breaks. expect_sha256 (may be NULL) and expect_size (-1: unknown) are verified
 * (mismatch: ERR_TERMINAL, exit 74, reason "checksum"); etag (may be NULL) pins the version: a changed object is
 * ERR_CONFLICT, exit 75, reason "source-changed". */
int store_get_file(struct store *s, const char *key, const char *path, const char *expect_sha256,
                   int64_t expect_size, const char *etag, struct err *err);
/* Bytes [offset, offset+len) into `ret`; short objects are an error. */
int store_get_range(struct store *s, const char *key, int64_t offset, size_t len, void *ret, struct err *err);
int store_head(struct store *s, const char *key, struct store_object *ret, struct err *err);

enum store_condition { STORE_ALWAYS, STORE_IF_NONE, STORE_IF_MATCH };
/* ret_etag (STORE_ETAG_MAX bytes) may be NULL. */
int store_put(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
              const char *if_match_etag, char *ret_etag, struct err *err);
/* Uploads a file: multipart with parallel parts and checksums beyond part_bytes, aborted on failure. The object is
 * verified to have the file's size; `sha256` (may be NULL) is stored as metadata and checked while reading the file. */
int store_put_file(struct store *s, const char *key, const char *path, const char *sha256, struct err *err);
/* Like put_file, but on file:// the store may take the file itself (rename or hard link) instead of copying. */
int store_put_file_moving(struct store *s, const char *key, const char *path, const char *sha256,
                          struct err *err);
/* Missing is success. */
int store_delete(struct store *s, const char *key, struct err *err);
/* Calls `each` for every object whose key begins with the text of prefix ("" for all, "a/" for what is below a), in key
 * order (pages inside); each returns 0 to go on, negative to stop with its err. */
int store_list(struct store *s, const char *prefix,
               int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
               struct err *err);
/* file:// only: where the object lives, so that large inputs are read in place (caller frees); NULL for other stores. */
char *store_local_path(const struct store *s, const char *key);

DEFINE_CLEANUP(struct store *, store_free);
#define _cleanup_store_ CLEANUP(store_free_cleanup)
