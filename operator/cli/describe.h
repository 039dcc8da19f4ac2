/* A run put into words, after it has ended or whenever somebody asks: one JSON form for programs, tables for people. */
#pragma once

#include <cjson/cJSON.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/store/store.h"
#include "operator/cli/record.h"
#include "operator/cli/ui.h"

/* {"name", "uid", "pipeline", "phase", "reason"?, "message"?, "created", "scheduledTime", "started"?, "finished"?, "seconds"?,
 * "store", "directory"? (here), "namespace"? (in a cluster), "parameters", "steps": [{"name", "state", "cached", "attempts", "seconds"?, "progress"?, "class"?, "reason"?, "message"?,
 * "cacheNote"?, "exitCode"?, "outputs", "values", "reports", "log"?, "maxRssBytes"?, "cpuSeconds"?, "items"? }]}.
 * cached: the planner's cache or the stage's own memo answered. reports: paths of HTML reports (file:// stores) or URLs.
 * store may be NULL: then there are no reports. Caller owns. */
cJSON *describe_run(const struct record *r, struct store *store);

/* Table of steps: step, state, attempts, time, cached, values. */
void describe_steps(const cJSON *run, const struct ui_style *style, struct buf *out);
/* Table, reports, the cache's words, registered versions, where everything lies. */
void describe_summary(const cJSON *run, const struct ui_style *style, struct buf *out);
/* What to know and what to do after a run that did not succeed: the failed steps' messages in full, logs, next commands. hint: the options that a
 * later command needs to find the run (" --store …", " -n …"). */
void describe_failure(const struct record *r, const cJSON *run, const char *hint, struct buf *out);
/* That of a run of this machine. Caller frees. */
char *describe_hint(const struct record *r);

/* Log of an item's attempt (0: the newest) and rank; caller frees. NULL: no attempt yet. */
char *describe_log_path(const struct record *r, size_t step, size_t item, int attempt, int rank);
/* The step's place in the store, "runs/<uid>/<step>[/<index>]/g<restart>"; caller frees. */
char *describe_step_prefix(const struct record *r, size_t step, size_t item);
