/* trainyard approve: a person's yes to an approval step of a run in the cluster. */
#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/command.h"

enum { COMMENT_MAX = 1024 }; /* as the CRD says */

struct options {
    struct where_options cluster;
    const char *comment;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "comment",
     .short_name = 'm',
     .kind = CLI_STRING,
     .metavar = "TEXT",
     AT(comment),
     .help = "Why; kept with the approval."},
    CLI_END,
};

struct approval {
    const char *step, *by, *comment;
    enum step_state state; /* of the step, as found */
};

static int unknown_step(const struct record *run, const char *name, struct err *err)
{
    const struct pipeline *p = run->pipeline;
    _cleanup_free_ const char **names = xcalloc(p->n_steps + 1, sizeof *names);
    _cleanup_buf_ struct buf known = BUF_INIT(ERR_MSG_MAX);
    size_t n = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        if (p->steps[i].kind != STEP_APPROVAL)
            continue;
        names[n++] = p->steps[i].name;
        (void)buf_addf(&known, "%s%s", known.len ? ", " : "", p->steps[i].name);
    }
    const char *near = text_nearest(name, names);
    return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                    "run %s has no approval step \"%s\"%s%s%s (%s%s)", run->spec.name, name,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                    known.len ? "it has: " : "it has none", buf_str(&known));
}

/* Approvals that are there stay, word for word: the API server takes nothing less. */
static int add(void *ctx, const struct record *run, const cJSON *object, cJSON *spec, struct err *err)
{
    struct approval *a = ctx;
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "spec"),
                                                           "approvals"),
                *one;
    long step = pipeline_find_step(run->pipeline, a->step);
    /* Where the pipeline cannot be read, only the status names steps; the operator and the API server judge then. */
    bool known = cJSON_HasObjectItem(run->pipeline->spec, "steps");
    bool asked = step >= 0 && (!known || run->pipeline->steps[step].kind == STEP_APPROVAL);
    if (!asked)
        return unknown_step(run, a->step, err);
    a->state = run->status.steps[step].state;
    if (run_phase_finished(run->status.phase))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "ended",
                        "run %s has ended (%s): an approval would change nothing", run->spec.name,
                        run_phase_name(run->status.phase));
    /* A step that is done again asks again, and may be answered by the same person. */
    const char *restart = run->spec.restart_id ? run->spec.restart_id : "";
    cJSON_ArrayForEach(one, before)
    {
        if (strcmp(cluster_text(one, "step", NULL), a->step) == 0 &&
            strcmp(cluster_text(one, "by", NULL), a->by) == 0 &&
            strcmp(cluster_text(one, "restart", NULL), restart) == 0)
            return 1;
    }
    cJSON *all = before ? cJSON_Duplicate(before, true) : json_array(), *mine = json_object();
    json_add_string(mine, "step", a->step);
    json_add_string(mine, "by", a->by);
    if (a->comment && *a->comment)
        json_add_string(mine, "comment", a->comment);
    if (*restart)
        json_add_string(mine, "restart", restart);
    json_append(all, mine);
    json_add(spec, "approvals", all);
    return 0;
}

static int approve(const struct options *o, const char *reference, const char *step, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    _cleanup_cluster_ struct cluster *c = NULL;
    _cleanup_free_ char *user = NULL;
    struct approval a = {.step = step, .comment = o->comment};
    bool changed = false;
    if (o->comment && strlen(o->comment) > COMMENT_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--comment: at most %d bytes, found %zu",
                        (int)COMMENT_MAX, strlen(o->comment));
    if (where_in_cluster(&o->cluster, reference, &w, err) < 0 ||
        cluster_open(&o->cluster, w.ns, &c, err) < 0 || cluster_user(c, &user, err) < 0)
        return -1;
    a.by = user;
    if (clusterrun_change(c, w.name, add, &a, &changed, err) < 0)
        return err_wrap(err, "approving step %s of run %s as %s", step, w.name, user);
    if (!changed)
        (void)printf("%s has approved step %s of run %s already\n", user, step, w.name);
    else
        (void)printf("step %s of run %s is approved by %s%s\n", step, w.name, user,
                     a.state == STATE_AWAITING_APPROVAL ? "" : "; it counts once the run gets there");
    return 0;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return approve(&o, argv[0], argv[1], &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_approve = {
    .name = "trainyard approve",
    .synopsis = "[NAMESPACE/]RUN STEP",
    .summary = "approve an approval step of a run in the cluster",
    .description =
        "Adds an approval in your name, as the API server knows you, to the run. Approvals cannot be taken back. Where the chart's policy is installed, this takes the verb approve on "
        "trainingruns. A run of this machine is approved by `trainyard run --resume RUN --approve STEP`.",
    .examples = "trainyard approve click-ranker-7 release -n ranking --comment \"checked the report\"",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
