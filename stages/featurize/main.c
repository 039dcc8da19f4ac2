/* featurize: a snapshot to shards of features, with everything fitted on the training split only. */
#include <stddef.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/log.h"
#include "stages/featurize/heldout.h"
#include "stages/featurize/trainrows.h"
#include "stages/featurize/transform.h"
#include "stages/runtime/stage.h"

static struct {
    bool transform, serving;
    const char *spec, *in, *out;
} options;

static const struct cli_option option_table[] = {
    {.name = "transform", .kind = CLI_FLAG, .offset = offsetof(__typeof__(options), transform),
     .help = "Apply a saved feature spec to new rows instead of running the stage: needs --spec, --in and --out."},
    {.name = "spec", .kind = CLI_STRING, .metavar = "DIR", .offset = offsetof(__typeof__(options), spec),
     .help = "Directory with feature-spec.json and vocabularies.safetensors (of features, or of a model)."},
    {.name = "in", .kind = CLI_STRING, .metavar = "FILE", .offset = offsetof(__typeof__(options), in),
     .help = "New rows with the source columns: .parquet, .csv, .tsv, .json, .jsonl or .ndjson; text also with .gz or .zst."},
    {.name = "out", .kind = CLI_STRING, .metavar = "PATH", .offset = offsetof(__typeof__(options), out),
     .help = "A directory for shards, or a name ending in .jsonl, or - for lines of JSON on standard output."},
    {.name = "serving", .kind = CLI_FLAG, .offset = offsetof(__typeof__(options), serving),
     .help = "Use the servingValue of features that have one instead of what the rows say."},
    CLI_END,
};

static int transform(int argc, char **argv, bool *ret_taken, struct err *err)
{
    (void)argc;
    (void)argv;
    if (!options.transform)
        return 0;
    *ret_taken = true;
    if (!options.spec || !options.in || !options.out)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--transform needs --spec DIR, --in FILE and --out PATH");
    _cleanup_free_ char *scratch = NULL;
    if (fs_make_temp_dir("/tmp", "featurize-transform", &scratch, err) < 0)
        return -1;
    const struct transform_config config = {.spec = options.spec, .in = options.in, .out = options.out, .scratch = scratch, .serving = options.serving,
                                            .memory_bytes = (int64_t)1 << 30, .threads = 1};
    int64_t rows = 0;
    int r = transform_run(&config, &rows, err);
    struct err ignored = ERR_INIT;
    (void)fs_remove_tree(scratch, &ignored);
    if (r == 0)
        log_info("transformed", "rows", LOG_INT(rows), "out", options.out, NULL);
    return r;
}

/* --- the stage ------------------------------------------------------------------------------------------- */

static bool stopping(void *ctx)
{
    return stage_stopping(ctx);
}

static void train_progress(void *ctx, double fraction)
{
    stage_progress(ctx, 0.4 + 0.5 * fraction, "transforming training rows", NULL);
}

static int write_rows(struct stage_run *run, struct source *source, const struct featurespec *spec, const struct fit_carry *carry, const char *output, struct err *err)
{
    _cleanup_parallel_ struct parallel *team = NULL;
    if (parallel_new(stage_threads(run), &team, err) < 0)
        return -1;
    const struct rowstream stream = {.source = source, .spec = spec, .carry = carry, .team = team};
    _cleanup_free_ char *train = fs_join(output, "train");
    const struct trainrows_config tc = {.directory = train, .scratch = stage_scratch(run), .memory_bytes = stage_memory_max(run) / 8, .progress = train_progress, .progress_ctx = run};
    int64_t train_rows = 0, validation_rows = 0;
    if (heldout_write(source, output, err) < 0)
        return -1;
    stage_progress(run, 0.4, "transforming training rows", NULL);
    if (trainrows_write(&stream, &tc, &train_rows, err) < 0)
        return -1;
    stage_progress(run, 0.9, "transforming validation rows", NULL);
    if (heldout_write_validation(&stream, output, &validation_rows, err) < 0 || heldout_write_golden(source, spec, output, err) < 0)
        return -1;
    stage_value_int(run, "train_rows", train_rows);
    stage_value_int(run, "validation_rows", validation_rows);
    stage_value_int(run, "test_rows", source->test_rows);
    stage_value_int(run, "features", (int64_t)source->config->n_features);
    log_info("features written", "train_rows", LOG_INT(train_rows), "validation_rows", LOG_INT(validation_rows), "test_rows", LOG_INT(source->test_rows), "duplicates_dropped",
             LOG_INT(source->rows_before_dedupe - source->rows), NULL);
    return 0;
}

static int work(struct stage_run *run, struct err *err)
{
    _cleanup_featurizeconfig_ struct featurizeconfig config = {0};
    _cleanup_source_ struct source *source = NULL;
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    struct fit_carry carry = {0};
    if (featurizeconfig_parse(stage_config(run), &config, err) < 0)
        return -1;
    const char *output = stage_output(run, "features");
    const struct source_config sc = {.features = &config, .snapshot = stage_input(run, "snapshot"), .output = output, .scratch = stage_scratch(run),
                                     .memory_bytes = stage_memory_max(run), .threads = stage_threads(run), .stop = stopping, .stop_ctx = run};
    stage_progress(run, 0, "reading the snapshot", NULL);
    if (source_open(&sc, &source, err) < 0)
        return -1;
    stage_progress(run, 0.2, "fitting features", NULL);
    if (fit_features(source, output, &spec, &carry, err) < 0)
        return -1;
    stage_progress(run, 0.3, "writing heldout rows", NULL);
    int r = write_rows(run, source, spec, &carry, output, err);
    fit_carry_release(&carry);
    return r;
}

int main(int argc, char **argv)
{
    static const char *const inputs[] = {"snapshot", NULL};
    static const struct stage_output outputs[] = {{.name = "features", .type = "features"}, {0}};
    static const struct stage stage = {
        .name = "featurize",
        .summary = "Turn a snapshot into shards of features, heldout rows and a feature spec.",
        .description = "Fits statistics and vocabularies on the training split only, writes the training rows in seeded hash order and the validation rows as shards, the source columns "
                       "of validation and test rows as heldout rows, and the feature spec that turns new rows into the same inputs.\n\n"
                       "With --transform it applies a saved spec to new rows.",
        .algorithm_version = "1",
        .inputs = inputs,
        .outputs = outputs,
        .options = option_table,
        .option_values = &options,
        .alternative = transform,
        .work = work,
    };
    return stage_main(&stage, argc, argv);
}
