/* The state of one stage process, shared by the files of stages/runtime only. */
#pragma once

#include <stdio.h>

#include "common/base/map.h"
#include "stages/runtime/commit.h"
#include "stages/runtime/inputs.h"
#include "stages/runtime/progress.h"
#include "stages/runtime/stage.h"

/* Options every stage has; each falls back to its variable of the contract. */
struct run_options {
    const char *config, *store, *registry, *output, *scratch, *scheduled_time, *secrets, *device, *result;
    const char *log_level, *log_format;
    struct cli_list inputs, secret_dirs;
    int64_t threads, memory, scratch_bytes;
};
extern const struct cli_option run_option_table[];

struct run_output {
    const struct stage_output *declared;
    char *dir;    /* NULL until asked for */
    cJSON *extra; /* stage_artifact_config() */
    bool keep_on_failure;
};

struct run_store {
    char *url;
    struct store *store;
};
enum { RUN_STORES_MAX = 16, RUN_OUTPUTS_MAX = 32 };

struct stage_run {
    const struct stage *stage;
    struct run_options options;
    bool contract; /* started by a planner; else by hand */

    /* From the environment. */
    char *run_name, *run_uid, *step, *index, *revision;
    int64_t restart, attempt;
    int64_t scheduled_ms, started_ms;
    struct stage_world world;

    cJSON *config;
    cJSON *store_description, *registry_description;
    struct store *store; /* NULL in hand-run */
    struct run_store stores[RUN_STORES_MAX];
    size_t n_stores;
    struct commit_place place;

    char *scratch; /* a fresh directory; removed at the end */
    int64_t scratch_max;
    struct inputs inputs;
    struct run_output outputs[RUN_OUTPUTS_MAX];
    size_t n_outputs;

    cJSON *values, *provenance;
    struct progress *progress;
    char *log_path;
    FILE *log_file;
    char *checkpoint_prefix, *previous_checkpoints;
    bool checkpoints_claimed;

    /* Memo. */
    char memo_key[96]; /* "memo/<sha256>"; empty: none */
    bool memo_hit;
    cJSON *memo_outputs; /* name → digest of a hit, republished in our own folder */
};

/* setup.c: environment and options → run; and everything released again. */
int run_setup(struct stage_run *run, struct err *err);
void run_release(struct stage_run *run);
int run_open_stores(struct stage_run *run, struct err *err);
struct run_output *run_find_output(struct stage_run *run, const char *name);

/* publish.c: what work() left → the store. */
/* Publishes every output asked for; *outputs gains name → digest. */
int run_publish(struct stage_run *run, cJSON *outputs, struct err *err);
int run_write_provenance(struct stage_run *run, const cJSON *outputs, struct err *err);
int run_write_memo(struct stage_run *run, const struct result *result, struct err *err);
/* Log, and the outputs to be kept on failure: best effort, reported at debug. */
void run_keep(struct stage_run *run, bool failed);

/* process.c: signals and the parent. */
void process_watch_signals(void);
bool process_stopping(void);
int process_bind_to_parent(const char *parent_pid, struct err *err);
