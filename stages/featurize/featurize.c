/* The order of the work: see featurize.h. */
#include "stages/featurize/featurize.h"

#include "common/base/fs.h"
#include "stages/featurize/heldout.h"
#include "stages/featurize/trainrows.h"

static void say(const struct featurize_job *job, double fraction, const char *what)
{
    if (job->progress)
        job->progress(job->ctx, fraction, what);
}

static void say_train(void *ctx, double fraction)
{
    say(ctx, 0.4 + 0.5 * fraction, "transforming training rows");
}

static int write_rows(const struct featurize_job *job, struct source *source, const struct featurespec *spec,
                      const struct fit_carry *carry, struct featurize_counts *ret, struct err *err)
{
    _cleanup_parallel_ struct parallel *team = NULL;
    if (parallel_new(job->threads, &team, err) < 0)
        return -1;
    const struct rowstream stream = {.source = source, .spec = spec, .carry = carry, .team = team};
    _cleanup_free_ char *train = fs_join(job->output, "train");
    struct featurize_job progress = *job;
    const struct trainrows_config tc = {.directory = train,
                                        .scratch = job->scratch,
                                        .memory_bytes = job->memory_bytes / 8,
                                        .progress = say_train,
                                        .progress_ctx = &progress};
    say(job, 0.3, "writing heldout rows");
    if (heldout_write(source, job->output, err) < 0)
        return -1;
    say(job, 0.4, "transforming training rows");
    if (trainrows_write(&stream, &tc, &ret->train_rows, err) < 0)
        return -1;
    if (ret->train_rows == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "split",
                        "trainSampling leaves none of %lld training rows: raise negatives",
                        (long long)source->train_rows);
    say(job, 0.9, "transforming validation rows");
    if (heldout_write_validation(&stream, job->output, &ret->validation_rows, err) < 0)
        return -1;
    return heldout_write_golden(source, spec, job->output, err);
}

int featurize_run(const struct featurize_job *job, struct featurize_counts *ret, struct err *err)
{
    _cleanup_featurizeconfig_ struct featurizeconfig config = {0};
    _cleanup_source_ struct source *source = NULL;
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    struct fit_carry carry = {0};
    struct featurize_counts counts = {0};
    if (featurizeconfig_parse(job->config, &config, err) < 0)
        return -1;
    const struct source_config sc = {.features = &config,
                                     .snapshot = job->snapshot,
                                     .output = job->output,
                                     .scratch = job->scratch,
                                     .memory_bytes = job->memory_bytes,
                                     .threads = job->threads,
                                     .stop = job->stop,
                                     .stop_ctx = job->ctx};
    say(job, 0, "reading the snapshot");
    if (source_open(&sc, &source, err) < 0)
        return -1;
    say(job, 0.2, "fitting features");
    if (fit_features(source, job->output, &spec, &carry, err) < 0)
        return -1;
    int r = write_rows(job, source, spec, &carry, &counts, err);
    fit_carry_release(&carry);
    if (r < 0)
        return r;
    counts.test_rows = source->test_rows;
    counts.features = (int64_t)config.n_features;
    counts.duplicates_dropped = source->rows_before_dedupe - source->rows;
    *ret = counts;
    return 0;
}
