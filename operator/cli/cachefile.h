/* The planner's cache on disk: one JSON object a pipeline, <state>/cache/<pipeline>.json. Several runs may share it: each
 * change is a read-modify-write under a lock, each write atomic. It only saves work: a damaged file counts as empty. */
#pragma once

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/plan.h"

struct cachefile; /* opaque */

/* Reads it, if it is there. */
int cachefile_open(const char *state_dir, const char *pipeline, struct cachefile **ret, struct err *err);
/* The same for reading only: creates nothing. */
int cachefile_look(const char *state_dir, const char *pipeline, struct cachefile **ret, struct err *err);
struct cachefile *cachefile_free(struct cachefile *c);
/* What plan() takes; borrowed until the next change. */
const cJSON *cachefile_entries(const struct cachefile *c);
/* Writes what the plan asks for; nothing to do is cheap. */
int cachefile_apply(struct cachefile *c, const struct plan *plan, struct err *err);

DEFINE_CLEANUP(struct cachefile *, cachefile_free);
#define _cleanup_cachefile_ CLEANUP(cachefile_free_cleanup)
