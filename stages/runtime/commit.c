/* The commit of a step. */
#include "stages/runtime/commit.h"

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/limits.h"

#define RESULT_FILE "result.json"

char *commit_step_prefix(const char *run_uid, const char *step, const char *index, int64_t restart)
{
    if (index && *index)
        return xasprintf(LAYOUT_RUNS "/%s/%s/%s/g%" PRId64, run_uid, step, index, restart);
    return xasprintf(LAYOUT_RUNS "/%s/%s/g%" PRId64, run_uid, step, restart);
}

char *commit_output_prefix(const char *step_prefix, const char *folder, const char *output)
{
    return xasprintf("%s/%s/%s", step_prefix, folder, output);
}

static int check_part(const char *what, const char *text, struct err *err)
{
    if (!text || !fs_safe_relative(text) || strchr(text, '/'))
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s: expected a name without slashes, found \"%.100s\"", what, text ? text : "");
    return 0;
}

int commit_place_init(struct commit_place *p, const char *run_uid, const char *step, const char *index,
                      int64_t restart, int64_t attempt, struct err *err)
{
    if (check_part(ENV_RUN_UID, run_uid, err) < 0 || check_part(ENV_STEP, step, err) < 0 ||
        (index && *index && check_part(ENV_INDEX, index, err) < 0))
        return -1;
    if (restart < 0 || attempt < 0)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "environment",
                        "%s and %s: expected numbers from 0, found %" PRId64 " and %" PRId64, ENV_RESTART,
                        ENV_ATTEMPT, restart, attempt);
    char random[9];
    random_name(random, sizeof random - 1);
    p->step = commit_step_prefix(run_uid, step, index, restart);
    p->folder = xasprintf("a%" PRId64 "-%s", attempt, random);
    p->attempt = xasprintf("%s/%s", p->step, p->folder);
    return 0;
}

void commit_place_release(struct commit_place *p)
{
    free(p->step);
    free(p->folder);
    free(p->attempt);
    *p = (struct commit_place){0};
}

int commit_find(struct store *s, const char *step_prefix, bool *ret_found, struct result *ret,
                struct err *err)
{
    _cleanup_free_ char *key = xasprintf("%s/" RESULT_FILE, step_prefix);
    _cleanup_free_ char *text = NULL;
    size_t len;
    struct err why = ERR_INIT;
    if (store_get(s, key, LIMIT_RESULT_OBJECT_BYTES, &text, &len, NULL, &why) < 0) {
        if (why.class_ == ERR_NOTFOUND) {
            *ret_found = false;
            return 0;
        }
        *err = why;
        return -1;
    }
    _cleanup_result_ struct result found = {0};
    if (result_parse(text, len, &found, &why) < 0) {
        /* Written whole or not at all by us: something else has altered it, and a retry cannot mend that. */
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "result-altered", "%s/%s is not a result: %s",
                        store_url(s), key, why.msg);
    }
    if (found.failed || !fs_safe_relative(found.folder) || strchr(found.folder, '/'))
        return err_fail(err, ERR_TERMINAL, EXITCODE_SOFTWARE, "result-altered",
                        "%s/%s names no attempt's folder", store_url(s), key);
    *ret_found = true;
    *ret = found;
    found.outputs = found.values = NULL;
    return 0;
}

static void copy_result(const struct result *from, struct result *to)
{
    *to = *from;
    to->outputs = cJSON_Duplicate(from->outputs, true);
    to->values = cJSON_Duplicate(from->values, true);
}

int commit_result(struct store *s, const struct commit_place *place, const struct result *mine,
                  struct result *ret, bool *ret_adopted, struct err *err)
{
    _cleanup_buf_ struct buf message = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES),
                             object = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
    _cleanup_result_ struct result whole;
    copy_result(mine, &whole);
    whole.folder[0] = '\0';
    if (result_format(&whole, &message, err) < 0)
        return -1;
    (void)snprintf(whole.folder, sizeof whole.folder, "%s", place->folder);
    if (result_format(&whole, &object, err) < 0)
        return -1;

    _cleanup_free_ char *key = xasprintf("%s/" RESULT_FILE, place->step);
    struct err lost = ERR_INIT;
    failpoint("result.put.before");
    int r = store_put(s, key, object.data, object.len, STORE_IF_NONE, NULL, NULL, &lost);
    failpoint("result.put.after");
    if (r < 0 && lost.class_ != ERR_EXISTS && lost.class_ != ERR_CONFLICT && lost.class_ != ERR_RETRY) {
        *err = lost;
        return err_wrap(err, "committing the result");
    }
    if (r == 0) {
        *ret_adopted = false;
        *ret = whole;
        whole.outputs = whole.values = NULL;
        return 0;
    }
    /* Another attempt was first, or the reply to our own write was lost: what is there counts. */
    bool found;
    if (commit_find(s, place->step, &found, ret, err) < 0)
        return -1;
    if (!found) {
        *err = lost;
        return err_wrap(err, "committing the result");
    }
    *ret_adopted = strcmp(ret->folder, place->folder) != 0;
    return 0;
}
