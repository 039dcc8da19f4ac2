/* The pod of an attempt: what every container gets, and the single container of a stage. */
#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/jobs-internal.h"

enum { MASTER_PORT = 29500, NOT_READY_SECONDS = 30, TOKEN_SECONDS = 3600 };

/* --- environment --------------------------------------------------------------------------------------------------- */

void jobs_add_env(cJSON *env, const char *name, const char *value)
{
    if (!value)
        return;
    cJSON *item = json_object();
    json_add_string(item, "name", name);
    json_add_string(item, "value", value);
    json_append(env, item);
}

void jobs_add_env_int(cJSON *env, const char *name, int64_t value)
{
    _cleanup_free_ char *text = xasprintf("%" PRId64, value);
    jobs_add_env(env, name, text);
}

static void add_env_field(cJSON *env, const char *name, const char *path)
{
    cJSON *item = json_object(), *from = json_object(), *field = json_object();
    json_add_string(field, "fieldPath", path);
    json_add(from, "fieldRef", field);
    json_add_string(item, "name", name);
    json_add(item, "valueFrom", from);
    json_append(env, item);
}

/* A person's text, with what the kubelet would expand kept as it is. NULL stays NULL; caller frees. */
static char *escaped(const char *text)
{
    if (!text)
        return NULL;
    _cleanup_buf_ struct buf b = BUF_INIT(2 * strlen(text) + 1);
    for (const char *p = text; *p; p++)
        (void)buf_add(&b, p[0] == '$' && p[1] == '(' ? "$$" : p, p[0] == '$' && p[1] == '(' ? 2 : 1);
    return xstrdup(buf_str(&b));
}

static void add_world(const struct pod *pod)
{
    static const char index[] = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
    const struct job *job = pod->job;
    int64_t per_pod = job->gpu > 1 ? job->gpu : 1;
    bool gang = job->workers > 1;
    if (!gang && per_pod == 1)
        return;
    /* Short names: the pod's own search path completes them. */
    _cleanup_free_ char *master = gang ? xasprintf("%s-0.%s", job->name, job->name) : xstrdup("127.0.0.1");
    if (gang)
        add_env_field(pod->env, "RANK", index);
    else
        jobs_add_env(pod->env, "RANK", "0");
    jobs_add_env(pod->env, "LOCAL_RANK", "0");
    jobs_add_env_int(pod->env, "WORLD_SIZE", (gang ? job->workers : 1) * per_pod);
    jobs_add_env(pod->env, "MASTER_ADDR", master);
    jobs_add_env_int(pod->env, "MASTER_PORT", MASTER_PORT);
    jobs_add_env_int(pod->env, "PET_NNODES", gang ? job->workers : 1);
    if (gang)
        add_env_field(pod->env, "PET_NODE_RANK", index);
    else
        jobs_add_env(pod->env, "PET_NODE_RANK", "0");
    jobs_add_env_int(pod->env, "PET_NPROC_PER_NODE", per_pod);
    jobs_add_env(pod->env, "PET_MASTER_ADDR", master);
    jobs_add_env_int(pod->env, "PET_MASTER_PORT", MASTER_PORT);
    jobs_add_env(pod->env, ENV_RENDEZVOUS_KEY, pod->x->rendezvous_key);
    add_env_field(pod->env, ENV_ADVERTISE_ADDR, "status.podIP");
}

static void add_environment(const struct pod *pod)
{
    const struct jobs_context *x = pod->x;
    const struct job *job = pod->job;
    char scheduled[CLOCK_RFC3339_MAX];
    _cleanup_free_ char *location =
        xasprintf("%s%s%s", x->options->cluster_name, *x->options->cluster_name ? "/" : "", x->ns);
    clock_format_rfc3339(x->run->scheduled_ms, scheduled);
    jobs_add_env(pod->env, ENV_RUN, x->run->name);
    jobs_add_env(pod->env, ENV_RUN_UID, x->run->uid);
    jobs_add_env(pod->env, ENV_STEP, pod->step->name);
    if (job->fanout)
        jobs_add_env_int(pod->env, ENV_INDEX, job->item);
    jobs_add_env_int(pod->env, ENV_RESTART, job->restart);
    jobs_add_env_int(pod->env, ENV_ATTEMPT, job->attempt);
    jobs_add_env(pod->env, ENV_STORE, DIR_CONFIG "/store.json");
    if (x->pipeline->registry)
        jobs_add_env(pod->env, ENV_REGISTRY, DIR_CONFIG "/registry.json");
    jobs_add_env(pod->env, ENV_CONFIG, DIR_CONFIG "/config.json");
    jobs_add_env(pod->env, ENV_INPUTS, DIR_CONFIG "/inputs.json");
    jobs_add_env(pod->env, ENV_SECRETS, DIR_SECRETS);
    jobs_add_env(pod->env, ENV_SCHEDULED_TIME, scheduled);
    jobs_add_env(pod->env, ENV_DEVICE, job->device);
    if (job->threads > 0)
        jobs_add_env_int(pod->env, ENV_THREADS, job->threads);
    if (job->memory_bytes > 0)
        jobs_add_env_int(pod->env, ENV_MEMORY, job->memory_bytes);
    jobs_add_env(pod->env, ENV_SCRATCH, DIR_SCRATCH);
    if (job->scratch_bytes > 0)
        jobs_add_env_int(pod->env, ENV_SCRATCH_BYTES, job->scratch_bytes);
    jobs_add_env(pod->env, ENV_PROGRESS_URL, x->progress_url);
    jobs_add_env(pod->env, ENV_PROGRESS_TOKEN, x->progress_url ? x->progress_token : NULL);
    _cleanup_free_ char *revision = escaped(x->pipeline->revision_annotation);
    jobs_add_env(pod->env, ENV_REVISION, revision);
    jobs_add_env(pod->env, ENV_RUN_LOCATION, location);
    jobs_add_env(pod->env, "HOME", "/tmp");
    add_world(pod);
}

/* --- volumes ---------------------------------------------------------------------------------------------------------- */

void jobs_add_mount(cJSON *mounts, const char *volume, const char *path, bool read_only)
{
    cJSON *mount = json_object();
    json_add_string(mount, "name", volume);
    json_add_string(mount, "mountPath", path);
    if (read_only)
        json_add_bool(mount, "readOnly", true);
    json_append(mounts, mount);
}

/* Takes source. */
static void add_volume(const struct pod *pod, const char *name, const char *kind, cJSON *source)
{
    cJSON *volume = json_object();
    json_add_string(volume, "name", name);
    json_add(volume, kind, source);
    json_append(pod->volumes, volume);
}

static void add_empty_dir(const struct pod *pod, const char *name, const char *path, int64_t bytes,
                          bool memory)
{
    cJSON *source = json_object();
    if (memory)
        json_add_string(source, "medium", "Memory");
    if (bytes > 0) {
        _cleanup_free_ char *text = xasprintf("%" PRId64, bytes);
        json_add_string(source, "sizeLimit", text);
    }
    add_volume(pod, name, "emptyDir", source);
    jobs_add_mount(pod->data_mounts, name, path, false);
}

static void add_config_volume(const struct pod *pod)
{
    static const char *const files[][2] = {{ANNOTATION_CONFIG, "config.json"},
                                           {ANNOTATION_INPUTS, "inputs.json"},
                                           {ANNOTATION_STORE, "store.json"},
                                           {ANNOTATION_REGISTRY, "registry.json"}};
    cJSON *source = json_object(), *items = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        if (i == 3 && !pod->x->pipeline->registry)
            continue;
        cJSON *item = json_object(), *field = json_object();
        _cleanup_free_ char *path = xasprintf("metadata.annotations['%s']", files[i][0]);
        json_add_string(field, "fieldPath", path);
        json_add_string(item, "path", files[i][1]);
        json_add(item, "fieldRef", field);
        json_append(items, item);
    }
    json_add(source, "items", items);
    add_volume(pod, "trainyard-config", "downwardAPI", source);
    jobs_add_mount(pod->data_mounts, "trainyard-config", DIR_CONFIG, true);
}

/* Names become part of paths. The schema refuses these; this is for a schema that somebody loosened. */
static int check_name(const char *what, const char *name, struct err *err)
{
    if (*name && *name != '.' && !strchr(name, '/') && !strstr(name, ".."))
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "name",
                    "%s: expected the name of an object, without \"/\" and \"..\", found \"%s\"", what, name);
}

/* Volume names are numbered, for a Secret's name may be longer than a volume's. Optional: a missing Secret is then the program's own clear
 * message, and not a pod that waits for ever. */
static int add_named(const struct pod *pod, const char *kind, const char *key, const char *name,
                     const char *below, struct err *err)
{
    if (check_name(kind, name, err) < 0)
        return -1;
    _cleanup_free_ char *path = xasprintf("%s/%s", below, name);
    const cJSON *mount;
    cJSON_ArrayForEach(mount, pod->secret_mounts)
    {
        if (text_equal(cJSON_GetObjectItemCaseSensitive(mount, "mountPath")->valuestring, path))
            return 0;
    }
    _cleanup_free_ char *volume = xasprintf("trainyard-%s-%d", kind[0] == 's' ? "secret" : "ca",
                                            cJSON_GetArraySize(pod->secret_mounts));
    cJSON *source = json_object();
    json_add_string(source, key, name);
    json_add_bool(source, "optional", true);
    json_add_int(source, "defaultMode", 0440);
    add_volume(pod, volume, kind, source);
    jobs_add_mount(pod->secret_mounts, volume, path, true);
    return 0;
}

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *v = o ? cJSON_GetObjectItemCaseSensitive(o, key) : NULL;
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static int add_store_volumes(const struct pod *pod, const cJSON *store, struct err *err)
{
    const cJSON *bundle = store ? cJSON_GetObjectItemCaseSensitive(store, "caBundle") : NULL;
    const char *secret = text_of(store, "credentialsSecret"), *map = text_of(bundle, "configMap"),
               *key = text_of(bundle, "key");
    if (secret && add_named(pod, "secret", "secretName", secret, DIR_SECRETS, err) < 0)
        return -1;
    if (key && check_name("caBundle.key", key, err) < 0)
        return -1;
    return map ? add_named(pod, "configMap", "name", map, DIR_CA, err) : 0;
}

/* Only where no Secret holds the credentials: a token that the store's token service, and nobody else, accepts. */
static void add_web_identity(const struct pod *pod)
{
    cJSON *source = json_object(), *sources = json_array(), *one = json_object(), *token = json_object();
    json_add_string(token, "audience", "sts.amazonaws.com");
    json_add_int(token, "expirationSeconds", TOKEN_SECONDS);
    json_add_string(token, "path", "token");
    json_add(one, "serviceAccountToken", token);
    json_append(sources, one);
    json_add(source, "sources", sources);
    json_add_int(source, "defaultMode", 0440);
    add_volume(pod, "trainyard-token", "projected", source);
    jobs_add_mount(pod->secret_mounts, "trainyard-token", DIR_TOKEN, true);
}

static int add_volumes(const struct pod *pod, struct err *err)
{
    const struct pipeline *p = pod->x->pipeline;
    const char *signing = text_of(pod->job->config, "signingSecret");
    add_config_volume(pod);
    add_empty_dir(pod, "trainyard-tmp", "/tmp", 0, false);
    add_empty_dir(pod, "trainyard-scratch", DIR_SCRATCH, pod->job->scratch_bytes, false);
    if (pod->job->workers > 1 || pod->job->gpu > 1)
        add_empty_dir(pod, "trainyard-shm", "/dev/shm", 0, true);
    if (add_store_volumes(pod, p->store, err) < 0 || add_store_volumes(pod, p->registry, err) < 0 ||
        (signing && add_named(pod, "secret", "secretName", signing, DIR_SECRETS, err) < 0))
        return -1;
    if (!text_of(p->store, "credentialsSecret"))
        add_web_identity(pod);
    return 0;
}

/* --- annotations -------------------------------------------------------------------------------------------------------- */

/* The manifest's description with caBundle as the path of the mounted file. */
static char *store_text(const cJSON *store)
{
    _cleanup_json_ cJSON *copy = cJSON_Duplicate(store, true);
    const cJSON *bundle = cJSON_GetObjectItemCaseSensitive(copy, "caBundle");
    if (text_of(bundle, "configMap")) {
        const char *key = text_of(bundle, "key");
        _cleanup_free_ char *path =
            xasprintf(DIR_CA "/%s/%s", text_of(bundle, "configMap"), key ? key : "ca.pem");
        cJSON_DeleteItemFromObjectCaseSensitive(copy, "caBundle");
        json_add_string(copy, "caBundle", path);
    }
    return cJSON_PrintUnformatted(copy);
}

static void annotate(cJSON *annotations, const char *key, char *text)
{
    json_add_string(annotations, key, text ? text : "{}");
    free(text);
}

static cJSON *annotations_of(const struct jobs_context *x, const struct job *job)
{
    cJSON *annotations = json_object();
    annotate(annotations, ANNOTATION_CONFIG, cJSON_PrintUnformatted(job->config));
    annotate(annotations, ANNOTATION_INPUTS, job->inputs ? cJSON_PrintUnformatted(job->inputs) : NULL);
    annotate(annotations, ANNOTATION_STORE, store_text(x->pipeline->store));
    if (x->pipeline->registry)
        annotate(annotations, ANNOTATION_REGISTRY, store_text(x->pipeline->registry));
    return annotations;
}

/* --- containers ----------------------------------------------------------------------------------------------------------- */

int jobs_image(const struct jobs_context *x, enum step_kind kind, const char **ret, struct err *err)
{
    const char *name = kind == STEP_APPROVAL ? "artifact" : step_kind_program(kind);
    const cJSON *images = cJSON_GetObjectItemCaseSensitive(x->pipeline->spec, "images");
    *ret = text_of(images, name);
    if (!*ret)
        *ret = x->options->images[kind];
    if (*ret && **ret)
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "image",
                    "no image for %s: name one in spec.images, or start the operator with --image %s=IMAGE",
                    name, name);
}

cJSON *jobs_security(bool read_only_root)
{
    cJSON *security = json_object(), *capabilities = json_object(), *drop = json_array();
    json_append(drop, cJSON_CreateString("ALL"));
    json_add(capabilities, "drop", drop);
    json_add_bool(security, "allowPrivilegeEscalation", false);
    json_add(security, "capabilities", capabilities);
    if (read_only_root)
        json_add_bool(security, "readOnlyRootFilesystem", true);
    return security;
}

cJSON *jobs_own_container(const struct pod *pod, const char *name, const char *image, bool secrets)
{
    cJSON *container = json_object(), *mounts = cJSON_Duplicate(pod->data_mounts, true);
    const cJSON *mount;
    json_add_string(container, "name", name);
    json_add_string(container, "image", image);
    json_add_string(container, "terminationMessagePolicy", "FallbackToLogsOnError");
    cJSON *env = cJSON_Duplicate(pod->env, true);
    if (secrets && !text_of(pod->x->pipeline->store, "credentialsSecret"))
        jobs_add_env(env, "AWS_WEB_IDENTITY_TOKEN_FILE", DIR_TOKEN "/token");
    json_add(container, "env", env);
    if (secrets) {
        cJSON_ArrayForEach(mount, pod->secret_mounts) json_append(mounts, cJSON_Duplicate(mount, true));
    }
    json_add(container, "volumeMounts", mounts);
    json_add(container, "securityContext", jobs_security(true));
    return container;
}

static void add_quantity(cJSON *object, const char *key, const char *format, int64_t value)
{
    char text[32];
    if (value <= 0)
        return;
    (void)snprintf(text, sizeof text, "%" PRId64 "%s", value, format);
    json_add_string(object, key, text);
}

/* Memory and GPUs are limits as well; CPU is not, for a throttled worker holds up its whole gang. */
static cJSON *resources_of(const struct job *job)
{
    cJSON *resources = json_object(), *requests = json_object(), *limits = json_object();
    add_quantity(requests, "cpu", "m", job->cpu_milli);
    add_quantity(requests, "memory", "", job->memory_bytes);
    add_quantity(limits, "memory", "", job->memory_bytes);
    add_quantity(requests, "nvidia.com/gpu", "", job->gpu);
    add_quantity(limits, "nvidia.com/gpu", "", job->gpu);
    json_add(resources, "requests", requests);
    json_add(resources, "limits", limits);
    return resources;
}

static int add_stage(struct pod *pod, cJSON **ret_target, struct err *err)
{
    const char *image;
    if (pod->step->kind == STEP_TRAIN_DDP && pod->job->gpu > 1)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "resources",
            "step %s asks for %" PRId64
            " GPUs a worker: trainDdp runs one process a pod, so ask for more workers with gpu: 1",
            pod->step->name, pod->job->gpu);
    if (jobs_image(pod->x, pod->step->kind, &image, err) < 0)
        return -1;
    cJSON *containers = json_array(), *container = jobs_own_container(pod, "step", image, true);
    json_append(containers, container);
    json_add(pod->spec, "containers", containers);
    *ret_target = container;
    return 0;
}

/* --- the pod ------------------------------------------------------------------------------------------------------------------ */

static void add_toleration(cJSON *list, const char *key)
{
    cJSON *t = json_object();
    json_add_string(t, "key", key);
    json_add_string(t, "operator", "Exists");
    json_add_string(t, "effect", "NoExecute");
    json_add_int(t, "tolerationSeconds", NOT_READY_SECONDS);
    json_append(list, t);
}

static void add_pod_security(const struct pod *pod)
{
    cJSON *security = json_object(), *seccomp = json_object();
    /* The helpers of a container step run as its own user: each must read and write what the others left. */
    const cJSON *user = pod->step->kind == STEP_CONTAINER
                            ? cJSON_GetObjectItemCaseSensitive(pod->job->config, "runAsUser")
                            : NULL;
    json_add_bool(security, "runAsNonRoot", true);
    json_add_string(seccomp, "type", "RuntimeDefault");
    json_add(security, "seccompProfile", seccomp);
    if (cJSON_IsNumber(user) || pod->x->options->set_user) {
        json_add_int(security, "runAsUser", cJSON_IsNumber(user) ? (int64_t)user->valuedouble : NOBODY);
        json_add_int(security, "runAsGroup", NOBODY);
        json_add_int(security, "fsGroup", NOBODY);
    }
    json_add(pod->spec, "securityContext", security);
}

static void add_pod_fields(const struct pod *pod)
{
    const cJSON *account = cJSON_GetObjectItemCaseSensitive(pod->x->pipeline->spec, "serviceAccountName");
    cJSON *tolerations = json_array();
    json_add_string(pod->spec, "restartPolicy", "Never");
    json_add_bool(pod->spec, "automountServiceAccountToken", false);
    json_add_bool(pod->spec, "enableServiceLinks", false);
    json_add_int(pod->spec, "terminationGracePeriodSeconds", pod->x->options->grace_seconds);
    if (pod->job->timeout_ms > 0)
        json_add_int(pod->spec, "activeDeadlineSeconds", (pod->job->timeout_ms + 999) / 1000);
    if (cJSON_IsString(account))
        json_add_string(pod->spec, "serviceAccountName", account->valuestring);
    if (pod->step->priority_class)
        json_add_string(pod->spec, "priorityClassName", pod->step->priority_class);
    if (pod->job->workers > 1)
        json_add_string(pod->spec, "subdomain", pod->job->name);
    add_toleration(tolerations, "node.kubernetes.io/not-ready");
    add_toleration(tolerations, "node.kubernetes.io/unreachable");
    json_add(pod->spec, "tolerations", tolerations);
    add_pod_security(pod);
}

static int add_containers(struct pod *pod, cJSON *metadata, struct err *err)
{
    cJSON *target = NULL;
    if (pod->step->kind == STEP_CONTAINER) {
        if (jobs_container(pod, err) < 0)
            return -1;
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(pod->spec, "initContainers");
        cJSON *c;
        cJSON_ArrayForEach(c, list)
        {
            if (text_equal(text_of(c, "name"), "step"))
                target = c;
        }
        json_add_string(cJSON_GetObjectItemCaseSensitive(metadata, "annotations"),
                        "kubectl.kubernetes.io/default-container", "step");
    } else if (add_stage(pod, &target, err) < 0) {
        return -1;
    }
    json_add(target, "resources", resources_of(pod->job));
    return jobs_template(pod, metadata, target, err);
}

int jobs_pod(const struct jobs_context *x, const struct job *job, const cJSON *labels, cJSON **ret,
             struct err *err)
{
    _cleanup_json_ cJSON *env = json_array(), *data_mounts = json_array(), *secret_mounts = json_array();
    cJSON *template = json_object(), *metadata = json_object(), *spec = json_object(),
          *volumes = json_array();
    struct pod pod = {.x = x,
                      .job = job,
                      .step = &x->pipeline->steps[job->step],
                      .spec = spec,
                      .volumes = volumes,
                      .env = env,
                      .data_mounts = data_mounts,
                      .secret_mounts = secret_mounts};
    json_add(metadata, "labels", cJSON_Duplicate(labels, true));
    json_add(metadata, "annotations", annotations_of(x, job));
    json_add(template, "metadata", metadata);
    json_add(template, "spec", spec);
    json_add(spec, "volumes", volumes);
    add_environment(&pod);
    add_pod_fields(&pod);
    if (add_volumes(&pod, err) < 0 || add_containers(&pod, metadata, err) < 0) {
        cJSON_Delete(template);
        return err_wrap(err, "step %s", pod.step->name);
    }
    *ret = template;
    return 0;
}
