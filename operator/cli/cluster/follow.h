/* Looking on while the operator carries a run out: the same live view and the same lines as `trainyard run`, from a watch on the run's object.
 *
 * Blind times (a restarting API server, a cut connection) are waited through; the view says so. Ctrl-C ends the looking, not the run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cli.h"
#include "operator/cli/cluster/cluster.h"

struct follow_options {
    const struct where_options *where; /* for advice */
    bool plain, json;                  /* as for `run` */
    int64_t timeout_ms;                /* 0: none */
    const char *after_restart; /* the run has ended only when its status has observed this restart; NULL */
};
/* Until the run has ended: its exit code as `run` gives it (0, 1, 130); EXITCODE_TEMPFAIL when the time is over; 130 after Ctrl-C. Everything has been
 * said. Negative with err otherwise; a run that is deleted meanwhile is ERR_NOTFOUND. */
int follow_run(const struct cluster *c, const char *name, const struct follow_options *o, struct err *err);
