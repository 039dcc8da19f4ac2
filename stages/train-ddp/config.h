/* The trainDdp body of a step, decoded: see docs of the manifest for each field. What the model layer decodes itself
 * (network, embeddings, optimizers, loss, schedule, clip) is checked there. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "stages/model/optimizer.h"

enum train_metric { METRIC_AUC, METRIC_LOGLOSS, METRIC_MSE, METRIC_LOSS, METRICS };

struct train_config {
    uint64_t seed;
    int64_t epochs;
    int64_t global_batch;
    struct objective objective;
    const cJSON *network, *embeddings; /* borrowed from the config */
    const char *isa;                   /* likewise */

    int64_t validate_every; /* steps; 0: epochs below */
    int64_t validate_epochs;
    bool measure[METRICS];
    bool early_stopping, restore_best;
    enum train_metric stop_metric;
    int64_t patience;
    double min_delta;

    int64_t checkpoint_seconds, checkpoint_steps; /* one of them 0 */
    int64_t checkpoint_keep;

    int64_t collective_timeout_ms;
    int64_t bucket_bytes;
};

int train_config_decode(const cJSON *config, struct train_config *ret, struct err *err);
const char *train_metric_name(enum train_metric m);
/* Larger is better (auc), or smaller. */
bool train_metric_rises(enum train_metric m);
