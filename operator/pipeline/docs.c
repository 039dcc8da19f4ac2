/* Schema → Markdown: see docs.h. */
#include "operator/pipeline/docs.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/pipeline/schema.h"

static const cJSON *get(const cJSON *schema, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(schema, key);
}

/* Text in a cell of a table. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++)
        (void)buf_adds(out, *text == '|' ? "\\|" : (char[2]){*text, '\0'});
}

static void add_code(struct buf *out, const char *text)
{
    (void)buf_addc(out, '`');
    add_cell(out, text);
    (void)buf_addc(out, '`');
}

static int add_json(struct buf *out, const cJSON *value, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(16 * 1024);
    if (cJSON_IsString(value)) {
        add_code(out, *value->valuestring ? value->valuestring : "\"\"");
        return 0;
    }
    if (json_canonical(value, &text, err) < 0)
        return -1;
    add_code(out, buf_str(&text));
    return 0;
}

/* --- one field's type and bounds ------------------------------------------------------------------------------- */

/* What the table of a field's own section describes, if it has one: the mapping itself, or that of its items or entries. */
static const cJSON *mapping_in(const cJSON *schema, const char **ret_suffix)
{
    *ret_suffix = "";
    const cJSON *items = get(schema, "items"), *additional = get(schema, "additionalProperties");
    if (get(schema, "properties"))
        return schema;
    if (items && get(items, "properties")) {
        *ret_suffix = "[]";
        return items;
    }
    if (additional && get(additional, "properties")) {
        *ret_suffix = ".*";
        return additional;
    }
    return NULL;
}

static void add_bounds(struct buf *out, const cJSON *schema, const char *low, const char *high,
                       const char *what)
{
    const cJSON *min = get(schema, low), *max = get(schema, high);
    char a[32], b[32];
    json_format_double(min ? min->valuedouble : 0, a);
    json_format_double(max ? max->valuedouble : 0, b);
    const char *above = cJSON_IsTrue(get(schema, "exclusiveMinimum")) ? "above " : "";
    if (min && max)
        (void)buf_addf(out, ", %s%s to %s%s", above, a, b, what);
    else if (min)
        (void)buf_addf(out, ", %s%s%s", *above ? above : "at least ", a, what);
    else if (max)
        (void)buf_addf(out, ", at most %s%s", b, what);
}

static void add_enum(struct buf *out, const cJSON *allowed)
{
    for (const cJSON *a = allowed->child; a; a = a->next) {
        (void)buf_adds(out, a == allowed->child ? "" : ", ");
        add_code(out, *a->valuestring ? a->valuestring : "\"\"");
    }
}

static void add_type(struct buf *out, const cJSON *schema)
{
    const char *type = schema_type(schema);
    const cJSON *items = get(schema, "items"), *additional = get(schema, "additionalProperties");
    if (get(schema, "enum")) {
        add_enum(out, get(schema, "enum"));
    } else if (items) {
        (void)buf_adds(out, "list of ");
        add_type(out, items);
        add_bounds(out, schema, "minItems", "maxItems", " items");
    } else if (additional) {
        (void)buf_adds(out, "mapping to ");
        add_type(out, additional);
    } else if (strcmp(type, "string") == 0) {
        (void)buf_adds(out, strcmp(get(schema, "format") ? get(schema, "format")->valuestring : "",
                                   "date-time") == 0
                                ? "time"
                                : "text");
    } else if (strcmp(type, "int-or-string") == 0) {
        const cJSON *pattern = get(schema, "pattern");
        (void)buf_adds(out, pattern && strstr(pattern->valuestring, "\\$") ? "integer or reference"
                                                                           : "integer or text");
        add_bounds(out, schema, "minimum", "maximum", "");
    } else {
        (void)buf_adds(out, strcmp(type, "object") == 0 ? "mapping" : type);
        add_bounds(out, schema, "minimum", "maximum", "");
    }
}

/* --- tables --------------------------------------------------------------------------------------------------------- */

static bool is_required(const cJSON *object, const char *name)
{
    const cJSON *required = get(object, "required");
    for (const cJSON *r = required ? required->child : NULL; r; r = r->next) {
        if (strcmp(r->valuestring, name) == 0)
            return true;
    }
    return false;
}

static int add_row(struct buf *out, const cJSON *object, const cJSON *field, struct err *err)
{
    const cJSON *fallback = get(field, "default"), *description = get(field, "description");
    (void)buf_adds(out, "| ");
    add_code(out, field->string);
    (void)buf_adds(out, " | ");
    add_type(out, field);
    (void)buf_adds(out, " | ");
    if (is_required(object, field->string))
        (void)buf_adds(out, "*required*");
    else if (fallback && add_json(out, fallback, err) < 0)
        return -1;
    (void)buf_adds(out, " | ");
    add_cell(out, description ? description->valuestring : "Name, namespace, labels, annotations.");
    (void)buf_adds(out, " |\n");
    return 0;
}

static void add_alternatives(struct buf *out, const cJSON *schema)
{
    static const struct {
        const char *keyword, *text;
    } kinds[] = {{"oneOf", "Exactly one of "}, {"anyOf", "At least one of "}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const cJSON *alternatives = get(schema, kinds[i].keyword);
        (void)buf_adds(out, alternatives ? kinds[i].text : "");
        for (const cJSON *a = alternatives ? alternatives->child : NULL; a; a = a->next) {
            (void)buf_adds(out, a == alternatives->child ? "" : a->next ? ", " : " or ");
            for (const cJSON *r = get(a, "required")->child; r; r = r->next) {
                (void)buf_adds(out, r->prev->next ? " with " : "");
                add_code(out, r->valuestring);
            }
        }
        (void)buf_adds(out, alternatives ? ".\n\n" : "");
    }
    const cJSON *all = get(schema, "allOf");
    for (const cJSON *part = all ? all->child : NULL; part; part = part->next)
        add_alternatives(out, part);
}

/* The section of a mapping, then those of the mappings in it. */
static int add_section(struct buf *out, const cJSON *object, const char *path, struct err *err)
{
    const cJSON *properties = get(object, "properties"), *description = get(object, "description");
    if (*path)
        (void)buf_addf(out, "### `%s`\n\n", path);
    if (description)
        (void)buf_addf(out, "%s\n\n", description->valuestring);
    add_alternatives(out, object);
    (void)buf_adds(out, "| field | type | default | meaning |\n|---|---|---|---|\n");
    for (const cJSON *field = properties->child; field; field = field->next) {
        if (add_row(out, object, field, err) < 0)
            return -1;
    }
    (void)buf_addc(out, '\n');
    for (const cJSON *field = properties->child; field; field = field->next) {
        const char *suffix;
        const cJSON *below = mapping_in(field, &suffix);
        _cleanup_free_ char *below_path =
            xasprintf("%s%s%s%s", path, *path ? "." : "", field->string, below ? suffix : "");
        if (below && add_section(out, below, below_path, err) < 0)
            return -1;
    }
    return 0;
}

static int add_kind(struct buf *out, enum schema_kind kind, struct err *err)
{
    const cJSON *names = get(get(schema_crd(kind), "spec"), "names");
    (void)buf_addf(out, "## %s\n\nShort name `%s`.\n\n", get(names, "kind")->valuestring,
                   get(names, "shortNames")->child->valuestring);
    return add_section(out, schema_root(kind), "", err);
}

int schema_markdown(struct buf *out, struct err *err)
{
    (void)buf_adds(
        out,
        "# Reference of the manifest\n\n"
        "Generated from `crds/` by `trainyard docs manifest`; do not edit. Every field of API group `trainyard.dev/v1alpha1`. Unknown "
        "fields are refused; a field without value is left out, never null.\n\n"
        "*Integer or reference*: a whole number, or text with one reference such as `$(params.epochs)`.\n\n");
    if (add_kind(out, SCHEMA_PIPELINE, err) < 0 || add_kind(out, SCHEMA_RUN, err) < 0)
        return -1;
    return buf_check(out, "the reference of the manifest", err);
}
