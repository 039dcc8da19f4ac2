/* One optimiser step of all workers: see trainer.h.
 *
 * Dense gradients are summed bucket by bucket, from the end of the arena downwards, while the backward pass goes on; the
 * arena is the buffer. Then one exchange carries flags, loss, weight and every worker's table rows. */
#include <math.h>
#include <string.h>

#include "stages/train-ddp/trainer.h"

enum { ALIGN = 64 };

/* At the front of a message; then uint32_t n[cat_width], then per table rows and values, each padded to 64 bytes. */
struct header {
    uint32_t flags, tables;
    double loss, weight;
    uint8_t reserved[40];
};
_Static_assert(sizeof(struct header) == 64, "the header's size is part of the exchange");

static size_t aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* --- dense gradients --------------------------------------------------------------------------------- */

/* Gradients from `begin` on are complete: submit whole buckets of them, and at 0 what is left. */
static void submit_ready(void *ctx, size_t begin)
{
    struct trainer *t = ctx;
    size_t bucket = (size_t)t->config.bucket_bytes / sizeof(float) / 16 * 16;
    float *gradients = t->backend->gradients(t->engine);
    while (t->next_bucket > begin && (t->next_bucket - begin >= bucket || begin == 0)) {
        size_t n = t->next_bucket - begin < bucket ? t->next_bucket - begin : bucket;
        t->next_bucket -= n;
        collective_submit(t->collective, gradients + t->next_bucket, n);
    }
    collective_poke(t->collective);
}

/* --- table rows -------------------------------------------------------------------------------------- */

static size_t pack_message(struct trainer *t, uint32_t flags, const struct train_sums *sums)
{
    size_t cats = t->net->cat_width;
    struct header h = {.flags = flags, .tables = (uint32_t)cats, .loss = sums->loss, .weight = sums->weight};
    memcpy(t->message, &h, sizeof h);
    t->backend->table_rows(t->engine, t->tables);
    char *at = t->message + aligned(sizeof h + cats * sizeof(uint32_t));
    for (size_t i = 0; i < cats; i++) {
        const struct sparse_rows *r = &t->tables[i];
        uint32_t n = (uint32_t)r->n;
        memcpy(t->message + sizeof h + i * sizeof n, &n, sizeof n);
        memcpy(at, r->rows, r->n * sizeof *r->rows);
        at += aligned(r->n * sizeof *r->rows);
        memcpy(at, r->values, r->n * t->net->tables[i].width * sizeof *r->values);
        at += aligned(r->n * t->net->tables[i].width * sizeof *r->values);
    }
    return (size_t)(at - t->message);
}

/* Views into a message; false if it does not add up. */
static bool unpack_message(const struct trainer *t, const char *message, size_t len, struct header *ret,
                           struct sparse_rows *ret_tables)
{
    size_t cats = t->net->cat_width, at = aligned(sizeof *ret + cats * sizeof(uint32_t));
    if (len < at)
        return false;
    memcpy(ret, message, sizeof *ret);
    if (ret->tables != cats)
        return false;
    for (size_t i = 0; i < cats; i++) {
        uint32_t n;
        memcpy(&n, message + sizeof *ret + i * sizeof n, sizeof n);
        size_t rows = aligned(n * sizeof(int32_t)),
               values = aligned(n * t->net->tables[i].width * sizeof(float));
        if (n > t->net->tables[i].rows || len - at < rows || len - at - rows < values)
            return false;
        ret_tables[i] = (struct sparse_rows){.n = n,
                                             .rows = (const int32_t *)(const void *)(message + at),
                                             .values = (const float *)(const void *)(message + at + rows)};
        at += rows + values;
    }
    return at == len;
}

/* Everybody's flags, sums and rows. Alone, the engine's own rows are used in place. */
static int exchange(struct trainer *t, uint32_t flags, const struct train_sums *sums, struct header *ret_all,
                    struct err *err)
{
    *ret_all = (struct header){0};
    if (t->world->size == 1) {
        t->backend->table_rows(t->engine, t->tables);
        ret_all->flags = flags;
        ret_all->loss = sums->loss;
        ret_all->weight = sums->weight;
        return 0;
    }
    size_t len = pack_message(t, flags, sums);
    if (collective_exchange(t->collective, t->message, len, t->message_max, t->messages, t->message_lens,
                            err) < 0)
        return -1;
    for (int r = 0; r < t->world->size; r++) {
        struct header h;
        if (!unpack_message(t, t->messages[r], t->message_lens[r], &h,
                            t->tables + (size_t)r * t->net->cat_width))
            return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "collective",
                            "rank %d sent table rows of step %lld that do not add up", r,
                            (long long)t->state.step);
        ret_all->flags |= h.flags;
        ret_all->loss += h.loss;
        ret_all->weight += h.weight;
    }
    return 0;
}

/* --- the step ------------------------------------------------------------------------------------------ */

static void fill(struct trainer *t, struct batch *ret)
{
    int64_t epoch = t->state.step / t->steps_per_epoch,
            begin = t->state.step % t->steps_per_epoch * t->config.global_batch;
    int64_t n = t->rows - begin < t->config.global_batch ? t->rows - begin : t->config.global_batch, first,
            end;
    trainer_share(n, t->world->rank, t->world->size, &first, &end);
    t->batch.n = (size_t)(end - first);
    dataset_fill(t->train, epoch, begin + first, &t->batch);
    *ret = (struct batch){.n = t->batch.n,
                          .dense = t->batch.dense,
                          .cat = t->batch.cat,
                          .label = t->batch.label,
                          .weight = t->batch.weight,
                          .step = t->state.step,
                          .first_row = first};
    t->times.samples += n;
}

static void note_curve(struct trainer *t, const struct header *all, double norm, double lr)
{
    struct progress_state *s = &t->state;
    s->loss_sum += all->loss;
    s->weight_sum += all->weight;
    s->norm_sum += norm;
    s->norm_count++;
    t->last_loss = all->weight > 0 ? all->loss / all->weight : 0;
    t->last_norm = norm;
    t->last_lr = lr;
    if ((s->step + 1) % t->curve_interval != 0 && s->step + 1 != t->total_steps)
        return;
    cJSON *point = json_object();
    json_add_int(point, "step", s->step + 1);
    json_add_double(point, "loss", s->weight_sum > 0 ? s->loss_sum / s->weight_sum : 0);
    json_add_double(point, "lr", lr);
    json_add_double(point, "gradNorm", s->norm_sum / (double)s->norm_count);
    json_append(s->train_curve, point);
    s->loss_sum = s->weight_sum = s->norm_sum = 0;
    s->norm_count = 0;
}

int trainer_step(struct trainer *t, uint32_t flags, uint32_t *ret_flags, struct err *err)
{
    struct batch b;
    struct train_sums sums;
    struct header all;
    int64_t begin = trainer_now_us();
    fill(t, &b);
    int64_t loaded = trainer_now_us();
    t->next_bucket = t->net->n_dense;
    if (t->backend->train(t->engine, &b, t->world->size > 1 ? submit_ready : NULL, t, &sums, err) < 0)
        return err_wrap(err, "epoch %lld", (long long)(t->state.step / t->steps_per_epoch + 1));
    int64_t computed = trainer_now_us();
    if (collective_wait(t->collective, err) < 0 || exchange(t, flags, &sums, &all, err) < 0)
        return err_wrap(err, "step %lld", (long long)t->state.step);
    int64_t exchanged = trainer_now_us();
    if (all.weight > 0) { /* a batch whose weights are all 0 moves nothing */
        struct apply a = {.weight = all.weight,
                          .lr_factor =
                              schedule_factor(&t->config.objective.schedule, t->state.step, t->total_steps),
                          .step = t->state.step,
                          .workers = (size_t)t->world->size,
                          .tables = t->tables};
        double norm;
        if (t->backend->apply(t->engine, &a, &norm, err) < 0)
            return -1;
        note_curve(t, &all, norm, a.lr_factor * t->config.objective.dense.lr);
    }
    t->times.load_us += loaded - begin;
    t->times.window_load_us += loaded - begin;
    t->times.compute_us += computed - loaded + (trainer_now_us() - exchanged);
    t->times.exchange_us += exchanged - computed;
    t->times.window_wait_us += exchanged - computed;
    t->state.step++;
    *ret_flags = all.flags;
    return 0;
}
