/* Reading cJSON trees with field paths in the errors, and printing them canonically.
 *
 * A `struct json_path` names where we are ("spec.steps[3].trainDdp.seed"); it lives on the stack and
 * links to its parent, so building it costs nothing. 64-bit integers that may pass 2^53 travel as
 * strings. Getters on an absent field: the `_or` form gives the default, the plain form fails with
 * ERR_INVALID (exit 78) naming the path. A wrong type is always an error that says expected and found. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/err.h"

#ifdef __clang_analyzer__ /* it does not see that cJSON's questions answer "no" for NULL */
#define cJSON_IsString(v) ((v) && (cJSON_IsString)(v))
#define cJSON_IsNumber(v) ((v) && (cJSON_IsNumber)(v))
#define cJSON_IsBool(v) ((v) && (cJSON_IsBool)(v))
#define cJSON_IsTrue(v) ((v) && (cJSON_IsTrue)(v))
#define cJSON_IsObject(v) ((v) && (cJSON_IsObject)(v))
#define cJSON_IsArray(v) ((v) && (cJSON_IsArray)(v))
#endif

struct json_path {
    const struct json_path *parent;
    const char *key; /* NULL: an array index */
    size_t index;
};
enum { JSON_PATH_MAX = 512 };
/* "spec.steps[3].seed"; cut with … at the maximum. The root is "". */
void json_path_format(const struct json_path *path, char ret[static JSON_PATH_MAX]);

/* Parses a whole document of at most `max` bytes; trailing bytes, duplicate keys, nesting beyond
 * LIMIT_JSON_DEPTH and invalid UTF-8 are errors that give the byte offset. */
int json_parse(const char *text, size_t len, size_t max, cJSON **ret, struct err *err);
int json_parse_file(const char *path, size_t max, cJSON **ret, struct err *err);

/* Fails on a key of `object` that is not in the NULL-terminated list, suggesting the nearest. */
int json_only_keys(const cJSON *object, const struct json_path *path, const char *const *keys,
                   struct err *err);

/* Required: a missing key or wrong type is an error. Strings are borrowed from the tree. */
int json_get_string(const cJSON *o, const struct json_path *path, const char *key, const char **ret,
                    struct err *err);
int json_get_int(const cJSON *o, const struct json_path *path, const char *key, int64_t *ret,
                 struct err *err);
int json_get_double(const cJSON *o, const struct json_path *path, const char *key, double *ret,
                    struct err *err);
int json_get_bool(const cJSON *o, const struct json_path *path, const char *key, bool *ret, struct err *err);
int json_get_object(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                    struct err *err);
int json_get_array(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                   struct err *err);
/* Optional: absent gives `fallback` (for object and array: NULL). json_get_int accepts a decimal string too. */
int json_get_string_or(const cJSON *o, const struct json_path *path, const char *key, const char *fallback,
                       const char **ret, struct err *err);
int json_get_int_or(const cJSON *o, const struct json_path *path, const char *key, int64_t fallback,
                    int64_t *ret, struct err *err);
int json_get_double_or(const cJSON *o, const struct json_path *path, const char *key, double fallback,
                       double *ret, struct err *err);
int json_get_bool_or(const cJSON *o, const struct json_path *path, const char *key, bool fallback, bool *ret,
                     struct err *err);
int json_get_object_or(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                       struct err *err);
int json_get_array_or(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                      struct err *err);

/* Fails with ERR_INVALID and "path.key: text"; key NULL: the path itself. */
int json_fail(const struct json_path *path, const char *key, int exit_code, const char *reason,
              struct err *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
#ifdef __clang_analyzer__ /* as in err.h */
#define json_fail(...) ((void)(json_fail)(__VA_ARGS__), -1)
#endif
/* The same for a stage's config: exit 78, reason config. */
#define json_bad_config(path, key, err, ...) json_fail(path, key, EXITCODE_CONFIG, "config", err, __VA_ARGS__)
/* An integer of a stage's config within [min, max]. */
int json_get_int_in(const cJSON *o, const struct json_path *path, const char *key, int64_t fallback,
                    int64_t min, int64_t max, int64_t *ret, struct err *err);

/* Building; these abort on exhaustion (small objects). json_add_int64 writes a string beyond ±2^53. */
cJSON *json_object(void);
cJSON *json_array(void);
void json_add(cJSON *object, const char *key, cJSON *value); /* takes value */
void json_add_string(cJSON *object, const char *key, const char *value);
void json_add_int(cJSON *object, const char *key, int64_t value);
void json_add_int64_string(cJSON *object, const char *key, int64_t value); /* always a string */
void json_add_double(cJSON *object, const char *key, double value);
void json_add_bool(cJSON *object, const char *key, bool value);
void json_append(cJSON *array, cJSON *value);

/* RFC 8785: keys sorted by UTF-16 code units, no white space, shortest round-trip numbers. NaN and Inf are errors. */
int json_canonical(const cJSON *value, struct buf *out, struct err *err);
/* SHA-256 of the canonical form. */
int json_digest(const cJSON *value, char ret_hex[static 65], struct err *err);
/* Shortest round-trip decimal as ECMAScript prints it; ret of at least 32 bytes. */
void json_format_double(double value, char ret[static 32]);
/* Human form, two-space indent, newline at the end. */
int json_pretty(const cJSON *value, struct buf *out);
/* Appends a quoted, escaped JSON string. */
int json_quote(struct buf *out, const char *s, size_t len);

static inline void cjson_cleanup_func(cJSON **p)
{
    cJSON_Delete(*p);
}
#define _cleanup_json_ CLEANUP(cjson_cleanup_func)
