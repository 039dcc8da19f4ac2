/* See pipeline_action.h. */
#include "operator/controller/pipeline_action.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "operator/controller/labels.h"
#include "operator/controller/seen.h"
#include "operator/kube/resource.h"

void pipeline_action_release(struct pipeline_action *a)
{
    free(a->name);
    free(a->uid);
    free(a->version);
    cJSON_Delete(a->body);
    *a = (struct pipeline_action){0};
}

const char *pipeline_action_name(enum pipeline_action_kind kind)
{
    static const char *const names[] = {"creating run", "stopping run", "passing spec.control on to run",
                                        "deleting run", "pruning ControllerRevisions"};
    return names[kind];
}

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static cJSON *metadata_of(cJSON *object)
{
    return cJSON_GetObjectItemCaseSensitive(object, "metadata");
}

cJSON *pipeline_action_run(const char *ns, const char *pipeline, const char *uid,
                           const struct starting_run_record *starting)
{
    cJSON *o = kube_object(&RUNS, ns, starting->name), *labels = json_object(), *annotations = json_object(),
          *spec = json_object();
    _cleanup_free_ char *label = label_value(pipeline);
    json_add_string(labels, LABEL_MANAGED_BY, MANAGED_BY);
    json_add_string(labels, LABEL_PIPELINE, label);
    json_add_string(labels, LABEL_TRIGGER, starting_trigger_name(starting->trigger));
    json_add_string(annotations, ANNOTATION_SPEC_HASH, starting->hash);
    json_add(metadata_of(o), "labels", labels);
    json_add(metadata_of(o), "annotations", annotations);
    kube_set_owner(o, &PIPELINES, pipeline, uid);
    json_add_string(spec, "pipeline", pipeline);
    json_add_string(spec, "revision", starting->revision);
    if (starting->trigger == TRIGGER_SCHEDULE) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(starting->scheduled_ms, time);
        json_add_string(spec, "scheduledTime", time);
    }
    json_add(o, "spec", spec);
    return o;
}

static cJSON *patch_with(const char *key, const char *value)
{
    cJSON *patch = json_object(), *metadata = json_object();
    json_add_string(metadata, key, value);
    json_add(patch, "metadata", metadata);
    return patch;
}

cJSON *pipeline_action_stop(const char *uid)
{
    cJSON *patch = patch_with("uid", uid), *spec = json_object();
    json_add_string(spec, "stop", "Graceful");
    json_add(patch, "spec", spec);
    return patch;
}

cJSON *pipeline_action_adopt(const char *pipeline, const char *uid, const char *version)
{
    cJSON *patch = patch_with("resourceVersion", version);
    kube_set_owner(patch, &PIPELINES, pipeline, uid);
    return patch;
}

cJSON *pipeline_action_delete(const char *uid, const char *version)
{
    cJSON *options = json_object(), *preconditions = json_object();
    json_add_string(options, "apiVersion", "v1");
    json_add_string(options, "kind", "DeleteOptions");
    json_add_string(options, "propagationPolicy", "Background");
    json_add_string(preconditions, "uid", uid);
    if (version)
        json_add_string(preconditions, "resourceVersion", version);
    json_add(options, "preconditions", preconditions);
    return options;
}

char *pipeline_action_revisions_query(const char *pipeline)
{
    _cleanup_free_ char *label = label_value(pipeline);
    return xasprintf("labelSelector=app.kubernetes.io%%2Fmanaged-by%%3D" MANAGED_BY
                     "%%2Ctrainyard.dev%%2Fpipeline%%3D%s&resourceVersion=0",
                     label);
}

/* --- control ------------------------------------------------------------------------------------------------------ */

const char *pipeline_action_control_run(const cJSON *control)
{
    const cJSON *run = get(control, "run");
    return cJSON_IsString(run) ? run->valuestring : "";
}

char *pipeline_action_control_key(const cJSON *control)
{
    enum { SHOWN = 16 };
    char hash[DIGEST_HEX];
    struct err ignored = ERR_INIT;
    const char *run = pipeline_action_control_run(control);
    if (!*run || json_digest(control, hash, &ignored) < 0)
        return NULL;
    return xasprintf("%s/%.*s", run, SHOWN, hash);
}

/* The run's approvals and those of control that it lacks; NULL if it lacks none. */
static cJSON *more_approvals(const cJSON *wanted, const cJSON *has)
{
    cJSON *all = has ? cJSON_Duplicate(has, true) : json_array();
    bool more = false;
    const cJSON *w;
    cJSON_ArrayForEach(w, wanted)
    {
        const cJSON *h;
        bool found = false;
        cJSON_ArrayForEach(h, all) found = found || cJSON_Compare(w, h, true);
        if (!found) {
            json_append(all, cJSON_Duplicate(w, true));
            more = true;
        }
    }
    if (more)
        return all;
    cJSON_Delete(all);
    return NULL;
}

cJSON *pipeline_action_control_patch(const cJSON *control, const cJSON *run)
{
    const cJSON *has = get(run, "spec"), *suspend = get(control, "suspend"), *stop = get(control, "stop"),
                *restart = get(control, "restart"), *version = get(get(run, "metadata"), "resourceVersion");
    cJSON *spec = json_object();
    if (suspend && cJSON_IsTrue(suspend) != cJSON_IsTrue(get(has, "suspend")))
        json_add_bool(spec, "suspend", cJSON_IsTrue(suspend));
    if (stop && !cJSON_Compare(stop, get(has, "stop"), true))
        json_add(spec, "stop", cJSON_Duplicate(stop, true));
    if (restart && !cJSON_Compare(restart, get(has, "restart"), true))
        json_add(spec, "restart", cJSON_Duplicate(restart, true));
    cJSON *approvals = more_approvals(get(control, "approvals"), get(has, "approvals"));
    if (approvals)
        json_add(spec, "approvals", approvals);
    if (!spec->child) {
        cJSON_Delete(spec);
        return NULL;
    }
    cJSON *patch = patch_with("resourceVersion", cJSON_IsString(version) ? version->valuestring : "");
    json_add(patch, "spec", spec);
    return patch;
}
