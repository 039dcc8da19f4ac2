/* The receiver of progress posts: http://127.0.0.1:<port>/v1/progress/<run uid>/<step>/<attempt>/<item>, answered in the
 * runner's own loop. The token an attempt must show is HMAC-SHA-256(key, run UID, step, attempt, item), so nothing is stored and
 * none can be guessed: wrong token 401, an attempt that has ended 410, a body that is too large 413 or malformed 400.
 * What is posted is for people's eyes and for the planner's "checkpoint is known" only; losing all of it loses nothing.
 *
 * Body: {"fraction": 0…1, "message"?, "metrics"?: {name: number}, "checkpoint_step"?, "rank"?}. A metric named
 * checkpoint_step counts like the field. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/err.h"
#include "common/http/loop.h"

/* The newest word of one attempt. */
struct progress_entry {
    char *step;
    int64_t item;
    int attempt;
    bool ended;
    double fraction; /* < 0: none yet */
    char message[160];
    cJSON *metrics;          /* object name → number; NULL: none yet */
    int64_t checkpoint_step; /* -1: none */
    int64_t updated_ms;
};

struct progress; /* opaque */

/* key: of this process. Does not listen yet. */
struct progress *progress_new(const char *run_uid, const uint8_t key[static SHA256_LEN]);
struct progress *progress_free(struct progress *p);

/* Attempts that may post. The entry is owned by `p` and lives as long. */
struct progress_entry *progress_begin(struct progress *p, const char *step, int attempt, int64_t item);
void progress_end(struct progress *p, const char *step, int attempt, int64_t item);
const struct progress_entry *progress_find(const struct progress *p, const char *step, int attempt,
                                           int64_t item);
/* True once after each change, so that the caller knows when to draw. */
bool progress_changed(struct progress *p);

/* HMAC-SHA-256 in hex over the purpose and the names, separated by newlines (names hold none): "progress" makes the token,
 * "rendezvous" the key that the workers of one attempt share. */
void progress_sign(const uint8_t key[static SHA256_LEN], const char *purpose, const char *run_uid,
                   const char *step, int attempt, int64_t item, char ret[static DIGEST_HEX]);

/* One request; the HTTP status to answer. `authorization` is the header's value or NULL. */
int progress_handle(struct progress *p, const char *method, const char *path, const char *authorization,
                    const char *body, size_t len, int64_t now_ms);

/* Listens on 127.0.0.1, any free port, in the runner's loop, which must outlive `p`. */
int progress_listen(struct progress *p, struct loop *loop, const struct clock *clock, struct err *err);
/* Caller frees; NULL when not listening. */
char *progress_url(const struct progress *p, const char *step, int attempt, int64_t item);

DEFINE_CLEANUP(struct progress *, progress_free);
#define _cleanup_progress_ CLEANUP(progress_free_cleanup)
