/* Specs of pipelines as ControllerRevisions, which the API server keeps from being changed: made once per change, fetched when a run
 * needs one, decoded once for all runs, at most `max` kept (those of active runs are used often enough to stay).
 *
 * A revision holds what a run can see of the spec, without what equals its default: not runOn, schedule, retention and control, so that
 * editing these makes none; and the code revision (ANNOTATION_REVISION) that the pipeline had. Its name says what it holds. */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "operator/kube/client.h"
#include "operator/pipeline/pipeline.h"

struct revisions; /* opaque */

/* wake(ctx, key): what waited for a revision may look again. c may be NULL where none is ever fetched (tests). */
struct revisions *revisions_new(struct kube_client *c, size_t max, void (*wake)(void *ctx, const char *key),
                                void *ctx);
/* Nothing is woken any more. */
struct revisions *revisions_free(struct revisions *r);

/* The decoded pipeline of a revision; borrowed until the loop runs. 0 with *ret NULL: it is being fetched, and `key` will be woken. Not there, or
 * not readable: negative (ERR_NOTFOUND, ERR_INVALID; ERR_RETRY where the API server could not be asked); the next call asks again. */
int revisions_get(struct revisions *r, const char *ns, const char *name, const char *key,
                  const struct pipeline **ret, struct err *err);
/* What is known already need not be fetched. Takes p. */
void revisions_put(struct revisions *r, const char *ns, const char *name, struct pipeline *p);
size_t revisions_count(const struct revisions *r);

/* "<pipeline>-<first 10 hex digits of the hash>"; the hash covers all that a revision holds, so an equal spec finds its revision again. */
char *revision_name(const struct pipeline *p);
/* The object to create; owned by the pipeline with this UID. */
cJSON *revision_object(const struct pipeline *p, const char *uid, int64_t generation);
/* Back into a pipeline, as the schema of this program defaults it. */
int revision_decode(const cJSON *object, struct pipeline **ret, struct err *err);
