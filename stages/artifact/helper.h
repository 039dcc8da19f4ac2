/* What the helper's commands share: the contract's environment, the step's store and place, and the message the planner
 * reads. The helper stands around a user's container, which knows nothing of stores:
 *
 *   <root>/in/<input>/        fetch brings the inputs here, and restores the checkpoint
 *   <root>/out/<output>/      publish takes the outputs from here, and <root>/out/values.json
 *   <root>/checkpoint/        checkpoint uploads this periodically and at the end
 *   <root>/.published         publish has ended, and so the user's program */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cli.h"
#include "common/base/contract.h"
#include "common/base/err.h"
#include "common/base/result.h"
#include "common/store/store.h"
#include "stages/runtime/commit.h"

#define HELPER_PUBLISHED ".published"

struct helper_options {
    const char *root, *store, *secrets, *config, *inputs, *result, *log_level;
    int64_t every_ms, settle_ms, keep; /* checkpoint only */
};

struct helper {
    struct helper_options options;
    char *run_uid, *step, *index;
    int64_t restart, attempt, rank;
    struct store *store;
    struct commit_place place;
    cJSON *config, *inputs; /* the container's body; the inputs document (an empty object if there is none) */
};

/* Options and environment → an open store. Each command's run() is this, its work, and helper_finish(). */
int helper_start(const struct cli_command *cmd, int argc, char **argv, struct helper *h, struct err *err);
/* Logs the error, leaves it as the termination message, releases everything; the exit code. */
int helper_finish(struct helper *h, int r, const struct err *err);
/* Writes the termination message. */
int helper_write_result(const struct helper *h, const struct result *result, struct err *err);
/* "<root>/<part>"; caller frees. */
char *helper_path(const struct helper *h, const char *part);
/* SHA-256 over config and inputs: whether another restart worked on the same thing. */
int helper_work_digest(const struct helper *h, char ret[static 65], struct err *err);

/* Options that all commands have: entries of their tables. */
#define HELPER_AT(field) .offset = offsetof(struct helper_options, field)
#define HELPER_OPTIONS                                                                                    \
    {.name = "root",                                                                                      \
     .kind = CLI_STRING,                                                                                  \
     .metavar = "DIR",                                                                                    \
     HELPER_AT(root),                                                                                     \
     .fallback = "/trainyard",                                                                            \
     .help = "The directory shared with the step's container."},                                          \
        {.name = "store",                                                                                 \
         .kind = CLI_STRING,                                                                              \
         .metavar = "URI|FILE",                                                                           \
         HELPER_AT(store),                                                                                \
         .env = ENV_STORE,                                                                                \
         .help = "Where artifacts live: file:///path, s3://bucket/prefix, or a file that describes it."}, \
        {.name = "secrets",                                                                               \
         .kind = CLI_STRING,                                                                              \
         .metavar = "DIR",                                                                                \
         HELPER_AT(secrets),                                                                              \
         .env = ENV_SECRETS,                                                                              \
         .help = "Directory of mounted Secrets: DIR/SECRET/KEY."},                                        \
        {.name = "config",                                                                                \
         .kind = CLI_STRING,                                                                              \
         .metavar = "FILE",                                                                               \
         HELPER_AT(config),                                                                               \
         .env = ENV_CONFIG,                                                                               \
         .help = "The step's configuration as JSON."},                                                    \
        {.name = "inputs",                                                                                \
         .kind = CLI_STRING,                                                                              \
         .metavar = "FILE",                                                                               \
         HELPER_AT(inputs),                                                                               \
         .env = ENV_INPUTS,                                                                               \
         .help = "The inputs' producers and digests as JSON."},                                           \
        {.name = "result",                                                                                \
         .kind = CLI_STRING,                                                                              \
         .metavar = "FILE",                                                                               \
         HELPER_AT(result),                                                                               \
         .env = ENV_RESULT,                                                                               \
         .help = "Where the result is written; absent: /dev/termination-log."},                           \
    {                                                                                                     \
        .name = "log-level", .kind = CLI_STRING, .metavar = "LEVEL", HELPER_AT(log_level),                \
        .env = "TRAINYARD_LOG_LEVEL", .fallback = "info", .help = "debug, info, warn or error."           \
    }

extern const struct cli_command command_fetch, command_publish, command_checkpoint;

/* checkpoint.c */
/* Brings the newest checkpoint that verifies into <root>/checkpoint: of this restart, else of the newest earlier one that
 * failed at the same work. None: nothing happens. */
int checkpoint_restore(struct helper *h, struct err *err);
