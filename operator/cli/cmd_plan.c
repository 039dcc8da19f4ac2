/* trainyard plan: what a run would do, without doing it. */
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/cachefile.h"
#include "operator/cli/command.h"
#include "operator/cli/expectation.h"
#include "operator/cli/runner.h"
#include "operator/cli/ui.h"
#include "operator/pipeline/preview.h"

struct options {
    const char *store, *registry, *scheduled_time, *output, *stages_dir;
    struct cli_list params, secrets;
    int64_t workers, cpu;
    bool cache;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    COMMAND_OPTION_REGISTRY(struct options),
    COMMAND_OPTION_PARAM(struct options),
    COMMAND_OPTION_SCHEDULED_TIME(struct options),
    COMMAND_OPTION_WORKERS(struct options),
    COMMAND_OPTION_CPU(struct options),
    {.name = "cache",
     .kind = CLI_FLAG,
     AT(cache),
     .fallback = "true",
     .help = "Look into the cache; --no-cache: as if it were empty."},
    {.name = "stages-dir",
     .kind = CLI_STRING,
     .metavar = "DIR",
     AT(stages_dir),
     .help = "Accepted as for run; nothing is started."},
    COMMAND_OPTION_OUTPUT(struct options),
    CLI_END,
};

static void release(struct options *o)
{
    cli_list_release(&o->params);
    cli_list_release(&o->secrets);
}

/* The newest run of the pipeline that succeeded, for what its steps gave; none is fine. */
static struct record *newest_success(const char *state_dir, const char *pipeline)
{
    _cleanup_record_list_ struct record_list l = {0};
    struct record *r = NULL;
    struct err ignored = ERR_INIT;
    if (record_list(state_dir, NULL, pipeline, &l, &ignored) < 0)
        return NULL;
    for (size_t i = 0; i < l.n; i++) {
        if (strcmp(l.items[i].phase, run_phase_name(PHASE_SUCCEEDED)) == 0)
            return record_load(state_dir, l.items[i].uid, &r, &ignored) < 0 ? NULL : r;
    }
    return NULL;
}

static int expect(const struct options *o, const struct manifest *m, const struct run_spec *spec,
                  const struct plan_options *po, cJSON **ret, struct err *err)
{
    _cleanup_location_ struct location l = {0};
    _cleanup_cachefile_ struct cachefile *cache = NULL;
    struct err no_store =
        ERR_INIT; /* then there is no cache and no earlier run: the plan stands all the same */
    struct record *found = NULL;
    if (location_resolve(m->pipeline, o->store, o->registry, NULL, &l, &no_store) == 0) {
        if (cachefile_look(l.state_dir, m->pipeline->name, &cache, err) < 0)
            return -1;
        found = newest_success(l.state_dir, m->pipeline->name);
    }
    _cleanup_record_ struct record *previous = found;
    return expectation(m->pipeline, spec, po, cache ? cachefile_entries(cache) : NULL,
                       previous ? &previous->status : NULL, clock_system.wall_ms(clock_system.ctx), ret, err);
}

static int print_text(const cJSON *preview, const cJSON *expected, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(16 << 20);
    const cJSON *e;
    size_t longest = 0;
    if (plan_preview_text(preview, &text, err) < 0)
        return -1;
    (void)buf_adds(&text, "\nExpected, if what the steps read has not changed since the last run:\n");
    cJSON_ArrayForEach(e, expected) longest = strlen(e->string) > longest ? strlen(e->string) : longest;
    cJSON_ArrayForEach(e, expected)(void)
        buf_addf(&text, "  %-*s  %s\n", (int)longest, e->string, e->valuestring);
    return buf_check(&text, "the plan", err) < 0 ? -1 : command_print(&text, err);
}

static int plan_file(const struct options *o, const char *path, struct err *err)
{
    _cleanup_manifest_ struct manifest m = {0};
    _cleanup_json_ cJSON *preview = NULL, *expected = NULL;
    struct plan_options po;
    struct record_options ro = {.workers = o->workers, .cpu = o->cpu, .no_cache = !o->cache};
    struct run_spec spec = {0};
    if (manifest_load(path, &m, err) < 0 ||
        command_run_inputs(o->scheduled_time, &o->params, clock_system.wall_ms(clock_system.ctx), &spec,
                           err) < 0)
        return -1;
    spec.name = xasprintf("%s-next", m.pipeline->name);
    spec.uid = xstrdup("00000000-0000-4000-8000-000000000000");
    runner_plan_options(&ro, &po);
    int r = plan_preview(m.pipeline, &spec, &po, &preview, err);
    if (r == 0)
        r = expect(o, &m, &spec, &po, &expected, err);
    run_spec_release(&spec);
    if (r < 0)
        return -1;
    if (strcmp(o->output, "json") != 0)
        return print_text(preview, expected, err);
    json_add(preview, "expected", steal_ptr(expected));
    json_add_string(preview, "hash", m.pipeline->hash); /* as in a TrainingPipeline's status.lastHash */
    return command_print_json(preview, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return plan_file(&o, argv[0], &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_plan = {
    .name = "trainyard plan",
    .synopsis = "PIPELINE.yaml",
    .summary = "show what a run would do",
    .description =
        "Lists the jobs that a run would create: workers, threads, device, memory, and what must come first. Then says which steps would work and which the cache answers, "
        "assuming that sources have not changed. Starts nothing and writes nothing.",
    .examples = "trainyard plan pipeline.yaml --workers 2\ntrainyard plan pipeline.yaml -o json",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
