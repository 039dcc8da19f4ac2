/* The record of a local run: what was asked for and how far it is, in <state>/runs/<uid>/.
 *
 *   manifest.yaml  the pipeline as it was when the run began: resuming uses this, whatever became of the file
 *   run.json       names, times, parameters, options, control, status; replaced atomically, never edited
 *   lock           lock.h
 *   <job>/         one directory an attempt: config.json, inputs.json, store.json, result-<rank>.json, log-<rank>.txt
 *
 * Names are reserved in <state>/names/<name> (holding the uid), created exclusively, so that two runs never share one. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/plan.h"

struct record_options {
    cJSON *store;                      /* description */
    cJSON *registry;                   /* NULL: the store */
    cJSON *secrets;                    /* object: name → directory */
    int64_t workers, cpu, parallelism; /* 0: as written */
    bool no_cache, keep_scratch;
    char *stages_dir; /* NULL: beside the trainyard program */
};

struct record {
    char *state_dir, *dir;
    char *
        namespace_; /* a view of a run in a cluster (cluster/clusterrun.h): then the two above are NULL, and it is never written. NULL: of this machine */
    char *manifest_name; /* as given on the command line, for messages */
    struct pipeline *pipeline;
    struct run_spec spec;
    struct record_options options;
    struct run_status status;
    cJSON *usage; /* object: step → {"maxRssBytes", "cpuSeconds"}, of what this machine measured */
};

/* What a new run is made from; everything is copied. */
struct record_request {
    const char *state_dir;
    const char *manifest_name, *manifest_text;
    size_t manifest_len;
    const char *name; /* NULL: <pipeline>-<n> */
    int64_t now_ms, scheduled_ms;
    const struct run_param *params;
    size_t n_params;
    const struct record_options *options;
};
/* Takes the pipeline in every case. A name that is taken is ERR_EXISTS, exit 64. Nothing refers to the run before run.json is there. */
int record_create(const struct record_request *request, struct pipeline *pipeline, struct record **ret,
                  struct err *err);
int record_load(const char *state_dir, const char *uid, struct record **ret, struct err *err);
/* Atomic and durable. */
int record_write(const struct record *r, struct err *err);
struct record *record_free(struct record *r);
DEFINE_CLEANUP(struct record *, record_free);
#define _cleanup_record_ CLEANUP(record_free_cleanup)

/* Paths; caller frees. */
char *record_path(const struct record *r, const char *name);

/* --- finding runs ---------------------------------------------------------------------------------- */

/* A line of `trainyard get`: read from run.json without decoding the manifest. Strings are owned. */
struct record_summary {
    char *state_dir, *uid, *name, *pipeline, *phase, *store_url;
    int64_t created_ms, finished_ms;
    int64_t steps_done, steps_total;
    bool finished;
};
struct record_list {
    struct record_summary *items; /* newest first */
    size_t n;
};
void record_list_release(struct record_list *l);
#define _cleanup_record_list_ CLEANUP(record_list_release)
/* Runs below state_dir that satisfy the filter (strings may be NULL); none is no error. Damaged records are skipped. */
int record_list(const char *state_dir, const char *name_or_uid, const char *pipeline, struct record_list *ret,
                struct err *err);
/* The newest run that satisfies the filter, in the store named by the option, else in the stores that runs used lately.
 * ERR_NOTFOUND, exit 66, says where it looked. */
int record_find(const char *store_option, const char *name_or_uid, const char *pipeline, struct record **ret,
                struct err *err);
