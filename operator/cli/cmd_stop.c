/* trainyard stop, suspend and resume: what a run of the cluster is to do next, as fields of its spec. */
#include "common/base/json.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/command.h"

struct options {
    struct where_options cluster;
    bool now;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option stop_options[] = {
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "now",
     .kind = CLI_FLAG,
     AT(now),
     .help = "Leave out the finally steps. Running steps are ended in both cases, and may save their state."},
    CLI_END,
};
static const struct cli_option suspend_options[] = {
    WHERE_OPTIONS_CLUSTER(struct options),
    CLI_END,
};

/* What was found, for what is said afterwards. */
struct wish {
    bool now, suspend;
    const char *said; /* why nothing was to be done; NULL: it was done */
    enum run_phase phase;
};

static int wish_stop(void *ctx, const struct record *run, const cJSON *object, cJSON *spec, struct err *err)
{
    struct wish *w = ctx;
    enum run_stop before = run->spec.stop;
    (void)object;
    (void)err;
    w->phase = run->status.phase;
    w->said = run_phase_finished(run->status.phase)    ? "has ended already"
              : before == RUN_STOP_NOW                 ? "is being stopped now already"
              : before == RUN_STOP_GRACEFUL && !w->now ? "is being stopped already"
                                                       : NULL;
    json_add_string(spec, "stop", w->now ? "Now" : "Graceful");
    return w->said ? 1 : 0;
}

static int wish_suspend(void *ctx, const struct record *run, const cJSON *object, cJSON *spec,
                        struct err *err)
{
    struct wish *w = ctx;
    (void)object;
    (void)err;
    w->phase = run->status.phase;
    w->said = run_phase_finished(run->status.phase) ? "has ended already"
              : run->spec.suspend != w->suspend     ? NULL
              : w->suspend                          ? "is suspended already"
                                                    : "is not suspended";
    json_add_bool(spec, "suspend", w->suspend);
    return w->said ? 1 : 0;
}

static int change(const struct options *o, const char *reference,
                  int (*wish)(void *ctx, const struct record *run, const cJSON *object, cJSON *spec,
                              struct err *err),
                  struct wish *w, const char *done, struct err *err)
{
    _cleanup_where_ struct where where = {0};
    _cleanup_cluster_ struct cluster *c = NULL;
    if (where_in_cluster(&o->cluster, reference, &where, err) < 0 ||
        cluster_open(&o->cluster, where.ns, &c, err) < 0 ||
        clusterrun_change(c, where.name, wish, w, NULL, err) < 0)
        return -1;
    if (w->said)
        (void)printf("run %s %s (%s)\n", where.name, w->said, run_phase_name(w->phase));
    else
        (void)printf("run %s %s\n", where.name, done);
    return 0;
}

static int parse(const struct cli_command *cmd, int argc, char **argv, struct options *o, struct err *err,
                 int *ret_code)
{
    int n;
    int r = cli_parse(cmd, argc, argv, o, &n, err);
    *ret_code = r < 0 ? cli_fail(cmd, err) : EXITCODE_OK;
    return r;
}

static int run_stop(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int code;
    if (parse(cmd, argc, argv, &o, &err, &code) != 0)
        return code;
    struct wish w = {.now = o.now};
    const char *done =
        o.now ? "is asked to stop now: running steps may save their state, finally steps do not run"
              : "is asked to stop: running steps may save their state, then finally steps run";
    return change(&o, argv[0], wish_stop, &w, done, &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

static int run_suspend(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    struct wish w = {.suspend = true};
    int code;
    if (parse(cmd, argc, argv, &o, &err, &code) != 0)
        return code;
    return change(&o, argv[0], wish_suspend, &w,
                  "is asked to pause: running steps end and may save their state, nothing new starts",
                  &err) < 0
               ? cli_fail(cmd, &err)
               : EXITCODE_OK;
}

static int run_resume(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    struct wish w = {.suspend = false};
    int code;
    if (parse(cmd, argc, argv, &o, &err, &code) != 0)
        return code;
    return change(&o, argv[0], wish_suspend, &w, "is asked to go on", &err) < 0 ? cli_fail(cmd, &err)
                                                                                : EXITCODE_OK;
}

const struct cli_command command_stop = {
    .name = "trainyard stop",
    .synopsis = "[NAMESPACE/]RUN",
    .summary = "stop a run of the cluster",
    .description =
        "Ends the run's running steps; training writes a checkpoint first. Finally steps run, unless --now is given. The run ends as Stopped; "
        "`trainyard restart` takes it up again. A run of this machine is stopped by Ctrl-C in its terminal.",
    .examples = "trainyard stop click-ranker-7 -n ranking\ntrainyard stop ranking/click-ranker-7 --now",
    .options = stop_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_stop,
};

const struct cli_command command_suspend = {
    .name = "trainyard suspend",
    .synopsis = "[NAMESPACE/]RUN",
    .summary = "let a run of the cluster pause",
    .description =
        "Nothing new starts, and running steps end, uncharged to their retry budgets; training writes a checkpoint first. `trainyard resume` lets the run go on, with new attempts.",
    .examples = "trainyard suspend click-ranker-7 -n ranking",
    .options = suspend_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_suspend,
};

const struct cli_command command_resume = {
    .name = "trainyard resume",
    .synopsis = "[NAMESPACE/]RUN",
    .summary = "let a suspended run of the cluster go on",
    .examples = "trainyard resume click-ranker-7 -n ranking",
    .options = suspend_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_resume,
};
