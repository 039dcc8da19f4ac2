/* Status → class, reason, message. */
#include "operator/kube/answer.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"

enum { KEY_MAX = 128 };

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *v = o ? cJSON_GetObjectItemCaseSensitive(o, key) : NULL;
    return cJSON_IsString(v) ? v->valuestring : "";
}

static bool has_cause(const cJSON *status, const char *reason)
{
    const cJSON *details = cJSON_GetObjectItemCaseSensitive(status, "details"), *cause;
    cJSON_ArrayForEach(cause, cJSON_GetObjectItemCaseSensitive(details, "causes"))
    {
        if (text_equal(text_of(cause, "reason"), reason))
            return true;
    }
    return false;
}

static enum err_class class_of(int http_status, const cJSON *status, const char *reason)
{
    if (text_equal(reason, "AlreadyExists"))
        return ERR_EXISTS;
    if (http_status == 401 || http_status == 403)
        return ERR_TERMINAL;
    /* A server that was restored from a backup does not know the versions that it gave out before. */
    if (status && has_cause(status, "ResourceVersionTooLarge"))
        return ERR_GONE;
    return err_class_of_http(http_status);
}

int kube_answer_error(int http_status, const cJSON *status, const char *what, struct err *err)
{
    const char *reason = text_of(status, "reason"), *message = text_of(status, "message");
    enum err_class class_ = class_of(http_status, status, reason);
    int exit_code = class_ == ERR_RETRY ? EXITCODE_UNAVAILABLE : class_ == ERR_TERMINAL ? EXITCODE_CONFIG : 0;
    const char *advice = http_status == 401   ? " (the API server does not accept our credentials)"
                         : http_status == 403 ? " (the account lacks this right)"
                                              : "";
    char shown[ERR_REASON_MAX];
    (void)snprintf(shown, sizeof shown, "%.63s", *reason ? reason : "http");
    return err_fail(err, class_, exit_code, shown, "%s: HTTP %d%s%.1500s%s", what, http_status,
                    *message ? ": " : "", message, advice);
}

int64_t kube_answer_retry_after_ms(const cJSON *status)
{
    const cJSON *details = status ? cJSON_GetObjectItemCaseSensitive(status, "details") : NULL;
    const cJSON *seconds = details ? cJSON_GetObjectItemCaseSensitive(details, "retryAfterSeconds") : NULL;
    return cJSON_IsNumber(seconds) && seconds->valuedouble >= 0 && seconds->valuedouble < 3600
               ? (int64_t)(seconds->valuedouble * 1000)
               : -1;
}

/* Behind the string whose opening quote is text[at]; len if it does not end. */
static size_t skip_string(const char *text, size_t at, size_t len)
{
    for (at++; at < len; at++) {
        const char *quote = memchr(text + at, '"', len - at), *p = quote;
        if (!quote)
            break;
        while (p > text + at && p[-1] == '\\')
            p--;
        at = (size_t)(quote - text);
        if ((quote - p) % 2 == 0) /* not itself escaped */
            return at + 1;
    }
    return len;
}

/* Behind the string, list or object that begins at text[at]; len if it does not end. */
static size_t skip_value(const char *text, size_t at, size_t len)
{
    for (size_t depth = 0; at < len;) {
        char c = text[at];
        depth += c == '[' || c == '{';
        depth -= c == ']' || c == '}';
        at = c == '"' ? skip_string(text, at, len) : at + 1;
        if (!depth)
            return at;
    }
    return len;
}

/* Every member of this name whose value is a string, a list or an object. */
static size_t cut_member(char *text, size_t len, const char *name)
{
    char key[KEY_MAX];
    int n = snprintf(key, sizeof key, "\"%s\":", name); /* within a string its quotes would be escaped */
    char *found;
    size_t from = 0, size = n > 0 && n < KEY_MAX ? (size_t)n : 0;
    while (size && (found = memmem(text + from, len - from, key, size))) {
        size_t begin = (size_t)(found - text), value = begin + size;
        if (value >= len || !strchr("\"[{", text[value])) {
            from = value;
            continue;
        }
        size_t end = skip_value(text, value, len);
        if (end < len && text[end] == ',')
            end++;
        else if (begin > 0 && text[begin - 1] == ',')
            begin--;
        memmove(text + begin, text + end, len - end);
        len -= end - begin;
        from = begin;
    }
    return len;
}

size_t kube_cut_members(char *text, size_t len, const char *const *names)
{
    len = cut_member(text, len, "managedFields");
    for (; names && *names; names++)
        len = cut_member(text, len, *names);
    text[len] = '\0';
    return len;
}
