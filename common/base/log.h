/* Logging: a constant message plus key/value pairs. One JSON object a line when stderr is not a
 * terminal, readable text when it is. Library code never logs above debug: the top of each program
 * does, once per failure. An optional tee keeps a bounded copy (the stage's kept log).
 *
 *   log_info("step started", "step", "train", "attempt", LOG_INT(2), NULL);
 *
 * Values are strings; LOG_INT and LOG_DBL format into short-lived per-call-site buffers. */
#pragma once

#include <stdint.h>
#include <stdio.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_AUTO, LOG_JSON, LOG_TEXT };

/* Default: level info, format auto (text if stderr is a terminal). */
void log_configure(enum log_level level, enum log_format format);
/* "debug", "info", … → level; negative if unknown. */
int log_level_parse(const char *name);
/* Pairs that every following line carries (run, step, …); NULL-terminated key, value, …; replaces earlier ones. */
void log_context(const char *key, ...) __attribute__((sentinel));
/* Also writes JSON lines to `file` (borrowed; NULL stops), at most max_bytes in all, then one line that says it was cut. */
void log_tee(FILE *file, size_t max_bytes);

void log_write(enum log_level level, const char *msg, ...) __attribute__((sentinel));
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#define LOG_INT(v) log_int((char[24]){0}, (long long)(v))
#define LOG_DBL(v) log_dbl((char[32]){0}, (double)(v))
const char *log_int(char buf[static 24], long long v);
const char *log_dbl(char buf[static 32], double v);
