/* Validation: each rank scores its share, all ranks hold all scores, so the metrics and what follows from them are the same
 * everywhere and for any number of workers. */
#include <math.h>
#include <string.h>

#include "stages/train-ddp/metrics.h"
#include "stages/train-ddp/trainer.h"

static int score_slice(struct trainer *t, struct err *err)
{
    for (size_t at = 0; at < t->n_slice; at += t->max_rows) {
        struct batch_rows b = t->batch;
        b.n = t->n_slice - at < t->max_rows ? t->n_slice - at : t->max_rows;
        dataset_fill_in_order(t->validation, (int64_t)(t->slice_begin + at), &b);
        struct batch in = {.n = b.n,
                           .dense = b.dense,
                           .cat = b.cat,
                           .step = t->state.step,
                           .first_row = (int64_t)(t->slice_begin + at)};
        if (t->backend->score(t->engine, &in, t->config.objective.loss.kind, t->scores + t->slice_begin + at,
                              err) < 0)
            return err_wrap(err, "validation rows");
    }
    return 0;
}

static int gather_scores(struct trainer *t, struct err *err)
{
    if (t->world->size == 1)
        return 0;
    size_t max = (t->n_validation / (size_t)t->world->size + 1) * sizeof(float);
    if (collective_exchange(t->collective, t->scores + t->slice_begin, t->n_slice * sizeof(float), max,
                            t->messages, t->message_lens, err) < 0)
        return err_wrap(err, "validation");
    for (int r = 0; r < t->world->size; r++) {
        int64_t begin, end;
        trainer_share((int64_t)t->n_validation, r, t->world->size, &begin, &end);
        if (t->message_lens[r] != (size_t)(end - begin) * sizeof(float))
            return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "collective",
                            "rank %d sent %zu bytes of scores, expected %lld rows", r, t->message_lens[r],
                            (long long)(end - begin));
        if (r != t->world->rank && end > begin)
            memcpy(t->scores + begin, t->messages[r], t->message_lens[r]);
    }
    return 0;
}

static void measure(struct trainer *t)
{
    const struct loss *loss = &t->config.objective.loss;
    for (int m = 0; m < METRICS; m++) {
        double v = (double)NAN;
        if (t->config.measure[m] && m == METRIC_AUC)
            v = metrics_auc(t->scores, t->labels, t->weights, t->n_validation);
        else if (t->config.measure[m] &&
                 (m == METRIC_LOGLOSS || (m == METRIC_LOSS && loss->kind == LOSS_BCE)))
            v = metrics_logloss(t->scores, t->labels, t->weights, t->n_validation);
        else if (t->config.measure[m] && m == METRIC_LOSS && loss->kind == LOSS_HUBER)
            v = metrics_huber(t->scores, t->labels, t->weights, t->n_validation, loss->delta);
        else if (t->config.measure[m])
            v = metrics_mse(t->scores, t->labels, t->weights, t->n_validation);
        t->state.metrics[m] = v;
    }
}

static int consider_stopping(struct trainer *t, struct err *err)
{
    struct progress_state *s = &t->state;
    if (!t->config.early_stopping)
        return 0;
    double v = s->metrics[t->config.stop_metric];
    if (!isfinite(v))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                        "earlyStopping.metric %s is undefined on the validation split after step %lld%s",
                        train_metric_name(t->config.stop_metric), (long long)s->step,
                        t->config.stop_metric == METRIC_AUC ? ": its labels are all of one class" : "");
    bool better =
        !s->best_step || (train_metric_rises(t->config.stop_metric) ? v > s->best + t->config.min_delta
                                                                    : v < s->best - t->config.min_delta);
    if (better) {
        s->best = v;
        s->best_step = s->step;
        s->waited = 0;
        memcpy(s->best_metrics, s->metrics, sizeof s->metrics);
        t->backend->read(t->engine, BACKEND_WEIGHTS, t->best);
        return 0;
    }
    s->waited++;
    s->stopped = s->waited >= (t->config.patience > 0 ? t->config.patience : 1);
    return 0;
}

int trainer_validate(struct trainer *t, struct err *err)
{
    struct progress_state *s = &t->state;
    if (!t->n_validation || s->validated_step == s->step)
        return 0;
    int64_t begin = trainer_now_us();
    if (score_slice(t, err) < 0 || gather_scores(t, err) < 0)
        return -1;
    measure(t);
    s->validated_step = s->step;
    cJSON *point = json_object();
    json_add_int(point, "step", s->step);
    json_add_double(point, "epoch", (double)s->step / (double)t->steps_per_epoch);
    for (int m = 0; m < METRICS; m++)
        if (isfinite(s->metrics[m]))
            json_add_double(point, train_metric_name((enum train_metric)m), s->metrics[m]);
    json_append(s->validation_curve, point);
    t->times.validate_us += trainer_now_us() - begin;
    return consider_stopping(t, err);
}
