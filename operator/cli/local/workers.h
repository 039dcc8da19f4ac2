/* The attempts of a run on this machine: one process a worker rank, started, watched, ended.
 *
 * This is what a kubelet is to the operator. Nothing here decides anything: the runner asks for a start or a stop, and what is
 * seen comes out as `struct observed` for plan(). An attempt that cannot be started is an attempt that failed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "operator/cli/local/progress.h"
#include "operator/cli/record.h"
#include "operator/pipeline/plan.h"

/* Borrowed for the life of the workers. */
struct workers_config {
    const struct record *record;
    const char *stages_dir;
    const char *self; /* path of this program, which drives container steps; NULL: there are none */
    struct progress *progress;
    const uint8_t *key; /* SHA256_LEN bytes: rendezvous keys are made from it */
    char *const *environ_;
    const struct clock *clock;
    const char *log_level; /* NULL: the stages' own default */
    int lock_fd;
    int64_t grace_ms;
};

struct workers; /* opaque */
int workers_new(const struct workers_config *config, struct workers **ret, struct err *err);
/* Ends nothing: call workers_kill() and reap first. */
struct workers *workers_free(struct workers *w);

/* Idempotent: an attempt that was started already is left alone. */
void workers_start(struct workers *w, const struct job *job);
/* SIGTERM to every rank, SIGKILL when the grace period is over. Unknown and ended attempts are fine. */
void workers_stop(struct workers *w, size_t step, int64_t item, int attempt);
/* Takes note of processes that ended and of grace periods that are over. True if anything changed. */
bool workers_poll(struct workers *w);
/* Wall time of the next end of a grace period; 0: none. */
int64_t workers_deadline(const struct workers *w);
void workers_kill(struct workers *w);            /* all, at once */
size_t workers_running(const struct workers *w); /* processes */

/* Everything known, and as `gone` what the status names and is not here. Valid until the next call of anything here. */
void workers_observe(struct workers *w, const struct run_status *status, struct observed *ret);
/* Drops attempts that have ended and that the status has got beyond. */
void workers_forget(struct workers *w, const struct run_status *status);

/* What the newest attempt of a step left that no status holds; called once for each attempt that ended. */
struct workers_measure {
    size_t step;
    int64_t item;
    int exit_code, signal;
    bool memoised; /* its result says `cached` */
    int64_t max_rss_bytes, cpu_ms;
};
bool workers_next_measure(struct workers *w, struct workers_measure *ret);

/* Directory of an attempt below the run's, and the name of a rank's log in it; caller frees. */
char *workers_attempt_dir(const struct record *r, const char *job_name);
char *workers_log_name(int rank);

DEFINE_CLEANUP(struct workers *, workers_free);
#define _cleanup_workers_ CLEANUP(workers_free_cleanup)
