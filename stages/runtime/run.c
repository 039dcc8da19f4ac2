/* What work() sees of its run. */
#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "stages/runtime/run-internal.h"

const cJSON *stage_config(const struct stage_run *run)
{
    return run->config;
}

const char *stage_input(const struct stage_run *run, const char *name)
{
    const struct input *in = inputs_get(&run->inputs, name);
    return in ? in->dir : NULL;
}

const char *stage_input_digest(const struct stage_run *run, const char *name)
{
    const struct input *in = inputs_get(&run->inputs, name);
    return in && cJSON_IsString(in->digest) ? in->digest->valuestring : NULL;
}

struct run_output *run_find_output(struct stage_run *run, const char *name)
{
    for (size_t i = 0; i < run->n_outputs; i++) {
        if (text_equal(run->outputs[i].declared->name, name))
            return &run->outputs[i];
    }
    BUG("stage %s has no output \"%s\"", run->stage->name, name);
}

const char *stage_output(struct stage_run *run, const char *name)
{
    struct run_output *o = run_find_output(run, name);
    if (o->dir)
        return o->dir;
    struct err err = ERR_INIT;
    char *dir =
        run->contract ? xasprintf("%s/out/%s", run->scratch, name) : fs_join(run->options.output, name);
    if (fs_remove_tree(dir, &err) < 0 || fs_mkdir_p(dir, &err) < 0) {
        /* Every later write there fails with a message of its own. */
        log_warn("cannot prepare the output directory", "path", dir, "why", err.msg, NULL);
        o->dir = dir;
        return dir;
    }
    o->dir = realpath(dir, NULL);
    free(dir);
    return o->dir;
}

const char *stage_scratch(const struct stage_run *run)
{
    return run->scratch;
}

int64_t stage_scratch_max(const struct stage_run *run)
{
    return run->scratch_max;
}

int64_t stage_memory_max(const struct stage_run *run)
{
    return run->options.memory;
}

int stage_threads(const struct stage_run *run)
{
    return (int)run->options.threads;
}

const char *stage_device(const struct stage_run *run)
{
    return run->options.device;
}

int64_t stage_scheduled_ms(const struct stage_run *run)
{
    return run->scheduled_ms;
}

const char *stage_algorithm_version(const struct stage_run *run)
{
    return run->stage->algorithm_version;
}

int stage_attempt(const struct stage_run *run)
{
    return (int)run->attempt;
}

const char *stage_run_name(const struct stage_run *run)
{
    return run->run_name;
}

const char *stage_run_uid(const struct stage_run *run)
{
    return run->run_uid;
}

const char *stage_revision(const struct stage_run *run)
{
    return run->revision;
}

static void set_value(struct stage_run *run, const char *name, cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(run->values, name);
    json_add(run->values, name, value);
}

void stage_value_int(struct stage_run *run, const char *name, int64_t v)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add_int(o, "v", v);
    set_value(run, name, cJSON_DetachItemFromObject(o, "v"));
}

void stage_value_double(struct stage_run *run, const char *name, double v)
{
    set_value(run, name, cJSON_CreateNumber(v));
}

void stage_value_bool(struct stage_run *run, const char *name, bool v)
{
    set_value(run, name, cJSON_CreateBool(v));
}

void stage_value_string(struct stage_run *run, const char *name, const char *v)
{
    set_value(run, name, cJSON_CreateString(v));
}

const cJSON *stage_values(const struct stage_run *run)
{
    return run->values;
}

void stage_progress(struct stage_run *run, double fraction, const char *message, const cJSON *metrics)
{
    progress_report(run->progress, fraction, message, metrics);
}

bool stage_stopping(const struct stage_run *run)
{
    (void)run;
    return process_stopping();
}

int stage_stopped(const struct stage_run *run, struct err *err)
{
    return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "stopped", "%s was asked to stop before it was done",
                    run->stage->name);
}

void stage_keep_on_failure(struct stage_run *run, const char *output)
{
    run_find_output(run, output)->keep_on_failure = true;
}

void stage_provenance(struct stage_run *run, const char *key, cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(run->provenance, key);
    json_add(run->provenance, key, value);
}

void stage_artifact_config(struct stage_run *run, const char *output, const char *key, cJSON *value)
{
    struct run_output *o = run_find_output(run, output);
    if (!o->extra)
        o->extra = json_object();
    cJSON_DeleteItemFromObjectCaseSensitive(o->extra, key);
    json_add(o->extra, key, value);
}

struct store *stage_store(const struct stage_run *run)
{
    return run->store;
}

const struct stage_world *stage_world(const struct stage_run *run)
{
    return &run->world;
}

/* --- checkpoints --------------------------------------------------------------------------------- */

/* SHA-256 of config and inputs: whether an earlier restart worked on the same thing. */
static int work_digest(const struct stage_run *run, char ret[static DIGEST_HEX], struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add(o, "config", cJSON_Duplicate(run->config, true));
    json_add(o, "inputs", inputs_digests(&run->inputs));
    json_add_string(o, "algorithm", run->stage->algorithm_version);
    json_add_int(o, "world", run->world.size);
    return json_digest(o, ret, err);
}

static bool same_work(struct stage_run *run, int64_t restart, const char *digest, bool *ret_known)
{
    _cleanup_free_ char *prefix = commit_step_prefix(run->run_uid, run->step, run->index, restart);
    _cleanup_free_ char *key = fs_join(prefix, "work");
    _cleanup_free_ char *found = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    *ret_known = store_get(run->store, key, DIGEST_HEX, &found, &len, NULL, &ignored) == 0;
    return *ret_known && text_equal(found, digest);
}

/* Says what this restart works on, and finds the newest earlier one that failed at the same. */
static void claim_checkpoints(struct stage_run *run)
{
    char digest[DIGEST_HEX];
    struct err err = ERR_INIT;
    run->checkpoints_claimed = true;
    if (work_digest(run, digest, &err) < 0) {
        log_debug("work digest", "why", err.msg, NULL);
        return;
    }
    if (run->world.rank == 0) {
        _cleanup_free_ char *key = fs_join(run->place.step, "work");
        if (store_put(run->store, key, digest, strlen(digest), STORE_IF_NONE, NULL, NULL, &err) < 0 &&
            err.class_ != ERR_EXISTS && err.class_ != ERR_CONFLICT)
            log_warn("a later restart will not find these checkpoints", "why", err.msg, NULL);
    }
    for (int64_t g = run->restart - 1; g >= 0; g--) {
        bool known, succeeded = true;
        bool same = same_work(run, g, digest, &known);
        if (!known)
            continue; /* it never came to work */
        _cleanup_free_ char *prefix = commit_step_prefix(run->run_uid, run->step, run->index, g);
        _cleanup_result_ struct result result = {0};
        struct err why = ERR_INIT;
        if (!same || commit_find(run->store, prefix, &succeeded, &result, &why) < 0 || succeeded)
            return;
        run->previous_checkpoints = fs_join(prefix, "checkpoints");
        return;
    }
}

const char *stage_checkpoint_prefix(const struct stage_run *run)
{
    struct stage_run *r = (struct stage_run *)run; /* filled when first asked for */
    if (!r->checkpoint_prefix)
        r->checkpoint_prefix =
            r->contract ? fs_join(r->place.step, "checkpoints") : fs_join(r->options.output, "checkpoints");
    if (r->contract && !r->checkpoints_claimed)
        claim_checkpoints(r);
    return r->checkpoint_prefix;
}

const char *stage_previous_checkpoint_prefix(const struct stage_run *run)
{
    (void)stage_checkpoint_prefix(run);
    return run->previous_checkpoints;
}
