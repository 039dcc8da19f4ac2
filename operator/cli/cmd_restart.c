/* trainyard restart: do steps of a run again, and everything that follows from them. */
#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/cluster/follow.h"
#include "operator/cli/command.h"
#include "operator/cli/drive.h"

struct options {
    const char *store, *stages_dir;
    struct where_options cluster;
    struct cli_list from;
    bool watch, plain, json;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "from",
     .kind = CLI_LIST,
     .metavar = "STEP",
     AT(from),
     .help = "The step to begin again with; what depends on it follows."},
    {.name = "stages-dir",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(stages_dir),
     .help = "Where the stage programs are. Default: as for the run."},
    {.name = "watch",
     .short_name = 'w',
     .kind = CLI_FLAG,
     AT(watch),
     .help =
         "In a cluster: look on until the run has ended, as `trainyard watch` does. Here that is always so."},
    COMMAND_OPTION_PLAIN(struct options),
    COMMAND_OPTION_JSON(struct options),
    CLI_END,
};

static int check_steps(const struct pipeline *p, const struct cli_list *from, struct err *err)
{
    if (from->n == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--from STEP is needed: the step to begin again with");
    _cleanup_free_ const char **names = xcalloc(p->n_steps + 1, sizeof *names);
    for (size_t i = 0; i < p->n_steps; i++)
        names[i] = p->steps[i].name;
    for (size_t i = 0; i < from->n; i++) {
        if (pipeline_find_step(p, from->items[i]) >= 0)
            continue;
        const char *near = text_nearest(from->items[i], names);
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage", "--from %s: %s has no such step%s%s%s",
                        from->items[i], p->name, near ? "; did you mean " : "", near ? near : "",
                        near ? "?" : "");
    }
    return 0;
}

static int change(struct record *r, const void *ctx, struct err *err)
{
    const struct options *o = ctx;
    (void)err;
    drive_set_restart(r, o->from.items, o->from.n);
    return 0;
}

static int restart_local(const struct cli_command *cmd, const struct options *o, const char *name,
                         struct err *err)
{
    struct record *r = NULL;
    struct drive_options d = {.plain = o->plain, .json = o->json, .stages_dir = o->stages_dir};
    if (record_find(o->store, name, NULL, &r, err) < 0)
        return -1;
    if (check_steps(r->pipeline, &o->from, err) < 0 ||
        drive_check_machine(r->pipeline, o->stages_dir ? o->stages_dir : r->options.stages_dir, err) < 0) {
        record_free(r);
        return -1;
    }
    return drive_changed(cmd, r, change, o, &d, err);
}

/* --- the cluster ------------------------------------------------------------------------------------------ */

struct wish {
    const struct options *options;
    const char *id;
};

/* A stop that is still asked for would act again at once, so it is taken back. */
static int wish_restart(void *ctx, const struct record *run, const cJSON *object, cJSON *spec,
                        struct err *err)
{
    const struct wish *w = ctx;
    const struct cli_list *from = &w->options->from;
    (void)object;
    if (check_steps(run->pipeline, from, err) < 0)
        return -1;
    cJSON *restart = json_object(), *steps = json_array();
    json_add_string(restart, "id", w->id);
    for (size_t i = 0; i < from->n; i++) {
        bool repeated = false;
        for (size_t k = 0; k < i; k++)
            repeated |= strcmp(from->items[k], from->items[i]) == 0;
        if (!repeated)
            json_append(steps, cJSON_CreateString(from->items[i]));
    }
    json_add(restart, "from", steps);
    json_add(spec, "restart", restart);
    if (run->spec.stop != RUN_STOP_NONE)
        json_add(spec, "stop", cJSON_CreateNull());
    return 0;
}

static int restart_in_cluster(const struct options *o, const struct where *w, struct err *err)
{
    _cleanup_cluster_ struct cluster *c = NULL;
    char random[9], id[16];
    random_name(random, sizeof random - 1);
    (void)snprintf(id, sizeof id, "cli-%s", random);
    struct wish wish = {.options = o, .id = id};
    const struct follow_options f = {.where = &o->cluster,
                                     .plain = o->plain,
                                     .json = o->json,
                                     .after_restart = id};
    if (o->stages_dir)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--stages-dir is for runs of this machine; %s is one of the cluster", w->name);
    if (cluster_open(&o->cluster, w->ns, &c, err) < 0 ||
        clusterrun_change(c, w->name, wish_restart, &wish, NULL, err) < 0)
        return -1;
    if (o->watch || o->json)
        return follow_run(c, w->name, &f, err);
    (void)printf("run %s is asked to begin again (restart %s)\n", w->name, id);
    return EXITCODE_OK;
}

static int restart(const struct cli_command *cmd, const struct options *o, const char *reference,
                   struct err *err)
{
    _cleanup_where_ struct where w = {0};
    if (where_choose(&o->cluster, o->store, reference, &w, err) < 0)
        return -1;
    return w.cluster ? restart_in_cluster(o, &w, err) : restart_local(cmd, o, reference, err);
}

static void release(struct options *o)
{
    cli_list_release(&o->from);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    int code = restart(cmd, &o, argv[0], &err);
    return code >= 0 ? code : cli_fail(cmd, &err);
}

const struct cli_command command_restart = {
    .name = "trainyard restart",
    .synopsis = "RUN --from STEP",
    .summary = "do steps of a run again",
    .description =
        "Begins the run again with the named steps: they are done again whatever the cache says, and so is everything that depends on them. Other steps keep their results. "
        "A failed training step resumes from its newest checkpoint; one that had succeeded starts anew. In a cluster, a stop that was asked for is taken back.\n\n" WHERE_HELP,
    .examples =
        "trainyard restart click-ranker-3 --from train\ntrainyard restart ranking/click-ranker-7 --from evaluate --watch",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
