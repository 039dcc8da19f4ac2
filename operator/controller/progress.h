/* The progress receiver: stages POST /v1/progress/<namespace>/<run>/<step>/<index>/<attempt> with a small JSON body and a bearer token
 * = HMAC-SHA256(key, run UID, step, attempt, index), hex. Kept in memory for attempts that run; losing it loses nothing else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/http/listener.h"

struct progress; /* opaque */
struct progress_attempt {
    double fraction;             /* 0…1; < 0: unknown */
    int64_t checkpoint_step;     /* -1: none */
    int64_t heard_ms;            /* monotonic */
    int64_t checkpoint_heard_ms; /* when checkpoint_step advanced; 0: never */
    double samples_per_second, data_wait_ratio, checkpoint_seconds; /* < 0: not said */
};
/* key: of the Secret, at least 32 bytes. `wake` runs when a checkpoint advanced (run UID), so that the run's status is written at once. */
struct progress *progress_new(const void *key, size_t len, void (*wake)(void *ctx, const char *run_uid),
                              void *ctx);
struct progress *progress_free(struct progress *p);

void progress_token(const struct progress *p, const char *run_uid, const char *step, int attempt,
                    int64_t index, char ret[static 65]);
/* HMAC(key, "rendezvous", run UID, step, attempt): the workers' shared key. */
void progress_rendezvous_key(const struct progress *p, const char *run_uid, const char *step, int64_t index,
                             int attempt, char ret[static 65]);
/* What step pods get as TRAINYARD_PROGRESS_URL. Caller frees. */
char *progress_url(const char *base, const char *ns, const char *run, const char *step, int64_t index,
                   int attempt);

/* Only attempts that were announced are accepted; those of ended ones answer 410, a wrong token 401. */
void progress_expect(struct progress *p, const char *ns, const char *run, const char *run_uid,
                     const char *step, int64_t index, int attempt);
void progress_ended(struct progress *p, const char *run_uid, const char *step, int64_t index, int attempt);
/* NULL: nothing was heard. */
const struct progress_attempt *progress_get(const struct progress *p, const char *run_uid, const char *step,
                                            int64_t index, int attempt);
/* Attempts under way that were heard of, for metrics. */
void progress_each(const struct progress *p,
                   void (*each)(void *ctx, const char *ns, const char *run, const char *step,
                                const struct progress_attempt *attempt),
                   void *ctx);
/* 204; 401, 410 as above; 404: not known (yet); 400: no such body; 405; 429: more than ten a second. */
void progress_handle(struct progress *p, const struct listener_request *request,
                     struct listener_reply *reply);
