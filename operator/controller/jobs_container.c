/* A container step's pod: fetch, the user's program, publish; with checkpoints a sidecar that uploads them. */
#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/jobs-internal.h"

static cJSON *helper(const struct pod *pod, const char *name, const char *image, const char *command)
{
    cJSON *c = jobs_own_container(pod, name, image, true), *args = json_array(), *resources = json_object(),
          *requests = json_object(), *limits = json_object();
    json_append(args, cJSON_CreateString(command));
    json_add(c, "args", args);
    json_add_string(requests, "cpu", "20m");
    json_add_string(requests, "memory", "32Mi");
    json_add_string(limits, "memory", "512Mi");
    json_add(resources, "requests", requests);
    json_add(resources, "limits", limits);
    json_add(c, "resources", resources);
    return c;
}

/* What the user wrote, and of ours all but what only helpers need. */
static cJSON *user_container(const struct pod *pod, const char *image)
{
    static const char *const copied[] = {"command", "args", "workingDir", NULL};
    const cJSON *config = pod->job->config, *variable;
    cJSON *c = jobs_own_container(pod, "step", image, false),
          *env = cJSON_GetObjectItemCaseSensitive(c, "env");
    for (const char *const *k = copied; *k; k++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, *k);
        if (v)
            json_add(c, *k, cJSON_Duplicate(v, true));
    }
    cJSON_ArrayForEach(variable, cJSON_GetObjectItemCaseSensitive(config, "env"))
        json_append(env, cJSON_Duplicate(variable, true));
    cJSON_DeleteItemFromObjectCaseSensitive(c, "securityContext");
    json_add(c, "securityContext", jobs_security(false)); /* it may write to its own root file system */
    return c;
}

int jobs_container(struct pod *pod, struct err *err)
{
    const char *image, *ours;
    if (json_get_string(pod->job->config, NULL, "image", &image, err) < 0 ||
        jobs_image(pod->x, STEP_APPROVAL, &ours, err) < 0)
        return -1;
    bool checkpoint = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(pod->job->config, "checkpoint"));
    /* One file system for all: what fetch brings is renamed into place, and publish tells the sidecar that it is done. */
    cJSON *volume = json_object();
    json_add_string(volume, "name", "trainyard");
    json_add(volume, "emptyDir", json_object());
    json_append(pod->volumes, volume);
    jobs_add_mount(pod->data_mounts, "trainyard", "/trainyard", false);
    cJSON *inits = json_array(), *containers = json_array();
    json_append(inits, helper(pod, "fetch", ours, "fetch"));
    if (checkpoint) {
        cJSON *sidecar = helper(pod, "checkpoint", ours, "checkpoint");
        json_add_string(sidecar, "restartPolicy", "Always");
        json_append(inits, sidecar);
    }
    json_append(inits, user_container(pod, image));
    json_append(containers, helper(pod, "publish", ours, "publish"));
    json_add(pod->spec, "initContainers", inits);
    json_add(pod->spec, "containers", containers);
    return 0;
}
