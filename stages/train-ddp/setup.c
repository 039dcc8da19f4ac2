/* From a config and features to a trainer with all its memory: see trainer.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "stages/model/device.h"
#include "stages/model/modelfile.h"
#include "stages/train-ddp/trainer.h"

enum {
    CURVE_POINTS = 1000,
    VALIDATIONS_MAX = 10000,
    MESSAGE_ALIGN = 64,
    OVERHEAD_BYTES = 64 << 20,
    SUM_SPACE = 3 << 20
};

/* Inputs may be symbolic links into a local store. */
static bool has_files(const char *dir)
{
    _cleanup_dir_ DIR *d = opendir(dir);
    const struct dirent *e = NULL;
    while (d && (e = readdir(d)) && e->d_name[0] == '.')
        ;
    return e != NULL;
}

static int open_data(struct trainer *t, const char *features, struct err *err)
{
    size_t dense = featurespec_dense_width(t->spec), cat = featurespec_cat_width(t->spec);
    _cleanup_free_ char *train = fs_join(features, "train"), *validation = fs_join(features, "validation");
    if (dataset_open(train, t->config.seed, dense, cat, &t->train, err) < 0)
        return err_wrap(err, "training rows");
    t->rows = dataset_rows(t->train);
    if (t->rows == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data", "the features hold no training rows");
    bool some = has_files(validation);
    if (some && dataset_open(validation, t->config.seed, dense, cat, &t->validation, err) < 0)
        return err_wrap(err, "validation rows");
    t->n_validation = some ? (size_t)dataset_rows(t->validation) : 0;
    if (t->n_validation == 0 && t->config.early_stopping)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "config",
            "earlyStopping needs validation rows, and the features have none: set featurize.split.validation");
    if (t->n_validation > UINT32_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                        "validation split of %zu rows: at most %u are supported", t->n_validation,
                        UINT32_MAX);
    return 0;
}

static int plan_steps(struct trainer *t, struct err *err)
{
    struct train_config *c = &t->config;
    if (c->global_batch > t->rows)
        c->global_batch = t->rows;
    t->steps_per_epoch = (t->rows + c->global_batch - 1) / c->global_batch;
    t->total_steps = t->steps_per_epoch * c->epochs;
    t->curve_interval = (t->total_steps + CURVE_POINTS - 1) / CURVE_POINTS;
    int64_t every = c->validate_every ? c->validate_every : c->validate_epochs * t->steps_per_epoch;
    if (t->n_validation && t->total_steps / every > VALIDATIONS_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "validation.every gives %lld validations in %lld steps: at most %d are supported",
                        (long long)(t->total_steps / every), (long long)t->total_steps, VALIDATIONS_MAX);
    t->max_rows = (size_t)((c->global_batch + t->world->size - 1) / t->world->size);
    if (t->world->size > c->global_batch)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "%d workers share batches of %lld rows: expected at least one row each",
                        t->world->size, (long long)c->global_batch);
    return 0;
}

static size_t align_message(size_t n)
{
    return (n + MESSAGE_ALIGN - 1) / MESSAGE_ALIGN * MESSAGE_ALIGN;
}

/* Largest message of a step: header, then per table rows and values. */
static size_t largest_message(const struct trainer *t)
{
    size_t n = align_message(64 + t->net->cat_width * sizeof(uint32_t));
    for (size_t i = 0; i < t->net->cat_width; i++) {
        const struct network_table *table = &t->net->tables[i];
        size_t rows = table->rows < t->max_rows ? table->rows : t->max_rows;
        n += align_message(rows * sizeof(int32_t)) + align_message(rows * table->width * sizeof(float));
    }
    return n;
}

/* Everything that will be allocated, before any of it is. */
static int check_memory(const struct trainer *t, const struct backend_options *o, struct err *err)
{
    size_t weights = t->net->n_total * sizeof(float), moments = 2 * weights, size = (size_t)t->world->size;
    size_t engine = t->backend->memory(t->net, o);
    size_t copies = weights * (t->config.early_stopping ? 3 : 1) + moments;
    size_t rows =
        t->max_rows * (t->net->dense_width + t->net->cat_width + 2) * 4 + t->n_validation * (3 * 4 + 16);
    size_t exchange = t->message_max * (size + 1) + SUM_SPACE;
    size_t bytes = engine + copies + rows + exchange + dataset_memory(t->train) + OVERHEAD_BYTES;
    int64_t most = stage_memory_max(t->run);
    if (most <= 0 || bytes <= (size_t)most)
        return 0;
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "memory",
        "training needs about %zu MiB a worker (network and optimiser %zu, copies for checkpoints %zu, rows %zu, exchange %zu), the step may use %lld MiB: raise "
        "resources.memory, or lower batch.global or the embeddings' widths",
        bytes >> 20, engine >> 20, copies >> 20, rows >> 20, exchange >> 20, (long long)(most >> 20));
}

static float *floats(size_t n)
{
    return xcalloc(n ? n : 1, sizeof(float));
}

static void allocate(struct trainer *t)
{
    size_t cats = t->net->cat_width, size = (size_t)t->world->size;
    t->batch = (struct batch_rows){.dense = floats(t->max_rows * t->net->dense_width),
                                   .label = floats(t->max_rows),
                                   .weight = floats(t->max_rows),
                                   .cat = xcalloc(t->max_rows * cats + 1, sizeof(int32_t))};
    t->message = xcalloc(1, t->message_max);
    t->messages = xcalloc(size, sizeof *t->messages);
    t->message_lens = xcalloc(size, sizeof *t->message_lens);
    t->tables = xcalloc(size * cats + 1, sizeof *t->tables);
    t->n_optimizer = t->backend->optimizer_floats(t->engine);
    t->snapshot_weights = floats(t->net->n_total);
    t->snapshot_optimizer = floats(t->n_optimizer);
    if (t->config.early_stopping) {
        t->best = floats(t->net->n_total);
        t->snapshot_best = floats(t->net->n_total);
    }
    t->scores = floats(t->n_validation);
    t->labels = floats(t->n_validation);
    t->weights = floats(t->n_validation);
}

/* Labels and weights of the whole validation split, on every rank. */
static void read_labels(struct trainer *t)
{
    for (size_t at = 0; at < t->n_validation; at += t->max_rows) {
        struct batch_rows b = t->batch;
        b.n = t->n_validation - at < t->max_rows ? t->n_validation - at : t->max_rows;
        dataset_fill_in_order(t->validation, (int64_t)at, &b);
        memcpy(t->labels + at, b.label, b.n * sizeof *b.label);
        memcpy(t->weights + at, b.weight, b.n * sizeof *b.weight);
    }
    int64_t begin, end;
    trainer_share((int64_t)t->n_validation, t->world->rank, t->world->size, &begin, &end);
    t->slice_begin = (size_t)begin;
    t->n_slice = (size_t)(end - begin);
}

/* What a checkpoint must agree with. Workers and threads are not in it: resuming with other numbers is allowed, if not bit-equal. */
static int take_fingerprint(struct trainer *t, struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    const char *digest = stage_input_digest(t->run, "features");
    json_add_string(o, "algorithm", stage_algorithm_version(t->run));
    json_add(o, "config", cJSON_Duplicate(stage_config(t->run), true));
    json_add_string(o, "features", digest ? digest : "");
    json_add_int(o, "rows", t->rows);
    json_add_string(o, "level", t->backend->level(t->engine));
    return json_digest(o, t->fingerprint, err);
}

int trainer_setup(struct trainer *t, struct stage_run *run, struct err *err)
{
    *t = (struct trainer){.run = run, .world = stage_world(run), .backend = &backend_cpu};
    progress_state_init(&t->state);
    const char *features = stage_input(run, "features"), *device = stage_device(run);
    if (train_config_decode(stage_config(run), &t->config, err) < 0)
        return -1;
    _cleanup_free_ char *why_cpu = NULL;
    if (device_choose(device, NULL, &why_cpu, err) < 0)
        return -1;
    if (why_cpu && t->world->rank == 0)
        log_info("device auto: computing on the CPU", "why", why_cpu, NULL);
    if (featurespec_load(features, &t->spec, err) < 0)
        return -1;
    struct network_inputs_of_spec inputs;
    network_inputs_of_spec(t->spec, &inputs);
    int r = network_new(t->config.network, t->config.embeddings, NULL, &inputs.inputs, &t->net, err);
    network_inputs_of_spec_release(&inputs);
    if (r < 0 || open_data(t, features, err) < 0 || plan_steps(t, err) < 0)
        return -1;
    t->message_max = largest_message(t);
    int threads = stage_threads(run);
    struct backend_options o = {.isa = t->config.isa,
                                .threads = threads > 0 ? threads : 1,
                                .max_rows = t->max_rows,
                                .training = true,
                                .objective = &t->config.objective,
                                .seed = t->config.seed};
    if (check_memory(t, &o, err) < 0 || t->backend->open(t->net, &o, &t->engine, err) < 0)
        return -1;
    allocate(t);
    read_labels(t);
    network_init(t->net, t->config.seed, t->snapshot_weights);
    t->backend->write(t->engine, BACKEND_WEIGHTS, t->snapshot_weights);
    return take_fingerprint(t, err);
}

void trainer_release(struct trainer *t)
{
    checkpoints_free(t->checkpoints);
    store_free(t->checkpoint_store);
    collective_free(t->collective);
    if (t->engine)
        t->backend->close(t->engine);
    dataset_free(t->train);
    dataset_free(t->validation);
    network_free(t->net);
    featurespec_free(t->spec);
    void *const owned[] =
        {t->batch.dense,   t->batch.label,  t->batch.weight, t->batch.cat,        t->message,
         t->messages,      t->message_lens, t->tables,       t->snapshot_weights, t->snapshot_optimizer,
         t->snapshot_best, t->best,         t->scores,       t->labels,           t->weights};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    progress_state_release(&t->state);
    *t = (struct trainer){0};
}
