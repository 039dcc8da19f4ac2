/* Any status that reads must print, come back equal, and be planned from without harm: it may have been edited by hand. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/pipeline/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char manifest[] =
    "apiVersion: trainyard.dev/v1alpha1\nkind: TrainingPipeline\nmetadata: {name: p}\nspec:\n"
    "  store: {url: \"file:///s\"}\n  limits: {runSeconds: 100, gpuHours: 1, parallelism: 3}\n  steps:\n"
    "    - name: a\n      workers: 2\n      resources: {gpu: 1}\n      container: {image: i, outputs: [o], values: [{name: v, type: number}]}\n"
    "    - name: b\n      inputs: [{name: i, from: a.o}]\n      when: \"steps.a.values.v > 0\"\n      foreach: {items: [x, z], minSuccess: 1}\n"
    "      container: {image: i, outputs: [o]}\n"
    "    - name: c\n      after: [b]\n      approval: {message: m}\n"
    "    - name: f\n      finally: true\n      container: {image: i, args: [\"$(run.phase)\"]}\n";

static struct pipeline *the_pipeline(void)
{
    static struct pipeline *p;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    if (!p && pipeline_decode_yaml(manifest, strlen(manifest), "fuzz.yaml", &p, &findings, &err) < 0)
        BUG("%s", err.msg);
    findings_release(&findings);
    return p;
}

static void plan_from(const struct run_status *status, const struct observed *observed, int64_t now)
{
    struct run_spec run = {.name = (char *)"r", .uid = (char *)"u", .scheduled_ms = 1, .created_ms = 1};
    const struct plan_options options = {.has_cuda = true};
    struct err err = ERR_INIT;
    struct plan first, again;
    if (plan(the_pipeline(), &run, status, observed, NULL, &options, now, &first, &err) < 0)
        return;
    if (plan(the_pipeline(), &run, &first.status, observed, NULL, &options, now, &again, &err) == 0)
        plan_release(&again);
    plan_release(&first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *json = NULL, *printed = NULL, *twice = NULL;
    _cleanup_run_status_ struct run_status status, back;
    run_status_init(&status);
    run_status_init(&back);
    if (json_parse((const char *)data, size, LIMIT_STATUS_BYTES, &json, &err) < 0 ||
        run_status_from_json(json, the_pipeline(), &status, &err) < 0)
        return 0;
    if (run_status_to_json(&status, &printed, &err) == 0) {
        if (run_status_from_json(printed, the_pipeline(), &back, &err) < 0 ||
            run_status_to_json(&back, &twice, &err) < 0)
            BUG("does not come back: %s", err.msg);
        if (!cJSON_Compare(printed, twice, true))
            BUG("comes back as another status");
    }
    struct observed_pod pods[2] = {OBSERVED_POD_INIT, OBSERVED_POD_INIT};
    pods[1].worker = 1;
    pods[0].phase = POD_RUNNING;
    pods[0].started_ms = 1600000000000;
    pods[1].phase = POD_FAILED;
    pods[1].exit_code = 75;
    struct observed_attempt attempt = OBSERVED_ATTEMPT_INIT;
    attempt.attempt = 1;
    attempt.pods = pods;
    attempt.n_pods = 2;
    const struct observed none = {0}, one = {.attempts = &attempt, .n = 1};
    plan_from(&status, &none, 1700000000000);
    plan_from(&status, &one, 1700000000000);
    return 0;
}
