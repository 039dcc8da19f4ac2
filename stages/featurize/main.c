/* featurize: a snapshot to shards of features, with everything fitted on the training split only. */
#include <stddef.h>

#include "common/base/fs.h"
#include "common/base/log.h"
#include "stages/featurize/featurize.h"
#include "stages/featurize/transform.h"
#include "stages/runtime/stage.h"

static struct {
    bool transform, serving;
    const char *spec, *in, *out;
} options;

static const struct cli_option option_table[] = {
    {.name = "transform",
     .kind = CLI_FLAG,
     .offset = offsetof(__typeof__(options), transform),
     .help =
         "Apply a saved feature spec to new rows instead of running the stage: needs --spec, --in and --out."},
    {.name = "spec",
     .kind = CLI_STRING,
     .metavar = "DIR",
     .offset = offsetof(__typeof__(options), spec),
     .help = "Directory with feature-spec.json and vocabularies.safetensors (of features, or of a model)."},
    {.name = "in",
     .kind = CLI_STRING,
     .metavar = "FILE",
     .offset = offsetof(__typeof__(options), in),
     .help =
         "New rows with the source columns: .parquet, .csv, .tsv, .json, .jsonl or .ndjson; text also with .gz or .zst."},
    {.name = "out",
     .kind = CLI_STRING,
     .metavar = "PATH",
     .offset = offsetof(__typeof__(options), out),
     .help =
         "A directory for shards, or a name ending in .jsonl, or - for lines of JSON on standard output."},
    {.name = "serving",
     .kind = CLI_FLAG,
     .offset = offsetof(__typeof__(options), serving),
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
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--transform needs --spec DIR, --in FILE and --out PATH");
    _cleanup_free_ char *scratch = NULL;
    if (fs_make_temp_dir("/tmp", "featurize-transform", &scratch, err) < 0)
        return -1;
    const struct transform_config config = {.spec = options.spec,
                                            .in = options.in,
                                            .out = options.out,
                                            .scratch = scratch,
                                            .serving = options.serving,
                                            .memory_bytes = (int64_t)1 << 30,
                                            .threads = 1};
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

static void progress(void *ctx, double fraction, const char *what)
{
    stage_progress(ctx, fraction, what, NULL);
}

static int work(struct stage_run *run, struct err *err)
{
    const struct featurize_job job = {.config = stage_config(run),
                                      .snapshot = stage_input(run, "snapshot"),
                                      .output = stage_output(run, "features"),
                                      .scratch = stage_scratch(run),
                                      .memory_bytes = stage_memory_max(run),
                                      .threads = stage_threads(run),
                                      .stop = stopping,
                                      .progress = progress,
                                      .ctx = run};
    struct featurize_counts n;
    if (featurize_run(&job, &n, err) < 0)
        return -1;
    stage_value_int(run, "train_rows", n.train_rows);
    stage_value_int(run, "validation_rows", n.validation_rows);
    stage_value_int(run, "test_rows", n.test_rows);
    stage_value_int(run, "features", n.features);
    log_info("features written", "train_rows", LOG_INT(n.train_rows), "validation_rows",
             LOG_INT(n.validation_rows), "test_rows", LOG_INT(n.test_rows), "duplicates_dropped",
             LOG_INT(n.duplicates_dropped), NULL);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const inputs[] = {"snapshot", NULL};
    static const struct stage_output outputs[] = {{.name = "features", .type = "features"}, {0}};
    static const struct stage stage = {
        .name = "featurize",
        .summary = "Turn a snapshot into shards of features, heldout rows and a feature spec.",
        .description =
            "Fits statistics and vocabularies on the training split only, writes the training rows in seeded hash order and the validation rows as shards, the source columns "
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
