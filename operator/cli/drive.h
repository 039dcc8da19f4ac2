/* Carrying a recorded run on to its end, for `run` and `restart`: lock, checks of this machine, runner, last words, exit code. */
#pragma once

#include <stdbool.h>

#include "common/base/cli.h"
#include "operator/cli/record.h"

struct drive_options {
    bool plain, json;
    const char *log_level;  /* NULL: info */
    const char *stages_dir; /* NULL: as recorded, else beside this program */
};

/* Before anything is recorded: are the programs there that the pipeline's steps need? Missing stage programs and a missing
 * container engine are exit 78, naming the steps. */
int drive_check_machine(const struct pipeline *p, const char *stages_dir, struct err *err);

/* Takes the run's lock (waiting for what an earlier driver left behind), reads the record again, for it may have changed meanwhile, lets
 * `change` alter it, writes it and carries the run on. Frees the record. The exit code, when everything has been said; else negative. */
int drive_changed(const struct cli_command *cmd, struct record *record,
                  int (*change)(struct record *r, const void *ctx, struct err *err), const void *ctx,
                  const struct drive_options *options, struct err *err);

/* Steps to begin again with so that everything unfinished is done: those that failed or were stopped and whose predecessors did
 * not. NULL-terminated, borrowed names; caller frees the array. */
const char **drive_unfinished(const struct record *r);
/* Sets spec.restart with a new id; from is copied. */
void drive_set_restart(struct record *r, const char *const *from, size_t n);
