/* See operator.h.
 *
 * The order of a start: listeners (so that probes are answered), caches, key, CRDs; when all these are there the operator is ready and may
 * stand for the Lease; its queues run while it holds it. The order of an end: queues stop, what is in hand is finished, the Lease is given back. */
#include "operator/controller/operator.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "operator/controller/crdcheck.h"
#include "operator/controller/keysecret.h"
#include "operator/controller/metrics.h"
#include "operator/controller/pipeline.h"
#include "operator/controller/progress.h"
#include "operator/controller/revisions.h"
#include "operator/controller/run.h"
#include "operator/controller/serve.h"

enum {
    REVISIONS_KEPT = 512,
    HANDOVER_MS = 10 * 1000, /* for what is in hand at the end */
    RELEASE_MS = 5 * 1000,   /* for giving the Lease back */
    POLL_MS = 20,
    SILENT_MS = 10 * 60 * 1000, /* twice the longest watch: the API server is out of reach */
    PIPELINES_IN_HAND = 16,
    RUNS_IN_HAND = 32,
    ROUNDS_PER_SECOND =
        200, /* ten steps a second need no more; beyond, the API server is what everybody waits for */
};

struct operator_state {
    struct controller c;
    const struct options *o;
    struct controller_options *settings;
    struct server *server;
    struct keysecret *keysecret;
    struct crdcheck *crds;
    struct loop_fd *signals;
    struct loop_timer *timer;
    int signal_fd;
    char *pod_name, *identity, *progress_url, *leader;
    bool ending, released;
    int64_t end_by_ms;
    int exit_signals;
};

/* --- what others ask ------------------------------------------------------------------------------------------------ */

static const char *not_ready(void *ctx)
{
    struct operator_state *s = ctx;
    const struct {
        const struct reflectors *reflectors;
        const char *silent, *unsynced;
    } caches[] = {
        {s->c.pipelines, "the watch on trainingpipelines has been silent for ten minutes",
         "waiting for the first list of trainingpipelines"},
        {s->c.runs, "the watch on trainingruns has been silent for ten minutes",
         "waiting for the first list of trainingruns"},
        {s->c.jobs, "the watch on jobs has been silent for ten minutes",
         "waiting for the first list of jobs"},
        {s->c.pods, "the watch on pods has been silent for ten minutes",
         "waiting for the first list of pods"},
    };
    if (s->ending)
        return "ending";
    if (crdcheck_complaint(s->crds))
        return crdcheck_complaint(s->crds);
    if (!s->c.progress)
        return "waiting for the Secret with the key of progress tokens";
    for (size_t i = 0; i < ARRAY_SIZE(caches); i++) {
        if (!reflectors_is_synced(caches[i].reflectors))
            return caches[i].unsynced;
        if (loop_now_ms() - reflectors_heard_ms(caches[i].reflectors) > SILENT_MS)
            return caches[i].silent;
    }
    return NULL;
}

/* That this is answered at all is the proof: one thread does everything. */
static const char *not_healthy(void *ctx)
{
    (void)ctx;
    return NULL;
}

static const char *leader(void *ctx)
{
    struct operator_state *s = ctx;
    if (controller_leading(&s->c))
        return s->c.lease || !s->ending ? NULL : "";
    const char *holder = s->c.lease ? lease_holder(s->c.lease) : "", *address = strrchr(holder, '_');
    if (!address || text_equal(holder, s->identity))
        return "";
    free(s->leader);
    s->leader = xstrdup(address + 1);
    return s->leader;
}

static struct progress *progress_of(void *ctx)
{
    return ((struct operator_state *)ctx)->c.progress;
}

static void api_seen(void *ctx, const char *verb, const char *plural, int status, int64_t ms)
{
    struct operator_state *s = ctx;
    char code[8];
    (void)ms;
    (void)snprintf(code, sizeof code, "%d", status % 1000);
    metrics_add(s->c.metrics, METRIC_API_REQUESTS, (const char *[3]){verb, plural, code}, 1);
}

/* --- gauges that are counted when they are asked for ------------------------------------------------------------------ */

static bool count_run(void *ctx, const void *trimmed)
{
    const struct seen_run *run = trimmed;
    ((size_t *)ctx)[run->phase]++;
    return true;
}

static void collect_attempt(void *ctx, const char *ns, const char *run, const char *step,
                            const struct progress_attempt *a)
{
    struct operator_state *s = ctx;
    const struct seen_run *seen = reflectors_get(s->c.runs, ns, run);
    if (!seen || !seen->pipeline)
        return;
    const char *labels[3] = {ns, seen->pipeline, step};
    if (a->samples_per_second >= 0)
        metrics_set(s->c.metrics, METRIC_SAMPLES_PER_SECOND, labels, a->samples_per_second);
    if (a->checkpoint_seconds >= 0)
        metrics_set(s->c.metrics, METRIC_CHECKPOINT_SECONDS, labels, a->checkpoint_seconds);
    if (a->checkpoint_heard_ms)
        metrics_set(s->c.metrics, METRIC_CHECKPOINT_AGE, labels,
                    (double)(loop_now_ms() - a->checkpoint_heard_ms) / 1000);
    if (a->data_wait_ratio >= 0)
        metrics_set(s->c.metrics, METRIC_DATA_WAIT_RATIO, labels, a->data_wait_ratio);
}

static void collect(void *ctx)
{
    struct operator_state *s = ctx;
    size_t phases[PHASE_STOPPED + 1] = {0};
    reflectors_each(s->c.runs, count_run, phases);
    for (int p = 0; p <= PHASE_STOPPED; p++)
        metrics_set(s->c.metrics, METRIC_RUNS, (const char *[3]){run_phase_name((enum run_phase)p)},
                    (double)phases[p]);
    size_t steps[RUN_METRICS_STATES];
    runs_count_steps(s->c.runs_known, steps);
    for (int k = 0; k < RUN_METRICS_STATES; k++)
        metrics_set(s->c.metrics, METRIC_STEPS, (const char *[3]){step_state_name((enum step_state)k)},
                    (double)steps[k]);
    metrics_set(s->c.metrics, METRIC_QUEUE_DEPTH, (const char *[3]){"pipelines"},
                (double)queue_depth(s->c.pipeline_queue));
    metrics_set(s->c.metrics, METRIC_QUEUE_DEPTH, (const char *[3]){"runs"},
                (double)queue_depth(s->c.run_queue));
    metrics_set(s->c.metrics, METRIC_LEADER, NULL, controller_leading(&s->c));
    if (s->c.progress)
        progress_each(s->c.progress, collect_attempt, s);
}

/* --- wiring --------------------------------------------------------------------------------------------------------------- */

static void pause_queues(struct operator_state *s, bool paused)
{
    queue_pause(s->c.pipeline_queue, paused);
    queue_pause(s->c.run_queue, paused);
}

static void leading_changed(void *ctx, bool leading)
{
    struct operator_state *s = ctx;
    log_info(leading ? "leading" : "not leading any more", "identity", s->identity, NULL);
    pause_queues(s, !leading || s->ending);
}

/* Ready for the first time: from now on it may lead. */
static void maybe_begin(struct operator_state *s)
{
    if (s->c.lease || not_ready(s))
        return;
    if (!s->o->leader_election) {
        pause_queues(s, false);
        return;
    }
    const struct lease_config config = {.ns = s->settings->own_namespace,
                                        .name = s->o->lease_name,
                                        .identity = s->identity,
                                        .duration_ms = s->o->lease_duration_ms,
                                        .renew_ms = s->o->renew_deadline_ms,
                                        .retry_ms = s->o->retry_period_ms,
                                        .changed = leading_changed,
                                        .ctx = s};
    s->c.lease = lease_new(s->c.client, &config);
}

static void begin_later(void *ctx)
{
    struct operator_state *s = ctx;
    bool before = s->c.lease != NULL;
    s->timer = NULL;
    maybe_begin(s);
    bool begun = s->c.lease || (!s->o->leader_election && !not_ready(s));
    if (begun && !before)
        log_info("ready", "identity", s->identity, "namespace", s->settings->own_namespace, NULL);
    if (!begun)
        s->timer = loop_timer_start(s->c.loop, POLL_MS, begin_later, s);
}

static void wake_run(void *ctx, const char *key)
{
    struct operator_state *s = ctx;
    queue_add(s->c.run_queue, key);
}

static void key_ready(void *ctx, const void *key, size_t len)
{
    struct operator_state *s = ctx;
    s->c.progress = progress_new(key, len, run_wake_uid, &s->c);
}

static void key_failed(void *ctx, const char *message)
{
    (void)ctx;
    log_warn("no key for progress tokens yet", "error", message, NULL);
}

static void run_and_pipeline_changed(void *controller, const void *old, const void *now)
{
    run_changed(controller, old, now);
    pipeline_run_changed(controller, old, now);
}

struct look_again {
    struct controller *c;
    const struct kube_meta *pipeline;
};

static bool look_again(void *ctx, const void *trimmed)
{
    const struct look_again *l = ctx;
    const struct seen_run *run = trimmed;
    if (!run_phase_finished(run->phase) && text_equal(run->pipeline, l->pipeline->name) &&
        text_equal(run->meta.ns, l->pipeline->ns)) {
        _cleanup_free_ char *key = xasprintf("%s/%s", run->meta.ns, run->meta.name);
        queue_add(l->c->run_queue, key);
    }
    return true;
}

/* A run that names no revision waits until its pipeline has one. */
static void pipeline_and_runs_changed(void *controller, const void *old, const void *now)
{
    struct controller *c = controller;
    const struct seen_pipeline *before = old, *after = now;
    pipeline_changed(controller, old, now);
    if (c->runs && after && (!before || !text_equal(before->newest_revision, after->newest_revision)))
        reflectors_each(c->runs, look_again, &(struct look_again){c, &after->meta});
}

static void waited_pipeline(void *ctx, int64_t ms)
{
    struct controller *c = ctx;
    metrics_observe(c->metrics, METRIC_QUEUE_WAIT, (const char *[3]){"pipelines"}, (double)ms / 1000);
}

static void waited_run(void *ctx, int64_t ms)
{
    struct controller *c = ctx;
    metrics_observe(c->metrics, METRIC_QUEUE_WAIT, (const char *[3]){"runs"}, (double)ms / 1000);
}

static void handled_run(void *ctx, int64_t ms)
{
    struct controller *c = ctx;
    metrics_observe(c->metrics, METRIC_RECONCILE, (const char *[3]){"run"}, (double)ms / 1000);
}

static struct queue *new_queue(struct controller *c, void (*process)(void *ctx, const char *key),
                               void (*waited)(void *ctx, int64_t ms), void (*handled)(void *ctx, int64_t ms),
                               int in_hand)
{
    struct queue_config config = {.process = process,
                                  .ctx = c,
                                  .max_in_hand = in_hand,
                                  .waited = waited,
                                  .handled = handled};
    random_bytes(&config.seed, sizeof config.seed);
    struct queue *q = queue_new(c->loop, &config);
    queue_pause(q, true);
    return q;
}

static struct reflectors *watch(struct controller *c, const struct kube_resource *resource,
                                const char *selector, const char *const *unread,
                                void *(*trim)(void *ctx, const cJSON *object), void (*free_trimmed)(void *),
                                void (*changed)(void *ctx, const void *old, const void *now))
{
    const struct reflector_config config = {.resource = resource,
                                            .label_selector = selector,
                                            .unread = unread,
                                            .silence_ms = c->options->watch_silence_ms,
                                            .trim = trim,
                                            .free_trimmed = free_trimmed,
                                            .changed = changed,
                                            .ctx = c};
    return reflectors_new(c->client, &config, c->options->namespaces);
}

static void start_watching(struct controller *c)
{
    static const char ours[] = LABEL_MANAGED_BY "=" MANAGED_BY;
    c->pipelines =
        watch(c, &PIPELINES, NULL, NULL, seen_pipeline_trim, seen_pipeline_free, pipeline_and_runs_changed);
    c->runs = watch(c, &RUNS, NULL, NULL, seen_run_trim, seen_run_free, run_and_pipeline_changed);
    c->jobs = watch(c, &KUBE_JOBS, ours, seen_job_unread, seen_job_trim, seen_job_free, run_job_changed);
    c->pods = watch(c, &KUBE_PODS, ours, seen_pod_unread, seen_pod_trim, seen_pod_free, run_pod_changed);
}

/* --- the end -------------------------------------------------------------------------------------------------------------- */

static void released(void *ctx)
{
    struct operator_state *s = ctx;
    s->released = true;
    loop_stop(s->c.loop);
}

static void release_takes_too_long(void *ctx)
{
    struct operator_state *s = ctx;
    s->timer = NULL;
    log_warn("the Lease was not given back in time: a standby waits for its end", NULL);
    loop_stop(s->c.loop);
}

static void wait_for_hands(void *ctx)
{
    struct operator_state *s = ctx;
    s->timer = NULL;
    size_t in_hand = queue_in_hand(s->c.pipeline_queue) + queue_in_hand(s->c.run_queue);
    if (in_hand && loop_now_ms() < s->end_by_ms) {
        s->timer = loop_timer_start(s->c.loop, POLL_MS, wait_for_hands, s);
        return;
    }
    if (!s->c.lease) {
        loop_stop(s->c.loop);
        return;
    }
    s->timer = loop_timer_start(s->c.loop, RELEASE_MS, release_takes_too_long, s);
    lease_release(s->c.lease, released, s);
}

static void on_signal(void *ctx, short revents)
{
    struct operator_state *s = ctx;
    struct signalfd_siginfo info;
    (void)revents;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (s->ending) {
            loop_stop(s->c.loop);
            return;
        }
        log_info("ending", "signal", LOG_INT(info.ssi_signo), NULL);
        s->ending = true;
        s->end_by_ms = loop_now_ms() + HANDOVER_MS;
        pause_queues(s, true);
        loop_timer_cancel(s->timer);
        s->timer = loop_timer_start(s->c.loop, 0, wait_for_hands, s);
    }
}

static int watch_signals(struct operator_state *s, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0)
        return err_errno(err, errno, "cannot watch signals");
    s->signals = loop_fd_start(s->c.loop, s->signal_fd, POLLIN, on_signal, s);
    return 0;
}

static void release(struct operator_state *s)
{
    struct controller *c = &s->c;
    loop_timer_cancel(s->timer);
    c->runs_known = runs_free(c->runs_known);
    c->pipelines_known = pipelines_free(c->pipelines_known);
    crdcheck_free(s->crds);
    keysecret_free(s->keysecret);
    lease_free(c->lease);
    queue_free(c->pipeline_queue);
    queue_free(c->run_queue);
    revisions_free(c->revisions);
    recorder_free(c->events);
    reflectors_free(c->pipelines);
    reflectors_free(c->runs);
    reflectors_free(c->jobs);
    reflectors_free(c->pods);
    server_free(s->server);
    kube_client_free(c->client);
    progress_free(c->progress);
    metrics_free(c->metrics);
    loop_fd_stop(s->signals);
    if (s->signal_fd >= 0)
        (void)close(s->signal_fd);
    loop_free(c->loop);
    free(s->pod_name);
    free(s->identity);
    free(s->progress_url);
    free(s->leader);
}

/* --- the start ---------------------------------------------------------------------------------------------------------------- */

static int serve(struct operator_state *s, struct err *err)
{
    const struct server_config config = {.address = s->o->address,
                                         .metrics_port = (int)s->o->metrics_port,
                                         .progress_port = (int)s->o->progress_port,
                                         .metrics = s->c.metrics,
                                         .not_healthy = not_healthy,
                                         .not_ready = not_ready,
                                         .collect = collect,
                                         .leader = leader,
                                         .progress = progress_of,
                                         .ctx = s};
    if (server_new(s->c.loop, &config, &s->server, err) < 0)
        return -1;
    char host[64] = "operator";
    (void)gethostname(host, sizeof host - 1);
    const char *address = *s->settings->pod_address ? s->settings->pod_address : "127.0.0.1";
    int port = server_progress_port(s->server);
    s->pod_name =
        *s->settings->pod_name ? xstrdup(s->settings->pod_name) : xasprintf("%s-%ld", host, (long)getpid());
    s->identity = xasprintf("%s_%s:%d", s->pod_name, address, port);
    s->progress_url = *s->settings->progress_url ? xstrdup(s->settings->progress_url)
                                                 : xasprintf("http://%s:%d", address, port);
    s->settings->pod_name = s->pod_name;
    s->settings->progress_url = s->progress_url;
    log_info("serving", "metrics_port", LOG_INT(server_metrics_port(s->server)), "progress_port",
             LOG_INT(port), "identity", s->identity, NULL);
    return 0;
}

static int start(struct operator_state *s, const struct kube_config *config, struct err *err)
{
    struct controller *c = &s->c;
    const struct kube_client_options client = {.seen = api_seen, .seen_ctx = s};
    c->options = s->settings;
    c->clock = &clock_system;
    c->metrics = metrics_new();
    if (loop_new(&c->loop, err) == 0)
        loop_limit_rounds(c->loop, ROUNDS_PER_SECOND);
    if (!c->loop || watch_signals(s, err) < 0 ||
        kube_client_new(c->loop, config, &client, &c->client, err) < 0)
        return -1;
    c->pipeline_queue = new_queue(c, pipeline_process, waited_pipeline, NULL, PIPELINES_IN_HAND);
    c->run_queue = new_queue(c, run_process, waited_run, handled_run, RUNS_IN_HAND);
    c->pipelines_known = pipelines_new(c);
    c->runs_known = runs_new(c);
    c->revisions = revisions_new(c->client, REVISIONS_KEPT, wake_run, s);
    s->crds = crdcheck_new(c->loop, c->client);
    s->keysecret = keysecret_new(c->loop, c->client, s->settings->own_namespace, s->o->key_secret, key_ready,
                                 key_failed, s);
    start_watching(c); /* before anyone can ask whether the caches are full */
    if (serve(s, err) < 0)
        return -1;
    c->events = recorder_new(c->client, "trainyard-operator", s->pod_name);
    s->timer = loop_timer_start(c->loop, 0, begin_later, s);
    return 0;
}

int operator_run(const struct options *o, struct controller_settings *settings,
                 const struct kube_config *config, struct err *err)
{
    struct operator_state s = {.o = o, .settings = &settings->options, .signal_fd = -1};
    int r = start(&s, config, err);
    if (r == 0)
        r = loop_run(s.c.loop, err);
    if (r == 0)
        log_info("ended", "lease", !s.c.lease ? "none" : s.released ? "given back" : "kept", NULL);
    release(&s);
    return r;
}
