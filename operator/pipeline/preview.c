/* What a run would start: see preview.h. */
#include "operator/pipeline/preview.h"

#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/pipeline/cachekey.h"
#include "operator/pipeline/dag.h"
#include "operator/pipeline/fanout.h"
#include "operator/pipeline/params.h"

struct preview {
    const struct pipeline *pipeline;
    const struct run_spec *run;
    const struct plan_options *options;
    cJSON *params, *steps_scope;
    cJSON *jobs;
};

/* --- what is only known later ------------------------------------------------------------------------------ */

/* Every value of every step, as the reference to it. */
static cJSON *symbolic_steps(const struct pipeline *p)
{
    cJSON *steps = json_object();
    for (size_t s = 0; s < p->n_steps; s++) {
        cJSON *o = json_object(), *values = json_object();
        for (size_t i = 0; i < p->steps[s].n_values; i++) {
            const char *name = p->steps[s].values[i].name;
            _cleanup_free_ char *text = strchr(p->steps[s].name, '-')
                                            ? xasprintf("$(steps['%s'].values.%s)", p->steps[s].name, name)
                                            : xasprintf("$(steps.%s.values.%s)", p->steps[s].name, name);
            json_add_string(values, name, text);
        }
        json_add(o, "values", values);
        json_add_string(o, "phase", "$(phase)");
        json_add(steps, p->steps[s].name, o);
    }
    return steps;
}

static bool refers_to_steps(const cJSON *node)
{
    if (cJSON_IsString(node) && strstr(node->valuestring, "$(") && strstr(node->valuestring, "steps"))
        return true;
    const cJSON *child;
    cJSON_ArrayForEach(child, node)
    {
        if (refers_to_steps(child))
            return true;
    }
    return false;
}

static bool depends_on_later(const struct step *step)
{
    for (size_t i = 0; i < step->n_set; i++)
        if (strstr(step->set[i].value, "steps"))
            return true;
    return refers_to_steps(step->body);
}

/* A reference to a value that is not known yet may stand where a number must: then the body is shown as written. */
static int config_of(const struct preview *v, const struct step *step, const struct expr_scope *scope,
                     cJSON **ret, struct err *err)
{
    struct err why = ERR_INIT;
    if (params_resolve_body(v->pipeline, step, scope, ret, &why) == 0)
        return 0;
    if (depends_on_later(step)) {
        *ret = cJSON_Duplicate(step->body, true);
        return 0;
    }
    *err = why;
    return err_wrap(err, "step %s", step->name);
}

static cJSON *inputs_of(const struct pipeline *p, const struct step *step)
{
    cJSON *o = json_object();
    for (size_t i = 0; i < step->n_inputs; i++) {
        const struct step *producer = &p->steps[step->inputs[i].from];
        _cleanup_free_ char *from =
            xasprintf("%s.%s%s", producer->name, step->inputs[i].output, fanout_is(producer) ? "[*]" : "");
        json_add_string(o, step->inputs[i].name, from);
    }
    return o;
}

static const char *cache_of(const struct preview *v, const struct step *step, const cJSON *config)
{
    if (!cachekey_is_pure(step))
        return step->kind == STEP_CONTAINER || step->kind == STEP_APPROVAL ? "none"
                                                                           : "by the step, from what it sees";
    if (v->options->cache_disabled || !step->cache_enabled)
        return "off";
    if (step->kind == STEP_CONTAINER &&
        !cachekey_image_pinned(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "image"))))
        return "none: image not pinned";
    return "by config and inputs";
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

static void add_positive(cJSON *o, const char *key, int64_t value)
{
    if (value > 0)
        json_add_int(o, key, value);
}

static void describe(const struct preview *v, const struct step *step, const struct job *job, cJSON *o)
{
    const char *program = step_kind_program(step->kind);
    json_add_string(o, "kind", program ? program : step_kind_body_key(step->kind));
    json_add_int(o, "workers", job->workers);
    if (job->workers != step->workers)
        json_add_int(o, "workersInManifest", step->workers);
    json_add_int(o, "threads", job->threads);
    json_add_string(o, "device", job->device);
    add_positive(o, "gpu", job->gpu);
    add_positive(o, "gpuInManifest", job->gpu != step->gpu ? step->gpu : 0);
    add_positive(o, "cpuMilli", job->cpu_milli);
    add_positive(o, "memoryBytes", job->memory_bytes);
    add_positive(o, "scratchBytes", job->scratch_bytes);
    add_positive(o, "timeoutSeconds", job->timeout_ms / 1000);
    json_add_string(o, "cache", cache_of(v, step, job->config));
}

static int add_job(struct preview *v, const struct step *step, int64_t index, const cJSON *axes, bool known,
                   struct err *err)
{
    struct expr_scope scope = {
        .params = v->params,
        .steps = v->steps_scope,
        .run_name = v->run->name,
        .run_uid = v->run->uid ? v->run->uid : "$(run.uid)",
        .run_phase = "$(run.phase)",
        .scheduled_ms = v->run->scheduled_ms ? v->run->scheduled_ms : v->run->created_ms,
        .item = known ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(axes, "item")) : "$(item)",
        .matrix = axes,
    };
    struct job job = {0};
    if (config_of(v, step, &scope, &job.config, err) < 0)
        return -1;
    jobspec_resources(step, NULL, job.config, v->options, &job);
    cJSON *o = json_object();
    json_append(v->jobs, o);
    _cleanup_free_ char *name = plan_job_name(v->run->name, step->name, job.fanout, index, 1);
    json_add_string(o, "name", name);
    json_add_string(o, "step", step->name);
    if (job.fanout && known)
        json_add(o, "axes", cJSON_Duplicate(axes, true));
    if (job.fanout && !known)
        json_add_string(o, "forEach", step->fanout.from);
    if (step->when)
        json_add_string(o, "when", step->when);
    if (step->finally)
        json_add_bool(o, "finally", true);
    describe(v, step, &job, o);
    json_add(o, "inputs", inputs_of(v->pipeline, step));
    json_add(o, "config", steal_ptr(job.config));
    job_release(&job);
    return 0;
}

static int add_step(struct preview *v, const struct step *step, struct err *err)
{
    struct expr_scope scope = {.params = v->params,
                               .steps = v->steps_scope,
                               .run_name = v->run->name,
                               .run_uid = v->run->uid};
    scope.scheduled_ms = v->run->scheduled_ms ? v->run->scheduled_ms : v->run->created_ms;
    if (!fanout_is(step))
        return add_job(v, step, 0, NULL, true, err);
    _cleanup_json_ cJSON *items = NULL;
    struct err why = ERR_INIT;
    if (params_fanout_items(step, &scope, &items, &why) < 0) {
        if (step->fanout.from && strstr(step->fanout.from, "steps"))
            return add_job(v, step, 0, NULL, false, err);
        *err = why;
        return err_wrap(err, "step %s", step->name);
    }
    const cJSON *axes;
    int64_t index = 0;
    cJSON_ArrayForEach(axes, items)
    {
        if (add_job(v, step, index++, axes, true, err) < 0)
            return -1;
    }
    return 0;
}

int plan_preview(const struct pipeline *pipeline, const struct run_spec *run,
                 const struct plan_options *options, cJSON **ret, struct err *err)
{
    size_t at;
    _cleanup_dag_ struct dag dag = {0};
    _cleanup_json_ cJSON *params = NULL, *steps = symbolic_steps(pipeline), *o = json_object();
    if (dag_init(&dag, pipeline, &at, err) < 0 || params_resolve(pipeline, run, &params, err) < 0)
        return -1;
    json_add_string(o, "pipeline", pipeline->name ? pipeline->name : "");
    json_add_string(o, "run", run->name);
    json_add(o, "parameters", cJSON_Duplicate(params, true));
    struct preview v = {.pipeline = pipeline,
                        .run = run,
                        .options = options,
                        .params = params,
                        .steps_scope = steps,
                        .jobs = json_array()};
    json_add(o, "jobs", v.jobs);
    for (size_t k = 0; k < dag.n; k++)
        if (add_step(&v, &pipeline->steps[dag.order[k]], err) < 0)
            return -1;
    *ret = steal_ptr(o);
    return 0;
}

/* --- text ----------------------------------------------------------------------------------------------------------- */

static int64_t int_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static const char *text_of(const cJSON *o, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return text ? text : "";
}

static void print_size(struct buf *out, const char *what, int64_t bytes)
{
    if (bytes >= 1LL << 30)
        (void)buf_addf(out, ", %.4g GiB %s", (double)bytes / (double)(1LL << 30), what);
    else if (bytes > 0)
        (void)buf_addf(out, ", %.4g MiB %s", (double)bytes / (double)(1LL << 20), what);
}

static void print_shape(const cJSON *job, struct buf *out)
{
    int64_t workers = int_of(job, "workers"), threads = int_of(job, "threads"), gpu = int_of(job, "gpu");
    (void)buf_addf(out, "     %lld worker%s", (long long)workers, workers == 1 ? "" : "s");
    if (int_of(job, "workersInManifest") > 0)
        (void)buf_addf(out, " (the manifest says %lld)", (long long)int_of(job, "workersInManifest"));
    (void)buf_addf(out, ", %lld thread%s, %s", (long long)threads, threads == 1 ? "" : "s",
                   text_of(job, "device"));
    if (gpu > 0)
        (void)buf_addf(out, ", %lld GPU%s", (long long)gpu, gpu == 1 ? "" : "s");
    if (int_of(job, "gpuInManifest") > 0)
        (void)buf_addf(out, " (gpu: %lld in the manifest)", (long long)int_of(job, "gpuInManifest"));
    print_size(out, "memory", int_of(job, "memoryBytes"));
    print_size(out, "scratch", int_of(job, "scratchBytes"));
    if (int_of(job, "timeoutSeconds") > 0)
        (void)buf_addf(out, ", at most %lld s", (long long)int_of(job, "timeoutSeconds"));
    (void)buf_addf(out, "; cache: %s\n", text_of(job, "cache"));
}

int plan_preview_text(const cJSON *preview, struct buf *out, struct err *err)
{
    const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(preview, "jobs"), *job, *input, *field;
    (void)buf_addf(out, "Run %s of pipeline %s: %d job%s\n", text_of(preview, "run"),
                   text_of(preview, "pipeline"), cJSON_GetArraySize(jobs),
                   cJSON_GetArraySize(jobs) == 1 ? "" : "s");
    int n = 0;
    cJSON_ArrayForEach(job, jobs)
    {
        (void)buf_addf(out, "%3d. %s  %s%s\n", ++n, text_of(job, "name"), text_of(job, "kind"),
                       cJSON_HasObjectItem(job, "finally") ? "  (finally)" : "");
        print_shape(job, out);
        if (*text_of(job, "when"))
            (void)buf_addf(out, "     when    %s\n", text_of(job, "when"));
        if (*text_of(job, "forEach"))
            (void)buf_addf(out, "     one job for each of %s\n", text_of(job, "forEach"));
        cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(job, "axes"))(void)
            buf_addf(out, "     item    %s = %s\n", field->string, cJSON_GetStringValue(field));
        cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(job, "inputs"))(void)
            buf_addf(out, "     input   %s <- %s\n", input->string, cJSON_GetStringValue(input));
        cJSON_ArrayForEach(field, cJSON_GetObjectItemCaseSensitive(job, "config"))
        {
            _cleanup_free_ char *text = cJSON_PrintUnformatted(field);
            (void)buf_addf(out, "     config  %s = %.160s%s\n", field->string, text ? text : "",
                           text && strlen(text) > 160 ? "…" : "");
        }
    }
    return buf_check(out, "preview", err);
}
