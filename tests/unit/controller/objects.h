/* Reading API objects in tests: a path such as "spec.containers[0].env[name=RANK].value". */
#pragma once

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "tests/unit/unit.h"

static inline cJSON *object_of(const char *text)
{
    cJSON *j = cJSON_Parse(text);
    if (!j)
        fail_msg("no JSON: %.80s", text);
    return j;
}

/* [3] or [name=value] */
static inline const cJSON *element_at(const cJSON *list, const char *inside)
{
    const char *equals = strchr(inside, '=');
    if (!equals)
        return cJSON_GetArrayItem(list, (int)strtol(inside, NULL, 10));
    _cleanup_free_ char *key = xstrndup(inside, (size_t)(equals - inside));
    const cJSON *one;
    cJSON_ArrayForEach(one, list)
    {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(one, key);
        if (cJSON_IsString(v) && strcmp(v->valuestring, equals + 1) == 0)
            return one;
    }
    return NULL;
}

/* NULL: there is nothing at this path. A key with dots stands in parentheses. */
static inline const cJSON *json_at(const cJSON *object, const char *path)
{
    while (object && *path) {
        if (*path == '.')
            path++;
        const char *end = *path == '[' ? strchr(path, ']') : *path == '(' ? strchr(path, ')') : NULL;
        bool bracket = end != NULL;
        if (!end)
            end = path + strcspn(path, ".[");
        _cleanup_free_ char *key = xstrndup(path + bracket, (size_t)(end - path) - bracket);
        object = *path == '[' ? element_at(object, key) : cJSON_GetObjectItemCaseSensitive(object, key);
        path = end + bracket;
    }
    return object;
}

static inline const char *text_at(const cJSON *object, const char *path)
{
    const cJSON *v = json_at(object, path);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

/* What is at the path, as compact JSON, equals `expected`; "" where nothing is to be. */
#define assert_at(object, path, expected)                                                             \
    do {                                                                                              \
        const cJSON *found_ = json_at(object, path);                                                  \
        _cleanup_free_ char *text_ = found_ ? cJSON_PrintUnformatted(found_) : xstrdup("");           \
        if (strcmp(text_, (expected)) != 0)                                                           \
            fail_msg("%s: expected %s, found %s", path, *(expected) ? (expected) : "nothing", text_); \
    } while (0)
