/* The operator's parts, and how they are joined. One process, one thread, one loop; data flows one way:
 *
 *   API server → reflectors (caches) → queues → reconcilers → API server
 *
 * run.h       a TrainingRun: observe → plan() → status → Jobs
 * starting.h  a TrainingPipeline: revision, which runs to start, retention (pure); pipeline.h carries it out
 * progress.h, metrics.h, serve.h   what comes in from stages and goes out to people
 * Only the leader's queues run; a standby keeps its caches warm and answers probes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/clock.h"
#include "operator/controller/labels.h"
#include "operator/controller/seen.h"
#include "operator/kube/client.h"
#include "operator/kube/events.h"
#include "operator/kube/lease.h"
#include "operator/kube/queue.h"
#include "operator/kube/reflectors.h"

struct metrics;
struct progress;
struct revisions;
struct pipelines;
struct runs;

struct controller_options {             /* from the command line; borrowed */
    const char *own_namespace;          /* where the operator runs: Lease, key Secret */
    const char *pod_name, *pod_address; /* ours; "" outside a cluster */
    const char *cluster_name;           /* for provenance; "" */
    const char *const *namespaces;      /* NULL-terminated; NULL: all */
    const char *images
        [7]; /* by enum step_kind (stages); the last, STEP_APPROVAL's place, is the helpers' `artifact` */
    const char *progress_url; /* what step pods are told: http://<service>:<port> */
    bool approvals_verified;  /* the chart's ValidatingAdmissionPolicy is installed */
    bool set_user;            /* runAsUser and fsGroup 65532 (off on OpenShift) */
    int64_t grace_seconds;    /* of step pods; 30 */
    int64_t ttl_seconds;      /* of finished Jobs; 600 */
    int64_t watch_silence_ms; /* see reflector.h; 0: its own default */
};

struct controller {
    struct loop *loop;
    struct kube_client *client;
    const struct controller_options *options;
    struct reflectors *pipelines, *runs, *jobs, *pods; /* jobs, pods: LABEL_MANAGED_BY only */
    struct queue *pipeline_queue, *run_queue;          /* keys "namespace/name" */
    struct recorder *events;
    struct metrics *metrics;
    struct progress *progress;
    struct revisions *revisions;
    struct lease *lease;               /* NULL: without leader election we always lead */
    const struct clock *clock;         /* wall time */
    struct pipelines *pipelines_known; /* pipeline.h */
    struct runs *runs_known;           /* run.h */
};
/* Writes in several steps end early when this turns false. */
static inline bool controller_leading(const struct controller *c)
{
    return !c->lease || lease_leading(c->lease);
}
