/* Finding recorded runs: see record.h. Reads run.json only, so that a list of many runs stays quick. */
#include <dirent.h>
#include <errno.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/location.h"
#include "operator/cli/record.h"

static void summary_release(struct record_summary *s)
{
    free(s->state_dir);
    free(s->uid);
    free(s->name);
    free(s->pipeline);
    free(s->phase);
    free(s->store_url);
}

void record_list_release(struct record_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        summary_release(&l->items[i]);
    free(l->items);
    *l = (struct record_list){0};
}

static int summary_read(const char *state_dir, const char *uid, struct record_summary *ret, struct err *err)
{
    static const struct json_path root = {0};
    _cleanup_free_ char *path = xasprintf("%s/runs/%s/run.json", state_dir, uid);
    _cleanup_json_ cJSON *j = NULL;
    struct record_summary s = {0};
    const char *name, *pipeline, *phase;
    const cJSON *options, *store;
    if (json_parse_file(path, LIMIT_RUN_RECORD_BYTES, &j, err) < 0 ||
        json_get_string(j, &root, "name", &name, err) < 0 ||
        json_get_string(j, &root, "pipeline", &pipeline, err) < 0 ||
        json_get_string(j, &root, "phase", &phase, err) < 0 ||
        json_get_int(j, &root, "createdMs", &s.created_ms, err) < 0 ||
        json_get_int_or(j, &root, "finishedMs", 0, &s.finished_ms, err) < 0 ||
        json_get_bool_or(j, &root, "finished", false, &s.finished, err) < 0 ||
        json_get_int_or(j, &root, "stepsDone", 0, &s.steps_done, err) < 0 ||
        json_get_int_or(j, &root, "stepsTotal", 0, &s.steps_total, err) < 0 ||
        json_get_object(j, &root, "options", &options, err) < 0 ||
        json_get_object(options, &root, "store", &store, err) < 0)
        return -1;
    s.state_dir = xstrdup(state_dir);
    s.uid = xstrdup(uid);
    s.name = xstrdup(name);
    s.pipeline = xstrdup(pipeline);
    s.phase = xstrdup(phase);
    s.store_url = xstrdup(location_url(store));
    *ret = s;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct record_summary *x = a, *y = b;
    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* The uid that a name was reserved for; NULL: no such name. Caller frees. */
static char *uid_of_name(const char *state_dir, const char *name)
{
    if (!fs_safe_relative(name) || strchr(name, '/'))
        return NULL;
    _cleanup_free_ char *path = xasprintf("%s/names/%s", state_dir, name);
    char *uid = NULL;
    struct err err = ERR_INIT;
    return fs_read_file(path, 128, &uid, NULL, &err) < 0 ? NULL : uid;
}

int record_list(const char *state_dir, const char *name_or_uid, const char *pipeline, struct record_list *ret,
                struct err *err)
{
    struct record_list l = {0};
    _cleanup_free_ char *wanted = name_or_uid ? uid_of_name(state_dir, name_or_uid) : NULL;
    if (name_or_uid && !wanted)
        wanted = xstrdup(name_or_uid);
    _cleanup_free_ char *runs = fs_join(state_dir, "runs");
    _cleanup_dir_ DIR *dir = opendir(runs);
    if (!dir && errno != ENOENT)
        return err_errno(err, errno, "cannot list the runs in %s", runs);
    size_t capacity = 0;
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        struct record_summary s;
        struct err why = ERR_INIT;
        if (e->d_name[0] == '.' || (wanted && strcmp(e->d_name, wanted) != 0) ||
            summary_read(state_dir, e->d_name, &s, &why) < 0)
            continue;
        if (pipeline && strcmp(s.pipeline, pipeline) != 0) {
            summary_release(&s);
            continue;
        }
        l.items = grow_array(l.items, &capacity, l.n, sizeof *l.items);
        l.items[l.n++] = s;
    }
    if (l.n > 1)
        qsort(l.items, l.n, sizeof *l.items, newest_first);
    *ret = l;
    return 0;
}

/* Searches one state directory; *best is replaced when a newer run is found. */
static int find_in(const char *state_dir, const char *name_or_uid, const char *pipeline,
                   struct record_list *best, struct err *err)
{
    struct record_list l = {0};
    if (record_list(state_dir, name_or_uid, pipeline, &l, err) < 0)
        return -1;
    if (l.n > 0 && (best->n == 0 || l.items[0].created_ms > best->items[0].created_ms)) {
        struct record_list old = *best;
        *best = l;
        l = old;
    }
    record_list_release(&l);
    return 0;
}

static int state_dir_of_url(const char *url, char **ret, struct err *err)
{
    _cleanup_json_ cJSON *store = json_object();
    json_add_string(store, "url", url);
    return location_of_store(store, ret, err);
}

int record_find(const char *store_option, const char *name_or_uid, const char *pipeline, struct record **ret,
                struct err *err)
{
    _cleanup_record_list_ struct record_list best = {0};
    _cleanup_free_ char *url = NULL;
    if (store_option && location_normalise(store_option, &url, err) < 0)
        return -1;
    char **known = store_option ? NULL : location_known();
    const char *only[] = {url, NULL};
    int r = 0;
    size_t n = 0;
    for (const char *const *u = known ? (const char *const *)known : only; r == 0 && *u; u++, n++) {
        _cleanup_free_ char *state_dir = NULL;
        r = state_dir_of_url(*u, &state_dir, err);
        if (r == 0)
            r = find_in(state_dir, name_or_uid, pipeline, &best, err);
    }
    location_known_free(known);
    if (r < 0)
        return -1;
    if (best.n > 0)
        return record_load(best.items[0].state_dir, best.items[0].uid, ret, err);

    if (!url && n == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-run",
                        "no runs are known here yet: say where they are with --store");
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-run",
                    "no run%s%s%s%s%s in %s: `trainyard get` lists them%s", name_or_uid ? " \"" : "",
                    name_or_uid ? name_or_uid : "", name_or_uid ? "\"" : "", pipeline ? " of " : "",
                    pipeline ? pipeline : "", url ? url : "the stores used lately",
                    url ? "" : ", --store says where to look");
}
