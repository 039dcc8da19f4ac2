/* The model's files and the step's values: see contract, section 6. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "stages/model/model.h"
#include "stages/model/modelfile.h"
#include "stages/train-ddp/trainer.h"

enum { GOLDEN_BYTES = 16 * 1024 * 1024, CURVES_BYTES = 64 * 1024 * 1024, COPY_BYTES = 1 << 20 };

/* A missing source is fine if it is optional. */
static int copy_file(const char *from_dir, const char *to_dir, const char *name, bool optional,
                     struct err *err)
{
    _cleanup_free_ char *from = fs_join(from_dir, name), *to = fs_join(to_dir, name),
                        *chunk = xmalloc(COPY_BYTES);
    _cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return optional && errno == ENOENT ? 0 : err_errno(err, errno, "cannot open %s", from);
    _cleanup_close_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        return err_errno(err, errno, "cannot create %s", to);
    for (;;) {
        ssize_t n = read(in, chunk, COPY_BYTES);
        if (n < 0)
            return err_errno(err, errno, "cannot read %s", from);
        if (n == 0)
            return 0;
        for (ssize_t done = 0, w; done < n; done += w) {
            w = write(out, chunk + done, (size_t)(n - done));
            if (w < 0)
                return err_errno(err, errno, "cannot write %s", to);
        }
    }
}

static int write_document(const char *dir, const char *name, const cJSON *doc, size_t max, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(max);
    _cleanup_free_ char *path = fs_join(dir, name);
    (void)json_pretty(doc, &text);
    if (buf_check(&text, name, err) < 0)
        return -1;
    return fs_write_atomic(path, text.data, text.len, err);
}

/* --- model.json's own facts --------------------------------------------------------------------------- */

static cJSON *extra_document(const struct trainer *t)
{
    cJSON *extra = json_object(), *serving = json_object();
    const cJSON *spec = featurespec_document(t->spec);
    size_t n;
    const struct featurespec_raw *raw = featurespec_raw(t->spec, &n);
    for (size_t i = 0; i < n; i++)
        if (raw[i].serving_sql)
            json_add_string(serving, raw[i].name, raw[i].serving_sql);
    json_add(extra, "serving", serving);
    const cJSON *newest = cJSON_GetObjectItemCaseSensitive(spec, "newestTrainTime"),
                *label = cJSON_GetObjectItemCaseSensitive(spec, "label");
    if (newest)
        json_add(extra, "newestEventTime", cJSON_Duplicate(newest, true));
    if (label)
        json_add(extra, "label", cJSON_Duplicate(label, true));
    return extra;
}

/* --- golden rows ---------------------------------------------------------------------------------------- */

static int read_row(const cJSON *row, size_t width, const char *key, double *ret, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(row, key), *item;
    if ((size_t)cJSON_GetArraySize(list) != width)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                        "golden.json: expected %zu values of \"%s\" a row, found %d", width, key,
                        cJSON_GetArraySize(list));
    size_t i = 0;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item))
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data",
                            "golden.json: \"%s\" holds something that is no number", key);
        ret[i++] = item->valuedouble;
    }
    return 0;
}

/* Scores from the files just written, so that what is published is known to load and to score. */
static int score_golden(const struct trainer *t, cJSON *rows, const char *dir, struct err *err)
{
    _cleanup_model_ struct model *m = NULL;
    if (model_load(dir, &m, err) < 0)
        return err_wrap(err, "reading back the model");
    size_t n = (size_t)cJSON_GetArraySize(rows), dense = t->net->dense_width, cat = t->net->cat_width,
           widest = dense > cat ? dense : cat;
    struct featurebatch b = {.n = n,
                             .dense_width = dense,
                             .cat_width = cat,
                             .capacity = n,
                             .dense = xcalloc(n * dense + 1, sizeof(float)),
                             .cat = xcalloc(n * cat + 1, sizeof(int32_t))};
    float *scores = xcalloc(n + 1, sizeof *scores), *own = xcalloc(n + 1, sizeof *own);
    double *values = xcalloc(widest + 1, sizeof *values);
    int r = 0;
    size_t i = 0;
    cJSON *row;
    cJSON_ArrayForEach(row, rows)
    {
        if (r < 0 || (r = read_row(row, dense, "dense", values, err)) < 0)
            break;
        for (size_t k = 0; k < dense; k++)
            b.dense[i * dense + k] = (float)values[k];
        if ((r = read_row(row, cat, "cat", values, err)) < 0)
            break;
        for (size_t k = 0; k < cat; k++)
            b.cat[i * cat + k] = (int32_t)values[k];
        i++;
    }
    if (r == 0)
        r = model_score(m, &b, scores, err);
    for (size_t at = 0; r == 0 && at < n; at++) {
        struct batch one = {.n = 1, .dense = b.dense + at * dense, .cat = b.cat + at * cat};
        r = t->backend->score(t->engine, &one, t->config.objective.loss.kind, &own[at], err);
    }
    if (r == 0 && strcmp(t->config.isa, "native") == 0 && memcmp(scores, own, n * sizeof *own) != 0)
        r = err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "model",
                     "the model read back from %s scores its golden rows otherwise than the trained one",
                     dir);
    i = 0;
    if (r == 0)
        cJSON_ArrayForEach(row, rows) json_add_double(row, "score", (double)scores[i++]);
    featurebatch_release(&b);
    free(scores);
    free(own);
    free(values);
    return r;
}

static int write_golden(const struct trainer *t, const char *features, const char *dir, struct err *err)
{
    _cleanup_free_ char *path = fs_join(features, "golden.json");
    _cleanup_json_ cJSON *doc = NULL;
    if (json_parse_file(path, GOLDEN_BYTES, &doc, err) < 0)
        return -1;
    cJSON *rows = cJSON_GetObjectItemCaseSensitive(doc, "rows");
    if (!cJSON_IsArray(rows))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "bad-data", "%s: expected a list \"rows\"", path);
    if (score_golden(t, rows, dir, err) < 0)
        return -1;
    return write_document(dir, "golden.json", doc, GOLDEN_BYTES, err);
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static int write_curves(const struct trainer *t, const char *dir, struct err *err)
{
    _cleanup_json_ cJSON *doc = json_object();
    json_add_int(doc, "version", 1);
    json_add_int(doc, "stepsPerEpoch", t->steps_per_epoch);
    json_add_int(doc, "steps", t->state.step);
    json_add(doc, "train", cJSON_Duplicate(t->state.train_curve, true));
    json_add(doc, "validation", cJSON_Duplicate(t->state.validation_curve, true));
    return write_document(dir, "curves.json", doc, CURVES_BYTES, err);
}

static void add_provenance(struct trainer *t)
{
    const struct trainer_times *x = &t->times;
    struct collective_stats stats;
    collective_count(t->collective, &stats);
    cJSON *o = json_object();
    json_add_string(o, "backend", t->backend->name);
    json_add_string(o, "level", t->backend->level(t->engine));
    json_add_int(o, "workers", t->world->size);
    json_add_int(o, "threads", stage_threads(t->run));
    double seconds = (double)(trainer_now_us() - x->started_us) / 1e6;
    json_add_double(o, "trainSeconds", seconds);
    json_add_int(o, "samples", x->samples);
    json_add_double(o, "samplesPerSecond", seconds > 0 ? (double)x->samples / seconds : 0);
    json_add_double(o, "stepSamplesPerSecond",
                    (double)x->samples * 1e6 /
                        (double)(x->load_us + x->compute_us + x->exchange_us > 0
                                     ? x->load_us + x->compute_us + x->exchange_us
                                     : 1));
    json_add_double(o, "loadSeconds", (double)x->load_us / 1e6);
    json_add_double(o, "computeSeconds", (double)x->compute_us / 1e6);
    json_add_double(o, "exchangeSeconds", (double)x->exchange_us / 1e6);
    json_add_double(o, "validationSeconds", (double)x->validate_us / 1e6);
    json_add_double(o, "checkpointPauseMs", (double)x->pause_us / 1e3);
    json_add_int(o, "bytesSent", (int64_t)stats.bytes_sent);
    stage_provenance(t->run, "training", o);
}

static void add_values(struct trainer *t)
{
    const struct progress_state *s = &t->state;
    bool best = t->config.early_stopping && s->best_step;
    bool restored = best && t->config.restore_best;
    int64_t at = best ? s->best_step : s->step;
    stage_value_int(t->run, "best_epoch", (at + t->steps_per_epoch - 1) / t->steps_per_epoch);
    stage_value_int(t->run, "steps", s->step);
    for (int m = 0; m < METRICS; m++) {
        double v = restored ? s->best_metrics[m] : s->metrics[m];
        char name[64];
        (void)snprintf(name, sizeof name, "validation_%s", train_metric_name((enum train_metric)m));
        if (isfinite(v))
            stage_value_double(t->run, name, v);
    }
}

int trainer_write_model(struct trainer *t, struct err *err)
{
    add_values(t);
    add_provenance(t);
    if (t->world->rank != 0)
        return 0;
    if (trainer_await_uploads(t, err) < 0)
        return -1;
    const char *features = stage_input(t->run, "features"), *dir = stage_output(t->run, "model");
    if (t->config.early_stopping && t->config.restore_best && t->state.best_step)
        t->backend->write(t->engine, BACKEND_WEIGHTS, t->best);
    t->backend->read(t->engine, BACKEND_WEIGHTS, t->snapshot_weights);
    _cleanup_json_ cJSON *extra = extra_document(t);
    if (copy_file(features, dir, "feature-spec.json", false, err) < 0 ||
        copy_file(features, dir, "vocabularies.safetensors", true, err) < 0 ||
        modelfile_write(dir, t->net, t->snapshot_weights, t->config.objective.loss.kind, extra, err) < 0 ||
        write_golden(t, features, dir, err) < 0)
        return -1;
    return write_curves(t, dir, err);
}
