/* Checkpoints in the store: written by a thread of their own, visible by one conditional write, verified before use.
 *
 *   <prefix>/claims/<attempt>.json           this attempt's claim, conditionally created; the highest attempt may write
 *   <prefix>/<step>-a<attempt>/state.safetensors, state.json, manifest.json (last, conditionally; names sizes and SHA-256)
 *
 * A directory without manifest is no checkpoint. Kept by count; deleting starts with the manifest. A checkpoint fits only
 * the same fingerprint (algorithm, config, features, vector level). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct checkpoints; /* opaque */

struct checkpoint_options {
    struct store *store; /* borrowed; used by the thread while an upload runs, else by the caller's thread */
    const char *prefix;  /* of this restart; "" is allowed */
    const char *previous_prefix; /* of an earlier restart to resume from; NULL: none */
    int attempt;
    bool claim; /* false by hand: nobody numbers the attempts */
    int keep;
    const char *scratch;     /* directory */
    const char *fingerprint; /* 64 hex digits */
};

/* The caller's arrays; `best` may be NULL. `text` is JSON that means something to the trainer only. */
struct checkpoint_data {
    int64_t step;
    float *weights, *optimizer, *best;
    size_t n_weights, n_optimizer;
    char *text;
    bool has_best;
};

/* Claims the generation: lost to another process of this attempt, or to a later attempt: ERR_CONFLICT, exit 75. */
int checkpoints_open(const struct checkpoint_options *o, struct checkpoints **ret, struct err *err);
/* Ends an upload under way first. */
struct checkpoints *checkpoints_free(struct checkpoints *c);
/* Fills ret (arrays given, text allocated: caller frees) from the newest that verifies; broken ones are passed over. */
int checkpoints_restore(struct checkpoints *c, struct checkpoint_data *ret, bool *ret_found, struct err *err);
/* No upload under way: data given to save() may be overwritten. */
bool checkpoints_idle(struct checkpoints *c);
/* Starts the upload and returns; data stays untouched until idle; text is taken. Not while busy. */
void checkpoints_save(struct checkpoints *c, const struct checkpoint_data *data);
/* Waits for the upload. */
void checkpoints_await(struct checkpoints *c);
/* What went wrong since the last call: false if nothing. ERR_CONFLICT (a later attempt took over) must end the work;
 * others mean that one checkpoint is missing. */
bool checkpoints_take_failure(struct checkpoints *c, struct err *ret);
/* Step of the newest one committed or restored from; -1: none. */
int64_t checkpoints_newest(struct checkpoints *c);
/* Milliseconds that the last upload took. */
int64_t checkpoints_last_ms(struct checkpoints *c);

DEFINE_CLEANUP(struct checkpoints *, checkpoints_free);
#define _cleanup_checkpoints_ CLEANUP(checkpoints_free_cleanup)
