/* The step's `set`: see set.h. */
#include "operator/pipeline/set.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/pipeline/params-internal.h"
#include "operator/pipeline/schema.h"

int set_find(const char *body_key, const char *field, const cJSON **ret_schema, struct err *err)
{
    size_t n = strlen(body_key);
    if (strncmp(field, body_key, n) != 0 || field[n] != '.')
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "expected a path that begins with the step's body, \"%s.…\", found \"%.120s\"",
                        body_key, field);
    return schema_find(schema_of_body(body_key), field + n + 1, ret_schema, err);
}

/* "number or text": a whole number if it is one. */
static int typed_int_or_string(const char *text, cJSON **ret)
{
    struct err ignored = ERR_INIT;
    if (params_typed(PARAM_INTEGER, text, ret, &ignored) < 0)
        *ret = cJSON_CreateString(text);
    return 0;
}

int set_typed(const cJSON *schema, const char *text, cJSON **ret, struct err *err)
{
    const char *type = schema_type(schema);
    if (strcmp(type, "string") == 0)
        return params_typed(PARAM_STRING, text, ret, err);
    if (strcmp(type, "integer") == 0)
        return params_typed(PARAM_INTEGER, text, ret, err);
    if (strcmp(type, "number") == 0)
        return params_typed(PARAM_NUMBER, text, ret, err);
    if (strcmp(type, "boolean") == 0)
        return params_typed(PARAM_BOOLEAN, text, ret, err);
    if (strcmp(type, "int-or-string") == 0)
        return typed_int_or_string(text, ret);
    if (strcmp(type, "array") == 0) {
        struct err reason = ERR_INIT;
        _cleanup_json_ cJSON *list = NULL;
        if (json_parse(text, strlen(text), 8192 * 8, &list, &reason) < 0 || !cJSON_IsArray(list))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                            "expected a list as JSON, such as [1, 2], found \"%.120s\"", text);
        *ret = steal_ptr(list);
        return 0;
    }
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                    "the field is a mapping; set the fields in it one by one");
}

/* Follows "[2][0]" behind a name from the array `*at`; *at becomes the slot's array and *ret_index the last index. */
static int follow_indexes(cJSON **at, const char *indexes, long *ret_index, const char *field,
                          struct err *err)
{
    for (;;) {
        char *end;
        long index = strtol(indexes + 1, &end, 10);
        if (!cJSON_IsArray(*at) || index < 0 || index >= cJSON_GetArraySize(*at))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                            "there is no element [%ld] in %.120s; `set` changes existing elements only",
                            index, field);
        *ret_index = index;
        indexes = end + 1;
        if (*indexes != '[')
            return 0;
        *at = cJSON_GetArrayItem(*at, (int)index);
    }
}

static void put(cJSON *object, const char *name, cJSON *value)
{
    if (cJSON_GetObjectItemCaseSensitive(object, name))
        cJSON_ReplaceItemInObjectCaseSensitive(object, name, value);
    else
        cJSON_AddItemToObject(object, name, value);
}

int set_place(cJSON *body, const char *field, cJSON *value, struct err *err)
{
    _cleanup_json_ cJSON *owned = value;
    const char *cursor = field, *part;
    size_t len;
    cJSON *at = body;
    while (text_next_part(&cursor, '.', &part, &len)) {
        bool last = part[len] == '\0';
        _cleanup_free_ char *name = xstrndup(part, len);
        char *bracket = strchr(name, '[');
        _cleanup_free_ char *indexes = bracket ? xstrdup(bracket) : NULL;
        if (bracket)
            *bracket = '\0';
        if (!cJSON_IsObject(at))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                            "what is above \"%s\" in %.120s is not a mapping", name, field);
        cJSON *child = cJSON_GetObjectItemCaseSensitive(at, name);
        if (indexes) {
            long index = 0;
            if (follow_indexes(&child, indexes, &index, field, err) < 0)
                return -1;
            if (last)
                cJSON_ReplaceItemInArray(child, (int)index, steal_ptr(owned));
            at = cJSON_GetArrayItem(child, (int)index);
        } else if (last) {
            put(at, name, steal_ptr(owned));
        } else {
            if (!child) {
                child = json_object();
                put(at, name, child);
            }
            at = child;
        }
    }
    return 0;
}
