/* trainyard get: the runs there are, or one run's steps. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "operator/cli/command.h"
#include "operator/cli/describe.h"
#include "operator/cli/lock.h"

struct options {
    const char *store, *output, *pipeline;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    {.name = "pipeline",
     .kind = CLI_STRING,
     .metavar = "NAME",
     AT(pipeline),
     .help = "Only runs of this pipeline."},
    COMMAND_OPTION_OUTPUT(struct options),
    CLI_END,
};

/* A run that its record calls running and that nobody drives was interrupted. */
static const char *shown_phase(const struct record_summary *s)
{
    _cleanup_free_ char *lock = xasprintf("%s/runs/%s/lock", s->state_dir, s->uid);
    return s->finished || lock_is_held(lock) ? s->phase : "Interrupted";
}

static void add_rows(const struct record_list *l, int64_t now_ms, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct record_summary *s = &l->items[i];
        char age[UI_TEXT_MAX], took[UI_TEXT_MAX] = "-";
        ui_format_duration(now_ms - s->created_ms, age);
        if (s->finished_ms)
            ui_format_duration(s->finished_ms - s->created_ms, took);
        (void)buf_addf(out, "%-28s  %-20s  %-11s  %4" PRId64 "/%-4" PRId64 "  %-9s  %-10s  %s\n", s->name,
                       s->pipeline, shown_phase(s), s->steps_done, s->steps_total, took, age, s->store_url);
    }
}

static void add_json(const struct record_list *l, cJSON *all)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct record_summary *s = &l->items[i];
        char time[CLOCK_RFC3339_MAX];
        cJSON *o = json_object();
        clock_format_rfc3339(s->created_ms, time);
        json_add_string(o, "name", s->name);
        json_add_string(o, "uid", s->uid);
        json_add_string(o, "pipeline", s->pipeline);
        json_add_string(o, "phase", shown_phase(s));
        json_add_string(o, "created", time);
        json_add_int(o, "stepsDone", s->steps_done);
        json_add_int(o, "stepsTotal", s->steps_total);
        json_add_string(o, "store", s->store_url);
        json_append(all, o);
    }
}

static int list_store(const char *url, const struct options *o, struct buf *table, cJSON *all, size_t *count,
                      struct err *err)
{
    _cleanup_json_ cJSON *store = json_object();
    _cleanup_free_ char *state_dir = NULL;
    _cleanup_record_list_ struct record_list l = {0};
    json_add_string(store, "url", url);
    if (location_of_store(store, &state_dir, err) < 0 ||
        record_list(state_dir, NULL, o->pipeline, &l, err) < 0)
        return -1;
    add_rows(&l, clock_system.wall_ms(clock_system.ctx), table);
    add_json(&l, all);
    *count += l.n;
    return 0;
}

static int list(const struct options *o, struct err *err)
{
    _cleanup_buf_ struct buf table = BUF_INIT(4 << 20);
    _cleanup_json_ cJSON *all = json_array();
    _cleanup_free_ char *url = NULL;
    size_t count = 0;
    int r = 0;
    (void)buf_addf(&table, "%-28s  %-20s  %-11s  %-9s  %-9s  %-10s  %s\n", "RUN", "PIPELINE", "PHASE",
                   "STEPS", "TOOK", "AGE", "STORE");
    if (o->store) {
        if (location_normalise(o->store, &url, err) < 0)
            return -1;
        r = list_store(url, o, &table, all, &count, err);
    } else {
        char **known = location_known();
        for (char **u = known; *u && r == 0; u++)
            r = list_store(*u, o, &table, all, &count, err);
        location_known_free(known);
    }
    if (r < 0)
        return -1;
    if (strcmp(o->output, "json") == 0)
        return command_print_json(all, err);
    if (count == 0) {
        (void)fprintf(stderr, "no runs%s%s\n", url ? " in " : " are known here; --store says where to look",
                      url ? url : "");
        return 0;
    }
    return command_print(&table, err);
}

static int show(const struct options *o, const char *name, struct err *err)
{
    _cleanup_record_ struct record *r = NULL;
    if (record_find(o->store, name, o->pipeline, &r, err) < 0)
        return -1;
    struct store *opened = NULL;
    struct err ignored = ERR_INIT; /* a store that cannot be reached only hides the reports */
    if (location_open(r->options.store, r->options.secrets, &opened, &ignored) < 0)
        opened = NULL;
    _cleanup_store_ struct store *store = opened;
    _cleanup_json_ cJSON *run = describe_run(r, store);
    _cleanup_free_ char *lock = record_path(r, "lock");
    if (!run_phase_finished(r->status.phase) && !lock_is_held(lock))
        cJSON_ReplaceItemInObjectCaseSensitive(run, "phase", cJSON_CreateString("Interrupted"));
    if (strcmp(o->output, "json") == 0)
        return command_print_json(run, err);
    _cleanup_buf_ struct buf text = BUF_INIT(4 << 20);
    struct ui_style style = ui_style_of(stdout);
    describe_summary(run, &style, &text);
    if (r->status.phase == PHASE_FAILED || r->status.phase == PHASE_STOPPED) {
        (void)buf_addc(&text, '\n');
        describe_failure(r, run, &text);
    }
    return command_print(&text, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    r = n == 0 ? list(&o, &err) : show(&o, argv[0], &err);
    return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_get = {
    .name = "trainyard get",
    .synopsis = "[RUN]",
    .summary = "list runs, or show one run's steps",
    .description =
        "Without RUN: the runs in the store, or in the stores that runs on this machine used lately. With RUN (a name or uid): its steps, values, reports and, if it failed, why and what to do.",
    .examples = "trainyard get\ntrainyard get click-ranker-3 -o json",
    .options = options,
    .max_args = 1,
    .run = run,
};
