/* trainyard restart: do steps of a run again, and everything that follows from them. */
#include "common/base/text.h"
#include "operator/cli/command.h"
#include "operator/cli/drive.h"

#include "common/base/alloc.h"

struct options {
    const char *store, *stages_dir;
    struct cli_list from;
    bool plain, json;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
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
    {.name = "plain", .kind = CLI_FLAG, AT(plain), .help = "A line a change instead of the live view."},
    {.name = "json",
     .kind = CLI_FLAG,
     AT(json),
     .help = "No progress; one JSON document when the run has ended."},
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

static int restart(const struct cli_command *cmd, const struct options *o, const char *name, struct err *err)
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
        "A failed training step resumes from its newest checkpoint; one that had succeeded starts anew.",
    .examples = "trainyard restart click-ranker-3 --from train",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
