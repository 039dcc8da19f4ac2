/* JSON: parsing, getters with field paths, building; see json.h. Printing is in json_print.c. */
#include "common/base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json_scan.h"
#include "common/base/text.h"

/* --- paths ----------------------------------------------------------------------------------------- */

static bool plain_key(const char *key)
{
    return *key &&
           strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$") == strlen(key);
}

static void add_path(struct buf *out, const struct json_path *path)
{
    if (!path)
        return;
    add_path(out, path->parent);
    if (!path->key)
        (void)buf_addf(out, "[%zu]", path->index);
    else if (plain_key(path->key))
        (void)buf_addf(out, "%s%s", out->len ? "." : "", path->key);
    else
        (void)buf_addf(out, "[\"%s\"]", path->key);
}

void json_path_format(const struct json_path *path, char ret[static JSON_PATH_MAX])
{
    _cleanup_buf_ struct buf text = BUF_INIT(16 * JSON_PATH_MAX);
    add_path(&text, path);
    const char *shown = buf_str(&text); /* "" if it grew beyond all reason */
    size_t n = strlen(shown);
    if (n < JSON_PATH_MAX && !buf_failed(&text)) {
        memcpy(ret, shown, n + 1);
        return;
    }
    static const char cut[] = "…";
    size_t kept = n < JSON_PATH_MAX - sizeof cut ? n : JSON_PATH_MAX - sizeof cut;
    while (kept && ((unsigned char)shown[kept] & 0xc0) == 0x80)
        kept--; /* not within a character */
    memcpy(ret, shown, kept);
    memcpy(ret + kept, cut, sizeof cut);
}

/* "spec.steps[3].seed" for `key` of the object at `path`. */
static void format_field(const struct json_path *path, const char *key, char ret[static JSON_PATH_MAX])
{
    struct json_path field = {.parent = path, .key = key};
    json_path_format(&field, ret);
}

int(json_fail)(const struct json_path *path, const char *key, int exit_code, const char *reason,
               struct err *err, const char *fmt, ...)
{
    char where[JSON_PATH_MAX], text[1024];
    if (key)
        format_field(path, key, where);
    else
        json_path_format(path, where);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_fail(err, ERR_INVALID, exit_code, reason, "%s: %s", where, text);
}

/* --- parsing --------------------------------------------------------------------------------------- */

int json_parse(const char *text, size_t len, size_t max, cJSON **ret, struct err *err)
{
    if (len > max)
        return err_fail(err, ERR_INVALID, 0, "invalid-json",
                        "JSON document of %zu bytes: larger than the maximum of %zu", len, max);
    if (json_scan(text, len, err) < 0)
        return -1;
    cJSON *tree = cJSON_ParseWithLength(text, len);
    if (!tree)
        return err_fail(err, ERR_INVALID, 0, "invalid-json",
                        "JSON document of %zu bytes: the parser refused it", len);
    *ret = tree;
    return 0;
}

int json_parse_file(const char *path, size_t max, cJSON **ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (fs_read_file(path, max, &text, &len, err) < 0)
        return -1;
    if (json_parse(text, len, max, ret, err) < 0)
        return err_wrap(err, "%s", path);
    return 0;
}

/* --- getters --------------------------------------------------------------------------------------- */

static const char *type_name(const cJSON *v)
{
    switch (v->type & 0xff) {
    case cJSON_False:
    case cJSON_True:
        return "a boolean";
    case cJSON_NULL:
        return "null";
    case cJSON_Number:
        return "a number";
    case cJSON_String:
        return "a text";
    case cJSON_Array:
        return "a list";
    case cJSON_Object:
        return "an object";
    default:
        return "something else";
    }
}

enum { VALUE_SHOWN = 64 };

/* "the text \"abc\"", "the number 1.5", "a list": short enough for a message. */
static void describe(const cJSON *v, char ret[static VALUE_SHOWN + 32])
{
    char number[32];
    if (cJSON_IsNumber(v)) {
        json_format_double(v->valuedouble, number);
        (void)snprintf(ret, VALUE_SHOWN + 32, "the number %s", number);
    } else if (cJSON_IsString(v)) {
        (void)snprintf(ret, VALUE_SHOWN + 32, "the text \"%.*s\"", VALUE_SHOWN, v->valuestring);
    } else if (cJSON_IsBool(v)) {
        (void)snprintf(ret, VALUE_SHOWN + 32, "%s", cJSON_IsTrue(v) ? "true" : "false");
    } else {
        (void)snprintf(ret, VALUE_SHOWN + 32, "%s", type_name(v));
    }
}

static int wrong(const cJSON *v, const struct json_path *path, const char *key, const char *expected,
                 struct err *err)
{
    char field[JSON_PATH_MAX], found[VALUE_SHOWN + 32];
    format_field(path, key, field);
    describe(v, found);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "invalid-field", "%s: expected %s, found %s", field,
                    expected, found);
}

static int missing(const struct json_path *path, const char *key, const char *expected, struct err *err)
{
    char field[JSON_PATH_MAX];
    format_field(path, key, field);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "missing-field",
                    "%s: required, but missing; expected %s", field, expected);
}

static const cJSON *lookup(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

int json_only_keys(const cJSON *object, const struct json_path *path, const char *const *keys,
                   struct err *err)
{
    for (const cJSON *item = object->child; item; item = item->next) {
        const char *const *k = keys;
        while (*k && strcmp(*k, item->string) != 0)
            k++;
        if (*k)
            continue;
        char field[JSON_PATH_MAX];
        format_field(path, item->string, field);
        const char *near = text_nearest(item->string, keys);
        if (near)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "unknown-field",
                            "%s: unknown field; did you mean \"%s\"?", field, near);
        _cleanup_buf_ struct buf known = BUF_INIT(ERR_MSG_MAX);
        for (k = keys; *k; k++)
            (void)buf_addf(&known, "%s%s", k == keys ? "" : ", ", *k);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "unknown-field",
                        "%s: unknown field; known here: %s", field, *keys ? buf_str(&known) : "none");
    }
    return 0;
}

static const char expected_text[] = "a text", expected_int[] = "a whole number",
                  expected_double[] = "a number", expected_bool[] = "true or false",
                  expected_object[] = "an object", expected_array[] = "a list";

static int to_string(const cJSON *v, const struct json_path *path, const char *key, const char **ret,
                     struct err *err)
{
    if (!cJSON_IsString(v))
        return wrong(v, path, key, expected_text, err);
    *ret = v->valuestring;
    return 0;
}

static int to_int(const cJSON *v, const struct json_path *path, const char *key, int64_t *ret,
                  struct err *err)
{
    const double exact = 9007199254740992.0; /* 2^53: beyond, a double no longer tells neighbours apart */
    if (cJSON_IsString(v)) {
        struct err ignored = ERR_INIT;
        return text_parse_int(v->valuestring, ret, &ignored) < 0 ? wrong(v, path, key, expected_int, err) : 0;
    }
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble))
        return wrong(v, path, key, expected_int, err);
    if (fabs(v->valuedouble) > exact)
        return wrong(v, path, key, "a whole number, as a text when beyond 2^53", err);
    *ret = (int64_t)v->valuedouble;
    return 0;
}

static int to_double(const cJSON *v, const struct json_path *path, const char *key, double *ret,
                     struct err *err)
{
    if (!cJSON_IsNumber(v))
        return wrong(v, path, key, expected_double, err);
    *ret = v->valuedouble;
    return 0;
}

static int to_bool(const cJSON *v, const struct json_path *path, const char *key, bool *ret, struct err *err)
{
    if (!cJSON_IsBool(v))
        return wrong(v, path, key, expected_bool, err);
    *ret = cJSON_IsTrue(v);
    return 0;
}

static int to_object(const cJSON *v, const struct json_path *path, const char *key, const cJSON **ret,
                     struct err *err)
{
    if (!cJSON_IsObject(v))
        return wrong(v, path, key, expected_object, err);
    *ret = v;
    return 0;
}

static int to_array(const cJSON *v, const struct json_path *path, const char *key, const cJSON **ret,
                    struct err *err)
{
    if (!cJSON_IsArray(v))
        return wrong(v, path, key, expected_array, err);
    *ret = v;
    return 0;
}

/* json_get_<kind>: required. json_get_<kind>_or: absent gives the fall-back. */
#define GETTER(kind, type)                                                                        \
    int json_get_##kind(const cJSON *o, const struct json_path *path, const char *key, type *ret, \
                        struct err *err)                                                          \
    {                                                                                             \
        const cJSON *v = lookup(o, key);                                                          \
        return v ? to_##kind(v, path, key, ret, err) : missing(path, key, expected_##kind, err);  \
    }
#define GETTER_OR(kind, type)                                                                              \
    int json_get_##kind##_or(const cJSON *o, const struct json_path *path, const char *key, type fallback, \
                             type *ret, struct err *err)                                                   \
    {                                                                                                      \
        const cJSON *v = lookup(o, key);                                                                   \
        if (v)                                                                                             \
            return to_##kind(v, path, key, ret, err);                                                      \
        *ret = fallback;                                                                                   \
        return 0;                                                                                          \
    }
#define expected_string expected_text
GETTER(string, const char *)
GETTER(int, int64_t)
GETTER(double, double)
GETTER(bool, bool)
GETTER(object, const cJSON *)
GETTER(array, const cJSON *)
GETTER_OR(string, const char *)
GETTER_OR(int, int64_t)
GETTER_OR(double, double)
GETTER_OR(bool, bool)

int json_get_object_or(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                       struct err *err)
{
    const cJSON *v = lookup(o, key);
    if (v)
        return to_object(v, path, key, ret, err);
    *ret = NULL;
    return 0;
}

int json_get_array_or(const cJSON *o, const struct json_path *path, const char *key, const cJSON **ret,
                      struct err *err)
{
    const cJSON *v = lookup(o, key);
    if (v)
        return to_array(v, path, key, ret, err);
    *ret = NULL;
    return 0;
}

int json_get_int_in(const cJSON *o, const struct json_path *path, const char *key, int64_t fallback,
                    int64_t min, int64_t max, int64_t *ret, struct err *err)
{
    int64_t v;
    if (json_get_int_or(o, path, key, fallback, &v, err) < 0)
        return -1;
    if (v < min || v > max)
        return json_bad_config(path, key, err, "expected %lld to %lld, found %lld", (long long)min,
                               (long long)max, (long long)v);
    *ret = v;
    return 0;
}

/* --- building -------------------------------------------------------------------------------------- */

static cJSON *must(cJSON *v)
{
    if (!v)
        BUG("out of memory for a JSON value");
    return v;
}

cJSON *json_object(void)
{
    return must(cJSON_CreateObject());
}

cJSON *json_array(void)
{
    return must(cJSON_CreateArray());
}

void json_add(cJSON *object, const char *key, cJSON *value)
{
    if (!cJSON_AddItemToObject(object, key, value))
        BUG("cannot add JSON field %s", key);
}

void json_add_string(cJSON *object, const char *key, const char *value)
{
    json_add(object, key, must(cJSON_CreateString(value)));
}

void json_add_int(cJSON *object, const char *key, int64_t value)
{
    const int64_t exact = 1LL << 53;
    if (value > exact || value < -exact)
        json_add_int64_string(object, key, value);
    else
        json_add(object, key, must(cJSON_CreateNumber((double)value)));
}

void json_add_int64_string(cJSON *object, const char *key, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    json_add_string(object, key, text);
}

void json_add_double(cJSON *object, const char *key, double value)
{
    json_add(object, key, must(cJSON_CreateNumber(value)));
}

void json_add_bool(cJSON *object, const char *key, bool value)
{
    json_add(object, key, must(cJSON_CreateBool(value)));
}

void json_append(cJSON *array, cJSON *value)
{
    if (!cJSON_AddItemToArray(array, value))
        BUG("cannot append to a JSON list");
}
