/* Reading a response: headers, errors, Retry-After. */
#include <curl/curl.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/http/http.h"

void http_response_init(struct http_response *r)
{
    *r = (struct http_response){.headers = BUF_INIT(LIMIT_HTTP_HEADER_BYTES),
                                .body = BUF_INIT(LIMIT_HTTP_BODY_BYTES)};
}

void http_response_release(struct http_response *r)
{
    buf_release(&r->headers);
    buf_release(&r->body);
    r->status = 0;
}

bool http_header(const struct http_response *r, const char *name, const char **ret, size_t *ret_len)
{
    size_t name_len = strlen(name);
    for (const char *line = buf_str(&r->headers); *line;) {
        size_t len = strcspn(line, "\n");
        if (len > name_len && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0) {
            const char *value = line + name_len + 1;
            size_t value_len = len - name_len - 1;
            for (; value_len > 0 && (*value == ' ' || *value == '\t'); value_len--)
                value++;
            while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
                value_len--;
            *ret = value;
            *ret_len = value_len;
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

char *http_header_dup(const struct http_response *r, const char *name)
{
    const char *value;
    size_t len;
    return http_header(r, name, &value, &len) ? xstrndup(value, len) : NULL;
}

int64_t http_date_ms(const struct http_response *r, const char *name)
{
    _cleanup_free_ char *value = http_header_dup(r, name);
    time_t date = value ? curl_getdate(value, NULL) : -1;
    return date < 0 ? -1 : (int64_t)date * 1000;
}

int http_check(const struct http_response *r, const char *what, struct err *err)
{
    if (r->status >= 200 && r->status < 300)
        return 0;
    enum { SHOWN = 200 };
    char shown[SHOWN + 1] = "";
    size_t n = 0;
    for (const char *p = buf_str(&r->body); *p && n < SHOWN; p++) /* one line of it */
        shown[n++] = (unsigned char)*p < ' ' ? ' ' : *p;
    enum err_class class_ = err_class_of_http(r->status);
    int exit_code = class_ == ERR_RETRY ? EXITCODE_UNAVAILABLE : 0;
    return err_fail(err, class_, exit_code, "http", "%s: HTTP %d%s%s", what, r->status, n ? ": " : "", shown);
}

int64_t http_retry_after_ms(const struct http_response *r, int64_t now_wall_ms)
{
    _cleanup_free_ char *value = http_header_dup(r, "Retry-After");
    if (!value)
        return -1;
    struct err ignored = ERR_INIT;
    int64_t seconds;
    if (text_parse_int(value, &seconds, &ignored) == 0)
        return seconds < 0 ? -1 : seconds > 86400 ? 86400 * 1000 : seconds * 1000;
    time_t date = curl_getdate(value, NULL);
    if (date < 0)
        return -1;
    int64_t wait = (int64_t)date * 1000 - now_wall_ms;
    return wait < 0 ? 0 : wait;
}
