/* trainyard watch: a run of the cluster, live. */
#include "operator/cli/cluster/follow.h"
#include "operator/cli/command.h"

struct options {
    struct where_options cluster;
    int64_t timeout_ms;
    bool plain, json;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    WHERE_OPTIONS_CLUSTER(struct options),
    COMMAND_OPTION_TIMEOUT(struct options),
    COMMAND_OPTION_PLAIN(struct options),
    COMMAND_OPTION_JSON(struct options),
    CLI_END,
};

static int watch(const struct options *o, const char *reference, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    _cleanup_cluster_ struct cluster *c = NULL;
    const struct follow_options f = {.where = &o->cluster,
                                     .plain = o->plain,
                                     .json = o->json,
                                     .timeout_ms = o->timeout_ms};
    if (where_in_cluster(&o->cluster, reference, &w, err) < 0 || cluster_open(&o->cluster, w.ns, &c, err) < 0)
        return -1;
    return follow_run(c, w.name, &f, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    int code = watch(&o, argv[0], &err);
    return code >= 0 ? code : cli_fail(cmd, &err);
}

const struct cli_command command_watch = {
    .name = "trainyard watch",
    .synopsis = "[NAMESPACE/]RUN",
    .summary = "look on while the cluster carries a run out",
    .description =
        "Shows the run's steps with progress bars on a terminal, a line a change elsewhere, until the run has ended. Ctrl-C ends the looking, not the run.\n\n"
        "Ends with 0 when the run succeeded, 1 when it failed, 130 when it was stopped or after Ctrl-C, 75 when --timeout is over, 66 when there is no such run, 69 when the "
        "cluster cannot be reached, 78 without a usable kubeconfig or the rights.",
    .examples =
        "trainyard watch click-ranker-7 -n ranking\ntrainyard watch ranking/click-ranker-7 --plain --timeout 2h",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
