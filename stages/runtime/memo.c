/* The memo cache of stages that look at the outside world (contract section 4).
 *
 * memo/<sha256(algorithm version, config, resolved)> = {"outputs": {name: digest}, "values", "step": step prefix,
 * "folder"}. A hit is republished under our own attempt: small files are copied, shared ones are there already. */
#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/runtime/run-internal.h"

static int memo_key(struct stage_run *run, const cJSON *resolved, struct err *err)
{
    _cleanup_json_ cJSON *o = json_object();
    json_add_string(o, "stage", run->stage->name);
    json_add_string(o, "algorithm", run->stage->algorithm_version);
    json_add(o, "config", cJSON_Duplicate(run->config, true));
    json_add(o, "inputs", inputs_digests(&run->inputs));
    json_add(o, "resolved", cJSON_Duplicate(resolved, true));
    char digest[DIGEST_HEX];
    if (json_digest(o, digest, err) < 0)
        return -1;
    (void)snprintf(run->memo_key, sizeof run->memo_key, LAYOUT_MEMO "/%s", digest);
    return 0;
}

/* Everything of a shared artifact but the shared files, which must be there: into `dir`, one place for the copies. */
static int copy_files(struct stage_run *run, const char *from, const struct artifact *a, const char *to,
                      struct err *err)
{
    for (size_t i = 0; i < a->n_files; i++) {
        const struct artifact_file *f = &a->files[i];
        _cleanup_free_ char *source = artifact_file_key(from, f);
        if (f->shared) {
            struct store_object o;
            if (store_head(run->store, source, &o, err) < 0)
                return -1;
            if (o.size != f->size)
                return err_set(err, ERR_NOTFOUND, "%s has another size", source);
            continue;
        }
        _cleanup_free_ char *target = artifact_file_key(to, f);
        _cleanup_free_ char *path = xasprintf("%s/memo-copy", run->scratch);
        struct err ignored = ERR_INIT;
        (void)fs_remove_tree(path, &ignored);
        if (store_get_file(run->store, source, path, f->sha256, f->size, NULL, err) < 0 ||
            store_put_file_moving(run->store, target, path, f->sha256, err) < 0)
            return -1;
    }
    return 0;
}

static int republish_output(struct stage_run *run, const char *step_prefix, const char *folder,
                            const char *name, const char *digest, struct err *err)
{
    _cleanup_free_ char *from = commit_output_prefix(step_prefix, folder, name);
    _cleanup_free_ char *to = commit_output_prefix(run->place.step, run->place.folder, name);
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_load(run->store, from, digest, &a, err) < 0 || copy_files(run, from, a, to, err) < 0)
        return -1;
    _cleanup_free_ char *source = fs_join(from, "manifest.json");
    _cleanup_free_ char *target = fs_join(to, "manifest.json");
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (store_get(run->store, source, LIMIT_ARTIFACT_MANIFEST_BYTES, &text, &len, NULL, err) < 0)
        return -1;
    return store_put(run->store, target, text, len, STORE_ALWAYS, NULL, NULL, err);
}

static int republish(struct stage_run *run, const cJSON *memo, struct err *err)
{
    struct json_path path = {.key = run->memo_key};
    const cJSON *outputs, *values, *item;
    const char *step, *folder;
    if (json_get_object(memo, &path, "outputs", &outputs, err) < 0 ||
        json_get_object(memo, &path, "values", &values, err) < 0 ||
        json_get_string(memo, &path, "step", &step, err) < 0 ||
        json_get_string(memo, &path, "folder", &folder, err) < 0)
        return -1;
    if (!fs_safe_relative(step) || !fs_safe_relative(folder))
        return err_set(err, ERR_INVALID, "%s names no safe place", run->memo_key);
    cJSON_ArrayForEach(item, outputs)
    {
        if (!cJSON_IsString(item) || !digest_valid(item->valuestring) || !fs_safe_relative(item->string))
            return err_set(err, ERR_INVALID, "%s names no digest for an output", run->memo_key);
        if (republish_output(run, step, folder, item->string, item->valuestring, err) < 0)
            return -1;
    }
    run->memo_outputs = cJSON_Duplicate(outputs, true);
    cJSON_Delete(run->values);
    run->values = cJSON_Duplicate(values, true);
    return 0;
}

int stage_memo_lookup(struct stage_run *run, const cJSON *resolved, bool *ret_hit, struct err *err)
{
    *ret_hit = false;
    if (!run->contract)
        return 0;
    if (memo_key(run, resolved, err) < 0)
        return err_wrap(err, "memo key");
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ cJSON *memo = NULL;
    size_t len;
    struct err why = ERR_INIT;
    if (store_get(run->store, run->memo_key, LIMIT_RESULT_OBJECT_BYTES, &text, &len, NULL, &why) < 0) {
        if (why.class_ == ERR_NOTFOUND)
            return 0;
        *err = why;
        return -1;
    }
    if (json_parse(text, len, LIMIT_RESULT_OBJECT_BYTES, &memo, &why) < 0 || republish(run, memo, &why) < 0) {
        /* What it points to may have been collected since: do the work, and the memo is written anew. */
        log_info("the earlier result is not usable any more", "why", why.msg, NULL);
        return 0;
    }
    run->memo_hit = *ret_hit = true;
    log_info("nothing changed since an earlier run: its result holds", "memo", run->memo_key, NULL);
    return 0;
}

int run_write_memo(struct stage_run *run, const struct result *result, struct err *err)
{
    if (!run->memo_key[0])
        return 0;
    _cleanup_json_ cJSON *o = json_object();
    json_add(o, "outputs", cJSON_Duplicate(result->outputs, true));
    json_add(o, "values", cJSON_Duplicate(result->values, true));
    json_add_string(o, "step", run->place.step);
    json_add_string(o, "folder", run->place.folder);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    if (json_canonical(o, &text, err) < 0)
        return -1;
    failpoint("memo.put.before");
    int r = store_put(run->store, run->memo_key, text.data, text.len, STORE_ALWAYS, NULL, NULL, err);
    failpoint("memo.put.after");
    return r;
}
