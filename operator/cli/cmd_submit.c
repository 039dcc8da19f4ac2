/* trainyard submit: a pipeline given to the operator in a cluster. */
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "operator/cli/cluster/follow.h"
#include "operator/cli/cluster/submission.h"
#include "operator/cli/command.h"
#include "operator/pipeline/yaml.h"

struct options {
    struct where_options cluster;
    const char *name, *scheduled_time;
    struct cli_list params;
    int64_t wait_ms, timeout_ms;
    bool force, watch, plain, json;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "parameter",
     .short_name = 'p',
     .kind = CLI_LIST,
     .metavar = "NAME=VALUE",
     AT(params),
     .help = "A parameter of the pipeline, as --param of `trainyard run`."},
    {.name = "name",
     .kind = CLI_STRING,
     .metavar = "NAME",
     AT(name),
     .help = "The run's name, unique in its namespace. Default: the pipeline's with something added."},
    COMMAND_OPTION_SCHEDULED_TIME(struct options),
    {.name = "force-conflicts",
     .kind = CLI_FLAG,
     AT(force),
     .help = "Take over fields of the pipeline that another tool applied."},
    {.name = "wait",
     .kind = CLI_DURATION,
     .metavar = "DURATION",
     AT(wait_ms),
     .fallback = "30s",
     .min = 0,
     .max = 24 * 3600 * 1000,
     .help = "How long to wait for the operator to look at a changed pipeline."},
    {.name = "watch",
     .short_name = 'w',
     .kind = CLI_FLAG,
     AT(watch),
     .help = "Look on until the run has ended, as `trainyard watch` does, and end with its code."},
    COMMAND_OPTION_TIMEOUT(struct options),
    COMMAND_OPTION_PLAIN(struct options),
    COMMAND_OPTION_JSON(struct options),
    CLI_END,
};

/* A file as tree, and what it is. */
struct file {
    struct manifest manifest;
    cJSON *tree;
    bool is_run;
};

static void file_release(struct file *f)
{
    manifest_release(&f->manifest);
    cJSON_Delete(f->tree);
}

static int read_file(const char *path, struct file *f, struct err *err)
{
    struct manifest *m = &f->manifest;
    struct findings findings = {0};
    struct run_spec run = {0};
    _cleanup_yaml_lines_ struct yaml_lines *lines = NULL;
    if (manifest_read(path, m, err) < 0)
        return -1;
    int r = yaml_parse(m->text, m->len, m->name, &findings, &f->tree, &lines, err);
    if (manifest_finish(m, &findings, r, err) < 0)
        return -1;
    f->is_run = strcmp(cluster_text(f->tree, "kind", NULL), CLUSTER_RUNS.kind) == 0;
    if (!f->is_run)
        return manifest_decode(m, err);
    findings = (struct findings){0};
    r = run_decode_yaml(m->text, m->len, m->name, &run, &findings, err);
    run_spec_release(&run);
    return manifest_finish(m, &findings, r, err);
}

/* --namespace, else the file's, else the context's. */
static int namespace_of(const struct options *o, const struct file *f, const char **ret, struct err *err)
{
    const char *written = cluster_text(f->tree, "metadata", "namespace"), *asked = o->cluster.namespace_;
    if (asked && *written && strcmp(asked, written) != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "%s is for the namespace %s, but --namespace says %s", f->manifest.name, written,
                        asked);
    *ret = *written ? written : asked;
    return 0;
}

static int submit_file(const struct options *o, const char *path, const struct submission *s,
                       struct cluster **ret, char **ret_name, struct err *err)
{
    CLEANUP(file_release) struct file f = {0};
    const char *ns = NULL;
    if (read_file(path, &f, err) < 0 || namespace_of(o, &f, &ns, err) < 0 ||
        cluster_open(&o->cluster, ns, ret, err) < 0)
        return -1;
    return f.is_run ? submission_run(*ret, f.tree, s, ret_name, err)
                    : submission_pipeline(*ret, f.tree, f.manifest.pipeline, s, ret_name, err);
}

static int submit_named(const struct options *o, const char *reference, const struct submission *s,
                        struct cluster **ret, char **ret_name, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    if (where_in_cluster(&o->cluster, reference, &w, err) < 0 ||
        cluster_open(&o->cluster, w.ns, ret, err) < 0)
        return -1;
    return submission_of(*ret, w.name, s, ret_name, err);
}

static int submit(const struct options *o, const char *argument, struct err *err)
{
    _cleanup_cluster_ struct cluster *c = NULL;
    _cleanup_free_ char *name = NULL;
    struct run_spec spec = {0};
    if (command_run_inputs(o->scheduled_time, &o->params, clock_system.wall_ms(clock_system.ctx), &spec,
                           err) < 0)
        return -1;
    spec.name = o->name ? xstrdup(o->name) : NULL;
    const struct submission s = {.run = &spec,
                                 .scheduled = o->scheduled_time != NULL,
                                 .force = o->force,
                                 .wait_ms = o->wait_ms};
    int r = manifest_is_file(argument) ? submit_file(o, argument, &s, &c, &name, err)
                                       : submit_named(o, argument, &s, &c, &name, err);
    run_spec_release(&spec);
    if (r < 0)
        return -1;
    if (!o->json) {
        (void)printf("%s\n", name);
        (void)fflush(stdout);
    }
    if (!o->watch && !o->json)
        return EXITCODE_OK;
    const struct follow_options f = {.where = &o->cluster,
                                     .plain = o->plain,
                                     .json = o->json,
                                     .timeout_ms = o->timeout_ms};
    return follow_run(c, name, &f, err);
}

static void release(struct options *o)
{
    cli_list_release(&o->params);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    int code = submit(&o, argv[0], &err);
    return code >= 0 ? code : cli_fail(cmd, &err);
}

const struct cli_command command_submit = {
    .name = "trainyard submit",
    .synopsis = "FILE | [NAMESPACE/]PIPELINE",
    .summary = "run a pipeline in a cluster",
    .description =
        "FILE is a TrainingPipeline: it is checked, applied (server-side, so that an unchanged file changes nothing) and run. Where the change itself starts a run (spec.runOn has "
        "SpecChange, the default), that run is the one; with parameters, a name or a time another one is created. FILE may also be a TrainingRun, which is created. Or PIPELINE "
        "names a pipeline that is in the cluster: a run of it is created.\n\n"
        "Prints the run's name. Ends with 75 when the operator does not answer, 78 when the manifest or the configuration is wrong; with --watch as `trainyard watch` does.",
    .examples =
        "trainyard submit pipeline.yaml -n ranking --watch\ntrainyard submit click-ranker -n ranking --parameter epochs=5",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
