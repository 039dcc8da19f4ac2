/* The evaluate stage: see evaluate.h. Inputs → baseline → memo → scores → comparison → outputs. */
#include "stages/evaluate/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/store/registry.h"
#include "stages/evaluate/comparison.h"
#include "stages/evaluate/dataset.h"
#include "stages/evaluate/outputs.h"
#include "stages/model/model.h"

struct job {
    struct stage_run *run;
    struct evaluateconfig config;
    struct dataset *dataset;
    struct model *model, *baseline;
    int64_t baseline_version; /* 0: none */
    char *baseline_digest;
    struct comparison comparison;
};

static void job_release(struct job *j)
{
    dataset_free(j->dataset);
    model_free(j->model);
    model_free(j->baseline);
    free(j->baseline_digest);
    comparison_release(&j->comparison);
}

/* Which version the alias names now; none is no error here. */
static int resolve_baseline(struct job *j, struct err *err)
{
    if (!j->config.baseline_model)
        return 0;
    struct store *registry;
    _cleanup_json_ cJSON *document = NULL;
    const char *digest;
    if (stage_registry(j->run, &registry, err) < 0 ||
        registry_get_alias(registry, j->config.baseline_model, j->config.baseline_alias, &j->baseline_version,
                           NULL, err) < 0)
        return err_wrap(err, "looking up the baseline");
    if (j->baseline_version == 0)
        return 0;
    if (registry_get_version(registry, j->config.baseline_model, j->baseline_version, &document, err) < 0 ||
        json_get_string(document, NULL, "model", &digest, err) < 0)
        return err_wrap(err, "reading the baseline");
    j->baseline_digest = xstrdup(digest);
    return 0;
}

static int load_baseline(struct job *j, struct err *err)
{
    struct store *registry;
    _cleanup_artifact_ struct artifact *artifact = NULL;
    _cleanup_free_ char *prefix = registry_payload_prefix(j->config.baseline_model, j->baseline_digest),
                        *dir = fs_join(stage_scratch(j->run), "baseline");
    if (stage_registry(j->run, &registry, err) < 0 ||
        artifact_load(registry, prefix, j->baseline_digest, &artifact, err) < 0 ||
        artifact_fetch(registry, prefix, artifact, NULL, dir, err) < 0 ||
        model_load(dir, &j->baseline, err) < 0) {
        /* No step of this run made it, so no producer can be run again. */
        (void)snprintf(err->reason, sizeof err->reason, "baseline");
        return err_wrap(err, "baseline: version %" PRId64 " of model '%s'", j->baseline_version,
                        j->config.baseline_model);
    }
    return 0;
}

/* What this step saw outside: the inputs and the alias's target. */
static int look_up_memo(struct job *j, bool *ret_hit, struct err *err)
{
    _cleanup_json_ cJSON *seen = json_object();
    json_add_string(seen, "features", stage_input_digest(j->run, "features"));
    json_add_string(seen, "model", stage_input_digest(j->run, "model"));
    json_add_string(seen, "baseline", j->baseline_digest ? j->baseline_digest : "none");
    json_add_int(seen, "baselineVersion", j->baseline_version);
    return stage_memo_lookup(j->run, seen, ret_hit, err);
}

static bool should_stop(void *ctx)
{
    return stage_stopping(ctx);
}

static int score(struct job *j, struct err *err)
{
    struct dataset_config config = {
        .features = stage_input(j->run, "features"),
        .scratch = stage_scratch(j->run),
        .memory_bytes = stage_memory_max(j->run),
        .threads = stage_threads(j->run),
        .slices = j->config.slices,
        .n_slices = j->config.n_slices,
        .stop = should_stop,
        .stop_ctx = j->run,
    };
    if (model_load(stage_input(j->run, "model"), &j->model, err) < 0 ||
        dataset_open(&config, &j->dataset, err) < 0)
        return -1;
    stage_progress(j->run, 0.1, "scoring with the model", NULL);
    if (dataset_score_candidate(j->dataset, j->model, err) < 0)
        return -1;
    if (!j->baseline_version)
        return 0;
    stage_progress(j->run, 0.4, "scoring with the baseline", NULL);
    return load_baseline(j, err) < 0 || dataset_score_baseline(j->dataset, j->baseline, err) < 0 ? -1 : 0;
}

/* Was the baseline trained on rows as new as the earliest test row? */
static int is_contaminated(const struct job *j, bool *ret, struct err *err)
{
    int64_t earliest, newest;
    const char *text;
    *ret = false;
    if (!j->baseline || !dataset_earliest(j->dataset, &earliest))
        return 0;
    const cJSON *document = featurespec_document(model_featurespec(j->baseline));
    if (json_get_string_or(document, NULL, "newestTrainTime", NULL, &text, err) < 0)
        return -1;
    if (!text)
        return 0;
    if (json_get_int(document, NULL, "newestTrainTime", &newest, err) < 0)
        return err_wrap(err, "the baseline's feature-spec.json");
    *ret = newest >= earliest;
    return 0;
}

static void set_values(const struct job *j)
{
    for (size_t m = 0; m < j->config.n_metrics; m++) {
        const struct measured *x = &j->comparison.metrics[m];
        const char *name = j->config.metrics[m].value;
        if (!isnan(x->value))
            stage_value_double(j->run, name, x->value);
        _cleanup_free_ char *delta = xasprintf("delta_%s", name);
        if (!isnan(x->delta))
            stage_value_double(j->run, delta, x->delta);
    }
    stage_value_bool(j->run, "gate_passed", j->comparison.gate_passed);
    if (j->baseline_version)
        stage_value_int(j->run, "baseline_version", j->baseline_version);
}

static int write_outputs(const struct job *j, const struct comparison_rows *rows, struct err *err)
{
    const char *model_digest = stage_input_digest(j->run, "model");
    struct outputs o = {&j->config,         rows,
                        &j->comparison,     model_digest ? model_digest : "(by hand)",
                        j->baseline_digest, j->baseline_version};
    const char *dir = stage_output(j->run, "report");
    return outputs_write_metrics(&o, dir, err) < 0 || outputs_write_report(&o, dir, err) < 0 ? -1 : 0;
}

static int evaluate(struct job *j, struct err *err)
{
    bool hit = false, contaminated;
    if (evaluateconfig_decode(stage_config(j->run), &j->config, err) < 0 || resolve_baseline(j, err) < 0 ||
        look_up_memo(j, &hit, err) < 0)
        return -1;
    if (hit)
        return 0;
    if (score(j, err) < 0 || is_contaminated(j, &contaminated, err) < 0)
        return -1;
    stage_progress(j->run, 0.6, "comparing", NULL);
    struct comparison_rows rows;
    dataset_rows(j->dataset, &rows);
    comparison_run(&j->config, &rows, contaminated, stage_threads(j->run), &j->comparison);
    set_values(j);
    return write_outputs(j, &rows, err);
}

int evaluate_work(struct stage_run *run, struct err *err)
{
    struct job j = {.run = run};
    int rc = evaluate(&j, err);
    job_release(&j);
    return rc;
}
