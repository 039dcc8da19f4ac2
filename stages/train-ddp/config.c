/* Decoding the trainDdp body: see config.h. */
#include "stages/train-ddp/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"

static const char *const metric_names[METRICS] =
    {[METRIC_AUC] = "auc", [METRIC_LOGLOSS] = "logloss", [METRIC_MSE] = "mse", [METRIC_LOSS] = "loss"};

const char *train_metric_name(enum train_metric m)
{
    return metric_names[m];
}

bool train_metric_rises(enum train_metric m)
{
    return m == METRIC_AUC;
}

static int refuse(const char *what, const char *expected, const char *found, struct err *err)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "%s: expected %s, found \"%s\"", what,
                    expected, found ? found : "nothing");
}

static int find_metric(const char *where, const char *name, enum loss_kind loss, enum train_metric *ret,
                       struct err *err)
{
    for (int m = 0; m < METRICS; m++) {
        if (!name || strcmp(name, metric_names[m]) != 0)
            continue;
        if (m == METRIC_LOGLOSS && loss != LOSS_BCE)
            return refuse(where, "a metric that fits the loss (logloss needs bce)", name, err);
        *ret = (enum train_metric)m;
        return 0;
    }
    return refuse(where, "auc, logloss, mse or loss (others are measured by the evaluate step)", name, err);
}

/* "2 epochs", "500 steps" */
static int decode_every(const char *text, struct train_config *c, struct err *err)
{
    char *unit;
    long long n = strtoll(text, &unit, 10);
    bool epochs = strcmp(unit, " epoch") == 0 || strcmp(unit, " epochs") == 0,
         steps = strcmp(unit, " step") == 0 || strcmp(unit, " steps") == 0;
    if (n < 1 || !(epochs || steps))
        return refuse("validation.every", "a number of epochs or steps such as \"1 epoch\"", text, err);
    c->validate_every = steps ? n : 0;
    c->validate_epochs = epochs ? n : 0;
    return 0;
}

static int decode_validation(const cJSON *config, struct train_config *c, struct err *err)
{
    static const char *const keys[] = {"every", "metrics", NULL}, *const stop_keys[] = {"metric", "patience",
                                                                                        "minDelta",
                                                                                        "restoreBest", NULL};
    struct json_path path = {.key = "validation"}, stop_path = {.key = "earlyStopping"};
    const cJSON *validation, *metrics, *item, *stop;
    const char *every, *metric;
    c->validate_epochs = 1;
    c->measure[METRIC_LOSS] = true;
    if (json_get_object_or(config, NULL, "validation", &validation, err) < 0 ||
        json_get_object_or(config, NULL, "earlyStopping", &stop, err) < 0)
        return -1;
    if (validation) {
        if (json_only_keys(validation, &path, keys, err) < 0 ||
            json_get_string_or(validation, &path, "every", "1 epoch", &every, err) < 0 ||
            decode_every(every, c, err) < 0 ||
            json_get_array(validation, &path, "metrics", &metrics, err) < 0)
            return -1;
        cJSON_ArrayForEach(item, metrics)
        {
            enum train_metric m;
            if (find_metric("validation.metrics", cJSON_GetStringValue(item), c->objective.loss.kind, &m,
                            err) < 0)
                return -1;
            c->measure[m] = true;
        }
    }
    if (!stop)
        return 0;
    c->early_stopping = true;
    if (json_only_keys(stop, &stop_path, stop_keys, err) < 0 ||
        json_get_string(stop, &stop_path, "metric", &metric, err) < 0 ||
        find_metric("earlyStopping.metric", metric, c->objective.loss.kind, &c->stop_metric, err) < 0 ||
        json_get_int_in(stop, &stop_path, "patience", 1, 0, 100000, &c->patience, err) < 0 ||
        json_get_double_or(stop, &stop_path, "minDelta", 0, &c->min_delta, err) < 0 ||
        json_get_bool_or(stop, &stop_path, "restoreBest", true, &c->restore_best, err) < 0)
        return -1;
    if (!(c->min_delta >= 0))
        return refuse("earlyStopping.minDelta", "0 or more", "a negative number", err);
    if (!c->measure[c->stop_metric])
        return refuse("earlyStopping.metric", "one of validation.metrics", metric, err);
    return 0;
}

static int decode_checkpoint(const cJSON *config, struct train_config *c, struct err *err)
{
    static const char *const keys[] = {"everySeconds", "everySteps", "keep", NULL};
    struct json_path path = {.key = "checkpoint"};
    const cJSON *o;
    c->checkpoint_seconds = 1200;
    c->checkpoint_keep = 3;
    if (json_get_object_or(config, NULL, "checkpoint", &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    if (json_only_keys(o, &path, keys, err) < 0 ||
        json_get_int_in(o, &path, "everySteps", 0, 0, 1000000000, &c->checkpoint_steps, err) < 0 ||
        json_get_int_in(o, &path, "everySeconds", c->checkpoint_steps ? 0 : 1200, 0, 604800,
                        &c->checkpoint_seconds, err) < 0 ||
        json_get_int_in(o, &path, "keep", 3, 1, 100, &c->checkpoint_keep, err) < 0)
        return -1;
    if (c->checkpoint_steps && c->checkpoint_seconds)
        return refuse("checkpoint", "everySeconds or everySteps", "both", err);
    return 0;
}

static int decode_collective(const cJSON *config, struct train_config *c, struct err *err)
{
    static const char *const keys[] = {"timeoutSeconds", "bucketBytes", "wire", NULL};
    struct json_path path = {.key = "collective"};
    const cJSON *o;
    const char *wire;
    c->collective_timeout_ms = 10000;
    c->bucket_bytes = 4194304;
    if (json_get_object_or(config, NULL, "collective", &o, err) < 0)
        return -1;
    if (!o)
        return 0;
    int64_t seconds;
    if (json_only_keys(o, &path, keys, err) < 0 ||
        json_get_int_in(o, &path, "timeoutSeconds", 10, 1, 3600, &seconds, err) < 0 ||
        json_get_int_in(o, &path, "bucketBytes", 4194304, 4096, 1073741824, &c->bucket_bytes, err) < 0 ||
        json_get_string_or(o, &path, "wire", "fp32", &wire, err) < 0)
        return -1;
    c->collective_timeout_ms = seconds * 1000;
    return strcmp(wire, "fp32") == 0 ? 0
                                     : refuse("collective.wire", "fp32 (all this version has)", wire, err);
}

static int decode_batch(const cJSON *config, struct train_config *c, struct err *err)
{
    static const char *const keys[] = {"global", "accumulate", NULL};
    struct json_path path = {.key = "batch"};
    const cJSON *o;
    int64_t
        accumulate; /* The CPU back end always works in parts that fit its caches; the sums are the same. */
    if (json_get_object(config, NULL, "batch", &o, err) < 0 || json_only_keys(o, &path, keys, err) < 0)
        return -1;
    if (!cJSON_HasObjectItem(o, "global"))
        return refuse("batch.global", "the rows of a step over all workers", NULL, err);
    return json_get_int_in(o, &path, "global", 0, 1, 16777216, &c->global_batch, err) < 0 ||
                   json_get_int_in(o, &path, "accumulate", 1, 1, 10000, &accumulate, err) < 0
               ? -1
               : 0;
}

int train_config_decode(const cJSON *config, struct train_config *ret, struct err *err)
{
    static const char *const keys[] = {"seed",       "device",        "threads",
                                       "precision",  "epochs",        "batch",
                                       "embeddings", "network",       "loss",
                                       "optimizers", "schedule",      "clip",
                                       "validation", "earlyStopping", "checkpoint",
                                       "collective", "determinism",   NULL},
                             *const determinism_keys[] = {"isa", NULL};
    struct json_path determinism_path = {.key = "determinism"};
    const cJSON *determinism;
    const char *precision;
    int64_t seed;
    *ret = (struct train_config){.isa = "native"};
    if (json_only_keys(config, NULL, keys, err) < 0 ||
        json_get_int_in(config, NULL, "seed", 0, 0, INT64_C(9007199254740991), &seed, err) < 0 ||
        json_get_int_in(config, NULL, "epochs", 1, 1, 1000000, &ret->epochs, err) < 0 ||
        json_get_string_or(config, NULL, "precision", "fp32", &precision, err) < 0 ||
        decode_batch(config, ret, err) < 0 || objective_decode(config, NULL, &ret->objective, err) < 0 ||
        decode_validation(config, ret, err) < 0 || decode_checkpoint(config, ret, err) < 0 ||
        decode_collective(config, ret, err) < 0 ||
        json_get_object(config, NULL, "network", &ret->network, err) < 0 ||
        json_get_object_or(config, NULL, "embeddings", &ret->embeddings, err) < 0 ||
        json_get_object_or(config, NULL, "determinism", &determinism, err) < 0)
        return -1;
    if (determinism &&
        (json_only_keys(determinism, &determinism_path, determinism_keys, err) < 0 ||
         json_get_string_or(determinism, &determinism_path, "isa", "native", &ret->isa, err) < 0))
        return -1;
    ret->seed = (uint64_t)seed;
    return strcmp(precision, "fp32") == 0
               ? 0
               : refuse("precision", "fp32 (all the CPU back end has)", precision, err);
}
