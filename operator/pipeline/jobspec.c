/* One attempt's job: see jobspec.h. */
#include "operator/pipeline/jobspec.h"

#include <stdio.h>
#include <string.h>

#include "common/base/algorithm.h"
#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/params.h"

enum { NAME_HASH = 8 };

void job_release(struct job *j)
{
    free(j->name);
    cJSON_Delete(j->config);
    cJSON_Delete(j->inputs);
    *j = (struct job){0};
}

char *plan_job_name(const char *run, const char *step, bool fanout, int64_t item, int attempt)
{
    _cleanup_free_ char *stem =
        fanout ? xasprintf("%s-%s-%lld", run, step, (long long)item) : xasprintf("%s-%s", run, step);
    char suffix[32];
    int n = snprintf(suffix, sizeof suffix, "-a%d", attempt);
    size_t room = (size_t)(LIMIT_JOB_NAME - n);
    if (strlen(stem) <= room)
        return xasprintf("%s%s", stem, suffix);
    char hash[DIGEST_HEX];
    sha256_hex(stem, strlen(stem), hash);
    size_t keep = room - NAME_HASH - 1;
    while (keep > 0 && (stem[keep - 1] == '-' || stem[keep - 1] == '.'))
        keep--;
    return xasprintf("%.*s-%.*s%s", (int)keep, stem, NAME_HASH, hash, suffix);
}

const char *jobspec_algorithm_version(const struct plan_options *options, enum step_kind kind)
{
    if (options->algorithm_version)
        return options->algorithm_version(kind);
    switch (kind) {
    case STEP_DATA_VALIDATE:
        return ALGORITHM_DATA_VALIDATE;
    case STEP_FEATURIZE:
        return ALGORITHM_FEATURIZE;
    case STEP_TRAIN_DDP:
        return ALGORITHM_TRAIN_DDP;
    case STEP_EVALUATE:
        return ALGORITHM_EVALUATE;
    case STEP_REGISTER:
        return ALGORITHM_REGISTER;
    case STEP_CONTAINER:
    case STEP_APPROVAL:
        break;
    }
    return "";
}

/* --- shape ------------------------------------------------------------------------------------------------ */

static int64_t at_most(int64_t value, int64_t max)
{
    return max > 0 && value > max ? max : value;
}

/* Threads come from the manifest, never from the machine: results depend on them. */
static int64_t threads_of(const struct step *step, const cJSON *config, const struct plan_options *options)
{
    const cJSON *written = cJSON_GetObjectItemCaseSensitive(config, "threads");
    int64_t threads = cJSON_IsNumber(written) ? (int64_t)written->valuedouble : step->cpu_milli / 1000;
    return at_most(threads > 0 ? threads : 1, options->max_threads);
}

static const char *device_of(const cJSON *config, int64_t gpu, const struct plan_options *options)
{
    const char *written = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, "device"));
    if (options->force_cpu)
        return "cpu";
    if (written && !text_equal(written, "auto"))
        return text_equal(written, "cuda") ? "cuda" : "cpu";
    return gpu > 0 && options->has_cuda ? "cuda" : "cpu";
}

void jobspec_resources(const struct step *step, const struct item_status *item, const cJSON *config,
                       const struct plan_options *options, struct job *ret)
{
    ret->workers = at_most(step->workers > 0 ? step->workers : 1, options->max_workers);
    ret->threads = threads_of(step, config, options);
    ret->device = device_of(config, step->gpu, options);
    ret->gpu = text_equal(ret->device, "cpu") && (options->force_cpu || !options->has_cuda) ? 0 : step->gpu;
    ret->cpu_milli = step->cpu_milli;
    ret->memory_bytes = item && item->memory_bytes > 0 ? item->memory_bytes
                        : step->memory_bytes > 0       ? step->memory_bytes
                                                       : options->default_memory_bytes;
    ret->scratch_bytes = step->scratch_bytes > 0 ? step->scratch_bytes : options->default_scratch_bytes;
    ret->timeout_ms = step->timeout_ms;
    ret->fanout = step->fanout.n_axes > 0 || step->fanout.from;
}

/* --- scope and inputs ----------------------------------------------------------------------------------------- */

static cJSON *values_of_fanout(const struct step_status *s)
{
    cJSON *lists = json_object();
    for (size_t i = 0; i < s->n_items; i++) {
        const cJSON *value;
        cJSON_ArrayForEach(value, s->items[i].values)
        {
            cJSON *list = cJSON_GetObjectItemCaseSensitive(lists, value->string);
            if (!list) {
                list = json_array();
                json_add(lists, value->string, list);
            }
            json_append(list, cJSON_Duplicate(value, true));
        }
    }
    return lists;
}

cJSON *jobspec_steps_scope(const struct pipeline *p, const struct run_status *status)
{
    cJSON *steps = json_object();
    for (size_t i = 0; i < status->n_steps; i++) {
        const struct step_status *s = &status->steps[i];
        cJSON *o = json_object();
        json_add_string(o, "phase", step_state_name(s->state));
        if (s->axes)
            json_add(o, "values", values_of_fanout(s));
        else
            json_add(o, "values",
                     s->n_items > 0 && s->items[0].values ? cJSON_Duplicate(s->items[0].values, true)
                                                          : json_object());
        json_add(steps, p->steps[i].name, o);
    }
    return steps;
}

static cJSON *reference_to(const struct run_spec *run, const struct step_status *producer,
                           const struct item_status *item, const char *output)
{
    cJSON *o = json_object();
    json_add_string(o, "digest",
                    cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item->outputs, output)));
    json_add_string(o, "run", item->from_run ? item->from_run : run->uid);
    json_add_string(o, "step", item->from_step ? item->from_step : producer->name);
    if (producer->axes)
        json_add_int(o, "index", item->from_item);
    json_add_int(o, "restart", item->from_restart);
    return o;
}

static int add_input(const struct run_spec *run, const struct step_status *producer,
                     const struct step_input *input, cJSON *inputs, struct err *err)
{
    cJSON *list = producer->axes ? json_array() : NULL;
    for (size_t i = 0; i < producer->n_items; i++) {
        const struct item_status *item = &producer->items[i];
        if (!step_state_done(item->state))
            continue; /* a fan-out may succeed without some of its items */
        if (!cJSON_GetObjectItemCaseSensitive(item->outputs, input->output)) {
            cJSON_Delete(list);
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "output-missing",
                            "input %s: step %s has left no output \"%s\"", input->name, producer->name,
                            input->output);
        }
        cJSON *reference = reference_to(run, producer, item, input->output);
        if (!list) {
            json_add(inputs, input->name, reference);
            return 0;
        }
        json_append(list, reference);
    }
    if (!list)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "output-missing", "input %s: step %s is not done",
                        input->name, producer->name);
    json_add(inputs, input->name, list);
    return 0;
}

int jobspec_inputs(const struct run_spec *run, const struct run_status *status, const struct step *step,
                   cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *inputs = json_object();
    for (size_t i = 0; i < step->n_inputs; i++)
        if (add_input(run, &status->steps[step->inputs[i].from], &step->inputs[i], inputs, err) < 0)
            return -1;
    *ret = steal_ptr(inputs);
    return 0;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static int check_size(const struct job *job, struct err *err)
{
    _cleanup_free_ char *config = cJSON_PrintUnformatted(job->config),
                        *inputs = cJSON_PrintUnformatted(job->inputs);
    size_t total = (config ? strlen(config) : 0) + (inputs ? strlen(inputs) : 0);
    if (total <= LIMIT_CONFIG_BYTES)
        return 0;
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "config-too-large",
        "config and inputs have %zu bytes together, at most %d are allowed: shorten the step's lists, or take fewer inputs",
        total, (int)LIMIT_CONFIG_BYTES);
}

int jobspec_build(const struct pipeline *p, const struct run_spec *run, const struct run_status *status,
                  size_t step, int64_t item, int attempt, const struct expr_scope *scope,
                  const struct plan_options *options, struct job *ret, struct err *err)
{
    const struct step *def = &p->steps[step];
    const struct item_status *state = &status->steps[step].items[item];
    struct job job = {.step = step, .item = item, .restart = state->restart, .attempt = attempt};
    if (params_resolve_body(p, def, scope, &job.config, err) < 0 ||
        jobspec_inputs(run, status, def, &job.inputs, err) < 0 || check_size(&job, err) < 0) {
        job_release(&job);
        return err_wrap(err, "step %s", def->name);
    }
    jobspec_resources(def, state, job.config, options, &job);
    job.name = plan_job_name(run->name, def->name, job.fanout, item, attempt);
    *ret = job;
    return 0;
}
