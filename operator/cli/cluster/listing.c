#include "operator/cli/cluster/listing.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "operator/cli/columns.h"
#include "operator/cli/command.h"
#include "operator/cli/ui.h"

enum { TABLE_BYTES_MAX = 64 * 1024 * 1024, MESSAGE_COLUMNS = 80 };

/* --- rows ---------------------------------------------------------------------------------------------------- */

static void add_text(cJSON *o, const char *key, const char *value)
{
    if (*value)
        json_add_string(o, key, value);
}

cJSON *listing_run(const cJSON *object)
{
    cJSON *o = json_object();
    const char *phase = cluster_text(object, "status", "phase");
    json_add_string(o, "name", cluster_text(object, "metadata", "name"));
    json_add_string(o, "namespace", cluster_text(object, "metadata", "namespace"));
    json_add_string(o, "pipeline", cluster_text(object, "spec", "pipeline"));
    json_add_string(o, "phase", *phase ? phase : "Pending");
    add_text(o, "step", cluster_text(object, "status", "step"));
    add_text(o, "progress", cluster_text(object, "status", "progress"));
    const char *message = cluster_text(object, "status", "message");
    add_text(o, "message", *message ? message : cluster_text(object, "status", "note"));
    json_add_string(o, "created", cluster_text(object, "metadata", "creationTimestamp"));
    add_text(o, "started", cluster_text(object, "status", "started"));
    add_text(o, "finished", cluster_text(object, "status", "finished"));
    return o;
}

cJSON *listing_of_pipeline(const cJSON *object)
{
    cJSON *o = json_object();
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status"),
                *last = cJSON_GetObjectItemCaseSensitive(status, "lastRun");
    const char *message = "", *ready = cluster_condition(object, "Ready", &message);
    json_add_string(o, "name", cluster_text(object, "metadata", "name"));
    json_add_string(o, "namespace", cluster_text(object, "metadata", "namespace"));
    json_add_string(o, "ready", ready ? ready : "Unknown");
    add_text(o, "message", message);
    add_text(o, "currentRun", cluster_text(status, "currentRun", NULL));
    add_text(o, "lastRun", cluster_text(last, "name", NULL));
    add_text(o, "lastPhase", cluster_text(last, "phase", NULL));
    add_text(o, "nextScheduled", cluster_text(status, "nextScheduled", NULL));
    json_add_string(o, "created", cluster_text(object, "metadata", "creationTimestamp"));
    return o;
}

/* --- tables ---------------------------------------------------------------------------------------------------- */

static int64_t ms_of(const cJSON *row, const char *key)
{
    int64_t ms = 0;
    struct err ignored = ERR_INIT;
    const char *text = cluster_text(row, key, NULL);
    return *text && clock_parse_rfc3339(text, &ms, &ignored) == 0 ? ms : 0;
}

static void add_span(struct columns *table, int64_t from_ms, int64_t to_ms)
{
    char text[UI_TEXT_MAX];
    if (from_ms == 0 || to_ms == 0) {
        columns_add(table, NULL);
        return;
    }
    ui_format_duration(to_ms - from_ms, text);
    columns_add(table, text);
}

static void add_pipelines(const cJSON *pipelines, bool all_namespaces, int64_t now_ms, struct buf *out)
{
    static const char *const titles[] = {"NAMESPACE",  "PIPELINE",       "READY", "CURRENT RUN", "LAST RUN",
                                         "LAST PHASE", "NEXT SCHEDULED", "AGE",   NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles + !all_namespaces);
    const cJSON *p;
    cJSON_ArrayForEach(p, pipelines)
    {
        if (all_namespaces)
            columns_add(table, cluster_text(p, "namespace", NULL));
        columns_add(table, cluster_text(p, "name", NULL));
        columns_add(table, cluster_text(p, "ready", NULL));
        columns_add(table, cluster_text(p, "currentRun", NULL));
        columns_add(table, cluster_text(p, "lastRun", NULL));
        columns_add(table, cluster_text(p, "lastPhase", NULL));
        columns_add(table, cluster_text(p, "nextScheduled", NULL));
        add_span(table, ms_of(p, "created"), now_ms);
    }
    columns_print(table, out);
    cJSON_ArrayForEach(p, pipelines)
    {
        if (strcmp(cluster_text(p, "ready", NULL), "False") == 0)
            (void)buf_addf(out, "%s is not ready: %s\n", cluster_text(p, "name", NULL),
                           cluster_text(p, "message", NULL));
    }
}

static void add_runs(const cJSON *runs, bool all_namespaces, int64_t now_ms, struct buf *out)
{
    static const char *const titles[] = {"NAMESPACE", "RUN",  "PIPELINE", "PHASE",   "STEP",
                                         "PROGRESS",  "TOOK", "AGE",      "MESSAGE", NULL};
    _cleanup_columns_ struct columns *table = columns_new(titles + !all_namespaces);
    const cJSON *r;
    cJSON_ArrayForEach(r, runs)
    {
        _cleanup_buf_ struct buf message = BUF_INIT(4096);
        int64_t finished = ms_of(r, "finished");
        ui_add_cut(&message, cluster_text(r, "message", NULL), MESSAGE_COLUMNS, true);
        if (all_namespaces)
            columns_add(table, cluster_text(r, "namespace", NULL));
        columns_add(table, cluster_text(r, "name", NULL));
        columns_add(table, cluster_text(r, "pipeline", NULL));
        columns_add(table, cluster_text(r, "phase", NULL));
        columns_add(table, finished ? "" : cluster_text(r, "step", NULL));
        columns_add(table, cluster_text(r, "progress", NULL));
        add_span(table, ms_of(r, "started"), finished ? finished : now_ms);
        add_span(table, ms_of(r, "created"), now_ms);
        columns_add(table, buf_str(&message));
    }
    columns_print(table, out);
}

void listing_text(const cJSON *pipelines, const cJSON *runs, bool all_namespaces, int64_t now_ms,
                  struct buf *out)
{
    if (cJSON_GetArraySize(pipelines) > 0)
        add_pipelines(pipelines, all_namespaces, now_ms, out);
    if (cJSON_GetArraySize(pipelines) > 0 && cJSON_GetArraySize(runs) > 0)
        (void)buf_addc(out, '\n');
    if (cJSON_GetArraySize(runs) > 0)
        add_runs(runs, all_namespaces, now_ms, out);
}

/* --- from the API server ------------------------------------------------------------------------------------------ */

struct collection {
    cJSON *list;
    const char *pipeline; /* NULL: all */
};

static int collect_run(void *ctx, const cJSON *object, struct err *err)
{
    const struct collection *c = ctx;
    (void)err;
    if (!c->pipeline || strcmp(cluster_text(object, "spec", "pipeline"), c->pipeline) == 0)
        json_append(c->list, listing_run(object));
    return 0;
}

static int collect_pipeline(void *ctx, const cJSON *object, struct err *err)
{
    const struct collection *c = ctx;
    (void)err;
    if (!c->pipeline || strcmp(cluster_text(object, "metadata", "name"), c->pipeline) == 0)
        json_append(c->list, listing_of_pipeline(object));
    return 0;
}

/* Times of one form compare as text. */
static int newest_first(const void *a, const void *b)
{
    const cJSON *const *x = a, *const *y = b;
    int order = strcmp(cluster_text(*y, "created", NULL), cluster_text(*x, "created", NULL));
    return order ? order : strcmp(cluster_text(*x, "name", NULL), cluster_text(*y, "name", NULL));
}

static void sort(cJSON *list)
{
    size_t n = (size_t)cJSON_GetArraySize(list);
    _cleanup_free_ cJSON **items = xcalloc(n + 1, sizeof *items);
    for (size_t i = 0; i < n; i++)
        items[i] = cJSON_DetachItemFromArray(list, 0);
    if (n > 1)
        qsort(items, n, sizeof(cJSON *), newest_first);
    for (size_t i = 0; i < n; i++)
        json_append(list, items[i]);
}

/* Both lists, shown. *ret_pipelines: how many there were. */
static int show(const struct cluster *c, const struct listing_options *o, const char *pipeline,
                int *ret_pipelines, struct err *err)
{
    _cleanup_json_ cJSON *pipelines = json_array(), *runs = json_array();
    struct collection a = {.list = pipelines, .pipeline = pipeline}, b = {.list = runs, .pipeline = pipeline};
    if (cluster_list(c, &CLUSTER_PIPELINES, o->all_namespaces, NULL, collect_pipeline, &a, err) < 0)
        return -1;
    *ret_pipelines = cJSON_GetArraySize(pipelines);
    if (pipeline && *ret_pipelines == 0 && !o->pipeline)
        return 0;
    if (cluster_list(c, &CLUSTER_RUNS, o->all_namespaces, NULL, collect_run, &b, err) < 0)
        return -1;
    sort(runs);
    if (o->json) {
        _cleanup_json_ cJSON *all = json_object();
        json_add(all, "pipelines", steal_ptr(pipelines));
        json_add(all, "runs", steal_ptr(runs));
        return command_print_json(all, err);
    }
    if (*ret_pipelines == 0 && cJSON_GetArraySize(runs) == 0) {
        (void)fprintf(stderr, "no pipelines and no runs%s%s in %s%s of context %s\n", pipeline ? " of " : "",
                      pipeline ? pipeline : "", o->all_namespaces ? "any namespace" : "namespace ",
                      o->all_namespaces ? "" : c->ns, c->config->context);
        return 0;
    }
    _cleanup_buf_ struct buf text = BUF_INIT(TABLE_BYTES_MAX);
    listing_text(pipelines, runs, o->all_namespaces, clock_system.wall_ms(clock_system.ctx), &text);
    return buf_check(&text, "the list", err) < 0 ? -1 : command_print(&text, err);
}

int listing_all(const struct cluster *c, const struct listing_options *o, struct err *err)
{
    int pipelines;
    return show(c, o, o->pipeline, &pipelines, err);
}

int listing_pipeline(const struct cluster *c, const char *name, const struct listing_options *o,
                     bool *ret_found, struct err *err)
{
    int pipelines = 0;
    struct listing_options only = *o;
    only.pipeline = NULL;
    if (show(c, &only, name, &pipelines, err) < 0)
        return -1;
    *ret_found = pipelines > 0;
    return 0;
}
