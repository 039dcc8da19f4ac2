#include "operator/cli/docs_manifest.h"

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/pipeline/schema.h"

static const cJSON *child(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* A table cell: bars would end it, newlines the row. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            (void)buf_adds(out, "\\|");
        else
            (void)buf_addc(out, *text == '\n' ? ' ' : *text);
    }
}

static void add_json_cell(struct buf *out, const cJSON *value)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * 1024);
    struct err err = ERR_INIT;
    if (json_canonical(value, &text, &err) < 0)
        return;
    (void)buf_addc(out, '`');
    add_cell(out, buf_str(&text));
    (void)buf_addc(out, '`');
}

static void add_type(struct buf *out, const cJSON *schema)
{
    const cJSON *items = child(schema, "items"), *values = child(schema, "additionalProperties");
    if (items)
        (void)buf_addf(out, "list of %s", schema_type(items));
    else if (cJSON_IsObject(values))
        (void)buf_addf(out, "map of %s", schema_type(values));
    else
        (void)buf_adds(out, schema_type(schema));
}

static void add_bound(struct buf *out, const cJSON *schema, const char *key, const char *words, bool *first)
{
    const cJSON *v = child(schema, key);
    char number[32];
    if (!cJSON_IsNumber(v))
        return;
    json_format_double(v->valuedouble, number);
    (void)buf_addf(out, "%s%s %s", *first ? "" : "; ", words, number);
    *first = false;
}

static void add_bounds(struct buf *out, const cJSON *schema)
{
    static const char *const bounds[][2] =
        {{"minimum", "≥"},          {"exclusiveMinimum", ">"},     {"maximum", "≤"},
         {"exclusiveMaximum", "<"}, {"minLength", "characters ≥"}, {"maxLength", "characters ≤"},
         {"minItems", "items ≥"},   {"maxItems", "items ≤"},       {"maxProperties", "entries ≤"}};
    const cJSON *values = child(schema, "enum"), *pattern = child(schema, "pattern"), *v;
    bool first = true;
    cJSON_ArrayForEach(v, values)
    {
        (void)buf_adds(out, first ? "" : ", ");
        add_json_cell(out, v);
        first = false;
    }
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        add_bound(out, schema, bounds[i][0], bounds[i][1], &first);
    if (cJSON_IsString(pattern)) {
        (void)buf_addf(out, "%s`", first ? "" : "; ");
        add_cell(out, pattern->valuestring);
        (void)buf_addc(out, '`');
    }
}

static bool is_required(const cJSON *parent, const char *name)
{
    const cJSON *r;
    cJSON_ArrayForEach(r, child(parent, "required"))
    {
        if (cJSON_IsString(r) && strcmp(r->valuestring, name) == 0)
            return true;
    }
    return false;
}

static void add_row(struct buf *out, const cJSON *parent, const cJSON *field, const char *path)
{
    const cJSON *fallback = child(field, "default"), *description = child(field, "description");
    (void)buf_addf(out, "| `%s`%s | ", path, is_required(parent, field->string) ? " **required**" : "");
    add_type(out, field);
    (void)buf_adds(out, " | ");
    if (fallback)
        add_json_cell(out, fallback);
    (void)buf_adds(out, " | ");
    add_bounds(out, field);
    (void)buf_adds(out, " | ");
    add_cell(out, cJSON_IsString(description) ? description->valuestring : "");
    (void)buf_adds(out, " |\n");
}

/* Fields below `schema`, depth first. */
static void add_fields(struct buf *out, const cJSON *schema, const char *prefix, int depth)
{
    const cJSON *field;
    if (depth > 12)
        return;
    cJSON_ArrayForEach(field, child(schema, "properties"))
    {
        const cJSON *items = child(field, "items"), *values = child(field, "additionalProperties");
        _cleanup_free_ char *path = xasprintf("%s%s%s%s", prefix, *prefix ? "." : "", field->string,
                                              items                    ? "[]"
                                              : cJSON_IsObject(values) ? ".*"
                                                                       : "");
        add_row(out, schema, field, path);
        add_fields(out, items ? items : cJSON_IsObject(values) ? values : field, path, depth + 1);
    }
}

static void add_section(struct buf *out, const char *title, const cJSON *schema, const char *prefix)
{
    const cJSON *description = child(schema, "description");
    (void)buf_addf(out, "\n## %s\n\n", title);
    if (cJSON_IsString(description))
        (void)buf_addf(out, "%s\n\n", description->valuestring);
    (void)buf_adds(out, "| field | type | default | allowed | meaning |\n|---|---|---|---|---|\n");
    add_fields(out, schema, prefix, 0);
}

int docs_manifest(struct buf *out)
{
    (void)buf_adds(
        out,
        "# Manifest reference\n\nGenerated from the CRDs by `trainyard docs manifest`; do not edit. `trainyard lint` checks files against the same schema.\n");
    add_section(out, "TrainingPipeline: spec",
                child(child(schema_root(SCHEMA_PIPELINE), "properties"), "spec"), "spec");
    add_section(out, "TrainingPipeline: status",
                child(child(schema_root(SCHEMA_PIPELINE), "properties"), "status"), "status");
    add_section(out, "TrainingRun: spec", child(child(schema_root(SCHEMA_RUN), "properties"), "spec"),
                "spec");
    add_section(out, "TrainingRun: status", child(child(schema_root(SCHEMA_RUN), "properties"), "status"),
                "status");
    return buf_failed(out) ? -1 : 0;
}
