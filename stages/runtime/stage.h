/* One frame for every stage: options → inputs → work → publish → result → exit code.
 *
 * A stage is a descriptor and a work() function; its main.c is `return stage_main(&stage, argc, argv)`.
 * stage_main() reads the contract's environment (or hand-run options: --config FILE --input NAME=DIR --output DIR
 * --store URI …), opens the store, looks for a committed result (and returns it at once), verifies and fetches inputs, calls
 * work(), publishes the outputs, commits result.json, writes the termination message and the kept log, and maps
 * the error to an exit code. SIGTERM sets a flag that work() polls (stage_stopping). In multi-worker steps every rank runs
 * work(); only rank 0 publishes and commits. Hand-run (no TRAINYARD_RUN): outputs go to --output DIR/<name>/ with their
 * manifest.json, nothing else is written. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cli.h"
#include "common/base/err.h"
#include "common/store/store.h"

struct stage_run; /* opaque */

struct stage {
    const char *name;              /* program name, "data-validate" */
    const char *summary;           /* one line, for --help */
    const char *description;       /* for the man page */
    const char *algorithm_version; /* raised only when output can change */
    const char *const *inputs; /* names it takes, NULL-terminated; a name with a trailing '?' is optional */
    const struct stage_output *outputs; /* ends with name NULL */
    bool looks_outside; /* memo cache: work() calls stage_memo_lookup() once it has resolved what it sees */
    const struct cli_option
        *options; /* extra options (CLI_END or NULL), stored at offsets of `option_values` */
    void *option_values;
    /* A mode that replaces the frame (featurize --transform): called after option parsing when *its* flag is set. NULL: none. */
    int (*alternative)(int argc, char **argv, bool *ret_taken, struct err *err);
    int (*work)(struct stage_run *run, struct err *err);
};
struct stage_output {
    const char *name;          /* "snapshot" */
    const char *type;          /* artifact type */
    const char *shared_prefix; /* files below it are content-addressed (artifact.h); NULL: none */
};

int stage_main(const struct stage *stage, int argc, char **argv);

/* --- inside work() ------------------------------------------------------------------------------- */

const cJSON *stage_config(const struct stage_run *run);
/* Directory with the input's files, verified; borrowed. Optional and absent: NULL. */
const char *stage_input(const struct stage_run *run, const char *name);
const char *stage_input_digest(const struct stage_run *run, const char *name);
/* Directory where the output's files go (made empty); borrowed. */
const char *stage_output(struct stage_run *run, const char *name);
const char *stage_scratch(const struct stage_run *run);
int64_t stage_scratch_max(const struct stage_run *run); /* bytes */
int64_t stage_memory_max(const struct stage_run *run);  /* bytes */
int stage_threads(const struct stage_run *run);
const char *stage_device(
    const struct stage_run *run); /* "cpu", "cuda" (from the planner); hand-run also "auto" */
int64_t stage_scheduled_ms(const struct stage_run *run);
const char *stage_algorithm_version(const struct stage_run *run);
int stage_attempt(const struct stage_run *run);
/* For lineage and provenance; NULL in hand-run (revision: also when the pipeline names none). */
const char *stage_run_name(const struct stage_run *run);
const char *stage_run_uid(const struct stage_run *run);
const char *stage_revision(const struct stage_run *run);

/* Results: small values for `when` and for people. */
void stage_value_int(struct stage_run *run, const char *name, int64_t v);
void stage_value_double(struct stage_run *run, const char *name, double v);
void stage_value_bool(struct stage_run *run, const char *name, bool v);
void stage_value_string(struct stage_run *run, const char *name, const char *v);

/* What was set so far; after a memo hit, what the earlier run had set. Borrowed. */
const cJSON *stage_values(const struct stage_run *run);

/* Never blocks, never fails the step; posted at most twice a second. `metrics` (may be NULL) is copied: name → number. */
void stage_progress(struct stage_run *run, double fraction, const char *message, const cJSON *metrics);
bool stage_stopping(const struct stage_run *run);
/* What work() returns when it ends early because of that: ERR_RETRY, exit 75, reason "stopped". Always negative. */
int stage_stopped(const struct stage_run *run, struct err *err);
/* If work() fails, this output's files are kept beside the log (…/logs/a<attempt>-<output>/…), where people find them. */
void stage_keep_on_failure(struct stage_run *run, const char *output);
/* Wall-clock facts, build ids, throughput: outside the digest, in provenance/. Takes value. */
void stage_provenance(struct stage_run *run, const char *key, cJSON *value);
/* What an artifact adds to its manifest's config (resolved facts that name the content); takes value. */
void stage_artifact_config(struct stage_run *run, const char *output, const char *key, cJSON *value);

/* Stages that look outside: with what it resolved (listing with ETags, version digests…), is there a memo of an
 * earlier run? On a hit outputs and values are set from it, *ret_hit is true, and work() returns 0 without working
 * (after recomputing comparisons with the clock). The memo is written by stage_main() after a commit. Never in hand-run. */
/* Values and provenance set before a hit are replaced. */
int stage_memo_lookup(struct stage_run *run, const cJSON *resolved, bool *ret_hit, struct err *err);

/* A store that a URI of the config names (a source, a registry): credentials as the step's store when the bucket's
 * description has none of its own. Registry: the TRAINYARD_REGISTRY description, else the step's store. Borrowed; opened once. */
int stage_open_store(struct stage_run *run, const char *url, struct store **ret, struct err *err);
int stage_registry(struct stage_run *run, struct store **ret, struct err *err);
/* File of a mounted Secret, e.g. ("model-signing", "key.pem"); ERR_NOTFOUND exit 78 naming Secret and key. Caller frees. */
int stage_secret_path(const struct stage_run *run, const char *secret, const char *key, char **ret,
                      struct err *err);

/* Where checkpoints live: the step's store (NULL in hand-run: use the directory instead) and the key prefix
 * "runs/<uid>/<step>[/<index>]/g<restart>/checkpoints"; hand-run: a directory below --output. */
struct store *stage_store(const struct stage_run *run);
const char *stage_checkpoint_prefix(const struct stage_run *run);
/* Previous restart's prefix to resume from (restart of a failed step with equal config), or NULL. */
const char *stage_previous_checkpoint_prefix(const struct stage_run *run);

/* Multi-worker steps. A single worker has rank 0 of 1 and NULL elsewhere. */
struct stage_world {
    int rank, local_rank, size;
    const char *master_addr, *advertise_addr;
    int master_port;
    const char *run_uid;
    uint8_t rendezvous_key[32];
};
const struct stage_world *stage_world(const struct stage_run *run);
