/* The commands of `trainyard` and what several of them share. Each cmd_<name>.c holds one command: its option table and its run(). */
#pragma once

#include "common/base/cli.h"
#include "common/base/err.h"
#include "common/base/limits.h"
#include "operator/cli/location.h"
#include "operator/cli/record.h"
#include "operator/pipeline/pipeline.h"

/* Exit codes beside those of sysexits.h (common/base/err.h). */
enum {
    EXIT_RUN_FAILED = 1,
    EXIT_RUN_STOPPED = 130, /* as a shell reports an interrupted command */
};

#define COMMAND_PLUGIN_NAME "kubectl trainyard" /* the program's name as a plugin of kubectl */

extern const struct cli_command command_trainyard;
extern const struct cli_command command_run, command_lint, command_plan, command_get, command_logs,
    command_restart, command_models, command_watch, command_stop, command_suspend, command_resume,
    command_approve, command_submit, command_compare;
/* Not listed in help: what the documentation is made with, and the process that drives one container step. */
extern const struct cli_command command_docs, command_container_step;

/* Option rows that mean the same everywhere; `type` is the command's struct of values. */
#define COMMAND_OPTION_STORE(type)                                                                                       \
    {                                                                                                                    \
        .name = "store", .short_name = 's', .kind = CLI_STRING, .metavar = "URI",                                        \
        .offset = offsetof(type, store), .env = "TRAINYARD_STORE",                                                       \
        .help =                                                                                                          \
            "Where artifacts live: a path, file:///path or s3://bucket/prefix. Overrides the manifest's spec.store.url." \
    }
#define COMMAND_OPTION_REGISTRY(type)                                                                 \
    {                                                                                                 \
        .name = "registry", .kind = CLI_STRING, .metavar = "URI", .offset = offsetof(type, registry), \
        .env = "TRAINYARD_REGISTRY",                                                                  \
        .help = "Where models are registered, if not in the store. Overrides spec.registry.url."      \
    }
#define COMMAND_OPTION_SECRET(type)                                                                                                                   \
    {                                                                                                                                                 \
        .name = "secret", .kind = CLI_LIST, .metavar = "NAME=DIR", .offset = offsetof(type, secrets),                                                 \
        .help =                                                                                                                                       \
            "A Secret that the manifest names, as a directory with one file a key. Without it, store credentials are taken from the AWS_* variables." \
    }
#define COMMAND_OPTION_OUTPUT(type)                                                              \
    {                                                                                            \
        .name = "output", .short_name = 'o', .kind = CLI_STRING, .metavar = "FORMAT",            \
        .offset = offsetof(type, output), .fallback = "text", .choices = command_output_formats, \
        .help = "text for people, json for programs."                                            \
    }
#define COMMAND_OPTION_PARAM(type)                                                     \
    {                                                                                  \
        .name = "param", .short_name = 'p', .kind = CLI_LIST, .metavar = "NAME=VALUE", \
        .offset = offsetof(type, params), .help = "A parameter of the pipeline."       \
    }
#define COMMAND_OPTION_SCHEDULED_TIME(type)                                                                  \
    {                                                                                                        \
        .name = "scheduled-time", .kind = CLI_STRING, .metavar = "TIME",                                     \
        .offset = offsetof(type, scheduled_time),                                                            \
        .help =                                                                                              \
            "The time that run.scheduledTime and date() see, RFC 3339 (2026-01-31T02:00:00Z). Default: now." \
    }
/* What fits a manifest to this machine. */
#define COMMAND_OPTION_WORKERS(type)                                                                               \
    {                                                                                                              \
        .name = "workers", .kind = CLI_INT, .metavar = "N", .offset = offsetof(type, workers), .min = 1,           \
        .max = LIMIT_WORKERS,                                                                                      \
        .help =                                                                                                    \
            "At most N workers a step, whatever the manifest says. Part of the cache key, for the result differs." \
    }
#define COMMAND_OPTION_CPU(type)                                                                                  \
    {                                                                                                             \
        .name = "cpu", .kind = CLI_INT, .metavar = "N", .offset = offsetof(type, cpu), .min = 1,                  \
        .max = 1024,                                                                                              \
        .help =                                                                                                   \
            "Work on the CPU with at most N threads a worker, whatever the manifest says. Part of the cache key." \
    }
/* How a run is shown while it goes on. */
#define COMMAND_OPTION_PLAIN(type)                                                                         \
    {                                                                                                      \
        .name = "plain", .kind = CLI_FLAG, .offset = offsetof(type, plain),                                \
        .help =                                                                                            \
            "A line a change instead of the live view. The default when standard error is not a terminal." \
    }
#define COMMAND_OPTION_JSON(type)                                                           \
    {                                                                                       \
        .name = "json", .kind = CLI_FLAG, .offset = offsetof(type, json),                   \
        .help = "No progress; one JSON document on standard output when the run has ended." \
    }
#define COMMAND_OPTION_TIMEOUT(type)                                             \
    {                                                                            \
        .name = "timeout", .kind = CLI_DURATION, .metavar = "DURATION",          \
        .offset = offsetof(type, timeout_ms), .min = 1, .max = INT64_C(1) << 40, \
        .help = "Look on for so long at most (90s, 2h), then end with 75."       \
    }
extern const char *const command_output_formats[];

/* A manifest as read from a file ("-": standard input). */
struct manifest {
    char *name, *text;
    size_t len;
    struct pipeline *pipeline;
};
void manifest_release(struct manifest *m);
#define _cleanup_manifest_ CLEANUP(manifest_release)
/* Reads and decodes. Findings go to stderr as file:line: path: message, warnings too; errors: exit 78. */
int manifest_load(const char *path, struct manifest *ret, struct err *err);
int manifest_read(const char *path, struct manifest *ret, struct err *err);
int manifest_decode(struct manifest *m, struct err *err); /* the second half of manifest_load() */
/* Prints and frees the findings of a decoding that gave r; with errors among them the error only says how many. */
int manifest_finish(const struct manifest *m, struct findings *findings, int r, struct err *err);
/* "file:line: path: message" */
void manifest_print_findings(const char *name, const struct findings *f, bool errors_only);
bool manifest_is_file(const char *argument); /* rather than the name of a run */

/* "k=v" items → run_param array; caller frees with params_free. */
int command_parse_params(const struct cli_list *items, struct run_param **ret, struct err *err);
void command_free_params(struct run_param *params, size_t n);

/* Of a run that is made now: --scheduled-time (NULL: now), --param. On failure nothing is to be freed. */
int command_run_inputs(const char *scheduled_time, const struct cli_list *params, int64_t now_ms,
                       struct run_spec *spec, struct err *err);

/* The end of a run, in words: as one JSON document, or its summary, and on stderr what to do when it did not succeed. store may be NULL; hint as for
 * describe_failure(). */
int command_say_end(const struct record *r, struct store *store, bool json, const char *hint,
                    struct err *err);
/* 0 for a run that succeeded, EXIT_RUN_STOPPED where a person asked for that, else EXIT_RUN_FAILED. */
int command_exit_code(const struct record *r);

/* Prints JSON, pretty, to stdout. */
int command_print_json(const cJSON *value, struct err *err);
int command_print(const struct buf *text, struct err *err);
const char *command_user(void); /* who does this: $USER, $LOGNAME or the uid's name */
