/* The Job and the Service around the pod template of jobs_pod.c. */
#include "operator/controller/jobs.h"

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/controller/jobs-internal.h"

static void label_int(cJSON *labels, const char *key, int64_t value)
{
    _cleanup_free_ char *text = xasprintf("%lld", (long long)value);
    json_add_string(labels, key, text);
}

static cJSON *labels_of(const struct jobs_context *x, const struct job *job)
{
    cJSON *labels = json_object();
    _cleanup_free_ char *pipeline = label_value(x->pipeline->name), *run = label_value(x->run->name);
    json_add_string(labels, LABEL_MANAGED_BY, MANAGED_BY);
    json_add_string(labels, LABEL_PIPELINE, pipeline);
    json_add_string(labels, LABEL_RUN, run);
    json_add_string(labels, LABEL_RUN_UID, x->run->uid);
    json_add_string(labels, LABEL_STEP, x->pipeline->steps[job->step].name);
    if (job->fanout)
        label_int(labels, LABEL_INDEX, job->item);
    label_int(labels, LABEL_RESTART, job->restart);
    label_int(labels, LABEL_ATTEMPT, job->attempt);
    return labels;
}

/* --- the pod failure policy ------------------------------------------------------------------------------------- */

static cJSON *exit_rule(const char *operator_, const int *codes, size_t n)
{
    cJSON *rule = json_object(), *on = json_object(), *values = json_array();
    for (size_t i = 0; i < n; i++)
        json_append(values, cJSON_CreateNumber(codes[i]));
    json_add_string(on, "operator", operator_);
    json_add(on, "values", values);
    json_add_string(rule, "action", "FailJob");
    json_add(rule, "onExitCodes", on);
    return rule;
}

/* The rule's index in the Job's message tells the class even when the pods are gone (retry_classify_rule). */
static cJSON *failure_policy(void)
{
    static const int user[] = {EXITCODE_USAGE, EXITCODE_DATA, EXITCODE_NOINPUT, EXITCODE_CONFIG};
    static const int infrastructure[] = {EXITCODE_UNAVAILABLE, EXITCODE_IO, EXITCODE_TEMPFAIL};
    static const int success[] = {EXITCODE_OK};
    cJSON *policy = json_object(), *rules = json_array(), *disrupted = json_object(),
          *conditions = json_array(), *condition = json_object();
    json_add_string(condition, "type", "DisruptionTarget");
    json_add_string(condition, "status", "True");
    json_append(conditions, condition);
    json_add_string(disrupted, "action", "FailJob");
    json_add(disrupted, "onPodConditions", conditions);
    json_append(rules, disrupted);
    json_append(rules, exit_rule("In", user, ARRAY_SIZE(user)));
    json_append(rules, exit_rule("In", infrastructure, ARRAY_SIZE(infrastructure)));
    json_append(rules, exit_rule("NotIn", success, ARRAY_SIZE(success)));
    json_add(policy, "rules", rules);
    return policy;
}

/* --- objects --------------------------------------------------------------------------------------------------- */

static cJSON *object_of(const struct kube_resource *resource, const struct jobs_context *x,
                        const struct job *job, const cJSON *labels)
{
    cJSON *object = kube_object(resource, x->ns, job->name);
    json_add(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "labels", cJSON_Duplicate(labels, true));
    kube_set_owner(object, &RUNS, x->run->name, x->run->uid);
    return object;
}

static cJSON *service_of(const struct jobs_context *x, const struct job *job, const cJSON *labels)
{
    cJSON *service = object_of(&KUBE_SERVICES, x, job, labels), *spec = json_object(),
          *selector = json_object();
    json_add_string(selector, "batch.kubernetes.io/job-name", job->name);
    json_add_string(spec, "clusterIP", "None");
    /* Workers look for each other while none of them is ready. */
    json_add_bool(spec, "publishNotReadyAddresses", true);
    json_add(spec, "selector", selector);
    json_add(service, "spec", spec);
    return service;
}

static int check_store(const struct jobs_context *x, const cJSON *store, const char *what, struct err *err)
{
    const cJSON *url = store ? cJSON_GetObjectItemCaseSensitive(store, "url") : NULL;
    if (store && cJSON_IsString(url) && text_starts_with(url->valuestring, "s3://"))
        return 0;
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "store",
        "spec.%s.url of pipeline %s: expected s3://bucket/prefix, found %s; a file:// store is for `trainyard run` only",
        what, x->pipeline->name, cJSON_IsString(url) ? url->valuestring : "none");
}

int jobs_build(const struct jobs_context *x, const struct job *job, cJSON **ret_job, cJSON **ret_service,
               struct err *err)
{
    const struct step *step = &x->pipeline->steps[job->step];
    if (check_store(x, x->pipeline->store, "store", err) < 0 ||
        (x->pipeline->registry && check_store(x, x->pipeline->registry, "registry", err) < 0))
        return -1;
    _cleanup_json_ cJSON *labels = labels_of(x, job);
    cJSON *template;
    if (jobs_pod(x, job, labels, &template, err) < 0)
        return -1;
    cJSON *object = object_of(&KUBE_JOBS, x, job, labels), *spec = json_object();
    int64_t workers = job->workers > 1 ? job->workers : 1;
    json_add_int(spec, "parallelism", workers);
    json_add_int(spec, "completions", workers);
    json_add_string(spec, "completionMode", workers > 1 ? "Indexed" : "NonIndexed");
    json_add_int(spec, "backoffLimit", 0);
    json_add_string(spec, "podReplacementPolicy", "Failed");
    json_add(spec, "podFailurePolicy", failure_policy());
    if (step->queue_name) {
        json_add_string(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(object, "metadata"),
                                                         "labels"),
                        "kueue.x-k8s.io/queue-name", step->queue_name);
        json_add_bool(spec, "suspend", true); /* the queue lets it go */
    }
    json_add(spec, "template", template);
    json_add(object, "spec", spec);
    *ret_job = object;
    *ret_service = workers > 1 ? service_of(x, job, labels) : NULL;
    return 0;
}
