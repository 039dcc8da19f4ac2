/* Error values: see err.h. */
#include "common/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct err *err, enum err_class class_, int exit_code, const char *reason)
{
    if (err->class_ != ERR_NONE)
        BUG("error set twice; the first was: %s", err->msg);
    err->class_ = class_;
    err->exit_code = exit_code;
    (void)snprintf(err->reason, sizeof err->reason, "%s", reason ? reason : "");
}

int(err_set)(struct err *err, enum err_class class_, const char *fmt, ...)
{
    begin(err, class_, 0, NULL);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return -1;
}

int(err_fail)(struct err *err, enum err_class class_, int exit_code, const char *reason, const char *fmt, ...)
{
    begin(err, class_, exit_code, reason);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return -1;
}

static enum err_class class_of_errno(int e)
{
    switch (e) {
    case ENOENT:
        return ERR_NOTFOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EAGAIN:
    case EINTR:
    case EBUSY:
    case ETIMEDOUT:
    case ECONNRESET:
    case ECONNREFUSED:
        return ERR_RETRY;
    default:
        return ERR_TERMINAL;
    }
}

/* ": tail" behind the first n bytes of the message, as far as it fits. */
static void append(struct err *err, int n, const char *tail)
{
    int room = (int)sizeof err->msg - n - (int)sizeof ": ";
    if (n >= 0 && room > 0)
        (void)snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %.*s", room, tail);
}

int(err_errno)(struct err *err, int e, const char *fmt, ...)
{
    begin(err, class_of_errno(e), EXITCODE_IO, NULL);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    char text[128];
    append(err, n, strerror_r(e, text, sizeof text));
    return -1;
}

int(err_wrap)(struct err *err, const char *fmt, ...)
{
    if (err->class_ == ERR_NONE)
        BUG("err_wrap without an error");
    char old[ERR_MSG_MAX];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    append(err, n, old);
    return -1;
}

void err_clear(struct err *err)
{
    *err = ERR_INIT;
}

int err_exit_code(const struct err *err)
{
    if (err->exit_code)
        return err->exit_code;
    switch (err->class_) {
    case ERR_NONE:
        return EXITCODE_OK;
    case ERR_RETRY:
    case ERR_CONFLICT:
        return EXITCODE_TEMPFAIL;
    case ERR_NOTFOUND:
        return EXITCODE_NOINPUT;
    case ERR_INVALID:
        return EXITCODE_DATA;
    default:
        return EXITCODE_SOFTWARE;
    }
}

const char *err_class_name(enum err_class class_)
{
    static const char *const names[] = {"none", "retry",     "conflict", "exists",
                                        "gone", "not-found", "invalid",  "terminal"};
    return (size_t)class_ < sizeof names / sizeof names[0] ? names[class_] : "unknown";
}

enum err_class err_class_of_http(int status)
{
    switch (status) {
    case 404:
        return ERR_NOTFOUND;
    case 409:
    case 412:
        return ERR_CONFLICT;
    case 410:
        return ERR_GONE;
    case 408:
    case 429:
        return ERR_RETRY;
    default:
        return status >= 500 ? ERR_RETRY : status >= 400 ? ERR_INVALID : ERR_TERMINAL;
    }
}

void bug(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "bug: %s:%d: ", file, line);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    abort();
}
