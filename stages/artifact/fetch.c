/* artifact fetch: the inputs to <root>/in/<name>, the newest checkpoint to <root>/checkpoint. */
#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "stages/artifact/helper.h"
#include "stages/runtime/inputs.h"

static int fetch(struct helper *h, struct err *err)
{
    _cleanup_free_ char *in = helper_path(h, "in"), *out = helper_path(h, "out");
    _cleanup_inputs_ struct inputs inputs = {0};
    if (fs_mkdir_p(out, err) < 0 || inputs_fetch(h->store, h->inputs, NULL, in, &inputs, err) < 0)
        return -1;
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(h->config, "outputs"), *name;
    cJSON_ArrayForEach(name, outputs) /* so that programs need not make them */
    {
        if (!cJSON_IsString(name) || !fs_safe_relative(name->valuestring))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "outputs: expected names");
        _cleanup_free_ char *dir = fs_join(out, name->valuestring);
        if (fs_mkdir_p(dir, err) < 0)
            return -1;
    }
    bool checkpoint;
    if (json_get_bool_or(h->config, NULL, "checkpoint", false, &checkpoint, err) < 0)
        return -1;
    if (checkpoint && checkpoint_restore(h, err) < 0)
        return -1;
    log_info("inputs are there", "inputs", LOG_INT(inputs.n), "directory", in, NULL);
    return 0;
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    struct helper h = {0};
    struct err err = ERR_INIT;
    int r = helper_start(cmd, argc, argv, &h, &err);
    return helper_finish(&h, r == 0 ? fetch(&h, &err) : r, &err);
}

static const struct cli_option options[] = {
    HELPER_OPTIONS,
    CLI_END,
};

const struct cli_command command_fetch = {
    .name = "artifact fetch",
    .synopsis = "",
    .summary = "Bring a step's inputs, verified, before its container starts.",
    .description =
        "Each input comes to ROOT/in/NAME (a fan-out's list to ROOT/in/NAME/0, 1, …), every file verified by its digest. With checkpoint: true "
        "the newest checkpoint comes to ROOT/checkpoint. An input that is gone or altered: exit 66, reason artifact-missing.",
    .options = options,
    .run = run,
};
