/* State of training ↔ checkpoint, and the comparison of replicas: see trainer.h. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "stages/train-ddp/trainer.h"

enum { STATE_BYTES = 64 * 1024 * 1024, HEARTBEAT_MS = 500 };

void progress_state_init(struct progress_state *s)
{
    *s = (struct progress_state){.train_curve = json_array(),
                                 .validation_curve = json_array(),
                                 .validated_step = -1};
    for (int m = 0; m < METRICS; m++)
        s->metrics[m] = s->best_metrics[m] = (double)NAN;
}

void progress_state_release(struct progress_state *s)
{
    cJSON_Delete(s->train_curve);
    cJSON_Delete(s->validation_curve);
    s->train_curve = s->validation_curve = NULL;
}

/* --- as JSON: doubles travel as the shortest text that reads back to the same bits ------------------------ */

static cJSON *metrics_document(const double *metrics)
{
    cJSON *o = json_object();
    for (int m = 0; m < METRICS; m++)
        if (isfinite(metrics[m]))
            json_add_double(o, train_metric_name((enum train_metric)m), metrics[m]);
    return o;
}

static char *state_text(const struct progress_state *s, struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "step", s->step);
    json_add_bool(o, "stopped", s->stopped);
    json_add_int(o, "waited", s->waited);
    json_add_double(o, "best", s->best);
    json_add_int(o, "bestStep", s->best_step);
    json_add_int(o, "validatedStep", s->validated_step);
    json_add(o, "metrics", metrics_document(s->metrics));
    json_add(o, "bestMetrics", metrics_document(s->best_metrics));
    json_add_double(o, "lossSum", s->loss_sum);
    json_add_double(o, "weightSum", s->weight_sum);
    json_add_double(o, "normSum", s->norm_sum);
    json_add_int(o, "normCount", s->norm_count);
    json_add(o, "trainCurve", cJSON_Duplicate(s->train_curve, true));
    json_add(o, "validationCurve", cJSON_Duplicate(s->validation_curve, true));
    struct buf b = BUF_INIT(STATE_BYTES);
    (void)json_pretty(o, &b); /* keeps the order of keys, which curves.json will have */
    return buf_check(&b, "state of training", err) < 0 ? NULL : buf_take(&b);
}

static void read_metrics(const cJSON *o, double *ret)
{
    for (int m = 0; m < METRICS; m++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, train_metric_name((enum train_metric)m));
        ret[m] = cJSON_IsNumber(v) ? v->valuedouble : (double)NAN;
    }
}

static int state_parse(const char *text, struct progress_state *s, struct err *err)
{
    _cleanup_json_ cJSON *o = NULL;
    const cJSON *metrics, *best, *train, *validation;
    if (json_parse(text, strlen(text), STATE_BYTES, &o, err) < 0 ||
        json_get_int(o, NULL, "step", &s->step, err) < 0 ||
        json_get_bool(o, NULL, "stopped", &s->stopped, err) < 0 ||
        json_get_int(o, NULL, "waited", &s->waited, err) < 0 ||
        json_get_double(o, NULL, "best", &s->best, err) < 0 ||
        json_get_int(o, NULL, "bestStep", &s->best_step, err) < 0 ||
        json_get_int(o, NULL, "validatedStep", &s->validated_step, err) < 0 ||
        json_get_object(o, NULL, "metrics", &metrics, err) < 0 ||
        json_get_object(o, NULL, "bestMetrics", &best, err) < 0 ||
        json_get_double(o, NULL, "lossSum", &s->loss_sum, err) < 0 ||
        json_get_double(o, NULL, "weightSum", &s->weight_sum, err) < 0 ||
        json_get_double(o, NULL, "normSum", &s->norm_sum, err) < 0 ||
        json_get_int(o, NULL, "normCount", &s->norm_count, err) < 0 ||
        json_get_array(o, NULL, "trainCurve", &train, err) < 0 ||
        json_get_array(o, NULL, "validationCurve", &validation, err) < 0)
        return err_wrap(err, "state.json of the checkpoint");
    read_metrics(metrics, s->metrics);
    read_metrics(best, s->best_metrics);
    progress_state_release(s);
    s->train_curve = cJSON_Duplicate(train, true);
    s->validation_curve = cJSON_Duplicate(validation, true);
    return 0;
}

/* --- restoring ------------------------------------------------------------------------------------------- */

/* Rank 0 talks to the store in a thread, for that may take longer than the others' patience in a collective. */
struct restore {
    struct trainer *t;
    struct checkpoint_data data;
    bool found;
    int result;
    struct err err;
    atomic_bool done;
};

static void *restore_thread(void *arg)
{
    struct restore *r = arg;
    r->result = trainer_open_checkpoints(r->t, &r->err);
    if (r->result == 0)
        r->result = checkpoints_restore(r->t->checkpoints, &r->data, &r->found, &r->err);
    atomic_store(&r->done, true);
    return NULL;
}

/* Heartbeats until rank 0 is done; its outcome is *ret on all ranks: 0 nothing found, 1 found, 2 failed. */
static int await_restore(struct trainer *t, struct restore *r, uint8_t *ret, struct err *err)
{
    for (;;) {
        uint8_t word = 3; /* still busy */
        if (t->world->rank == 0) {
            for (int i = 0; i < HEARTBEAT_MS && !atomic_load(&r->done); i++)
                (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            if (atomic_load(&r->done))
                word = r->result < 0 ? 2 : r->found ? 1 : 0;
        }
        if (collective_broadcast(t->collective, &word, 1, 0, err) < 0)
            return err_wrap(err, "restoring a checkpoint");
        if (word != 3) {
            *ret = word;
            return 0;
        }
    }
}

/* Arrays and text from rank 0 to all, then into the engine. */
static int spread(struct trainer *t, struct checkpoint_data *d, struct err *err)
{
    uint64_t head[3] = {d->text ? strlen(d->text) : 0, d->has_best, (uint64_t)d->step};
    if (collective_broadcast(t->collective, head, sizeof head, 0, err) < 0)
        return -1;
    if (t->world->rank != 0)
        d->text = xcalloc(head[0] + 1, 1);
    if (collective_broadcast(t->collective, d->text, head[0], 0, err) < 0 ||
        collective_broadcast(t->collective, d->weights, d->n_weights * sizeof(float), 0, err) < 0 ||
        collective_broadcast(t->collective, d->optimizer, d->n_optimizer * sizeof(float), 0, err) < 0)
        return -1;
    if (!d->text)
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "checkpoint",
                        "a restored checkpoint has no state");
    if (head[1] && t->best &&
        collective_broadcast(t->collective, t->best, d->n_weights * sizeof(float), 0, err) < 0)
        return -1;
    t->backend->write(t->engine, BACKEND_WEIGHTS, d->weights);
    t->backend->write(t->engine, BACKEND_OPTIMIZER, d->optimizer);
    return state_parse(d->text, &t->state, err);
}

int trainer_restore(struct trainer *t, struct err *err)
{
    struct restore r = {.t = t,
                        .data = {.weights = t->snapshot_weights,
                                 .n_weights = t->net->n_total,
                                 .optimizer = t->snapshot_optimizer,
                                 .n_optimizer = t->n_optimizer,
                                 .best = t->best}};
    pthread_t thread;
    bool started = false;
    if (t->world->rank == 0) {
        int e = pthread_create(&thread, NULL, restore_thread, &r);
        if (e)
            return err_errno(err, e, "cannot start the restoring thread");
        started = true;
    }
    uint8_t outcome = 0;
    int result = await_restore(t, &r, &outcome, err);
    if (started)
        pthread_join(thread, NULL);
    if (result == 0 && outcome == 2) {
        if (t->world->rank == 0)
            *err = r.err;
        else
            (void)err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "peer-lost",
                           "rank 0 could not read the checkpoints");
        result = -1;
    }
    if (result == 0 && outcome == 1)
        result = spread(t, &r.data, err);
    free(r.data.text);
    if (result == 0 && outcome == 1 && t->world->rank == 0)
        log_info("resumed from a checkpoint", "step", LOG_INT(t->state.step), "of", LOG_INT(t->total_steps),
                 NULL);
    return result;
}

/* --- saving and comparing ---------------------------------------------------------------------------------- */

int trainer_compare_replicas(struct trainer *t, struct err *err)
{
    uint64_t hash = t->backend->hash(t->engine, (uint64_t)t->state.step);
    if (collective_exchange(t->collective, &hash, sizeof hash, sizeof hash, t->messages, t->message_lens,
                            err) < 0)
        return err_wrap(err, "comparing replicas");
    for (int r = 0; r < t->world->size; r++)
        if (t->message_lens[r] != sizeof hash || memcmp(t->messages[r], t->messages[0], sizeof hash) != 0)
            return err_fail(
                err, ERR_TERMINAL, EXITCODE_SOFTWARE, "replicas-differ",
                "after step %lld the weights of rank %d differ from those of rank 0: memory or network of a worker is faulty; the newest checkpoint is sound",
                (long long)t->state.step, r);
    return 0;
}

int trainer_check_uploads(struct trainer *t, struct err *err)
{
    struct err why = ERR_INIT;
    if (!t->checkpoints || !checkpoints_take_failure(t->checkpoints, &why))
        return 0;
    if (why.class_ == ERR_CONFLICT) {
        *err = why;
        return -1;
    }
    log_warn("a checkpoint could not be written; training goes on without it", "why", why.msg, NULL);
    return 0;
}

int trainer_await_uploads(struct trainer *t, struct err *err)
{
    if (t->checkpoints)
        checkpoints_await(t->checkpoints);
    return trainer_check_uploads(t, err);
}

/* The pause of the loop: comparing, and a copy in memory. */
int trainer_checkpoint(struct trainer *t, struct err *err)
{
    int64_t begin = trainer_now_us();
    if (trainer_compare_replicas(t, err) < 0)
        return -1;
    if (!t->checkpoints || checkpoints_newest(t->checkpoints) == t->state.step)
        return 0;
    if (trainer_await_uploads(t, err) < 0)
        return -1;
    struct checkpoint_data d = {.step = t->state.step,
                                .weights = t->snapshot_weights,
                                .n_weights = t->net->n_total,
                                .optimizer = t->snapshot_optimizer,
                                .n_optimizer = t->n_optimizer,
                                .best = t->snapshot_best,
                                .has_best = t->best && t->state.best_step};
    t->backend->read(t->engine, BACKEND_WEIGHTS, t->snapshot_weights);
    t->backend->read(t->engine, BACKEND_OPTIMIZER, t->snapshot_optimizer);
    if (d.has_best)
        memcpy(t->snapshot_best, t->best, t->net->n_total * sizeof(float));
    d.text = state_text(&t->state, err);
    if (!d.text)
        return err_wrap(err, "checkpoint");
    checkpoints_save(t->checkpoints, &d);
    t->times.last_checkpoint_us = trainer_now_us();
    t->times.pause_us = trainer_now_us() - begin;
    return 0;
}
