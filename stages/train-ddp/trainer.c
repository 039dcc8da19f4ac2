/* Joining the other workers, and the loop: see trainer.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "stages/train-ddp/trainer.h"

enum { REPORT_US = 500000 };

int64_t trainer_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- joining ------------------------------------------------------------------------------------------- */

/* By hand the checkpoints lie in a directory: a store of its own. */
int trainer_open_checkpoints(struct trainer *t, struct err *err)
{
    struct store *store = stage_store(t->run);
    const char *prefix = stage_checkpoint_prefix(t->run);
    if (!store) {
        if (fs_mkdir_p(prefix, err) < 0)
            return -1;
        _cleanup_free_ char *absolute = realpath(prefix, NULL);
        if (!absolute)
            return err_errno(err, errno, "%s", prefix);
        _cleanup_free_ char *url = xasprintf("file://%s", absolute);
        struct store_config config = {.url = url};
        if (store_open(&config, &t->checkpoint_store, err) < 0)
            return -1;
    }
    struct checkpoint_options o = {
        .store = store ? store : t->checkpoint_store,
        .prefix = store ? prefix : "",
        .previous_prefix = store ? stage_previous_checkpoint_prefix(t->run) : NULL,
        .attempt = stage_attempt(t->run),
        .claim = store != NULL,
        .keep = (int)t->config.checkpoint_keep,
        .scratch = stage_scratch(t->run),
        .fingerprint = t->fingerprint,
    };
    return checkpoints_open(&o, &t->checkpoints, err);
}

static int stopping(void *ctx)
{
    return stage_stopping(ctx);
}

int trainer_join(struct trainer *t, struct err *err)
{
    const struct stage_world *w = t->world;
    char host[64] = "", identity[128];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(identity, sizeof identity, "%.48s/%ld", host, (long)getpid());
    struct collective_options o = {.rank = w->rank,
                                   .size = w->size,
                                   .master_addr = w->master_addr,
                                   .master_port = w->master_port,
                                   .advertise_addr = w->advertise_addr,
                                   .run_uid = w->run_uid,
                                   .attempt = stage_attempt(t->run),
                                   .identity = identity,
                                   .key = w->rendezvous_key,
                                   .timeout_ms = t->config.collective_timeout_ms,
                                   .stopping = stopping,
                                   .stopping_ctx = t->run};
    if (collective_open(&o, &t->collective, err) < 0)
        return -1;
    return trainer_restore(t, err);
}

/* --- progress ------------------------------------------------------------------------------------------ */

static void add_metrics(const struct trainer *t, cJSON *m)
{
    const struct trainer_times *x = &t->times;
    int64_t steps = t->state.step - x->reported_step;
    int64_t span = trainer_now_us() - x->reported_us;
    json_add_double(m, "training_throughput_samples_per_sec", x->samples_per_second);
    json_add_double(m, "loss", t->last_loss);
    json_add_double(m, "learning_rate", t->last_lr);
    json_add_double(m, "gradient_norm", t->last_norm);
    json_add_int(m, "step", t->state.step);
    json_add_int(m, "epoch", t->state.step / t->steps_per_epoch);
    if (steps > 0 && span > 0) {
        json_add_double(m, "data_loading_latency_ms", (double)x->window_load_us / 1000 / (double)steps);
        json_add_double(m, "allreduce_share", (double)x->window_wait_us / (double)span);
    }
    if (t->checkpoints && checkpoints_newest(t->checkpoints) >= 0) {
        json_add_int(m, "checkpoint_step", checkpoints_newest(t->checkpoints));
        json_add_double(m, "checkpoint_duration_ms", (double)checkpoints_last_ms(t->checkpoints));
    }
    for (int i = 0; i < METRICS; i++)
        if (t->state.metrics[i] - t->state.metrics[i] == 0) {
            char name[64];
            (void)snprintf(name, sizeof name, "validation_%s", train_metric_name((enum train_metric)i));
            json_add_double(m, name, t->state.metrics[i]);
        }
}

void trainer_report(struct trainer *t, bool now, const char *message)
{
    struct trainer_times *x = &t->times;
    int64_t at = trainer_now_us();
    if (t->world->rank != 0 || (!now && at - x->reported_us < REPORT_US))
        return;
    if (x->reported_us && at > x->reported_us && x->samples > x->reported_samples)
        x->samples_per_second =
            (double)(x->samples - x->reported_samples) * 1e6 / (double)(at - x->reported_us);
    _cleanup_json_ cJSON *m = json_object();
    add_metrics(t, m);
    char text[128];
    (void)snprintf(text, sizeof text, "%s: step %lld of %lld, loss %.4f, %.0f samples/s", message,
                   (long long)t->state.step, (long long)t->total_steps, t->last_loss, x->samples_per_second);
    stage_progress(t->run, (double)t->state.step / (double)t->total_steps, text, m);
    x->reported_us = at;
    x->reported_samples = x->samples;
    x->reported_step = t->state.step;
    x->window_load_us = x->window_wait_us = 0;
}

/* --- the loop ------------------------------------------------------------------------------------------ */

static bool checkpoint_due(struct trainer *t)
{
    if (!t->checkpoints || !checkpoints_idle(t->checkpoints))
        return false;
    if (t->config.checkpoint_steps)
        return (t->state.step + 1) % t->config.checkpoint_steps == 0;
    return trainer_now_us() - t->times.last_checkpoint_us >= t->config.checkpoint_seconds * 1000000;
}

static bool validation_due(const struct trainer *t)
{
    int64_t step = t->state.step;
    if (step == t->total_steps)
        return true;
    if (t->config.validate_every)
        return step % t->config.validate_every == 0;
    return step % (t->config.validate_epochs * t->steps_per_epoch) == 0;
}

static void log_validation(const struct trainer *t)
{
    if (t->world->rank != 0 || t->state.validated_step != t->state.step)
        return;
    log_info("validated", "step", LOG_INT(t->state.step), "epoch",
             LOG_DBL((double)t->state.step / (double)t->steps_per_epoch), "loss",
             LOG_DBL(t->state.metrics[METRIC_LOSS]), "auc", LOG_DBL(t->state.metrics[METRIC_AUC]),
             "train_loss", LOG_DBL(t->last_loss), NULL);
}

/* The rate over the steps themselves: loading, computing, exchanging. */
static void log_trained(const struct trainer *t)
{
    const struct trainer_times *x = &t->times;
    double seconds = (double)(x->load_us + x->compute_us + x->exchange_us) / 1e6;
    if (t->world->rank == 0 && seconds > 0)
        log_info("trained", "steps", LOG_INT(t->state.step), "step_seconds", LOG_DBL(seconds),
                 "samples_per_second", LOG_DBL((double)x->samples / seconds), "exchange_share",
                 LOG_DBL((double)x->exchange_us / 1e6 / seconds), "load_share",
                 LOG_DBL((double)x->load_us / 1e6 / seconds), NULL);
}

/* After the flags of a step are known. *ret_stop: end now, for someone was asked to. */
static int act_on_flags(struct trainer *t, uint32_t flags, bool *ret_stop, struct err *err)
{
    *ret_stop = flags & FLAG_STOP;
    if (flags & (FLAG_STOP | FLAG_CHECKPOINT))
        if (trainer_checkpoint(t, err) < 0)
            return -1;
    return *ret_stop ? trainer_await_uploads(t, err) : 0;
}

int trainer_run(struct trainer *t, struct err *err)
{
    t->times.started_us = t->times.reported_us = t->times.last_checkpoint_us = trainer_now_us();
    if (t->world->rank == 0)
        log_info("training", "rows", LOG_INT(t->rows), "validation_rows", LOG_INT((int64_t)t->n_validation),
                 "steps", LOG_INT(t->total_steps), "workers", LOG_INT(t->world->size), "parameters",
                 LOG_INT((int64_t)t->net->n_total), "level", t->backend->level(t->engine), NULL);
    while (t->state.step < t->total_steps && !t->state.stopped) {
        uint32_t flags =
                     (stage_stopping(t->run) ? FLAG_STOP : 0U) | (checkpoint_due(t) ? FLAG_CHECKPOINT : 0U),
                 all;
        bool stop;
        failpoint("train.step");
        if (trainer_step(t, flags, &all, err) < 0)
            return -1;
        if (validation_due(t)) {
            if (trainer_validate(t, err) < 0)
                return -1;
            log_validation(t);
        }
        if (act_on_flags(t, all, &stop, err) < 0 || trainer_check_uploads(t, err) < 0)
            return -1;
        trainer_report(t, false, "training");
        if (stop)
            return stage_stopped(t->run, err);
    }
    if (trainer_compare_replicas(t, err) < 0)
        return -1;
    trainer_report(t, true, "trained");
    log_trained(t);
    return collective_barrier(t->collective, err);
}
