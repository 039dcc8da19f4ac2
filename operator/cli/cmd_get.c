/* trainyard get: the runs there are, or one run's steps. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/cluster/listing.h"
#include "operator/cli/columns.h"
#include "operator/cli/command.h"
#include "operator/cli/describe.h"
#include "operator/cli/lock.h"
#include "operator/cli/where.h"

struct options {
    const char *store, *output, *pipeline;
    struct where_options cluster;
    bool all_namespaces;
};

#define AT(field) .offset = offsetof(struct options, field)
static const struct cli_option options[] = {
    COMMAND_OPTION_STORE(struct options),
    WHERE_OPTIONS_CLUSTER(struct options),
    {.name = "all-namespaces",
     .short_name = 'A',
     .kind = CLI_FLAG,
     AT(all_namespaces),
     .help = "Runs in the cluster, in every namespace."},
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

static void add_rows(const struct record_list *l, int64_t now_ms, struct columns *table)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct record_summary *s = &l->items[i];
        char age[UI_TEXT_MAX], took[UI_TEXT_MAX] = "-";
        ui_format_duration(now_ms - s->created_ms, age);
        if (s->finished_ms)
            ui_format_duration(s->finished_ms - s->created_ms, took);
        columns_add(table, s->name);
        columns_add(table, s->pipeline);
        columns_add(table, shown_phase(s));
        columns_addf(table, "%" PRId64 "/%" PRId64, s->steps_done, s->steps_total);
        columns_add(table, took);
        columns_add(table, age);
        columns_add(table, s->store_url);
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

static int list_store(const char *url, const struct options *o, struct columns *table, cJSON *all,
                      size_t *count, struct err *err)
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

static int list_local(const struct options *o, struct err *err)
{
    static const char *const titles[] = {"RUN", "PIPELINE", "PHASE", "STEPS", "TOOK", "AGE", "STORE", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles);
    _cleanup_json_ cJSON *all = json_array();
    _cleanup_free_ char *url = NULL;
    size_t count = 0;
    int r = 0;
    if (o->store) {
        if (location_normalise(o->store, &url, err) < 0)
            return -1;
        r = list_store(url, o, table, all, &count, err);
    } else {
        char **known = location_known();
        for (char **u = known; *u && r == 0; u++)
            r = list_store(*u, o, table, all, &count, err);
        location_known_free(known);
    }
    if (r < 0)
        return -1;
    if (strcmp(o->output, "json") == 0)
        return command_print_json(all, err);
    if (count == 0) {
        (void)fprintf(
            stderr, "no runs%s%s\n",
            url ? " in "
                : " are known here, and there is no kubeconfig: --store says where to look, or --kubeconfig which cluster to ask",
            url ? url : "");
        return 0;
    }
    _cleanup_buf_ struct buf text = BUF_INIT(16 << 20);
    columns_print(table, &text);
    return buf_check(&text, "the list", err) < 0 ? -1 : command_print(&text, err);
}

static int show_local(const struct options *o, const char *name, struct err *err)
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
        _cleanup_free_ char *hint = describe_hint(r);
        describe_failure(r, run, hint, &text);
    }
    return command_print(&text, err);
}

/* --- the cluster ------------------------------------------------------------------------------------------ */

static int show_run(const struct options *o, const struct cluster *c, const struct record *r,
                    const cJSON *object, struct err *err)
{
    _cleanup_json_ cJSON *run = describe_run(r, NULL);
    if (strcmp(o->output, "json") == 0)
        return command_print_json(run, err);
    _cleanup_buf_ struct buf text = BUF_INIT(4 << 20);
    _cleanup_free_ char *hint = cluster_hint(c, &o->cluster);
    struct ui_style style = ui_style_of(stdout);
    describe_summary(run, &style, &text);
    if (r->status.phase == PHASE_FAILED || r->status.phase == PHASE_STOPPED) {
        (void)buf_addc(&text, '\n');
        describe_failure(r, run, hint, &text);
    } else {
        const char *note = cluster_text(object, "status", "note");
        if (r->status.message)
            note = r->status.message;
        if (*note && r->status.phase != PHASE_SUCCEEDED)
            (void)buf_addf(&text, "  %s\n", note);
    }
    return command_print(&text, err);
}

/* A run, or else a pipeline of that name. */
static int show_in_cluster(const struct options *o, const struct cluster *c, const char *name,
                           const struct listing_options *lo, struct err *err)
{
    _cleanup_record_ struct record *r = NULL;
    _cleanup_json_ cJSON *object = NULL;
    struct err why = ERR_INIT;
    bool found = false;
    if (clusterrun_get(c, name, &r, &object, &why) == 0)
        return show_run(o, c, r, object, err);
    if (why.class_ == ERR_NOTFOUND && strcmp(why.reason, "no-run") == 0 &&
        listing_pipeline(c, name, lo, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    *err = why;
    return -1;
}

static int get_in_cluster(const struct options *o, const struct where *w, struct err *err)
{
    _cleanup_cluster_ struct cluster *c = NULL;
    const struct listing_options lo = {.pipeline = o->pipeline,
                                       .all_namespaces = o->all_namespaces,
                                       .json = strcmp(o->output, "json") == 0};
    if (o->all_namespaces && (w->name || w->ns))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                        "--all-namespaces lists: leave out RUN and --namespace");
    if (cluster_open(&o->cluster, w->ns, &c, err) < 0)
        return -1;
    return w->name ? show_in_cluster(o, c, w->name, &lo, err) : listing_all(c, &lo, err);
}

static int get(const struct options *o, const char *reference, struct err *err)
{
    _cleanup_where_ struct where w = {0};
    if (where_choose(&o->cluster, o->store, reference, &w, err) < 0)
        return -1;
    if (w.cluster || o->all_namespaces)
        return get_in_cluster(o, &w, err);
    return reference ? show_local(o, reference, err) : list_local(o, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    return get(&o, n ? argv[0] : NULL, &err) < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
}

const struct cli_command command_get = {
    .name = "trainyard get",
    .synopsis = "[RUN | PIPELINE]",
    .summary = "list runs, or show one run's steps",
    .description =
        "Without RUN: the runs in the store, or in the stores that runs on this machine used lately; or the pipelines and runs of a namespace of the cluster. With RUN (a name; here "
        "a uid, too): its steps, values, reports and, if it failed, why and what to do. With PIPELINE, in a cluster: the pipeline and its runs.\n\n" WHERE_HELP,
    .examples =
        "trainyard get\ntrainyard get click-ranker-3 -o json\ntrainyard get -n ranking\ntrainyard get ranking/click-ranker-7",
    .options = options,
    .max_args = 1,
    .run = run,
};
