/* Which run a pipeline starts, and when: pure, so that every rule is a row of a test.
 *
 * At most one run is started at a time, in two steps, so that none is started twice whatever is killed in between: it is recorded in the
 * pipeline's status (`starting`, with its name, revision, hash and time; a write that only one of two operators can win), then created,
 * then, once it is seen, taken out of `starting` again. What was started stays recorded (last_hash, last_scheduled_ms) when the run is deleted.
 *
 * SpecChange is due when the hash differs from that of the newest automatic run; so A → B → A runs again, and A → B → A while the first A
 * still runs starts nothing. A schedule's time is due from then until starting_deadline_ms later; of several the newest (Latest), each, oldest first,
 * at most STARTING_CATCH_UP (All), or only one that is at most STARTING_ON_TIME_MS old (None). A scheduled run has the newest spec, so it also
 * answers a change of it. Times before a schedule was first seen, or changed, start nothing.
 *
 * The concurrency policy is about runs that the operator created, whatever triggered them. With Forbid a due run waits until the active ones have
 * ended, with Replace they are stopped; it is the `pending` run: one, decided anew at each look, so the latest spec and time win. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operator/pipeline/schedule.h"

enum { STARTING_CATCH_UP = 100, STARTING_ON_TIME_MS = 60 * 1000 };

enum starting_trigger { TRIGGER_NONE, TRIGGER_SPEC_CHANGE, TRIGGER_SCHEDULE };
const char *starting_trigger_name(enum starting_trigger t); /* the value of LABEL_TRIGGER; "" for none */
enum starting_trigger starting_trigger_parse(const char *name);

enum concurrency { CONCURRENCY_FORBID, CONCURRENCY_ALLOW, CONCURRENCY_REPLACE };
enum catch_up { CATCH_UP_LATEST, CATCH_UP_NONE, CATCH_UP_ALL };

struct starting_spec { /* borrowed */
    const char *pipeline, *uid;
    int64_t generation;
    bool valid;              /* nothing becomes due while the spec is not */
    const char *hash;        /* struct pipeline.hash */
    bool on_change;          /* runOn has SpecChange */
    bool on_schedule;        /* runOn has Schedule; the rest is of the schedule */
    const char *cron, *zone; /* as written */
    struct schedule schedule;
    enum concurrency concurrency; /* Forbid where there is no schedule */
    enum catch_up catch_up;
    int64_t deadline_ms;
};

struct starting_run { /* borrowed; all runs that name the pipeline */
    const char *name;
    const char *hash; /* NULL if it has none */
    bool ours;        /* created by the operator for this very pipeline */
    bool going;       /* not ours, and about to be deleted: its name will be free */
    bool finished, stopping;
    int64_t created_ms;
};

struct starting_memory {       /* what the pipeline's status records; strings are owned */
    char *last_hash;           /* NULL: none */
    int64_t last_scheduled_ms; /* 0: none */
    char *cron, *zone;         /* the schedule in force; NULL: none */
    int64_t since_ms;          /* when that was first seen */
    struct starting_run_record {
        char *name; /* NULL: none is being created */
        enum starting_trigger trigger;
        char *hash;
        char *revision;
        int64_t scheduled_ms; /* of a scheduled one */
    } starting;
    struct starting_pending {
        char *name; /* NULL: none waits */
        enum starting_trigger trigger;
        char *message;
    } pending;
};
void starting_memory_release(struct starting_memory *m);

struct starting_decision {
    struct starting_memory memory; /* to be recorded; equal to what was given if nothing is to be done */
    char *superseded;              /* name of the pending run in whose place another one waits now; NULL */
    size_t *replace;               /* indexes of runs to be stopped */
    size_t n_replace;
    int64_t next_scheduled_ms; /* 0: none */
    int64_t wake_ms;           /* look again then, though nothing happens; 0: never */
};
void starting_decision_release(struct starting_decision *d);

/* revision: ControllerRevision of the newest valid spec; NULL: none yet, so nothing is started. `seen`: the run of memory->starting was in the
 * cache, even if it is gone already. */
void starting_decide(const struct starting_spec *spec, const char *revision,
                     const struct starting_memory *memory, bool seen, const struct starting_run *runs,
                     size_t n_runs, int64_t now_ms, struct starting_decision *ret);
