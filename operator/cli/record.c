#include "operator/cli/record.h"

#include <errno.h>
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"

static const char manifest_file[] = "manifest.yaml", run_file[] = "run.json";

struct record *record_free(struct record *r)
{
    if (!r)
        return NULL;
    run_status_release(&r->status);
    run_spec_release(&r->spec);
    pipeline_free(r->pipeline);
    cJSON_Delete(r->options.store);
    cJSON_Delete(r->options.registry);
    cJSON_Delete(r->options.secrets);
    cJSON_Delete(r->usage);
    free(r->options.stages_dir);
    free(r->state_dir);
    free(r->dir);
    free(r->namespace_);
    free(r->manifest_name);
    free(r);
    return NULL;
}

char *record_path(const struct record *r, const char *name)
{
    return fs_join(r->dir, name);
}

static char *record_dir(const char *state_dir, const char *uid)
{
    _cleanup_free_ char *runs = fs_join(state_dir, "runs");
    return fs_join(runs, uid);
}

/* A random UUID (RFC 9562, version 4). */
static char *new_uid(void)
{
    uint8_t b[16];
    char hex[33];
    random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(b, sizeof b, hex);
    return xasprintf("%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* --- writing ------------------------------------------------------------------------------------- */

static cJSON *options_to_json(const struct record_options *o)
{
    cJSON *j = json_object();
    json_add(j, "store", cJSON_Duplicate(o->store, true));
    if (o->registry)
        json_add(j, "registry", cJSON_Duplicate(o->registry, true));
    json_add(j, "secrets", o->secrets ? cJSON_Duplicate(o->secrets, true) : json_object());
    json_add_int(j, "workers", o->workers);
    json_add_int(j, "cpu", o->cpu);
    json_add_int(j, "parallelism", o->parallelism);
    json_add_bool(j, "noCache", o->no_cache);
    json_add_bool(j, "keepScratch", o->keep_scratch);
    if (o->stages_dir)
        json_add_string(j, "stagesDir", o->stages_dir);
    return j;
}

static cJSON *control_to_json(const struct run_spec *s)
{
    cJSON *j = json_object();
    if (s->stop != RUN_STOP_NONE)
        json_add_string(j, "stop", s->stop == RUN_STOP_NOW ? "Now" : "Graceful");
    if (s->restart_id) {
        cJSON *restart = json_object(), *from = json_array();
        for (size_t i = 0; i < s->n_restart_from; i++)
            json_append(from, cJSON_CreateString(s->restart_from[i]));
        json_add_string(restart, "id", s->restart_id);
        json_add(restart, "from", from);
        json_add(j, "restart", restart);
    }
    cJSON *approvals = json_array();
    for (size_t i = 0; i < s->n_approvals; i++) {
        cJSON *a = json_object();
        json_add_string(a, "step", s->approvals[i].step);
        json_add_string(a, "by", s->approvals[i].by);
        json_add_string(a, "comment", s->approvals[i].comment ? s->approvals[i].comment : "");
        json_append(approvals, a);
    }
    json_add(j, "approvals", approvals);
    return j;
}

static bool state_done(enum step_state s)
{
    return s == STATE_SUCCEEDED || s == STATE_CACHED || s == STATE_SKIPPED;
}

static int record_to_json(const struct record *r, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *status = NULL;
    if (run_status_to_json(&r->status, &status, err) < 0)
        return -1;
    int64_t done = 0;
    for (size_t i = 0; i < r->status.n_steps; i++)
        done += state_done(r->status.steps[i].state);
    cJSON *j = json_object();
    json_add_int(j, "version", 1);
    json_add_string(j, "uid", r->spec.uid);
    json_add_string(j, "name", r->spec.name);
    json_add_string(j, "pipeline", r->pipeline->name);
    json_add_string(j, "manifest", r->manifest_name);
    json_add_int64_string(j, "createdMs", r->spec.created_ms);
    json_add_int64_string(j, "scheduledMs", r->spec.scheduled_ms);
    /* A digest of the status for `trainyard get`, which reads many records. */
    json_add_string(j, "phase", run_phase_name(r->status.phase));
    json_add_bool(j, "finished", run_phase_finished(r->status.phase));
    json_add_int64_string(j, "finishedMs", r->status.finished_ms);
    json_add_int(j, "stepsDone", done);
    json_add_int(j, "stepsTotal", (int64_t)r->pipeline->n_steps);
    cJSON *params = json_object();
    for (size_t i = 0; i < r->spec.n_params; i++)
        json_add_string(params, r->spec.params[i].name, r->spec.params[i].value);
    json_add(j, "parameters", params);
    json_add(j, "options", options_to_json(&r->options));
    json_add(j, "control", control_to_json(&r->spec));
    json_add(j, "status", steal_ptr(status));
    json_add(j, "usage", cJSON_Duplicate(r->usage, true));
    *ret = j;
    return 0;
}

int record_write(const struct record *r, struct err *err)
{
    _cleanup_json_ cJSON *j = NULL;
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RUN_RECORD_BYTES);
    if (record_to_json(r, &j, err) < 0)
        return -1;
    (void)json_pretty(j, &text);
    if (buf_check(&text, "the record of the run", err) < 0)
        return -1;
    _cleanup_free_ char *path = record_path(r, run_file);
    failpoint("record.write.before");
    if (fs_write_atomic(path, buf_str(&text), text.len, err) < 0)
        return err_wrap(err, "cannot record the run's status");
    failpoint("record.write.after");
    return 0;
}

/* --- making -------------------------------------------------------------------------------------- */

/* A driver that was killed between reserving the name and writing the record left a name without a run. */
static bool is_abandoned(const char *state_dir, const char *name_path)
{
    _cleanup_free_ char *uid = NULL;
    struct err err = ERR_INIT;
    if (fs_read_file(name_path, 128, &uid, NULL, &err) < 0 || !fs_safe_relative(uid))
        return true;
    _cleanup_free_ char *dir = record_dir(state_dir, uid), *run = fs_join(dir, run_file);
    return !fs_exists(run);
}

/* The wanted name, or the first free <pipeline>-<n>. */
static int reserve_name(const char *state_dir, const char *wanted, const char *pipeline, const char *uid,
                        char **ret, struct err *err)
{
    _cleanup_free_ char *names = fs_join(state_dir, "names");
    if (fs_mkdir_p(names, err) < 0)
        return -1;
    _cleanup_free_ char *base = xstrndup(pipeline, LIMIT_NAME - 8); /* leaves room for the number */
    for (int n = 1; n < 10 * 1000 * 1000; n++) {
        _cleanup_free_ char *name = wanted ? xstrdup(wanted) : xasprintf("%s-%d", base, n);
        _cleanup_free_ char *path = fs_join(names, name);
        struct err why = ERR_INIT;
        if (!wanted && fs_exists(path))
            continue;
        if (fs_write_exclusive(path, uid, strlen(uid), &why) == 0) {
            *ret = steal_ptr(name);
            return 0;
        }
        if (why.class_ != ERR_EXISTS) {
            *err = why;
            return -1;
        }
        if (wanted && is_abandoned(state_dir, path)) {
            if (fs_write_atomic(path, uid, strlen(uid), err) < 0)
                return -1;
            *ret = steal_ptr(name);
            return 0;
        }
        if (wanted)
            return err_fail(
                err, ERR_EXISTS, EXITCODE_USAGE, "name-taken",
                "a run named \"%s\" exists already in %s: choose another --name, or go on with it: trainyard run --resume %s",
                wanted, state_dir, wanted);
    }
    return err_set(err, ERR_TERMINAL, "no free name for a run of %s in %s", pipeline, state_dir);
}

static void copy_options(const struct record_options *from, struct record_options *to)
{
    *to = *from;
    to->store = cJSON_Duplicate(from->store, true);
    to->registry = from->registry ? cJSON_Duplicate(from->registry, true) : NULL;
    to->secrets = from->secrets ? cJSON_Duplicate(from->secrets, true) : json_object();
    to->stages_dir = from->stages_dir ? xstrdup(from->stages_dir) : NULL;
}

int record_create(const struct record_request *q, struct pipeline *pipeline, struct record **ret,
                  struct err *err)
{
    _cleanup_record_ struct record *r = xcalloc(1, sizeof *r);
    r->pipeline = pipeline;
    run_status_init(&r->status);
    r->usage = json_object();
    r->state_dir = xstrdup(q->state_dir);
    r->manifest_name = xstrdup(q->manifest_name);
    copy_options(q->options, &r->options);
    r->spec.uid = new_uid();
    r->spec.created_ms = q->now_ms;
    r->spec.scheduled_ms = q->scheduled_ms;
    r->spec.pipeline = xstrdup(pipeline->name);
    r->spec.params = xcalloc(q->n_params + 1, sizeof *r->spec.params);
    for (; r->spec.n_params < q->n_params; r->spec.n_params++) {
        r->spec.params[r->spec.n_params].name = xstrdup(q->params[r->spec.n_params].name);
        r->spec.params[r->spec.n_params].value = xstrdup(q->params[r->spec.n_params].value);
    }
    if (reserve_name(q->state_dir, q->name, pipeline->name, r->spec.uid, &r->spec.name, err) < 0)
        return -1;
    r->dir = record_dir(q->state_dir, r->spec.uid);
    _cleanup_free_ char *manifest = record_path(r, manifest_file);
    if (fs_mkdir_p(r->dir, err) < 0 ||
        fs_write_atomic(manifest, q->manifest_text, q->manifest_len, err) < 0 || record_write(r, err) < 0)
        return -1;
    *ret = steal_ptr(r);
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------- */

static int options_from_json(const cJSON *j, const struct json_path *path, struct record_options *o,
                             struct err *err)
{
    const cJSON *store, *registry, *secrets;
    const char *stages_dir;
    if (json_get_object(j, path, "store", &store, err) < 0 ||
        json_get_object_or(j, path, "registry", &registry, err) < 0 ||
        json_get_object_or(j, path, "secrets", &secrets, err) < 0 ||
        json_get_int_or(j, path, "workers", 0, &o->workers, err) < 0 ||
        json_get_int_or(j, path, "cpu", 0, &o->cpu, err) < 0 ||
        json_get_int_or(j, path, "parallelism", 0, &o->parallelism, err) < 0 ||
        json_get_bool_or(j, path, "noCache", false, &o->no_cache, err) < 0 ||
        json_get_bool_or(j, path, "keepScratch", false, &o->keep_scratch, err) < 0 ||
        json_get_string_or(j, path, "stagesDir", NULL, &stages_dir, err) < 0)
        return -1;
    o->store = cJSON_Duplicate(store, true);
    o->registry = registry ? cJSON_Duplicate(registry, true) : NULL;
    o->secrets = secrets ? cJSON_Duplicate(secrets, true) : json_object();
    o->stages_dir = stages_dir ? xstrdup(stages_dir) : NULL;
    return 0;
}

static int control_from_json(const cJSON *j, const struct json_path *path, struct run_spec *s,
                             struct err *err)
{
    const char *stop, *id;
    const cJSON *restart, *from, *approvals, *e;
    struct json_path restart_path = {path, "restart", 0};
    if (json_get_string_or(j, path, "stop", "", &stop, err) < 0 ||
        json_get_object_or(j, path, "restart", &restart, err) < 0 ||
        json_get_array_or(j, path, "approvals", &approvals, err) < 0)
        return -1;
    s->stop = strcmp(stop, "Now") == 0        ? RUN_STOP_NOW
              : strcmp(stop, "Graceful") == 0 ? RUN_STOP_GRACEFUL
                                              : RUN_STOP_NONE;
    if (restart) {
        if (json_get_string(restart, &restart_path, "id", &id, err) < 0 ||
            json_get_array(restart, &restart_path, "from", &from, err) < 0)
            return -1;
        s->restart_id = xstrdup(id);
        s->restart_from = xcalloc((size_t)cJSON_GetArraySize(from) + 1, sizeof *s->restart_from);
        cJSON_ArrayForEach(e, from) if (cJSON_IsString(e)) s->restart_from[s->n_restart_from++] =
            xstrdup(e->valuestring);
    }
    s->approvals = xcalloc((size_t)cJSON_GetArraySize(approvals) + 1, sizeof *s->approvals);
    cJSON_ArrayForEach(e, approvals)
    {
        const char *step, *by, *comment;
        if (json_get_string(e, path, "step", &step, err) < 0 ||
            json_get_string_or(e, path, "by", "", &by, err) < 0 ||
            json_get_string_or(e, path, "comment", "", &comment, err) < 0)
            return -1;
        s->approvals[s->n_approvals++] = (struct run_approval){xstrdup(step), xstrdup(by), xstrdup(comment)};
    }
    return 0;
}

static int spec_from_json(const cJSON *j, const struct json_path *root, struct run_spec *s, struct err *err)
{
    const char *uid, *name, *pipeline;
    const cJSON *params, *e, *control;
    if (json_get_string(j, root, "uid", &uid, err) < 0 || json_get_string(j, root, "name", &name, err) < 0 ||
        json_get_string(j, root, "pipeline", &pipeline, err) < 0 ||
        json_get_int(j, root, "createdMs", &s->created_ms, err) < 0 ||
        json_get_int(j, root, "scheduledMs", &s->scheduled_ms, err) < 0 ||
        json_get_object(j, root, "parameters", &params, err) < 0 ||
        json_get_object(j, root, "control", &control, err) < 0)
        return -1;
    s->uid = xstrdup(uid);
    s->name = xstrdup(name);
    s->pipeline = xstrdup(pipeline);
    s->params = xcalloc((size_t)cJSON_GetArraySize(params) + 1, sizeof *s->params);
    cJSON_ArrayForEach(e, params) if (cJSON_IsString(e)) s->params[s->n_params++] =
        (struct run_param){xstrdup(e->string), xstrdup(e->valuestring)};
    return control_from_json(control, &(struct json_path){root, "control", 0}, s, err);
}

static int load_manifest(struct record *r, struct err *err)
{
    _cleanup_free_ char *path = record_path(r, manifest_file);
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (fs_read_file(path, LIMIT_MANIFEST_FILE_BYTES, &text, &len, err) < 0)
        return -1;
    struct findings findings = {0};
    int result = pipeline_decode_yaml(text, len, path, &r->pipeline, &findings, err);
    findings_release(&findings);
    return result;
}

int record_load(const char *state_dir, const char *uid, struct record **ret, struct err *err)
{
    static const struct json_path root = {0};
    _cleanup_record_ struct record *r = xcalloc(1, sizeof *r);
    _cleanup_json_ cJSON *j = NULL;
    run_status_init(&r->status);
    r->state_dir = xstrdup(state_dir);
    r->dir = record_dir(state_dir, uid);
    _cleanup_free_ char *path = record_path(r, run_file);
    const cJSON *options, *status, *usage;
    const char *manifest_name;
    if (json_parse_file(path, LIMIT_RUN_RECORD_BYTES, &j, err) < 0 || load_manifest(r, err) < 0 ||
        spec_from_json(j, &root, &r->spec, err) < 0 ||
        json_get_object(j, &root, "options", &options, err) < 0 ||
        options_from_json(options, &(struct json_path){&root, "options", 0}, &r->options, err) < 0 ||
        json_get_string_or(j, &root, "manifest", "", &manifest_name, err) < 0 ||
        json_get_object(j, &root, "status", &status, err) < 0 ||
        json_get_object_or(j, &root, "usage", &usage, err) < 0 ||
        run_status_from_json(status, r->pipeline, &r->status, err) < 0)
        return err_wrap(err, "cannot read the run recorded in %s", r->dir);
    r->manifest_name = xstrdup(manifest_name);
    r->usage = usage ? cJSON_Duplicate(usage, true) : json_object();
    *ret = steal_ptr(r);
    return 0;
}
