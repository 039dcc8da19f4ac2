/* The termination message and result.json. */
#include "common/base/result.h"

#include <string.h>

#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"

void result_init(struct result *r)
{
    *r = (struct result){.outputs = json_object(), .values = json_object()};
}

void result_release(struct result *r)
{
    cJSON_Delete(r->outputs);
    cJSON_Delete(r->values);
    r->outputs = r->values = NULL;
}

/* The planner's classes, by exit code (docs/reference/step-contract.md). */
static const char *class_of_exit(int code)
{
    switch (code) {
    case EXITCODE_USAGE:
    case EXITCODE_DATA:
    case EXITCODE_NOINPUT:
    case EXITCODE_CONFIG:
        return "user";
    case EXITCODE_UNAVAILABLE:
    case EXITCODE_IO:
    case EXITCODE_TEMPFAIL:
        return "infrastructure";
    default:
        return "application";
    }
}

/* Copies what fits, never half of a UTF-8 sequence. */
static void copy_text(char *ret, size_t size, const char *text)
{
    size_t n = strlen(text);
    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(ret, text, n);
    ret[n] = '\0';
}

void result_set_error(struct result *r, const struct err *cause)
{
    r->failed = true;
    (void)snprintf(r->error_class, sizeof r->error_class, "%s", class_of_exit(err_exit_code(cause)));
    (void)snprintf(r->error_reason, sizeof r->error_reason, "%s", cause->reason);
    copy_text(r->error_message, sizeof r->error_message, cause->msg);
}

/* Cuts at n bytes without splitting a UTF-8 sequence, marking the cut. */
static void shorten(char *text, size_t n)
{
    static const char mark[] = "…";
    if (strlen(text) <= n)
        return;
    n = n > sizeof mark ? n - (sizeof mark - 1) : 0;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    if (n == 0)
        text[0] = '\0';
    else
        memcpy(text + n, mark, sizeof mark);
}

static cJSON *to_json(const struct result *r, const char *message)
{
    cJSON *o = json_object();
    if (r->failed) {
        cJSON *e = json_object();
        json_add_string(e, "class", r->error_class);
        json_add_string(e, "reason", r->error_reason);
        json_add_string(e, "message", message);
        json_add(o, "error", e);
        return o;
    }
    json_add(o, "outputs", cJSON_Duplicate(r->outputs, true));
    json_add(o, "values", cJSON_Duplicate(r->values, true));
    if (r->cached)
        json_add_bool(o, "cached", true);
    if (r->folder[0])
        json_add_string(o, "folder", r->folder);
    return o;
}

int result_format(const struct result *r, struct buf *out, struct err *err)
{
    size_t max = r->folder[0] && !r->failed ? LIMIT_RESULT_OBJECT_BYTES : LIMIT_RESULT_BYTES;
    char message[sizeof r->error_message];
    (void)snprintf(message, sizeof message, "%s", r->error_message);
    for (;;) {
        _cleanup_json_ cJSON *o = to_json(r, message);
        _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_OBJECT_BYTES);
        struct err too_large = ERR_INIT;
        int canonical = json_canonical(o, &text, &too_large);
        if (canonical == 0 && text.len <= max) {
            (void)buf_add(out, text.data, text.len);
            return buf_check(out, "result", err);
        }
        size_t len = strlen(message);
        /* Escapes can blow a message up sixfold, so it is halved until it fits. */
        if (r->failed && len > 8) {
            shorten(message, len / 2);
            continue;
        }
        if (canonical < 0 && !buf_failed(&text)) {
            *err = too_large;
            return err_wrap(err, "result");
        }
        return err_fail(
            err, ERR_INVALID, EXITCODE_DATA, REASON_RESULT_TOO_LARGE,
            "the step's outputs and values have %zu bytes as JSON; at most %zu fit: report fewer or shorter values",
            text.len, max);
    }
}

static int truncated(struct err *err, const char *what)
{
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, REASON_RESULT_TRUNCATED,
                    "%s: expected the result's JSON, at most %d bytes, whole", what, (int)LIMIT_RESULT_BYTES);
}

static bool value_name_valid(const char *name)
{
    if (name[0] < 'a' || name[0] > 'z' || strlen(name) > LIMIT_NAME)
        return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool output_name_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= LIMIT_NAME &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] == '\0';
}

static int parse_success(const cJSON *o, struct result *r, struct err *err)
{
    const cJSON *outputs = cJSON_GetObjectItemCaseSensitive(o, "outputs");
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(o, "values");
    if (!cJSON_IsObject(outputs) || (values && !cJSON_IsObject(values)))
        return truncated(err, "the result has neither outputs nor an error");
    if (cJSON_GetArraySize(outputs) > LIMIT_STEP_OUTPUTS || cJSON_GetArraySize(values) > LIMIT_STEP_VALUES)
        return truncated(err, "the result has too many outputs or values");
    const cJSON *item;
    cJSON_ArrayForEach(item, outputs)
    {
        if (!output_name_valid(item->string) || !cJSON_IsString(item) || !digest_valid(item->valuestring))
            return truncated(err, "an output of the result is not a digest of 64 hex digits");
        json_add_string(r->outputs, item->string, item->valuestring);
    }
    cJSON_ArrayForEach(item, values)
    {
        if (!value_name_valid(item->string) ||
            !(cJSON_IsString(item) || cJSON_IsNumber(item) || cJSON_IsBool(item)))
            return truncated(
                err,
                "a value of the result is not a string, number or boolean with a name like [a-z][a-z0-9_]*");
        json_add(r->values, item->string, cJSON_Duplicate(item, true));
    }
    r->cached = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "cached"));
    const cJSON *folder = cJSON_GetObjectItemCaseSensitive(o, "folder");
    if (folder && (!cJSON_IsString(folder) || strlen(folder->valuestring) >= sizeof r->folder))
        return truncated(err, "the result's folder is not a short string");
    if (folder)
        (void)snprintf(r->folder, sizeof r->folder, "%s", folder->valuestring);
    return 0;
}

static void copy_field(const cJSON *o, const char *key, char *ret, size_t size)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    copy_text(ret, size, cJSON_IsString(v) ? v->valuestring : "");
}

int result_parse(const char *text, size_t len, struct result *ret, struct err *err)
{
    _cleanup_json_ cJSON *o = NULL;
    struct err why = ERR_INIT;
    if (json_parse(text, len, LIMIT_RESULT_OBJECT_BYTES, &o, &why) < 0 || !cJSON_IsObject(o))
        return truncated(err, err_is_set(&why) ? why.msg : "the result is not a JSON object");
    _cleanup_result_ struct result r;
    result_init(&r);
    const cJSON *e = cJSON_GetObjectItemCaseSensitive(o, "error");
    if (e && !cJSON_IsNull(e)) {
        if (!cJSON_IsObject(e))
            return truncated(err, "the result's error is not an object");
        r.failed = true;
        copy_field(e, "class", r.error_class, sizeof r.error_class);
        copy_field(e, "reason", r.error_reason, sizeof r.error_reason);
        copy_field(e, "message", r.error_message, sizeof r.error_message);
    } else if (parse_success(o, &r, err) < 0) {
        return -1;
    }
    *ret = r;
    r.outputs = r.values = NULL;
    return 0;
}
