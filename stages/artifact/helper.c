/* The helper's frame: see helper.h. */
#include "stages/artifact/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/text.h"

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int need(const char *name, char **ret, struct err *err)
{
    const char *value = env(name);
    if (!value)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s is not set: this program runs beside a step, started by a planner", name);
    *ret = xstrdup(value);
    return 0;
}

static int number(const char *name, int64_t fallback, int64_t *ret, struct err *err)
{
    const char *value = env(name);
    if (!value) {
        *ret = fallback;
        return 0;
    }
    if (text_parse_int(value, ret, err) < 0) {
        err_clear(err);
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s: expected a whole number, found \"%.60s\"", name, value);
    }
    return 0;
}

static int read_identity(struct helper *h, struct err *err)
{
    if (need(ENV_RUN_UID, &h->run_uid, err) < 0 || need(ENV_STEP, &h->step, err) < 0 ||
        number(ENV_RESTART, 0, &h->restart, err) < 0 || number(ENV_ATTEMPT, 0, &h->attempt, err) < 0 ||
        number("RANK", 0, &h->rank, err) < 0)
        return -1;
    h->index = env(ENV_INDEX) ? xstrdup(env(ENV_INDEX)) : NULL;
    return commit_place_init(&h->place, h->run_uid, h->step, h->index, h->restart, h->attempt, err);
}

static int read_document(const char *path, const char *what, cJSON **ret, struct err *err)
{
    if (!path) {
        *ret = json_object();
        return 0;
    }
    if (json_parse_file(path, LIMIT_CONFIG_BYTES, ret, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "%s", what);
    }
    if (!cJSON_IsObject(*ret))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment", "%s: %s: expected a JSON object",
                        what, path);
    return 0;
}

static int open_store(struct helper *h, struct err *err)
{
    const char *text = h->options.store;
    _cleanup_json_ cJSON *description = NULL;
    if (!text)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s (or --store) is not set: expected a store's URL, or a file that describes it",
                        ENV_STORE);
    if (strstr(text, "://")) {
        description = cJSON_CreateString(text);
    } else if (json_parse_file(text, LIMIT_CONFIG_BYTES, &description, err) < 0) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "%s", ENV_STORE);
    }
    struct store_config config = {0};
    if (store_config_from_json(description, h->options.secrets, env, &config, err) < 0)
        return -1;
    int r = store_open(&config, &h->store, err);
    store_config_release(&config);
    return r;
}

int helper_start(const struct cli_command *cmd, int argc, char **argv, struct helper *h, struct err *err)
{
    int parsed = cli_parse(cmd, argc, argv, &h->options, &argc, err);
    if (parsed != 0)
        return parsed;
    int level = log_level_parse(h->options.log_level);
    log_configure(level < 0 ? LOG_INFO : (enum log_level)level, LOG_AUTO);
    if (read_identity(h, err) < 0 || read_document(h->options.config, ENV_CONFIG, &h->config, err) < 0 ||
        read_document(h->options.inputs, ENV_INPUTS, &h->inputs, err) < 0 || open_store(h, err) < 0)
        return -1;
    return 0;
}

char *helper_path(const struct helper *h, const char *part)
{
    return fs_join(h->options.root, part);
}

int helper_work_digest(const struct helper *h, char ret[static 65], struct err *err)
{
    _cleanup_json_ cJSON *work = json_object();
    json_add(work, "config", cJSON_Duplicate(h->config, true));
    json_add(work, "inputs", cJSON_Duplicate(h->inputs, true));
    return json_digest(work, ret, err);
}

/* In place, for the kubelet has mounted the file itself. Without --result a missing /dev/termination-log is no error. */
int helper_write_result(const struct helper *h, const struct result *result, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    if (result_format(result, &text, err) < 0)
        return -1;
    const char *path = h->options.result ? h->options.result : "/dev/termination-log";
    _cleanup_close_ int fd =
        open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | (h->options.result ? O_CREAT : 0), 0644);
    if (fd < 0)
        return h->options.result ? err_errno(err, errno, "cannot write the result to %s", path) : 0;
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.data + done, text.len - done);
        if (n < 0 && errno != EINTR)
            return err_errno(err, errno, "cannot write the result to %s", path);
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void release(struct helper *h)
{
    store_free(h->store);
    commit_place_release(&h->place);
    free(h->run_uid);
    free(h->step);
    free(h->index);
    cJSON_Delete(h->config);
    cJSON_Delete(h->inputs);
}

int helper_finish(struct helper *h, int r, const struct err *err)
{
    int code = 0;
    if (r < 0) {
        code = err_exit_code(err);
        log_error("failed", "why", err->msg, "class", err_class_name(err->class_), "reason", err->reason,
                  "exit", LOG_INT(code), NULL);
        _cleanup_result_ struct result failure;
        struct err ignored = ERR_INIT;
        result_init(&failure);
        result_set_error(&failure, err);
        if (helper_write_result(h, &failure, &ignored) < 0)
            log_error("the message cannot be left", "why", ignored.msg, NULL);
    }
    release(h);
    return code;
}
