/* podTemplate, an allow-list in the schema. What is not on it cannot come here by the API server; the checks below are for a schema that
 * somebody loosened. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/jobs-internal.h"

static int refuse(const char *field, const char *found, struct err *err)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "podTemplate", "podTemplate.%s: \"%s\" is not allowed",
                    field, found);
}

static bool is_ours(const char *key)
{
    static const char *const prefixes[] = {"trainyard.dev/", "batch.kubernetes.io/", "kueue.x-k8s.io/",
                                           "app.kubernetes.io/managed-by", NULL};
    for (const char *const *p = prefixes; *p; p++) {
        if (text_starts_with(key, *p))
            return true;
    }
    return false;
}

static int merge_texts(const cJSON *from, const char *field, cJSON *into, struct err *err)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, from)
    {
        if (is_ours(v->string) || cJSON_HasObjectItem(into, v->string))
            return refuse(field, v->string, err);
        json_add(into, v->string, cJSON_Duplicate(v, true));
    }
    return 0;
}

static void append_all(const cJSON *from, cJSON *into)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, from) json_append(into, cJSON_Duplicate(v, true));
}

static int merge_volumes(const cJSON *from, cJSON *into, struct err *err)
{
    static const char *const kinds[] = {"configMap", "secret", "emptyDir", "persistentVolumeClaim",
                                        "ephemeral"};
    const cJSON *volume, *source;
    cJSON_ArrayForEach(volume, from)
    {
        cJSON_ArrayForEach(source, volume)
        {
            bool known = text_equal(source->string, "name");
            for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                known = known || text_equal(source->string, kinds[i]);
            if (!known)
                return refuse("volumes", source->string, err);
        }
        json_append(into, cJSON_Duplicate(volume, true));
    }
    return 0;
}

/* Our volumes hold the store's credentials. */
static int check_volume(const cJSON *mount, const char *field, struct err *err)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(mount, "name");
    if (cJSON_IsString(name) && text_starts_with(name->valuestring, "trainyard-"))
        return refuse(field, name->valuestring, err);
    return 0;
}

static int merge_mounts(const cJSON *from, cJSON *into, struct err *err)
{
    const cJSON *mount;
    cJSON_ArrayForEach(mount, from)
    {
        if (check_volume(mount, "volumeMounts.name", err) < 0)
            return -1;
        const cJSON *path = cJSON_GetObjectItemCaseSensitive(mount, "mountPath");
        const char *text = cJSON_IsString(path) ? path->valuestring : "";
        /* A path above ours would hide them; one with ".." may be any of them. */
        if (*text != '/' || text_equal(text, "/") || strstr(text, "..") || strstr(text, "//") ||
            text_starts_with(text, "/trainyard") || text_starts_with(text, "/dev/shm") ||
            text_equal(text, "/tmp") || text_equal(text, "/tmp/") || text_equal(text, "/dev") ||
            text_starts_with(text, "/proc") || text_starts_with(text, DIR_SCRATCH))
            return refuse("volumeMounts.mountPath", text, err);
        json_append(into, cJSON_Duplicate(mount, true));
    }
    return 0;
}

/* Sidecars run before the step and beside it, under the same restrictions. */
static int add_sidecars(const cJSON *from, cJSON *spec, struct err *err)
{
    static const char *const copied[] = {"name", "image", "command", "args", "env", "volumeMounts", NULL};
    if (!cJSON_GetArraySize(from))
        return 0;
    cJSON *inits = cJSON_GetObjectItemCaseSensitive(spec, "initContainers");
    if (!inits) {
        inits = json_array();
        json_add(spec, "initContainers", inits);
    }
    const cJSON *one;
    int at = 0;
    cJSON_ArrayForEach(one, from)
    {
        cJSON *c = json_object();
        const cJSON *resources = cJSON_GetObjectItemCaseSensitive(one, "resources"), *mount;
        cJSON_ArrayForEach(mount, cJSON_GetObjectItemCaseSensitive(one, "volumeMounts"))
        {
            if (check_volume(mount, "sidecars.volumeMounts.name", err) < 0) {
                cJSON_Delete(c);
                return -1;
            }
        }
        for (const char *const *k = copied; *k; k++) {
            const cJSON *v = cJSON_GetObjectItemCaseSensitive(one, *k);
            if (v)
                json_add(c, *k, cJSON_Duplicate(v, true));
        }
        if (resources) {
            cJSON *both = json_object();
            json_add(both, "requests", cJSON_Duplicate(resources, true));
            json_add(both, "limits", cJSON_Duplicate(resources, true));
            json_add(c, "resources", both);
        }
        json_add_string(c, "restartPolicy", "Always");
        json_add(c, "securityContext", jobs_security(false));
        if (!cJSON_InsertItemInArray(inits, at++, c))
            return err_set(err, ERR_TERMINAL, "no memory for a sidecar");
    }
    return 0;
}

int jobs_template(struct pod *pod, cJSON *metadata, cJSON *target, struct err *err)
{
    static const char *const whole[] = {"nodeSelector",     "affinity",         "topologySpreadConstraints",
                                        "runtimeClassName", "imagePullSecrets", NULL};
    const cJSON *t = pod->step->pod_template;
    if (!t)
        return 0;
    for (const char *const *k = whole; *k; k++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(t, *k);
        if (v)
            json_add(pod->spec, *k, cJSON_Duplicate(v, true));
    }
    append_all(cJSON_GetObjectItemCaseSensitive(t, "tolerations"),
               cJSON_GetObjectItemCaseSensitive(pod->spec, "tolerations"));
    cJSON *env = cJSON_GetObjectItemCaseSensitive(target, "env");
    const cJSON *variable;
    cJSON_ArrayForEach(variable, cJSON_GetObjectItemCaseSensitive(t, "env"))
    {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(variable, "name");
        if (cJSON_IsString(name) && text_starts_with(name->valuestring, "TRAINYARD_"))
            return refuse("env", name->valuestring, err);
        json_append(env, cJSON_Duplicate(variable, true));
    }
    if (merge_texts(cJSON_GetObjectItemCaseSensitive(t, "labels"), "labels",
                    cJSON_GetObjectItemCaseSensitive(metadata, "labels"), err) < 0 ||
        merge_texts(cJSON_GetObjectItemCaseSensitive(t, "annotations"), "annotations",
                    cJSON_GetObjectItemCaseSensitive(metadata, "annotations"), err) < 0 ||
        merge_volumes(cJSON_GetObjectItemCaseSensitive(t, "volumes"), pod->volumes, err) < 0 ||
        merge_mounts(cJSON_GetObjectItemCaseSensitive(t, "volumeMounts"),
                     cJSON_GetObjectItemCaseSensitive(target, "volumeMounts"), err) < 0)
        return -1;
    return add_sidecars(cJSON_GetObjectItemCaseSensitive(t, "sidecars"), pod->spec, err);
}
