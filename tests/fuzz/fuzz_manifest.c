/* libFuzzer: any bytes as a manifest. What decodes must decode again from its own defaulted tree, to the same hash, and its bodies
 * must resolve or fail with an error; what does not must say where and why. */
#include <stdint.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/pipeline/params.h"
#include "operator/pipeline/pipeline.h"

static void decode_again(const struct pipeline *p)
{
    _cleanup_json_ cJSON *object = json_object();
    json_add_string(object, "apiVersion", "trainyard.dev/v1alpha1");
    json_add_string(object, "kind", "TrainingPipeline");
    json_add(object, "metadata", cJSON_Duplicate(p->metadata, true));
    json_add(object, "spec", cJSON_Duplicate(p->spec, true));
    struct findings findings = {0};
    struct err err = ERR_INIT;
    _cleanup_pipeline_ struct pipeline *again = NULL;
    if (pipeline_decode_json(object, &again, &findings, &err) < 0 || strcmp(again->hash, p->hash) != 0)
        __builtin_trap();
    findings_release(&findings);
}

static void resolve_all(const struct pipeline *p)
{
    struct run_spec run = {.name = (char *)"r", .uid = (char *)"u", .scheduled_ms = INT64_C(1769824800000)};
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *params = NULL;
    if (params_resolve(p, &run, &params, &err) < 0)
        return;
    const struct expr_scope scope = {.params = params,
                                     .run_name = "r",
                                     .run_uid = "u",
                                     .run_phase = "Running",
                                     .item = "i",
                                     .scheduled_ms = run.scheduled_ms};
    for (size_t i = 0; i < p->n_steps; i++) {
        _cleanup_json_ cJSON *body = NULL, *items = NULL;
        struct err body_err = ERR_INIT, items_err = ERR_INIT;
        if (params_resolve_body(p, &p->steps[i], &scope, &body, &body_err) < 0 &&
            body_err.class_ != ERR_INVALID)
            __builtin_trap();
        if (params_fanout_items(&p->steps[i], &scope, &items, &items_err) < 0 &&
            items_err.class_ != ERR_INVALID)
            __builtin_trap();
    }
}

static void decode_run(const char *text, size_t size)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct run_spec run = {0};
    (void)run_decode_yaml(text, size, "f", &run, &findings, &err);
    run_spec_release(&run);
    findings_release(&findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    _cleanup_pipeline_ struct pipeline *p = NULL;
    if (pipeline_decode_yaml((const char *)data, size, "f", &p, &findings, &err) < 0) {
        if (p || findings.n == 0 || findings.n > LIMIT_FINDINGS + 1 || err_exit_code(&err) != EXITCODE_CONFIG)
            __builtin_trap();
        decode_run((const char *)data, size);
    } else {
        decode_again(p);
        resolve_all(p);
    }
    findings_release(&findings);
    return 0;
}
