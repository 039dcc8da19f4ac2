/* Kinds, paths and metadata of API objects. */
#include "operator/kube/resource.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/text.h"

const struct kube_resource KUBE_PODS = {"", "v1", "pods", "Pod"};
const struct kube_resource KUBE_SERVICES = {"", "v1", "services", "Service"};
const struct kube_resource KUBE_SECRETS = {"", "v1", "secrets", "Secret"};
const struct kube_resource KUBE_CONFIGMAPS = {"", "v1", "configmaps", "ConfigMap"};
const struct kube_resource KUBE_EVENTS = {"events.k8s.io", "v1", "events", "Event"};
const struct kube_resource KUBE_JOBS = {"batch", "v1", "jobs", "Job"};
const struct kube_resource KUBE_LEASES = {"coordination.k8s.io", "v1", "leases", "Lease"};
const struct kube_resource KUBE_CONTROLLER_REVISIONS = {"apps", "v1", "controllerrevisions",
                                                        "ControllerRevision"};
const struct kube_resource KUBE_CRDS = {"apiextensions.k8s.io", "v1", "customresourcedefinitions",
                                        "CustomResourceDefinition"};

void kube_api_version(const struct kube_resource *r, struct buf *out)
{
    (void)buf_addf(out, "%s%s%s", r->group, *r->group ? "/" : "", r->version);
}

void kube_path(const struct kube_resource *r, const char *ns, const char *name, const char *sub,
               struct buf *out)
{
    (void)buf_adds(out, *r->group ? "/apis/" : "/api/");
    kube_api_version(r, out);
    if (ns)
        (void)buf_addf(out, "/namespaces/%s", ns);
    (void)buf_addf(out, "/%s", r->plural);
    if (name)
        (void)buf_addf(out, "/%s", name);
    if (sub)
        (void)buf_addf(out, "/%s", sub);
}

/* --- metadata -------------------------------------------------------------------------------------------- */

static const cJSON *field(const cJSON *object, const char *key)
{
    return object ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = field(object, key);
    return cJSON_IsString(v) ? v->valuestring : "";
}

static const cJSON *controller_of(const cJSON *metadata)
{
    const cJSON *reference;
    cJSON_ArrayForEach(reference, field(metadata, "ownerReferences"))
    {
        if (cJSON_IsTrue(field(reference, "controller")))
            return reference;
    }
    return NULL;
}

void kube_meta_init(struct kube_meta *m, const cJSON *object)
{
    const cJSON *metadata = field(object, "metadata");
    const cJSON *owner = controller_of(metadata), *generation = field(metadata, "generation");
    *m = (struct kube_meta){.ns = xstrdup(text_of(metadata, "namespace")),
                            .name = xstrdup(text_of(metadata, "name")),
                            .uid = xstrdup(text_of(metadata, "uid")),
                            .resource_version = xstrdup(text_of(metadata, "resourceVersion")),
                            .generation = cJSON_IsNumber(generation) ? (int64_t)generation->valuedouble : 0,
                            .created_ms = kube_time_ms(field(metadata, "creationTimestamp")),
                            .deleting = cJSON_IsString(field(metadata, "deletionTimestamp"))};
    if (owner) {
        m->owner_uid = xstrdup(text_of(owner, "uid"));
        m->owner_kind = xstrdup(text_of(owner, "kind"));
        m->owner_name = xstrdup(text_of(owner, "name"));
    }
}

void kube_meta_release(struct kube_meta *m)
{
    free(m->ns);
    free(m->name);
    free(m->uid);
    free(m->resource_version);
    free(m->owner_uid);
    free(m->owner_kind);
    free(m->owner_name);
    *m = (struct kube_meta){0};
}

bool kube_version_at_least(const char *have, const char *wanted)
{
    while (*have == '0')
        have++;
    while (*wanted == '0')
        wanted++;
    size_t a = strlen(have), b = strlen(wanted);
    return a != b ? a > b : strcmp(have, wanted) >= 0;
}

const char *kube_label(const cJSON *object, const char *key)
{
    const cJSON *v = field(field(field(object, "metadata"), "labels"), key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

const char *kube_annotation(const cJSON *object, const char *key)
{
    const cJSON *v = field(field(field(object, "metadata"), "annotations"), key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

int64_t kube_time_ms(const cJSON *string)
{
    struct err err = ERR_INIT;
    int64_t ms;
    if (!cJSON_IsString(string) || clock_parse_rfc3339(string->valuestring, &ms, &err) < 0)
        return -1;
    return ms;
}

/* --- building --------------------------------------------------------------------------------------------- */

cJSON *kube_object(const struct kube_resource *r, const char *ns, const char *name)
{
    _cleanup_buf_ struct buf version = BUF_INIT(256);
    kube_api_version(r, &version);
    cJSON *object = json_object(), *metadata = json_object();
    json_add_string(object, "apiVersion", buf_str(&version));
    json_add_string(object, "kind", r->kind);
    json_add(object, "metadata", metadata);
    if (name)
        json_add_string(metadata, "name", name);
    if (ns)
        json_add_string(metadata, "namespace", ns);
    return object;
}

void kube_set_owner(cJSON *object, const struct kube_resource *owner, const char *name, const char *uid)
{
    _cleanup_buf_ struct buf version = BUF_INIT(256);
    kube_api_version(owner, &version);
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    cJSON *list = cJSON_GetObjectItemCaseSensitive(metadata, "ownerReferences");
    if (!list) {
        list = json_array();
        json_add(metadata, "ownerReferences", list);
    }
    cJSON *reference = json_object();
    json_add_string(reference, "apiVersion", buf_str(&version));
    json_add_string(reference, "kind", owner->kind);
    json_add_string(reference, "name", name);
    json_add_string(reference, "uid", uid);
    json_add_bool(reference, "controller", true);
    json_add_bool(reference, "blockOwnerDeletion", true);
    json_append(list, reference);
}
