/* The local runner: observe → plan → record → act, until the run has ended.
 *
 * One thread, one loop (common/http/loop.h); nothing in it blocks but the wait. An iteration:
 *   1. signals are read: SIGINT, SIGTERM, SIGHUP ask for a stop (first Graceful, then Now, then everything is killed);
 *   2. processes that ended are reaped, grace periods that are over are enforced;
 *   3. if anything was learnt, or plan()'s wake time has come: plan();
 *   4. the status, if it changed, is written (atomic, durable) before anything it implies is done;
 *   5. the cache is updated, attempts are stopped and started;
 *   6. the screen is updated; then it waits for a signal, a post, a deadline.
 * Killed anywhere in this, nothing is lost: children die with this process, and the next driver goes on from the record. */
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "operator/cli/record.h"
#include "operator/cli/ui.h"

struct runner_options {
    const char *stages_dir; /* where the stage programs are */
    const char *self;       /* this program, for container steps */
    const char *log_level;  /* of the stages; NULL: their default */
    int lock_fd;            /* the run's lock, held */
    struct ui *ui;
};

enum runner_end {
    RUNNER_FINISHED,       /* record->status has a final phase */
    RUNNER_NEEDS_APPROVAL, /* nothing runs and nothing can until a person approves */
};
/* The record is kept up to date on disk and in memory. An error means that the runner could not do its work (record not
 * writable…); all processes are ended then. */
int runner_run(struct record *record, const struct runner_options *options, enum runner_end *ret,
               struct err *err);

/* As plan() is to be called for this record on this machine; `trainyard plan` uses the same. */
void runner_plan_options(const struct record_options *options, struct plan_options *ret);
