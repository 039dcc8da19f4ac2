/* trainyard run: a pipeline on this machine, from its beginning or from where it was left. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "operator/cli/command.h"
#include "operator/cli/drive.h"
#include "operator/pipeline/params.h"

struct options {
    const char *store, *registry, *name, *scheduled_time, *stages_dir, *log_level;
    struct cli_list params, secrets, approve;
    int64_t workers, cpu, parallelism;
    bool resume, cache, plain, json, keep_scratch;
};

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    COMMAND_OPTION_REGISTRY(struct options),
    COMMAND_OPTION_SECRET(struct options),
    {.name = "name",
     .short_name = 'n',
     .kind = CLI_STRING,
     .metavar = "NAME",
     AT(name),
     .help = "The run's name, unique in its store. Default: <pipeline>-<number>."},
    COMMAND_OPTION_PARAM(struct options),
    COMMAND_OPTION_SCHEDULED_TIME(struct options),
    COMMAND_OPTION_WORKERS(struct options),
    COMMAND_OPTION_CPU(struct options),
    {.name = "parallelism",
     .short_name = 'j',
     .kind = CLI_INT,
     .metavar = "N",
     AT(parallelism),
     .min = 1,
     .max = 1000,
     .help =
         "At most N steps (or items of a fan-out) at a time. Default: the number of processors, at least 2."},
    {.name = "resume",
     .kind = CLI_FLAG,
     AT(resume),
     .help =
         "Go on with the run RUN, or with the newest run of the manifest, or with the newest of all: what is done stays done, what ran runs again, failed and stopped steps are tried again. "
         "The manifest and the parameters are those that the run began with. With --name and no such run yet, a new one begins."},
    {.name = "approve",
     .kind = CLI_LIST,
     .metavar = "STEP",
     AT(approve),
     .help = "Approve this approval step."},
    {.name = "cache",
     .kind = CLI_FLAG,
     AT(cache),
     .fallback = "true",
     .help =
         "Take over what an equal step gave earlier; --no-cache does pure steps again. Steps that look at the outside world decide for themselves whether anything they see has changed."},
    {.name = "stages-dir",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(stages_dir),
     .help = "Where the stage programs are. Default: beside the trainyard program."},
    {.name = "log-level",
     .kind = CLI_STRING,
     .metavar = "LEVEL",
     AT(log_level),
     .choices = levels,
     .help = "The least important lines in the steps' logs. Default: info."},
    COMMAND_OPTION_PLAIN(struct options),
    COMMAND_OPTION_JSON(struct options),
    {.name = "keep-scratch",
     .kind = CLI_FLAG,
     AT(keep_scratch),
     .help = "Leave the scratch directories of ended attempts, to look into them."},
    CLI_END,
};

static void release(struct options *o)
{
    cli_list_release(&o->params);
    cli_list_release(&o->secrets);
    cli_list_release(&o->approve);
}

/* --- a new run ------------------------------------------------------------------------------------------ */

/* Borrows everything. */
static struct record_options record_options(const struct options *o, const struct location *l,
                                            const cJSON *secrets)
{
    return (struct record_options){
        .store = l->store,
        .registry = l->registry,
        .secrets = (cJSON *)secrets,
        .workers = o->workers,
        .cpu = o->cpu,
        .parallelism = o->parallelism,
        .no_cache = !o->cache,
        .keep_scratch = o->keep_scratch,
        .stages_dir = (char *)o->stages_dir,
    };
}

/* Wrong parameters are found before anything is recorded. */
static int check_params(const struct pipeline *p, struct run_spec *probe, const char *name, struct err *err)
{
    _cleanup_json_ cJSON *resolved = NULL;
    probe->name = xstrdup(name ? name : "run");
    probe->uid = xstrdup("");
    if (params_resolve(p, probe, &resolved, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "parameters");
    }
    return 0;
}

static bool valid_name(const char *name)
{
    size_t n = strlen(name);
    bool fine = n > 0 && n <= LIMIT_NAME && name[0] != '-' && name[n - 1] != '-';
    for (size_t i = 0; i < n; i++)
        fine &= (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '-';
    return fine;
}

static int create(const struct options *o, struct manifest *m, const struct location *l, const cJSON *secrets,
                  struct record **ret, struct err *err)
{
    struct run_spec spec = {0};
    struct record_options ro = record_options(o, l, secrets);
    if (o->name && !valid_name(o->name))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--name %s: expected at most %d lower-case letters, digits and inner hyphens",
                        o->name, (int)LIMIT_NAME);
    if (command_run_inputs(o->scheduled_time, &o->params, clock_system.wall_ms(clock_system.ctx), &spec,
                           err) < 0)
        return -1;
    struct record_request q = {.state_dir = l->state_dir,
                               .manifest_name = m->name,
                               .manifest_text = m->text,
                               .manifest_len = m->len,
                               .name = o->name,
                               .now_ms = spec.created_ms,
                               .scheduled_ms = spec.scheduled_ms,
                               .params = spec.params,
                               .n_params = spec.n_params,
                               .options = &ro};
    int r = check_params(m->pipeline, &spec, o->name, err);
    if (r == 0)
        r = drive_check_machine(m->pipeline, o->stages_dir, err);
    if (r == 0)
        r = record_create(&q, steal_ptr(m->pipeline), ret, err);
    run_spec_release(&spec);
    return r;
}

/* --- going on -------------------------------------------------------------------------------------------- */

static const char *param_value(const struct run_spec *s, const char *name)
{
    for (size_t i = 0; i < s->n_params; i++) {
        if (strcmp(s->params[i].name, name) == 0)
            return s->params[i].value;
    }
    return NULL;
}

/* A resumed run keeps its parameters; whoever gives others expects something else. */
static int check_same_params(const struct options *o, const struct record *r, struct err *err)
{
    struct run_param *params = NULL;
    if (command_parse_params(&o->params, &params, err) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; i < o->params.n && result == 0; i++) {
        const char *before = param_value(&r->spec, params[i].name);
        if (!before || strcmp(before, params[i].value) != 0)
            result = err_fail(
                err, ERR_INVALID, EXITCODE_USAGE, "usage",
                "--param %s=%s: run %s began with %s%s; parameters of a run cannot change: leave out --resume to begin a new run",
                params[i].name, params[i].value, r->spec.name, before ? before : "no value",
                before ? "" : " for it");
    }
    command_free_params(params, o->params.n);
    return result;
}

static void say_if_manifest_changed(const struct manifest *m, const struct record *r)
{
    if (m->pipeline && strcmp(m->pipeline->hash, r->pipeline->hash) != 0)
        (void)fprintf(
            stderr,
            "%s has changed since run %s began: going on with the manifest as it was then (a new run uses the change)\n",
            m->name, r->spec.name);
}

/* What this command line may change in a run that goes on. */
static int apply_options(const struct options *o, struct record *r, struct err *err)
{
    if (o->parallelism)
        r->options.parallelism = o->parallelism;
    if (o->keep_scratch)
        r->options.keep_scratch = true;
    if (o->secrets.n > 0) {
        _cleanup_json_ cJSON *secrets = NULL;
        if (location_parse_secrets(o->secrets.items, o->secrets.n, &secrets, err) < 0)
            return -1;
        cJSON_Delete(r->options.secrets);
        r->options.secrets = steal_ptr(secrets);
    }
    return 0;
}

static void begin_again(struct record *r)
{
    r->spec.stop = RUN_STOP_NONE;
    if (!run_phase_finished(r->status.phase) && r->status.stopping == RUN_STOP_NONE)
        return; /* its driver was lost: the planner goes on from the status */
    const char **from = drive_unfinished(r);
    size_t n = 0;
    while (from[n])
        n++;
    if (n > 0)
        drive_set_restart(r, from, n);
    free(from);
}

static int approve(const struct options *o, struct record *r, struct err *err)
{
    struct run_spec *s = &r->spec;
    for (size_t i = 0; i < o->approve.n; i++) {
        long step = pipeline_find_step(r->pipeline, o->approve.items[i]);
        if (step < 0 || r->pipeline->steps[step].kind != STEP_APPROVAL)
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                            "--approve %s: %s has no approval step of that name", o->approve.items[i],
                            r->pipeline->name);
        s->approvals = xreallocarray(s->approvals, s->n_approvals + 1, sizeof *s->approvals);
        s->approvals[s->n_approvals++] =
            (struct run_approval){xstrdup(o->approve.items[i]), xstrdup(command_user()), xstrdup("")};
    }
    return 0;
}

/* Finds the run that --resume means. *ret stays NULL when a run of this --name is yet to begin. */
static int find_run(const struct options *o, const char *argument, struct manifest *m, struct record **ret,
                    struct err *err)
{
    const char *name = o->name;
    if (argument && manifest_is_file(argument)) {
        if (manifest_load(argument, m, err) < 0)
            return -1;
    } else if (argument) {
        name = argument;
    }
    _cleanup_location_ struct location l = {0};
    const char *store = o->store;
    if (m->pipeline) {
        if (location_resolve(m->pipeline, o->store, o->registry, NULL, &l, err) < 0)
            return -1;
        store = location_url(l.store);
    }
    struct err why = ERR_INIT;
    if (record_find(store, name, m->pipeline ? m->pipeline->name : NULL, ret, &why) == 0)
        return 0;
    if (why.class_ == ERR_NOTFOUND && m->pipeline && o->name) {
        *ret = NULL;
        return 0;
    }
    *err = why;
    return -1;
}

struct resumption {
    const struct options *options;
    const struct manifest *manifest;
};

static int change_resumed(struct record *r, const void *ctx, struct err *err)
{
    const struct resumption *a = ctx;
    const struct options *o = a->options;
    say_if_manifest_changed(a->manifest, r);
    if (r->status.phase == PHASE_SUCCEEDED && o->approve.n == 0)
        (void)fprintf(stderr, "run %s has succeeded already: nothing is left to do\n", r->spec.name);
    if (apply_options(o, r, err) < 0 || approve(o, r, err) < 0 ||
        drive_check_machine(r->pipeline, o->stages_dir ? o->stages_dir : r->options.stages_dir, err) < 0)
        return -1;
    begin_again(r);
    return 0;
}

static int resume(const struct cli_command *cmd, const struct options *o, struct record *found,
                  const struct manifest *m, const struct drive_options *d, struct err *err)
{
    struct resumption a = {.options = o, .manifest = m};
    if (check_same_params(o, found, err) < 0) {
        record_free(found);
        return -1;
    }
    return drive_changed(cmd, found, change_resumed, &a, d, err);
}

static int change_new(struct record *r, const void *ctx, struct err *err)
{
    return approve(ctx, r, err);
}

static int start(const struct cli_command *cmd, const struct options *o, struct manifest *m,
                 const struct drive_options *d, struct err *err)
{
    _cleanup_json_ cJSON *secrets = NULL;
    _cleanup_location_ struct location l = {0};
    struct record *r = NULL;
    if (location_parse_secrets(o->secrets.items, o->secrets.n, &secrets, err) < 0 ||
        location_resolve(m->pipeline, o->store, o->registry, secrets, &l, err) < 0 ||
        create(o, m, &l, secrets, &r, err) < 0)
        return -1;
    return drive_changed(cmd, r, change_new, o, d, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct options o = {0};
    _cleanup_manifest_ struct manifest m = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    struct drive_options d = {.plain = o.plain,
                              .json = o.json,
                              .log_level = o.log_level,
                              .stages_dir = o.stages_dir};
    struct record *found = NULL;
    int code = -1;
    if (o.log_level)
        log_configure((enum log_level)log_level_parse(o.log_level), LOG_AUTO);
    if (n == 0 && !o.resume)
        (void)err_fail(&err, ERR_INVALID, EXITCODE_USAGE, "usage",
                       "missing argument: expected PIPELINE.yaml (or --resume)");
    else if (o.resume ? find_run(&o, n ? argv[0] : NULL, &m, &found, &err) < 0
                      : manifest_load(argv[0], &m, &err) < 0)
        ;
    else if (found)
        code = resume(cmd, &o, found, &m, &d, &err);
    else
        code = start(cmd, &o, &m, &d, &err);
    return code >= 0 ? code : cli_fail(cmd, &err);
}

const struct cli_command command_run = {
    .name = "trainyard run",
    .synopsis = "PIPELINE.yaml | --resume [RUN | PIPELINE.yaml]",
    .summary = "run a pipeline on this machine",
    .description =
        "Carries the pipeline out with local processes, one a worker, and shows how it goes. Steps whose inputs, configuration and programs are those of an earlier run are "
        "not done again. The run's record, logs and cache lie beside the store: in <store>/local, or for s3:// in the user's state directory.\n\n"
        "Ctrl-C stops the run gracefully: training writes a checkpoint, finally steps run. A second Ctrl-C skips the finally steps, a third kills everything. "
        "--resume goes on, also after trainyard itself or the machine was killed.\n\n"
        "Steps that run containers need podman or docker. Ends with 0 when the run succeeded, 1 when it failed, 75 when it waits for an approval, 78 when the manifest is wrong, "
        "130 when it was stopped.",
    .examples = "trainyard run pipeline.yaml\n"
                "trainyard run pipeline.yaml --store ./store --param epochs=1 --workers 2\n"
                "trainyard run --resume click-ranker-3",
    .options = options,
    .max_args = 1,
    .run = run,
};
