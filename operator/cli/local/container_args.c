/* The command line and the environment of one container: pure, so that it is tested without an engine. */
#include <inttypes.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/cli/local/container.h"

/* What a program in a container may know of the contract; paths are mapped below. */
static const char *const passed[] = {ENV_RUN,
                                     ENV_RUN_UID,
                                     ENV_STEP,
                                     ENV_INDEX,
                                     ENV_RESTART,
                                     ENV_ATTEMPT,
                                     ENV_DEVICE,
                                     ENV_SCHEDULED_TIME,
                                     ENV_THREADS,
                                     ENV_MEMORY,
                                     ENV_PROGRESS_URL,
                                     ENV_PROGRESS_TOKEN,
                                     ENV_RENDEZVOUS_KEY,
                                     ENV_ADVERTISE_ADDR,
                                     ENV_REVISION,
                                     "RANK",
                                     "LOCAL_RANK",
                                     "WORLD_SIZE",
                                     "MASTER_ADDR",
                                     "MASTER_PORT",
                                     "PET_NNODES",
                                     "PET_NODE_RANK",
                                     "PET_NPROC_PER_NODE",
                                     "PET_MASTER_ADDR",
                                     "PET_MASTER_PORT",
                                     NULL};

void container_args_add(struct container_args *a, const char *fmt, ...)
{
    _cleanup_buf_ struct buf text = BUF_INIT(256 * 1024);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_vaddf(&text, fmt, ap);
    va_end(ap);
    a->items = grow_array(a->items, &a->capacity, a->n + 1, sizeof *a->items);
    a->items[a->n++] = xstrdup(buf_str(&text));
    a->items[a->n] = NULL;
}

void container_args_release(struct container_args *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->items[i]);
    free(a->items);
    *a = (struct container_args){0};
}

char *container_name(const struct container_step *s)
{
    return xasprintf("trainyard-%.8s-%s%s%s-a%s-r%s", s->run_uid, s->step, s->index ? "-" : "",
                     s->index ? s->index : "", s->attempt, s->rank);
}

static void add_texts(struct container_args *a, const cJSON *list, int from)
{
    for (int i = from; i < cJSON_GetArraySize(list); i++) {
        const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(list, i));
        container_args_add(a, "%s", text ? text : "");
    }
}

int container_arguments(const struct container_step *s, const char *engine, struct container_args *ret,
                        struct err *err)
{
    const char *image, *working_dir;
    const cJSON *command, *args;
    int64_t user;
    bool checkpoint;
    if (json_get_string(s->config, NULL, "image", &image, err) < 0 ||
        json_get_array_or(s->config, NULL, "command", &command, err) < 0 ||
        json_get_array_or(s->config, NULL, "args", &args, err) < 0 ||
        json_get_string_or(s->config, NULL, "workingDir", NULL, &working_dir, err) < 0 ||
        json_get_int_or(s->config, NULL, "runAsUser", -1, &user, err) < 0 ||
        json_get_bool_or(s->config, NULL, "checkpoint", false, &checkpoint, err) < 0)
        return -1;
    _cleanup_free_ char *name = container_name(s);
    container_args_add(ret, "%s", engine);
    container_args_add(ret, "run");
    container_args_add(ret, "--rm");
    container_args_add(ret, "--name=%s", name);
    container_args_add(ret, "--label=" CONTAINER_LABEL "=%s", s->run_uid);
    container_args_add(ret, "--network=host"); /* workers meet on addresses in 127.0.0.0/8 */
    container_args_add(ret, "--env-file=%s", s->env_file);
    container_args_add(ret, "--volume=%s/in:/trainyard/in:ro", s->root);
    container_args_add(ret, "--volume=%s/out:/trainyard/out", s->root);
    if (checkpoint)
        container_args_add(ret, "--volume=%s/checkpoint:/trainyard/checkpoint", s->root);
    container_args_add(ret, "--volume=%s:/trainyard/config.json:ro", s->config_path);
    if (s->memory && *s->memory)
        container_args_add(ret, "--memory=%sb", s->memory);
    if (s->device && strcmp(s->device, "cuda") == 0)
        container_args_add(ret, "--gpus=all");
    if (user >= 0)
        container_args_add(ret, "--user=%" PRId64, user);
    else
        container_args_add(ret, "--user=%ld:%ld", (long)getuid(), (long)getgid());
    if (working_dir)
        container_args_add(ret, "--workdir=%s", working_dir);
    const char *entry = cJSON_GetStringValue(cJSON_GetArrayItem(command, 0));
    if (entry)
        container_args_add(ret, "--entrypoint=%s", entry);
    container_args_add(ret, "%s", image);
    add_texts(ret, command, 1);
    add_texts(ret, args, 0);
    return 0;
}

/* A Secret or ConfigMap of the manifest is a directory given by --secret. */
static int read_reference(const struct container_step *s, const cJSON *ref, const char *variable, char **ret,
                          struct err *err)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(ref, "name"));
    const char *key = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(ref, "key"));
    if (!name || !key || !fs_safe_relative(name) || !fs_safe_relative(key))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "env",
                        "env %s: expected name and key of a Secret or ConfigMap", variable);
    _cleanup_free_ char *path = xasprintf("%s/%s/%s", s->secrets_dir, name, key);
    struct err why = ERR_INIT;
    if (fs_read_file(path, 64 * 1024, ret, NULL, &why) == 0)
        return 0;
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(ref, "optional"))) {
        *ret = NULL;
        return 0;
    }
    return err_fail(
        err, ERR_NOTFOUND, EXITCODE_CONFIG, "env",
        "env %s: key %s of %s is not here: give it with --secret %s=DIR, a directory with a file %s",
        variable, key, name, name, key);
}

static int add_variable(struct buf *out, const char *name, const char *value, struct err *err)
{
    if (strpbrk(value, "\n\r"))
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "env",
            "env %s: container engines take no line breaks in a variable here; mount a file instead", name);
    (void)buf_addf(out, "%s=%s\n", name, value);
    return 0;
}

static int add_user_variable(const struct container_step *s, const cJSON *e, struct buf *out, struct err *err)
{
    const char *name, *value;
    const cJSON *from;
    if (json_get_string(e, NULL, "name", &name, err) < 0 ||
        json_get_string_or(e, NULL, "value", NULL, &value, err) < 0 ||
        json_get_object_or(e, NULL, "valueFrom", &from, err) < 0)
        return -1;
    if (!from)
        return add_variable(out, name, value ? value : "", err);
    const cJSON *ref = cJSON_GetObjectItemCaseSensitive(from, "secretKeyRef");
    if (!ref)
        ref = cJSON_GetObjectItemCaseSensitive(from, "configMapKeyRef");
    if (!ref)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "env",
                        "env %s: fieldRef names a field of a pod, and a local run has none: write a value",
                        name);
    _cleanup_free_ char *text = NULL;
    if (read_reference(s, ref, name, &text, err) < 0)
        return -1;
    return text ? add_variable(out, name, text, err) : 0;
}

int container_environment(const struct container_step *s, const char *(*env)(const char *), struct buf *out,
                          struct err *err)
{
    const cJSON *list, *e;
    if (json_get_array_or(s->config, NULL, "env", &list, err) < 0)
        return -1;
    for (const char *const *p = passed; *p; p++) {
        const char *value = env(*p);
        if (value && add_variable(out, *p, value, err) < 0)
            return -1;
    }
    (void)buf_adds(out, ENV_CONFIG "=/trainyard/config.json\n");
    cJSON_ArrayForEach(e, list)
    {
        if (add_user_variable(s, e, out, err) < 0)
            return -1;
    }
    return buf_check(out, "the container's environment", err);
}
