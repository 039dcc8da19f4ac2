/* Checking a tree against the schema: see schema.h. */
#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/map.h"
#include "common/base/text.h"
#include "operator/pipeline/schema.h"

struct checker {
    const struct yaml_lines *lines;
    struct findings *findings;
};

enum { SHOWN_MAX = 128, LIST_MAX = 4096 };

static const cJSON *get(const cJSON *schema, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(schema, key);
}

__attribute__((format(printf, 4, 5))) static void report(const struct checker *c, const cJSON *node,
                                                         const struct json_path *path, const char *fmt, ...)
{
    char where[JSON_PATH_MAX], text[1024];
    json_path_format(path, where);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    findings_add(c->findings, where, yaml_line(c->lines, node), false, "%s", text);
}

/* What was found, for people: the number 3, "text", true, a mapping, a list. */
static void show(const cJSON *value, char ret[static SHOWN_MAX])
{
    char number[32];
    if (cJSON_IsString(value)) {
        size_t n = strlen(value->valuestring);
        size_t shown = n < 80 ? n : 80;
        while (shown < n && shown && ((unsigned char)value->valuestring[shown] & 0xc0) == 0x80)
            shown--;
        (void)snprintf(ret, SHOWN_MAX, "\"%.*s%s\"", (int)shown, value->valuestring, shown < n ? "…" : "");
    } else if (cJSON_IsNumber(value)) {
        json_format_double(value->valuedouble, number);
        (void)snprintf(ret, SHOWN_MAX, "the number %s", number);
    } else if (cJSON_IsBool(value)) {
        (void)snprintf(ret, SHOWN_MAX, "%s", cJSON_IsTrue(value) ? "true" : "false");
    } else {
        (void)snprintf(ret, SHOWN_MAX, "%s",
                       cJSON_IsObject(value)  ? "a mapping"
                       : cJSON_IsArray(value) ? "a list"
                                              : "nothing");
    }
}

/* A reference where the schema wants something else is what `set` is for. The field's path begins behind steps[n]. */
static void advise_set(const cJSON *value, const struct json_path *path, char *ret, size_t size)
{
    ret[0] = '\0';
    if (!cJSON_IsString(value) || !strstr(value->valuestring, "$("))
        return;
    char where[JSON_PATH_MAX];
    json_path_format(path, where);
    const char *steps = strstr(where, "steps[");
    const char *field = steps ? strstr(steps, "].") : NULL;
    if (field)
        (void)snprintf(ret, size, "; references go into the step's set: {field: %s, value: \"%.80s\"}",
                       field + 2, value->valuestring);
}

/* --- scalars -------------------------------------------------------------------------------------------------- */

static void check_enum(const struct checker *c, const cJSON *allowed, const cJSON *value,
                       const struct json_path *path)
{
    const char *words[64] = {NULL};
    size_t n = 0;
    for (const cJSON *a = allowed->child; a && n < ARRAY_SIZE(words) - 1; a = a->next) {
        if (strcmp(a->valuestring, value->valuestring) == 0)
            return;
        words[n++] = a->valuestring;
    }
    _cleanup_buf_ struct buf list = BUF_INIT(LIST_MAX);
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&list, "%s%s", i ? ", " : "", *words[i] ? words[i] : "\"\"");
    char found[SHOWN_MAX], advice[256];
    show(value, found);
    advise_set(value, path, advice, sizeof advice);
    const char *near = text_nearest(value->valuestring, words);
    if (near && !*advice)
        (void)snprintf(advice, sizeof advice, "; did you mean \"%s\"?", near);
    report(c, value, path, "expected one of %s, found %s%s", buf_str(&list), found, advice);
}

static bool matches(const char *pattern, const char *text)
{
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        BUG("the schema's pattern %s does not compile", pattern);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static size_t count_characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void check_length(const struct checker *c, const cJSON *schema, const cJSON *value,
                         const struct json_path *path)
{
    const cJSON *min = get(schema, "minLength"), *max = get(schema, "maxLength");
    size_t n = count_characters(value->valuestring);
    if (min && (double)n < min->valuedouble)
        report(c, value, path, "expected at least %.0f character%s, found %zu", min->valuedouble,
               min->valuedouble > 1 ? "s" : "", n);
    if (max && (double)n > max->valuedouble)
        report(c, value, path, "expected at most %.0f characters, found %zu", max->valuedouble, n);
}

static void check_pattern(const struct checker *c, const cJSON *schema, const cJSON *value,
                          const struct json_path *path)
{
    const cJSON *pattern = get(schema, "pattern");
    if (!pattern || matches(pattern->valuestring, value->valuestring))
        return;
    char found[SHOWN_MAX], advice[256], brief[SCHEMA_BRIEF_MAX];
    show(value, found);
    if (strcmp(pattern->valuestring, "^\\$\\(.+\\)$") == 0) {
        report(c, value, path, "expected a whole number, or a reference such as $(params.name), found %s",
               found);
        return;
    }
    advise_set(value, path, advice, sizeof advice);
    schema_brief(schema, brief);
    report(c, value, path, "%s does not match %s; what is meant: %s%s", found, pattern->valuestring,
           *brief ? brief : "see the reference", advice);
}

static void check_string(const struct checker *c, const cJSON *schema, const cJSON *value,
                         const struct json_path *path)
{
    const cJSON *allowed = get(schema, "enum"), *format = get(schema, "format");
    if (allowed) {
        check_enum(c, allowed, value, path);
        return;
    }
    check_length(c, schema, value, path);
    check_pattern(c, schema, value, path);
    if (format && strcmp(format->valuestring, "date-time") == 0) {
        int64_t ms;
        struct err err = ERR_INIT;
        if (clock_parse_rfc3339(value->valuestring, &ms, &err) < 0)
            report(c, value, path, "expected a time such as 2026-01-31T02:00:00Z: %s", err.msg);
    }
}

static void check_range(const struct checker *c, const cJSON *schema, const cJSON *value,
                        const struct json_path *path)
{
    const cJSON *min = get(schema, "minimum"), *max = get(schema, "maximum");
    bool above = cJSON_IsTrue(get(schema, "exclusiveMinimum")),
         below = cJSON_IsTrue(get(schema, "exclusiveMaximum"));
    double v = value->valuedouble;
    char found[32], bound[32];
    json_format_double(v, found);
    if (min && (above ? v <= min->valuedouble : v < min->valuedouble)) {
        json_format_double(min->valuedouble, bound);
        report(c, value, path, "expected %s %s, found %s", above ? "more than" : "at least", bound, found);
    }
    if (max && (below ? v >= max->valuedouble : v > max->valuedouble)) {
        json_format_double(max->valuedouble, bound);
        report(c, value, path, "expected %s %s, found %s", below ? "less than" : "at most", bound, found);
    }
}

static void check_integer(const struct checker *c, const cJSON *schema, const cJSON *value,
                          const struct json_path *path)
{
    char found[SHOWN_MAX];
    show(value, found);
    if (value->valuedouble != floor(value->valuedouble))
        report(c, value, path, "expected a whole number, found %s", found);
    else if (fabs(value->valuedouble) > 9007199254740992.0)
        report(c, value, path, "expected a whole number of at most 2^53, found %s", found);
    else
        check_range(c, schema, value, path);
}

static void wrong_type(const struct checker *c, const char *expected, const cJSON *value,
                       const struct json_path *path)
{
    char found[SHOWN_MAX], advice[256];
    show(value, found);
    advise_set(value, path, advice, sizeof advice);
    double number;
    struct err ignored = ERR_INIT;
    bool text_wanted = strcmp(expected, "text") == 0;
    if (text_wanted && cJSON_IsNumber(value)) {
        char digits[32];
        json_format_double(value->valuedouble, digits);
        (void)snprintf(advice, sizeof advice, ": write \"%s\"", digits);
    } else if (text_wanted && cJSON_IsBool(value)) {
        (void)snprintf(advice, sizeof advice, ": write \"%s\"", found);
    } else if (cJSON_IsString(value) && !*advice && strstr(expected, "number") &&
               text_parse_double(value->valuestring, &number, &ignored) == 0) {
        (void)snprintf(advice, sizeof advice, ": remove the quotes");
    } else if (strcmp(expected, "a list") == 0 && !cJSON_IsObject(value) && !*advice) {
        (void)snprintf(advice, sizeof advice, ": write [%s]", cJSON_IsString(value) ? found : "…");
    }
    report(c, value, path, "expected %s, found %s%s", expected, found, advice);
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static void check_count(const struct checker *c, const cJSON *schema, const cJSON *value,
                        const struct json_path *path, const char *min_key, const char *max_key,
                        const char *what)
{
    const cJSON *min = get(schema, min_key), *max = get(schema, max_key);
    int n = cJSON_GetArraySize(value);
    if (min && n < min->valuedouble)
        report(c, value, path, "expected at least %.0f %s, found %d", min->valuedouble, what, n);
    if (max && n > max->valuedouble)
        report(c, value, path, "expected at most %.0f %s, found %d", max->valuedouble, what, n);
}

/* The text that must differ between the items of a list set or list map; NULL if the item is malformed (reported elsewhere). */
static char *identity(const cJSON *item, const cJSON *keys)
{
    if (!keys)
        return cJSON_PrintUnformatted(item);
    struct buf text = BUF_INIT(LIST_MAX);
    for (const cJSON *key = keys->child; key; key = key->next) {
        const cJSON *field = get(item, key->valuestring);
        if (!cJSON_IsString(field) || buf_addf(&text, "%s%s \"%s\"", text.len ? " with " : "",
                                               key->valuestring, field->valuestring) < 0) {
            buf_release(&text);
            return NULL;
        }
    }
    return buf_take(&text);
}

static void check_unique(const struct checker *c, const cJSON *schema, const cJSON *value,
                         const struct json_path *path)
{
    const cJSON *type = get(schema, "x-kubernetes-list-type");
    bool is_map = type && strcmp(type->valuestring, "map") == 0;
    if (!type || !(is_map || strcmp(type->valuestring, "set") == 0))
        return;
    const cJSON *keys = is_map ? get(schema, "x-kubernetes-list-map-keys") : NULL;
    _cleanup_map_ struct map *seen = map_new(1 << 20, NULL);
    size_t i = 0;
    for (const cJSON *item = value->child; item; item = item->next, i++) {
        _cleanup_free_ char *id = identity(item, keys);
        if (!id)
            continue;
        struct json_path here = {.parent = path, .index = i};
        char first[JSON_PATH_MAX];
        if (map_has(seen, id)) {
            json_path_format(path, first);
            report(c, item, &here, "%s occurs already in %s[%zu]: it must be unique", id, first,
                   (size_t)(uintptr_t)map_get(seen, id));
        } else {
            (void)map_set(seen, id, (void *)(uintptr_t)i);
        }
    }
}

static void check_value(const struct checker *c, const cJSON *schema, cJSON *value,
                        const struct json_path *path);

static void check_array(const struct checker *c, const cJSON *schema, cJSON *value,
                        const struct json_path *path)
{
    check_count(c, schema, value, path, "minItems", "maxItems", "items");
    const cJSON *items = get(schema, "items");
    size_t i = 0;
    for (cJSON *item = value->child; item; item = item->next, i++) {
        struct json_path here = {.parent = path, .index = i};
        check_value(c, items, item, &here);
    }
    check_unique(c, schema, value, path);
}

/* --- mappings ----------------------------------------------------------------------------------------------------- */

static bool has_all(const cJSON *value, const cJSON *required)
{
    for (const cJSON *r = required ? required->child : NULL; r; r = r->next) {
        if (!get(value, r->valuestring))
            return false;
    }
    return true;
}

static void list_alternatives(const cJSON *alternatives, const cJSON *present_in, struct buf *out)
{
    for (const cJSON *a = alternatives->child; a; a = a->next) {
        const cJSON *required = get(a, "required");
        if (present_in && !has_all(present_in, required))
            continue;
        (void)buf_adds(out, out->len ? ", " : "");
        for (const cJSON *r = required->child; r; r = r->next)
            (void)buf_addf(out, "%s%s", r == required->child ? "" : " with ", r->valuestring);
    }
}

static void check_alternatives(const struct checker *c, const cJSON *alternatives, bool exactly_one,
                               const cJSON *value, const struct json_path *path)
{
    int n = 0;
    for (const cJSON *a = alternatives->child; a; a = a->next)
        n += has_all(value, get(a, "required"));
    if (n == 1 || (n > 1 && !exactly_one))
        return;
    _cleanup_buf_ struct buf all = BUF_INIT(LIST_MAX), found = BUF_INIT(LIST_MAX);
    list_alternatives(alternatives, NULL, &all);
    list_alternatives(alternatives, value, &found);
    report(c, value, path, "expected %s of the fields %s; found %s",
           exactly_one ? "exactly one" : "at least one", buf_str(&all), n ? buf_str(&found) : "none of them");
}

static void check_junctors(const struct checker *c, const cJSON *schema, const cJSON *value,
                           const struct json_path *path)
{
    const cJSON *one = get(schema, "oneOf"), *any = get(schema, "anyOf"), *all = get(schema, "allOf");
    if (one)
        check_alternatives(c, one, true, value, path);
    if (any)
        check_alternatives(c, any, false, value, path);
    for (const cJSON *part = all ? all->child : NULL; part; part = part->next)
        check_junctors(c, part, value, path);
}

static void unknown_key(const struct checker *c, const cJSON *properties, const cJSON *child,
                        const struct json_path *path)
{
    const char *names[128] = {NULL};
    size_t n = 0;
    for (const cJSON *p = properties ? properties->child : NULL; p && n < ARRAY_SIZE(names) - 1; p = p->next)
        names[n++] = p->string;
    const char *near = text_nearest(child->string, names);
    if (near) {
        report(c, child, path, "unknown field; did you mean \"%s\"?", near);
        return;
    }
    _cleanup_buf_ struct buf list = BUF_INIT(700); /* cut below if longer */
    for (size_t i = 0; i < n && list.len < 500; i++)
        (void)buf_addf(&list, "%s%s", i ? ", " : "", names[i]);
    report(c, child, path, n ? "unknown field; known here: %s%s" : "unknown field; none is known here%s%s",
           buf_str(&list), list.len < 500 ? "" : ", …");
}

static void add_defaults(const cJSON *properties, cJSON *value)
{
    for (const cJSON *p = properties ? properties->child : NULL; p; p = p->next) {
        const cJSON *fallback = get(p, "default");
        if (fallback && !get(value, p->string))
            json_add(value, p->string, cJSON_Duplicate(fallback, true));
    }
}

static void check_required(const struct checker *c, const cJSON *schema, const cJSON *value,
                           const struct json_path *path)
{
    const cJSON *required = get(schema, "required");
    for (const cJSON *r = required ? required->child : NULL; r; r = r->next) {
        if (get(value, r->valuestring))
            continue;
        struct json_path here = {.parent = path, .key = r->valuestring};
        char brief[SCHEMA_BRIEF_MAX];
        schema_brief(get(get(schema, "properties"), r->valuestring), brief);
        report(c, value, &here, "required field is missing%s%s", *brief ? ": " : "", brief);
    }
}

static void check_object(const struct checker *c, const cJSON *schema, cJSON *value,
                         const struct json_path *path)
{
    const cJSON *properties = get(schema, "properties"), *additional = get(schema, "additionalProperties");
    bool open = cJSON_IsTrue(get(schema, "x-kubernetes-preserve-unknown-fields"));
    check_required(c, schema, value, path);
    check_junctors(c, schema, value, path);
    check_count(c, schema, value, path, "minProperties", "maxProperties", "entries");
    add_defaults(properties, value);
    for (cJSON *child = value->child; child; child = child->next) {
        struct json_path here = {.parent = path, .key = child->string};
        const cJSON *known = get(properties, child->string);
        if (known || additional)
            check_value(c, known ? known : additional, child, &here);
        else if (!open)
            unknown_key(c, properties, child, &here);
    }
}

static void check_value(const struct checker *c, const cJSON *schema, cJSON *value,
                        const struct json_path *path)
{
    const char *type = schema_type(schema);
    if (cJSON_IsNull(value)) {
        report(c, value, path, "has no value (null): give it one or leave the field out");
    } else if (strcmp(type, "object") == 0) {
        cJSON_IsObject(value) ? check_object(c, schema, value, path)
                              : wrong_type(c, "a mapping", value, path);
    } else if (strcmp(type, "array") == 0) {
        cJSON_IsArray(value) ? check_array(c, schema, value, path) : wrong_type(c, "a list", value, path);
    } else if (strcmp(type, "string") == 0) {
        cJSON_IsString(value) ? check_string(c, schema, value, path) : wrong_type(c, "text", value, path);
    } else if (strcmp(type, "boolean") == 0) {
        if (!cJSON_IsBool(value))
            wrong_type(c, "true or false", value, path);
    } else if (strcmp(type, "integer") == 0) {
        cJSON_IsNumber(value) ? check_integer(c, schema, value, path)
                              : wrong_type(c, "a whole number", value, path);
    } else if (strcmp(type, "number") == 0) {
        cJSON_IsNumber(value) ? check_range(c, schema, value, path) : wrong_type(c, "a number", value, path);
    } else if (strcmp(type, "int-or-string") == 0) {
        if (cJSON_IsString(value))
            check_string(c, schema, value, path);
        else
            cJSON_IsNumber(value) ? check_integer(c, schema, value, path)
                                  : wrong_type(c, "a whole number or text", value, path);
    } else if (!cJSON_IsTrue(get(schema, "x-kubernetes-preserve-unknown-fields"))) {
        BUG("the schema has the type %s", type);
    }
}

void schema_check(const cJSON *schema, cJSON *value, const struct json_path *path,
                  const struct yaml_lines *lines, struct findings *findings)
{
    struct checker c = {.lines = lines, .findings = findings};
    check_value(&c, schema, value, path);
}
