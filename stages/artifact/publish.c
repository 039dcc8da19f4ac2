/* artifact publish: <root>/out/<name> become artifacts, <root>/out/values.json the values, and both the step's result. */
#include <errno.h>
#include <math.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/artifact/helper.h"

/* Input name → digest, or list of digests: what the manifest says of where it came from. */
static int input_digests(const struct helper *h, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *digests = json_object();
    const cJSON *input, *item;
    cJSON_ArrayForEach(input, h->inputs)
    {
        struct json_path path = {.key = input->string};
        const char *digest;
        if (!cJSON_IsArray(input)) {
            if (json_get_string(input, &path, "digest", &digest, err) < 0)
                return -1;
            json_add_string(digests, input->string, digest);
            continue;
        }
        cJSON *list = json_array();
        json_add(digests, input->string, list);
        cJSON_ArrayForEach(item, input)
        {
            if (json_get_string(item, &path, "digest", &digest, err) < 0)
                return -1;
            json_append(list, cJSON_CreateString(digest));
        }
    }
    *ret = steal_ptr(digests);
    return 0;
}

static int publish_output(struct helper *h, const char *name, const cJSON *inputs, cJSON *outputs,
                          struct err *err)
{
    _cleanup_free_ char *out = helper_path(h, "out"), *dir = fs_join(out, name);
    struct stat st;
    if (!fs_safe_relative(name) || strchr(name, '/'))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "outputs: \"%.80s\" is not the name of an output", name);
    if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "output-missing",
                        "the step declares the output \"%s\" but left no directory %s", name, dir);
    /* No config in it: a command line may name the run, and equal files shall have equal digests. */
    _cleanup_artifact_ struct artifact *a = NULL;
    if (artifact_describe(dir, "container", NULL, inputs, NULL, &a, err) < 0)
        return -1;
    _cleanup_free_ char *prefix = commit_output_prefix(h->place.step, h->place.folder, name);
    failpoint("publish.before");
    if (artifact_publish(h->store, prefix, dir, a, err) < 0)
        return -1;
    failpoint("publish.after");
    json_add_string(outputs, name, a->digest);
    log_info("published", "output", name, "files", LOG_INT(a->n_files), "digest", a->digest, NULL);
    return 0;
}

static bool has_type(const cJSON *value, const char *type)
{
    if (text_equal(type, "string"))
        return cJSON_IsString(value);
    if (text_equal(type, "boolean"))
        return cJSON_IsBool(value);
    if (text_equal(type, "integer"))
        return cJSON_IsNumber(value) && value->valuedouble == floor(value->valuedouble);
    return cJSON_IsNumber(value);
}

static int read_values(const struct helper *h, cJSON *values, struct err *err)
{
    _cleanup_free_ char *path = helper_path(h, "out/values.json");
    _cleanup_json_ cJSON *found = NULL;
    const cJSON *declared;
    if (json_get_array_or(h->config, NULL, "values", &declared, err) < 0)
        return -1;
    if (!fs_exists(path))
        found = json_object();
    else if (json_parse_file(path, LIMIT_RESULT_OBJECT_BYTES, &found, err) < 0) {
        err->exit_code = EXITCODE_DATA;
        return -1;
    }
    if (!cJSON_IsObject(found))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "values", "%s: expected a JSON object", path);
    const cJSON *d;
    size_t i = 0;
    cJSON_ArrayForEach(d, declared)
    {
        struct json_path list = {.key = "values"}, here = {.parent = &list, .index = i++};
        const char *name, *type;
        if (json_get_string(d, &here, "name", &name, err) < 0 ||
            json_get_string_or(d, &here, "type", "string", &type, err) < 0)
            return -1;
        cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(found, name);
        if (!value)
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "values",
                            "the step declares the value \"%s\" but %s has none", name, path);
        json_add(values, name, value);
        if (!has_type(value, type))
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "values",
                            "%s: the value \"%s\" is not of the declared type %s", path, name, type);
    }
    if (found->child)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "values",
                        "%s: the value \"%s\" is not declared: add it to container.values", path,
                        found->child->string);
    return 0;
}

static int make_result(struct helper *h, struct result *mine, struct err *err)
{
    const cJSON *outputs, *name;
    _cleanup_json_ cJSON *inputs = NULL;
    if (read_values(h, mine->values, err) < 0 ||
        json_get_array_or(h->config, NULL, "outputs", &outputs, err) < 0 ||
        input_digests(h, &inputs, err) < 0)
        return -1;
    cJSON_ArrayForEach(name, outputs)
    {
        if (!cJSON_IsString(name))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "outputs: expected names");
        if (publish_output(h, name->valuestring, inputs, mine->outputs, err) < 0)
            return err_wrap(err, "output %s", name->valuestring);
    }
    return 0;
}

/* For the checkpoint's helper: the user's program has ended long since. */
static void leave_mark(const struct helper *h)
{
    _cleanup_free_ char *mark = helper_path(h, HELPER_PUBLISHED);
    struct err ignored = ERR_INIT;
    (void)fs_write_atomic(mark, "", 0, &ignored);
}

static int publish(struct helper *h, struct err *err)
{
    _cleanup_result_ struct result mine, final = {0};
    bool found = false, adopted = false;
    result_init(&mine);
    if (h->rank != 0) /* rank 0 speaks for the gang */
        return helper_write_result(h, &mine, err);
    if (commit_find(h->store, h->place.step, &found, &final, err) < 0)
        return -1;
    if (!found) {
        if (store_probe(h->store, err) < 0 || make_result(h, &mine, err) < 0 ||
            commit_result(h->store, &h->place, &mine, &final, &adopted, err) < 0)
            return -1;
    }
    if (found || adopted)
        log_info("another attempt has committed: its result holds", "folder", final.folder, NULL);
    final.folder[0] = '\0'; /* not for the message */
    return helper_write_result(h, &final, err);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct helper h = {0};
    struct err err = ERR_INIT;
    int r = helper_start(cmd, argc, argv, &h, &err);
    if (r == 0) {
        r = publish(&h, &err);
        leave_mark(&h);
    }
    return helper_finish(&h, r, &err);
}

static const struct cli_option options[] = {
    HELPER_OPTIONS,
    CLI_END,
};

const struct cli_command command_publish = {
    .name = "artifact publish",
    .synopsis = "",
    .summary = "Publish a step's outputs and values, after its container has succeeded.",
    .description =
        "Each declared output is the directory ROOT/out/NAME; declared values are in ROOT/out/values.json. The result is committed once for the step: "
        "an attempt that comes second adopts what the first has committed. A declared output or value that is missing: exit 65.",
    .options = options,
    .run = run,
};
