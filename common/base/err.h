/* Errors: a class that decides what to do, an exit code, a machine-readable reason, a sentence.
 *
 * Every fallible function returns int (0, or negative on failure) and takes `struct err *err` last.
 * `err` is touched only on failure and only once; callers add context in front with err_wrap().
 * err may never be NULL. The text names what was being done, what was expected and found, and what
 * to do; the class, never the text, decides about retries. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

enum err_class {
    ERR_NONE = 0,
    ERR_RETRY,    /* transient: try again, with back-off */
    ERR_CONFLICT, /* a conditional write lost (If-Match, resourceVersion): re-read */
    ERR_EXISTS,   /* the object is there already: adopt or choose another name */
    ERR_GONE,     /* a resume position is too old: start over */
    ERR_NOTFOUND, /* the named thing does not exist */
    ERR_INVALID,  /* the input is wrong: retrying cannot help */
    ERR_TERMINAL, /* everything else that retrying cannot help */
};

/* sysexits.h, as contract.md section 3 uses it. */
enum {
    EXITCODE_OK = 0,
    EXITCODE_USAGE = 64,
    EXITCODE_DATA = 65,
    EXITCODE_NOINPUT = 66,
    EXITCODE_UNAVAILABLE = 69,
    EXITCODE_SOFTWARE = 70,
    EXITCODE_IO = 74,
    EXITCODE_TEMPFAIL = 75,
    EXITCODE_CONFIG = 78,
};

enum { ERR_MSG_MAX = 2048, ERR_REASON_MAX = 64 };

struct err {
    enum err_class class_;
    int exit_code;               /* 0: derive from the class, see err_exit_code() */
    char reason[ERR_REASON_MAX]; /* kebab-case, e.g. "artifact-missing"; may be empty */
    char msg[ERR_MSG_MAX];       /* one sentence, no trailing newline; cut at the maximum */
};

#define ERR_INIT ((struct err){0})

/* All return -1, so that `return err_set(…)` reads well. Setting an error twice is a bug (asserted). */
int err_set(struct err *err, enum err_class class_, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Same, with exit code and reason: err_fail(err, ERR_INVALID, EXITCODE_DATA, "schema", "…"). */
int err_fail(struct err *err, enum err_class class_, int exit_code, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* Class from errno value `e` (ENOENT → NOTFOUND, EAGAIN/EINTR → RETRY, …), exit 74, appends strerror. */
int err_errno(struct err *err, int e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Prepends "context: ". Keeps class, exit code and reason. Always negative. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* it sees one file at a time, so it has to be told what they return */
#define err_set(...) ((void)(err_set)(__VA_ARGS__), -1)
#define err_fail(...) ((void)(err_fail)(__VA_ARGS__), -1)
#define err_errno(...) ((void)(err_errno)(__VA_ARGS__), -1)
#define err_wrap(...) ((void)(err_wrap)(__VA_ARGS__), -1)
#endif

static inline bool err_is_set(const struct err *err)
{
    return err->class_ != ERR_NONE;
}
/* Forgets an error that was handled. */
void err_clear(struct err *err);
/* exit_code if set, else by class: RETRY, CONFLICT → 75; NOTFOUND → 66; INVALID → 65; other → 70. */
int err_exit_code(const struct err *err);
const char *err_class_name(enum err_class class_);
/* The one map from HTTP status to class: 404 → NOTFOUND, 409 → CONFLICT, 410 → GONE, 412 → CONFLICT,
 * 429 and 5xx → RETRY, other 4xx → INVALID. */
enum err_class err_class_of_http(int status);

/* A bug of ours: prints place and text, aborts. */
void bug(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));
#define BUG(...) bug(__FILE__, __LINE__, __VA_ARGS__)
