/* Loading the schema, and finding things in it: see schema.h. */
#include "operator/pipeline/schema.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/schema-internal.h"

/* The trees live as long as the program: every decode needs them, and parsing takes milliseconds. */
static cJSON *crds[2];

static cJSON *load(const char *text, const char *name)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    struct yaml_lines *lines = NULL;
    if (yaml_parse(text, strlen(text), name, &findings, &tree, &lines, &err) < 0)
        BUG("the embedded schema does not parse: %s", err.msg);
    yaml_lines_free(lines);
    findings_release(&findings);
    return tree;
}

static void load_all(void)
{
    crds[SCHEMA_PIPELINE] = load(schema_text_pipeline, "trainingpipeline.yaml");
    crds[SCHEMA_RUN] = load(schema_text_run, "trainingrun.yaml");
}

const cJSON *schema_crd(enum schema_kind kind)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load_all);
    return crds[kind];
}

/* A path of keys that our own files hold. */
static const cJSON *must_get(const cJSON *node, const char *key)
{
    const cJSON *child = cJSON_GetObjectItemCaseSensitive(node, key);
    if (!child)
        BUG("the embedded schema has no %s", key);
    return child;
}

const cJSON *schema_root(enum schema_kind kind)
{
    const cJSON *versions = must_get(must_get(schema_crd(kind), "spec"), "versions");
    return must_get(must_get(versions->child, "schema"), "openAPIV3Schema");
}

const char *schema_version(void)
{
    const cJSON *metadata = must_get(schema_crd(SCHEMA_PIPELINE), "metadata");
    return must_get(must_get(metadata, "annotations"), "trainyard.dev/schema-version")->valuestring;
}

const cJSON *schema_of_body(const char *body_key)
{
    const cJSON *spec = must_get(must_get(schema_root(SCHEMA_PIPELINE), "properties"), "spec");
    const cJSON *steps = must_get(must_get(spec, "properties"), "steps");
    return must_get(must_get(must_get(steps, "items"), "properties"), body_key);
}

const char *schema_type(const cJSON *schema)
{
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(schema, "x-kubernetes-int-or-string")))
        return "int-or-string";
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type");
    return type ? type->valuestring : "any";
}

void schema_brief(const cJSON *schema, char ret[static SCHEMA_BRIEF_MAX])
{
    const cJSON *description = cJSON_GetObjectItemCaseSensitive(schema, "description");
    const char *text = description ? description->valuestring : "";
    const char *end = strstr(text, ". ");
    size_t n = end ? (size_t)(end - text) : strlen(text);
    if (n && text[n - 1] == '.')
        n--;
    (void)snprintf(ret, SCHEMA_BRIEF_MAX, "%.*s", (int)n, text);
}

/* --- finding a field ------------------------------------------------------------------------------------- */

static int unknown_field(const cJSON *properties, const char *name, const char *field, struct err *err)
{
    const char *names[LIMIT_STEP_VALUES + 64] = {NULL};
    size_t n = 0;
    for (const cJSON *p = properties ? properties->child : NULL; p && n < ARRAY_SIZE(names) - 1; p = p->next)
        names[n++] = p->string;
    const char *near = text_nearest(name, names);
    if (near)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "there is no field \"%s\" (in %s); did you mean \"%s\"?", name, field, near);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                    "there is no field \"%s\" (in %s); `trainyard docs manifest` lists all", name, field);
}

/* One step of a path: a name without or with indexes, "gate[1]". */
static int find_part(const cJSON *schema, const char *part, size_t len, const char *field, const cJSON **ret,
                     struct err *err)
{
    _cleanup_free_ char *name = xstrndup(part, len);
    char *bracket = strchr(name, '[');
    if (bracket)
        *bracket = '\0';
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(properties, name);
    if (!found)
        found = cJSON_GetObjectItemCaseSensitive(schema, "additionalProperties");
    if (!found || !*name)
        return unknown_field(properties, name, field, err);
    while (bracket) {
        char *digits = bracket + 1;
        char *end = strchr(digits, ']');
        size_t n = end ? strspn(digits, "0123456789") : 0;
        if (!end || n == 0 || digits + n != end || n > 6 || (end[1] && end[1] != '['))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                            "expected an index such as [0] after \"%s\" in %s", name, field);
        found = cJSON_GetObjectItemCaseSensitive(found, "items");
        if (!found)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest", "\"%s\" in %s is not a list", name,
                            field);
        bracket = end[1] ? end + 1 : NULL;
    }
    *ret = found;
    return 0;
}

int schema_find(const cJSON *schema, const char *field, const cJSON **ret, struct err *err)
{
    const char *cursor = field, *part;
    size_t len;
    while (text_next_part(&cursor, '.', &part, &len)) {
        if (find_part(schema, part, len, field, &schema, err) < 0)
            return -1;
    }
    *ret = schema;
    return 0;
}

/* --- defaults ---------------------------------------------------------------------------------------------- */

static void strip_children(const cJSON *schema, cJSON *value)
{
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    const cJSON *additional = cJSON_GetObjectItemCaseSensitive(schema, "additionalProperties");
    cJSON *next;
    for (cJSON *child = value->child; child; child = next) {
        next = child->next;
        const cJSON *known = cJSON_GetObjectItemCaseSensitive(properties, child->string);
        const cJSON *child_schema = known ? known : additional;
        if (!child_schema)
            continue;
        schema_strip_defaults(child_schema, child);
        const cJSON *fallback = cJSON_GetObjectItemCaseSensitive(child_schema, "default");
        if (!fallback)
            continue;
        _cleanup_json_ cJSON *stripped = cJSON_Duplicate(fallback, true);
        schema_strip_defaults(child_schema, stripped);
        if (cJSON_Compare(stripped, child, true))
            cJSON_Delete(cJSON_DetachItemViaPointer(value, child));
    }
}

void schema_strip_defaults(const cJSON *schema, cJSON *value)
{
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(schema, "items");
    if (cJSON_IsObject(value)) {
        strip_children(schema, value);
    } else if (cJSON_IsArray(value) && items) {
        for (cJSON *item = value->child; item; item = item->next)
            schema_strip_defaults(items, item);
    }
}
