/* The operator's metrics in Prometheus' text format. Names are documented in docs/reference/operator-metrics.md, generated from the table in metrics.c; label values are
 * bounded in number: beyond LIMIT_METRIC_SERIES they fall together in "other". */
#pragma once

#include <stdint.h>

#include "common/base/buf.h"

struct metrics; /* opaque */
struct metrics *metrics_new(void);
struct metrics *metrics_free(struct metrics *m);

enum metric {
    METRIC_QUEUE_DEPTH,  /* gauge: queue */
    METRIC_QUEUE_WAIT,   /* histogram, seconds: queue */
    METRIC_RECONCILE,    /* histogram, seconds: kind */
    METRIC_HANDOFF,      /* histogram, seconds: predecessor's pod finished → successor's Job created */
    METRIC_API_REQUESTS, /* counter: verb, resource, code */
    METRIC_RUNS,         /* gauge: phase */
    METRIC_STEPS,        /* gauge: state */
    METRIC_FAILURES,     /* counter: class */
    METRIC_GPU_SECONDS,  /* counter: use (used, wasted) */
    METRIC_SAMPLES_PER_SECOND,  /* gauge: namespace, pipeline, step */
    METRIC_CHECKPOINT_SECONDS,  /* gauge: namespace, pipeline, step */
    METRIC_CHECKPOINT_AGE,      /* gauge: namespace, pipeline, step */
    METRIC_DATA_WAIT_RATIO,     /* gauge: namespace, pipeline, step */
    METRIC_VALIDATION_FAILURES, /* counter: namespace, pipeline */
    METRIC_DATA_AGE,            /* gauge: namespace, pipeline */
    METRIC_TIME_TO_TRAIN,       /* gauge: namespace, pipeline: seconds of the last successful run */
    METRIC_LEADER,              /* gauge: 1 for the leader */
    METRIC_N
};
/* labels: values in the order of the metric's label names, NULL-terminated where there are fewer than three. */
void metrics_set(struct metrics *m, enum metric id, const char *const labels[3], double value);
void metrics_add(struct metrics *m, enum metric id, const char *const labels[3], double value);
void metrics_observe(struct metrics *m, enum metric id, const char *const labels[3], double seconds);
/* Forgets the series of a gauge whose labels begin with these (a pipeline that is gone). */
void metrics_forget(struct metrics *m, enum metric id, const char *const labels[3]);
void metrics_print(const struct metrics *m, struct buf *out);
/* The table as Markdown. */
void metrics_document(struct buf *out);
