/* Option tables: one table describes a command and gives parsing, environment fall-back, --help, the
 * man page and the Markdown page.
 *
 *   static const struct cli_option options[] = {
 *       {.name = "store", .kind = CLI_STRING, .metavar = "URI", .offset = offsetof(struct opts, store),
 *        .env = "TRAINYARD_STORE", .help = "Where artifacts live: file:///path or s3://bucket/prefix."},
 *       CLI_END };
 *
 * Values are stored at `offset` of the struct handed to cli_parse(): const char * (STRING), int64_t
 * (INT, DURATION in ms, BYTES), double, bool (FLAG; --no-name turns it off), struct cli_list (LIST: may repeat).
 * Strings point into argv or the environment. Long options only need an unambiguous name, "--name value"
 * and "--name=value"; short ones "-n value" and "-nvalue", flags may be joined ("-ab"); "--" ends options,
 * "-" is a positional. A value comes from the command line, else the environment (when set and not empty),
 * else `fallback`, else what the struct held. Errors name the option and suggest the nearest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

enum cli_kind { CLI_FLAG, CLI_STRING, CLI_INT, CLI_DOUBLE, CLI_DURATION, CLI_BYTES, CLI_LIST };

struct cli_list {
    const char **items;
    size_t n, capacity;
};

struct cli_option {
    const char *name; /* long, without dashes */
    char short_name;  /* 0: none */
    enum cli_kind kind;
    const char *metavar; /* for help; NULL for flags */
    size_t offset;
    const char *env;            /* variable used when the option is absent; NULL: none */
    const char *fallback;       /* default as text, parsed like the option; NULL: leave the struct's value */
    int64_t min, max;           /* for INT, DURATION, BYTES; both 0: unbounded */
    const char *const *choices; /* for STRING, NULL-terminated; NULL: any */
    const char *help;           /* sentences */
};
/* clang-format off */
#define CLI_END {.name = NULL}
/* clang-format on */

struct cli_command {
    const char *name;        /* "trainyard run" */
    const char *synopsis;    /* positional part: "PIPELINE.yaml [STEP…]" */
    const char *summary;     /* one line */
    const char *description; /* paragraphs separated by blank lines; NULL: none */
    const char *examples;    /* lines; NULL: none. Shown verbatim and run by the docs test where marked */
    const struct cli_option *options; /* ends with CLI_END */
    size_t min_args, max_args;        /* positional */
    /* Subcommands: NULL-terminated; exclusive with run. */
    const struct cli_command *const *commands;
    /* Returns the exit code; argv begins after the command's name. */
    int (*run)(const struct cli_command *cmd, int argc, char **argv);
};

enum { CLI_HELP = 1, CLI_VERSION = 2 };
/* argv begins behind the program's or command's name (main passes argc - 1, argv + 1).
 * Parses; positional arguments are moved to the front, their count in *ret_argc. Returns 0; CLI_HELP or
 * CLI_VERSION when asked for (already printed to stdout); negative with ERR_INVALID, exit 64.
 * Lists belong to the caller in every case: cli_list_release(). */
int cli_parse(const struct cli_command *cmd, int argc, char **argv, void *values, int *ret_argc,
              struct err *err);
void cli_list_release(struct cli_list *l);
/* Runs the command or the named subcommand of main's argc and argv (argv[0] is the program); prints usage
 * errors as "trainyard run: …" to stderr. "help [COMMAND…]" is built in. Returns the exit code. */
int cli_main(const struct cli_command *root, int argc, char **argv);
/* For `run`: prints "trainyard run: message" to stderr, for usage errors where help is; returns the exit code. */
int cli_fail(const struct cli_command *cmd, const struct err *err);

/* A program that is called otherwise than its tables say ("kubectl trainyard", a plugin of that name) is called so in help, errors and
 * advice; man and Markdown pages keep the tables' name. The name is borrowed for ever. */
void cli_set_program(const char *name);
/* That name, or `otherwise` when none was set. */
const char *cli_program(const char *otherwise);
/* "kubectl trainyard run". Caller frees. */
char *cli_called(const struct cli_command *cmd);

int cli_help(const struct cli_command *cmd, struct buf *out);
int cli_man(const struct cli_command *cmd, struct buf *out);      /* roff */
int cli_markdown(const struct cli_command *cmd, struct buf *out); /* whole tree of commands */

/* Every program answers two hidden options through cli_parse/cli_main, so that docs can be generated:
 * --help-man and --help-markdown. */

extern const char trainyard_version[]; /* from the build; "0.1.0" */
