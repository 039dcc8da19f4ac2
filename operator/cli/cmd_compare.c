/* trainyard compare: two runs side by side. */
#include "common/base/json.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/command.h"
#include "operator/cli/compare.h"
#include "operator/cli/describe.h"

struct options {
    const char *store, *output;
    struct where_options cluster;
};

static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    WHERE_OPTIONS_CLUSTER(struct options),
    COMMAND_OPTION_OUTPUT(struct options),
    CLI_END,
};

static int load(const struct options *o, const char *reference, struct record **ret, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    _cleanup_cluster_ struct cluster *c = NULL;
    if (where_choose(&o->cluster, o->store, reference, &w, err) < 0)
        return -1;
    if (!w.cluster)
        return record_find(o->store, reference, NULL, ret, err);
    if (cluster_open(&o->cluster, w.ns, &c, err) < 0)
        return -1;
    return clusterrun_get(c, w.name, ret, NULL, err);
}

static int compare(const struct options *o, const char *first, const char *second, struct err *err)
{
    _cleanup_record_ struct record *a = NULL, *b = NULL;
    if (load(o, first, &a, err) < 0 || load(o, second, &b, err) < 0)
        return -1;
    _cleanup_json_ cJSON *run_a = describe_run(a, NULL), *run_b = describe_run(b, NULL),
                         *comparison = compare_runs(a, run_a, b, run_b);
    if (strcmp(o->output, "json") == 0)
        return command_print_json(comparison, err);
    _cleanup_buf_ struct buf text = BUF_INIT(16 << 20);
    struct ui_style style = ui_style_of(stdout);
    compare_text(comparison, &style, &text);
    return buf_check(&text, "the comparison", err) < 0 ? -1 : command_print(&text, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return compare(&o, argv[0], argv[1], &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_compare = {
    .name = "trainyard compare",
    .synopsis = "RUN RUN",
    .summary = "show two runs side by side",
    .description =
        "Parameters that differ, how each step went, where the steps' configuration differs, whether their outputs are equal, and the values of both: rows, metrics, versions. One of "
        "the runs may be of this machine and the other of a cluster.\n\n" WHERE_HELP,
    .examples =
        "trainyard compare click-ranker-3 click-ranker-4\ntrainyard compare click-ranker-3 ranking/click-ranker-7 -o json",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
