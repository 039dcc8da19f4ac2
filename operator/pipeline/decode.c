/* TrainingPipeline: tree → struct pipeline. See pipeline.h. */
#include <stdarg.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/decode-internal.h"
#include "operator/pipeline/schema.h"
#include "operator/pipeline/validate.h"

/* --- findings with paths -------------------------------------------------------------------------------- */

static void add_finding(const struct decoder *d, const char *path, const cJSON *node, bool warning,
                        const char *fmt, va_list ap)
{
    char text[1024];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    findings_add(d->findings, path, yaml_line(d->lines, node), warning, "%s", text);
}

void decoder_finding(const struct decoder *d, const char *path, const cJSON *node, bool warning,
                     const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_finding(d, path, node, warning, fmt, ap);
    va_end(ap);
}

void decoder_step_finding(const struct decoder *d, size_t step, const char *field, const cJSON *node,
                          bool warning, const char *fmt, ...)
{
    char path[JSON_PATH_MAX];
    (void)snprintf(path, sizeof path, "spec.steps[%zu]%s%s", step, *field ? "." : "", field);
    va_list ap;
    va_start(ap, fmt);
    add_finding(d, path, node ? node : decoder_step_json(d, step), warning, fmt, ap);
    va_end(ap);
}

void decoder_hint(const char *word, const char *const *candidates, char ret[static HINT_MAX])
{
    const char *near = text_nearest(word, candidates);
    ret[0] = '\0';
    if (near)
        (void)snprintf(ret, HINT_MAX, "; did you mean \"%.100s\"?", near);
}

long decoder_find_step(const struct decoder *d, size_t step, const char *field, const cJSON *node,
                       const char *name)
{
    size_t found = (size_t)(uintptr_t)map_get(d->step_index, name);
    if (found)
        return (long)found - 1;
    char hint[HINT_MAX];
    decoder_hint(name, d->step_names, hint);
    decoder_step_finding(d, step, field, node, false, "there is no step \"%.80s\"%s", name, hint);
    return -1;
}

const cJSON *decoder_step_json(const struct decoder *d, size_t step)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(d->p->spec, "steps"), (int)step);
}

/* --- the parts besides steps ---------------------------------------------------------------------------- */

static const char *text_of(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static int64_t int_of(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static void decode_metadata(struct pipeline *p)
{
    p->name = text_of(p->metadata, "name");
    p->namespace_ = text_of(p->metadata, "namespace");
    if (!p->namespace_)
        p->namespace_ = "";
    p->revision_annotation =
        text_of(cJSON_GetObjectItemCaseSensitive(p->metadata, "annotations"), "trainyard.dev/revision");
}

static void decode_parameters(struct pipeline *p)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(p->spec, "parameters");
    p->parameters = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *p->parameters);
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        p->parameters[p->n_parameters++] = (struct parameter){
            .name = text_of(item, "name"),
            .type = param_type_of(cJSON_GetObjectItemCaseSensitive(item, "type")),
            .fallback = text_of(item, "default"),
        };
    }
}

static void decode_limits(struct pipeline *p)
{
    const cJSON *limits = cJSON_GetObjectItemCaseSensitive(p->spec, "limits");
    const cJSON *gpu_hours = cJSON_GetObjectItemCaseSensitive(limits, "gpuHours");
    p->limits.run_ms = int_of(limits, "runSeconds") * 1000;
    p->limits.pending_ms = int_of(limits, "pendingSeconds") * 1000;
    p->limits.start_ms = int_of(limits, "startSeconds") * 1000;
    p->limits.parallelism = int_of(limits, "parallelism");
    p->limits.gpu_hours = gpu_hours ? gpu_hours->valuedouble : 0;
}

/* What starts a run when it changes: store, registry, parameters, steps; equal to a default counts as absent. */
static int hash_spec(const cJSON *spec_schema, const cJSON *spec, char ret_hex[static DIGEST_HEX],
                     struct err *err)
{
    static const char *const parts[] = {"store", "registry", "parameters", "steps"};
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(spec_schema, "properties");
    _cleanup_json_ cJSON *form = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        const cJSON *part = cJSON_GetObjectItemCaseSensitive(spec, parts[i]);
        if (!part)
            continue;
        cJSON *copy = cJSON_Duplicate(part, true);
        schema_strip_defaults(cJSON_GetObjectItemCaseSensitive(properties, parts[i]), copy);
        json_add(form, parts[i], copy);
    }
    return json_digest(form, ret_hex, err);
}

/* --- the whole ---------------------------------------------------------------------------------------------- */

static void free_step(struct step *s)
{
    free(s->inputs);
    free(s->after);
    free(s->fanout.axes);
    free(s->fanout.items);
    free(s->set);
    free((void *)s->outputs);
    for (size_t i = 0; i < s->n_values; i++)
        free((char *)s->values[i].name);
    free(s->values);
}

struct pipeline *pipeline_free(struct pipeline *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n_steps; i++)
        free_step(&p->steps[i]);
    free(p->steps);
    free(p->parameters);
    cJSON_Delete(p->metadata);
    cJSON_Delete(p->spec);
    free(p);
    return NULL;
}

long pipeline_find_step(const struct pipeline *p, const char *name)
{
    for (size_t i = 0; i < p->n_steps; i++) {
        if (strcmp(p->steps[i].name, name) == 0)
            return (long)i;
    }
    return -1;
}

/* Takes the spec and the metadata out of `tree`. */
static int fill(cJSON *tree, const struct yaml_lines *lines, struct findings *findings, struct pipeline **ret,
                struct err *err)
{
    _cleanup_pipeline_ struct pipeline *p = xcalloc(1, sizeof *p);
    const cJSON *spec_schema =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(schema_root(SCHEMA_PIPELINE),
                                                                          "properties"),
                                         "spec");
    p->spec = cJSON_DetachItemFromObjectCaseSensitive(tree, "spec");
    p->metadata = cJSON_DetachItemFromObjectCaseSensitive(tree, "metadata");
    if (hash_spec(spec_schema, p->spec, p->hash, err) < 0)
        return -1;
    decode_metadata(p);
    p->store = cJSON_GetObjectItemCaseSensitive(p->spec, "store");
    p->registry = cJSON_GetObjectItemCaseSensitive(p->spec, "registry");
    decode_parameters(p);
    decode_limits(p);
    _cleanup_map_ struct map *index = map_new(LIMIT_STEPS, NULL);
    _cleanup_free_ const char **names = NULL;
    struct decoder d = {.p = p, .lines = lines, .findings = findings, .step_index = index};
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(p->spec, "steps");
    names = xcalloc((size_t)cJSON_GetArraySize(steps) + 1, sizeof *names);
    d.step_names = names;
    decode_steps(&d, steps);
    validate(&d);
    *ret = steal_ptr(p);
    return 0;
}

static int decode(cJSON *tree, const struct yaml_lines *lines, const char *file_name,
                  struct findings *findings, struct pipeline **ret, struct err *err)
{
    size_t before = findings->n;
    decode_envelope(tree, "TrainingPipeline", lines, findings);
    cJSON *spec = cJSON_GetObjectItemCaseSensitive(tree, "spec");
    if (cJSON_IsObject(spec)) {
        const struct json_path path = {.key = "spec"};
        const cJSON *schema =
            cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(schema_root(SCHEMA_PIPELINE),
                                                                              "properties"),
                                             "spec");
        schema_check(schema, spec, &path, lines, findings);
    }
    /* What follows relies on the schema's promises. */
    if (findings_error(findings, before, file_name, err) < 0)
        return -1;
    _cleanup_pipeline_ struct pipeline *p = NULL;
    if (fill(tree, lines, findings, &p, err) < 0 || findings_error(findings, before, file_name, err) < 0)
        return -1;
    *ret = steal_ptr(p);
    return 0;
}

int pipeline_decode_yaml(const char *text, size_t len, const char *file_name, struct pipeline **ret,
                         struct findings *findings, struct err *err)
{
    _cleanup_json_ cJSON *tree = NULL;
    _cleanup_yaml_lines_ struct yaml_lines *lines = NULL;
    if (yaml_parse(text, len, file_name, findings, &tree, &lines, err) < 0)
        return -1;
    return decode(tree, lines, file_name, findings, ret, err);
}

int pipeline_decode_json(const cJSON *object, struct pipeline **ret, struct findings *findings,
                         struct err *err)
{
    _cleanup_json_ cJSON *tree = cJSON_Duplicate(object, true);
    return decode(tree, NULL, NULL, findings, ret, err);
}
