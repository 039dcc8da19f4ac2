/* What work() left behind → artifacts, provenance, kept files. */
#include <inttypes.h>
#include <sys/utsname.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/runtime/run-internal.h"

static cJSON *manifest_config(const struct stage_run *run, const struct run_output *o)
{
    cJSON *config = artifact_config_without_locations(run->config);
    const cJSON *item;
    cJSON_ArrayForEach(item, o->extra)
    {
        cJSON_DeleteItemFromObjectCaseSensitive(config, item->string);
        json_add(config, item->string, cJSON_Duplicate(item, true));
    }
    return config;
}

static int publish_output(struct stage_run *run, const struct run_output *o, const cJSON *inputs,
                          cJSON *outputs, struct err *err)
{
    _cleanup_json_ cJSON *config = manifest_config(run, o);
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_describe(o->dir, o->declared->type, config, inputs, o->declared->shared_prefix, &a, err) < 0)
        return -1;
    json_add_string(outputs, o->declared->name, a->digest);
    if (!run->contract)
        return artifact_write_manifest(o->dir, a, err);
    _cleanup_free_ char *prefix = commit_output_prefix(run->place.step, run->place.folder, o->declared->name);
    failpoint("publish.before");
    int r = artifact_publish(run->store, prefix, o->dir, a, err);
    failpoint("publish.after");
    return r;
}

int run_publish(struct stage_run *run, cJSON *outputs, struct err *err)
{
    _cleanup_json_ cJSON *inputs = inputs_digests(&run->inputs);
    for (size_t i = 0; i < run->n_outputs; i++) {
        const struct run_output *o = &run->outputs[i];
        if (o->dir && publish_output(run, o, inputs, outputs, err) < 0)
            return err_wrap(err, "output %s", o->declared->name);
    }
    return 0;
}

static void add_optional(cJSON *o, const char *key, const char *value)
{
    if (value && *value)
        json_add_string(o, key, value);
}

int run_write_provenance(struct stage_run *run, const cJSON *outputs, struct err *err)
{
    _cleanup_json_ cJSON *o = cJSON_Duplicate(run->provenance, true);
    char started[CLOCK_RFC3339_MAX], finished[CLOCK_RFC3339_MAX], scheduled[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(run->started_ms, started);
    clock_format_rfc3339(clock_system.wall_ms(clock_system.ctx), finished);
    clock_format_rfc3339(run->scheduled_ms, scheduled);
    struct utsname host;
    json_add_string(o, "stage", run->stage->name);
    json_add_string(o, "version", trainyard_version);
    json_add_string(o, "algorithm", run->stage->algorithm_version);
    json_add_string(o, "run", run->run_name);
    json_add_string(o, "run_uid", run->run_uid);
    json_add_string(o, "step", run->step);
    add_optional(o, "index", run->index);
    json_add_int(o, "restart", run->restart);
    json_add_int(o, "attempt", run->attempt);
    json_add_string(o, "started", started);
    json_add_string(o, "finished", finished);
    json_add_string(o, "scheduled", scheduled);
    add_optional(o, "revision", run->revision);
    add_optional(o, "location", getenv(ENV_RUN_LOCATION));
    if (uname(&host) == 0) {
        json_add_string(o, "host", host.nodename);
        json_add_string(o, "machine", host.machine);
    }
    json_add_int(o, "threads", run->options.threads);
    json_add_int(o, "world_size", run->world.size);
    json_add_string(o, "device", run->options.device);
    json_add_int(o, "memory", run->options.memory);
    json_add(o, "config", cJSON_Duplicate(run->config, true));
    json_add(o, "inputs", inputs_digests(&run->inputs));
    json_add(o, "outputs", cJSON_Duplicate(outputs, true));
    json_add(o, "values", cJSON_Duplicate(run->values, true));
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    (void)json_pretty(o, &text);
    if (buf_check(&text, "provenance", err) < 0)
        return -1;
    _cleanup_free_ char *key = xasprintf("%s/provenance/%s.json", run->place.step, run->place.folder);
    return store_put(run->store, key, text.data, text.len, STORE_ALWAYS, NULL, NULL, err);
}

static void keep_output(struct stage_run *run, const struct run_output *o)
{
    struct fs_list list = {0};
    struct err err = ERR_INIT;
    if (fs_list_tree(o->dir, &list, &err) < 0) {
        log_warn("output not kept", "output", o->declared->name, "why", err.msg, NULL);
        return;
    }
    for (size_t i = 0; i < list.n; i++) {
        _cleanup_free_ char *path = fs_join(o->dir, list.names[i]);
        _cleanup_free_ char *key = xasprintf("%s/logs/a%" PRId64 "-%s/%s", run->place.step, run->attempt,
                                             o->declared->name, list.names[i]);
        err = ERR_INIT;
        if (store_put_file(run->store, key, path, NULL, &err) < 0) {
            log_warn("output not kept", "output", o->declared->name, "why", err.msg, NULL);
            continue;
        }
        _cleanup_free_ char *local = store_local_path(run->store, key);
        _cleanup_free_ char *url = local ? NULL : fs_join(store_url(run->store), key);
        log_info("kept", "output", o->declared->name, "file", local ? local : url, NULL);
    }
    fs_list_release(&list);
}

void run_keep(struct stage_run *run, bool failed)
{
    for (size_t i = 0; failed && i < run->n_outputs; i++) {
        const struct run_output *o = &run->outputs[i];
        if (!o->keep_on_failure || !o->dir)
            continue;
        if (run->store)
            keep_output(run, o);
        else
            log_info("kept", "output", o->declared->name, "directory", o->dir, NULL);
    }
    if (!run->store || !run->log_file)
        return;
    (void)fflush(run->log_file);
    log_tee(NULL, 0);
    struct err err = ERR_INIT;
    _cleanup_free_ char *key =
        run->world.rank == 0
            ? xasprintf("%s/logs/a%" PRId64 ".jsonl", run->place.step, run->attempt)
            : xasprintf("%s/logs/a%" PRId64 "-r%d.jsonl", run->place.step, run->attempt, run->world.rank);
    if (store_put_file(run->store, key, run->log_path, NULL, &err) < 0)
        log_warn("log not kept", "why", err.msg, NULL);
}
