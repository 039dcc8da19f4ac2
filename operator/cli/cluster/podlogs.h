/* What a step's pods wrote, through the API server (pods/log): the container that the pod names as its default, so the user's own in container steps. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "operator/cli/cluster/cluster.h"

struct podlogs_request {
    const char *run_uid, *step;
    int64_t item;    /* < 0: the step is no fan-out */
    int64_t attempt; /* from 1 */
    int64_t worker;  /* -1: all; then each line begins with its worker's number if there are several */
    bool follow;     /* go on until the containers have ended */
};
/* To standard output. *ret_found false: there are no pods of that attempt (any more), nothing was printed. A container that has not started yet is
 * ERR_RETRY with the reason, exit 75; with `follow` it is waited for. */
int podlogs_print(const struct cluster *c, const struct podlogs_request *q, bool *ret_found, struct err *err);

/* --- parts, for tests -------------------------------------------------------------------------------------- */

/* Where a log that is read again and again stands: after `count` lines of the time `time`, which is the newest printed. */
struct podlogs_position {
    char time
        [40]; /* RFC 3339 with nine digits, as the kubelet writes it: comparable as text; "" before the first line */
    int64_t count;
};
/* Appends the lines of `text` (each "<time> <line>") that are new to `out`, behind `prefix`, without their times. */
void podlogs_take(struct podlogs_position *p, const char *text, const char *prefix, struct buf *out);
/* The container to read: the pod's annotation kubectl.kubernetes.io/default-container, else its first. Borrowed; "" if there is none. */
const char *podlogs_container(const cJSON *pod);
/* Has the container ended? */
bool podlogs_ended(const cJSON *pod, const char *container);
