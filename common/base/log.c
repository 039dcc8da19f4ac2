/* Logging: see log.h. One lock, one write a line. */
#include "common/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/json.h"

enum { LINE_MAX_BYTES = 64 * 1024, CONTEXT_MAX = 16 };

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static struct {
    pthread_mutex_t lock;
    enum log_level level;
    enum log_format format;
    char *context[2 * CONTEXT_MAX]; /* key, value, …; copies */
    size_t n_context;
    FILE *tee;
    size_t tee_left, tee_max;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO, .format = LOG_AUTO};

void log_configure(enum log_level level, enum log_format format)
{
    (void)pthread_mutex_lock(&logger.lock);
    logger.level = level;
    logger.format = format;
    (void)pthread_mutex_unlock(&logger.lock);
}

int log_level_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0)
            return (int)i;
    }
    return -1;
}

void log_context(const char *key, ...)
{
    (void)pthread_mutex_lock(&logger.lock);
    for (size_t i = 0; i < logger.n_context; i++)
        logger.context[i] = xfree(logger.context[i]);
    logger.n_context = 0;
    va_list ap;
    va_start(ap, key);
    for (; key; key = va_arg(ap, const char *)) {
        const char *value = va_arg(ap, const char *);
        if (logger.n_context + 2 > ARRAY_SIZE(logger.context))
            BUG("more than %d pairs of log context", CONTEXT_MAX);
        logger.context[logger.n_context++] = xstrdup(key);
        logger.context[logger.n_context++] = xstrdup(value ? value : "");
    }
    va_end(ap);
    (void)pthread_mutex_unlock(&logger.lock);
}

void log_tee(FILE *file, size_t max_bytes)
{
    (void)pthread_mutex_lock(&logger.lock);
    logger.tee = file;
    logger.tee_left = logger.tee_max = max_bytes;
    (void)pthread_mutex_unlock(&logger.lock);
}

static void add_json_pair(struct buf *line, const char *key, const char *value)
{
    (void)buf_addc(line, ',');
    (void)json_quote(line, key, strlen(key));
    (void)buf_addc(line, ':');
    (void)json_quote(line, value, strlen(value));
}

static void json_line(struct buf *line, const char *time, enum log_level level, const char *msg, va_list ap)
{
    (void)buf_addf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":", time, level_names[level]);
    (void)json_quote(line, msg, strlen(msg));
    for (size_t i = 0; i < logger.n_context; i += 2)
        add_json_pair(line, logger.context[i], logger.context[i + 1]);
    for (const char *key; (key = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        add_json_pair(line, key, value ? value : "");
    }
    (void)buf_adds(line, "}\n");
}

/* Quoted where it would be ambiguous, so that a value can neither forge a line nor move the cursor. */
static void add_text_value(struct buf *line, const char *value)
{
    bool plain = *value != '\0';
    for (const unsigned char *p = (const unsigned char *)value; *p && plain; p++)
        plain = *p > ' ' && *p != '"' && *p != '=' && *p != 0x7f;
    if (plain)
        (void)buf_adds(line, value);
    else
        (void)json_quote(line, value, strlen(value));
}

static void text_line(struct buf *line, const char *time, enum log_level level, const char *msg, va_list ap)
{
    (void)buf_addf(line, "%.8s %-5s ", time + sizeof "2026-01-31T" - 1, level_names[level]);
    for (const char *p = msg; *p; p++)
        (void)buf_addc(line, (unsigned char)*p < ' ' ? ' ' : *p);
    for (const char *key; (key = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        (void)buf_addf(line, " %s=", key);
        add_text_value(line, value ? value : "");
    }
    (void)buf_addc(line, '\n');
}

static void write_tee(const char *time, const struct buf *line)
{
    if (!logger.tee)
        return;
    bool fits = line->len <= logger.tee_left;
    if (fits) {
        logger.tee_left -= line->len;
        (void)fwrite(line->data, 1, line->len, logger.tee);
    } else {
        (void)fprintf(
            logger.tee,
            "{\"time\":\"%s\",\"level\":\"warn\",\"msg\":\"kept log ends here\",\"max_bytes\":\"%zu\"}\n",
            time, logger.tee_max);
    }
    (void)fflush(logger.tee); /* the process may be killed next */
    if (!fits)
        logger.tee = NULL;
}

static void write_line(const char *time, enum log_level level, const char *msg, va_list ap)
{
    _cleanup_buf_ struct buf json = BUF_INIT(LINE_MAX_BYTES);
    _cleanup_buf_ struct buf text = BUF_INIT(LINE_MAX_BYTES);
    bool as_json = logger.format == LOG_JSON || (logger.format == LOG_AUTO && !isatty(STDERR_FILENO));
    if (as_json || logger.tee) {
        va_list copy;
        va_copy(copy, ap);
        json_line(&json, time, level, msg, copy);
        va_end(copy);
        if (buf_failed(&json)) {
            buf_reset(&json);
            (void)buf_addf(&json,
                           "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"log line over %d bytes left out\"}\n",
                           time, level_names[level], LINE_MAX_BYTES);
        }
        write_tee(time, &json);
    }
    if (!as_json) {
        text_line(&text, time, level, msg, ap);
        if (buf_failed(&text)) {
            buf_reset(&text);
            (void)buf_adds(&text, "log line left out: too long\n");
        }
    }
    const struct buf *line = as_json ? &json : &text;
    (void)fwrite(line->data, 1, line->len, stderr);
    (void)fflush(stderr);
}

void log_write(enum log_level level, const char *msg, ...)
{
    (void)pthread_mutex_lock(&logger.lock);
    if (level >= logger.level) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(clock_system.wall_ms(clock_system.ctx), time);
        va_list ap;
        va_start(ap, msg);
        write_line(time, level, msg, ap);
        va_end(ap);
    }
    (void)pthread_mutex_unlock(&logger.lock);
}

const char *log_int(char buf[static 24], long long v)
{
    (void)snprintf(buf, 24, "%lld", v);
    return buf;
}

const char *log_dbl(char buf[static 32], double v)
{
    (void)snprintf(buf, 32, "%.6g", v);
    return buf;
}
