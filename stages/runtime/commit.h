/* A step's place in the store and its one commit (contract section 3).
 *
 *   runs/<run UID>/<step>[/<index>]/g<restart>/result.json                  the commit: created once, never changed
 *   …/g<restart>/a<attempt>-<random>/<output>/manifest.json, …              one attempt's artifacts
 *   …/g<restart>/checkpoints/…   …/g<restart>/logs/…   …/g<restart>/provenance/…
 *
 * Every attempt first looks for result.json and returns it if it is there. Whoever creates it decides the step; everyone
 * else adopts what it says. The helper program `artifact` of container steps commits through here, too. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/result.h"
#include "common/store/store.h"

struct commit_place {
    char *step;    /* "runs/<uid>/<step>[/<index>]/g<restart>" */
    char *folder;  /* "a<attempt>-<random>", new for each process */
    char *attempt; /* step + "/" + folder */
};
/* index may be NULL. Names that are no safe path parts are ERR_INVALID, exit 64. */
int commit_place_init(struct commit_place *p, const char *run_uid, const char *step, const char *index,
                      int64_t restart, int64_t attempt, struct err *err);
void commit_place_release(struct commit_place *p);
/* "runs/<uid>/<step>[/<index>]/g<restart>", caller frees. */
char *commit_step_prefix(const char *run_uid, const char *step, const char *index, int64_t restart);
/* Prefix of an output's artifact: "<step prefix>/<folder>/<output>"; caller frees. */
char *commit_output_prefix(const char *step_prefix, const char *folder, const char *output);

/* Reads <step prefix>/result.json. *ret_found false and no error when there is none yet. */
int commit_find(struct store *s, const char *step_prefix, bool *ret_found, struct result *ret,
                struct err *err);
/* Creates result.json with `mine` (folder is set here), or adopts the one that is there: *ret is what holds, *ret_adopted tells
 * which. `mine` must fit a termination message (LIMIT_RESULT_BYTES), else ERR_INVALID, reason result-too-large, nothing written. */
int commit_result(struct store *s, const struct commit_place *place, const struct result *mine,
                  struct result *ret, bool *ret_adopted, struct err *err);

static inline void commit_place_cleanup_func(struct commit_place *p)
{
    commit_place_release(p);
}
#define _cleanup_commit_place_ CLEANUP(commit_place_cleanup_func)
