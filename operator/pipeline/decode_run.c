/* TrainingRun: tree → struct run_spec. See pipeline.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "operator/pipeline/decode-internal.h"
#include "operator/pipeline/schema.h"

static const cJSON *get(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static char *copy_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    return cJSON_IsString(v) ? xstrdup(v->valuestring) : NULL;
}

/* 0 when absent; its form has been checked. */
static int64_t time_of(const cJSON *object, const char *key)
{
    const cJSON *v = get(object, key);
    int64_t ms = 0;
    struct err ignored = ERR_INIT;
    if (cJSON_IsString(v))
        (void)clock_parse_rfc3339(v->valuestring, &ms, &ignored);
    return ms;
}

void run_spec_release(struct run_spec *r)
{
    for (size_t i = 0; i < r->n_params; i++) {
        free(r->params[i].name);
        free(r->params[i].value);
    }
    for (size_t i = 0; i < r->n_restart_from; i++)
        free(r->restart_from[i]);
    for (size_t i = 0; i < r->n_approvals; i++) {
        free(r->approvals[i].step);
        free(r->approvals[i].by);
        free(r->approvals[i].comment);
    }
    free(r->params);
    free(r->restart_from);
    free(r->approvals);
    free(r->restart_id);
    free(r->name);
    free(r->uid);
    free(r->pipeline);
    free(r->revision);
    *r = (struct run_spec){0};
}

static void fill(const cJSON *tree, struct run_spec *r)
{
    const cJSON *spec = get(tree, "spec"), *metadata = get(tree, "metadata");
    const cJSON *params = get(spec, "parameters"), *approvals = get(spec, "approvals"),
                *restart = get(spec, "restart");
    const cJSON *from = get(restart, "from"), *stop = get(spec, "stop");
    r->name = copy_of(metadata, "name");
    r->uid = copy_of(metadata, "uid");
    r->created_ms = time_of(metadata, "creationTimestamp");
    r->pipeline = copy_of(spec, "pipeline");
    r->revision = copy_of(spec, "revision");
    r->scheduled_ms = get(spec, "scheduledTime") ? time_of(spec, "scheduledTime") : r->created_ms;
    r->params = xcalloc((size_t)cJSON_GetArraySize(params) + 1, sizeof *r->params);
    for (const cJSON *p = params ? params->child : NULL; p; p = p->next)
        r->params[r->n_params++] = (struct run_param){copy_of(p, "name"), copy_of(p, "value")};
    r->suspend = cJSON_IsTrue(get(spec, "suspend"));
    if (stop)
        r->stop = strcmp(stop->valuestring, "Now") == 0 ? RUN_STOP_NOW : RUN_STOP_GRACEFUL;
    r->restart_id = copy_of(restart, "id");
    r->restart_from = xcalloc((size_t)cJSON_GetArraySize(from) + 1, sizeof *r->restart_from);
    for (const cJSON *f = from ? from->child : NULL; f; f = f->next)
        r->restart_from[r->n_restart_from++] = xstrdup(f->valuestring);
    r->approvals = xcalloc((size_t)cJSON_GetArraySize(approvals) + 1, sizeof *r->approvals);
    for (const cJSON *a = approvals ? approvals->child : NULL; a; a = a->next)
        r->approvals[r->n_approvals++] =
            (struct run_approval){copy_of(a, "step"), copy_of(a, "by"), copy_of(a, "comment")};
}

static int decode(cJSON *tree, const struct yaml_lines *lines, const char *file_name, struct run_spec *ret,
                  struct findings *findings, struct err *err)
{
    size_t before = findings->n;
    decode_envelope(tree, "TrainingRun", lines, findings);
    cJSON *spec = cJSON_GetObjectItemCaseSensitive(tree, "spec");
    if (cJSON_IsObject(spec)) {
        const struct json_path path = {.key = "spec"};
        schema_check(get(get(schema_root(SCHEMA_RUN), "properties"), "spec"), spec, &path, lines, findings);
    }
    if (findings_error(findings, before, file_name, err) < 0)
        return -1;
    struct run_spec run = {0};
    fill(tree, &run);
    *ret = run;
    return 0;
}

int run_decode_yaml(const char *text, size_t len, const char *file_name, struct run_spec *ret,
                    struct findings *findings, struct err *err)
{
    _cleanup_json_ cJSON *tree = NULL;
    _cleanup_yaml_lines_ struct yaml_lines *lines = NULL;
    if (yaml_parse(text, len, file_name, findings, &tree, &lines, err) < 0)
        return -1;
    return decode(tree, lines, file_name, ret, findings, err);
}

int run_decode_json(const cJSON *object, struct run_spec *ret, struct findings *findings, struct err *err)
{
    _cleanup_json_ cJSON *tree = cJSON_Duplicate(object, true);
    return decode(tree, NULL, NULL, ret, findings, err);
}
