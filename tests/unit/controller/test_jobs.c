/* Attempts as Jobs: every part that another program relies upon, and what is refused. */
#include "operator/controller/jobs.h"

#include "common/base/contract.h"
#include "tests/unit/controller/objects.h"
#include "tests/unit/pipeline/manifest.h"

static const char head[] = "apiVersion: trainyard.dev/v1alpha1\n"
                           "kind: TrainingPipeline\n"
                           "metadata: {name: pipe, annotations: {trainyard.dev/revision: \"$(HOME) abc\"}}\n"
                           "spec:\n";
static const char store[] =
    "  store: {url: \"s3://bucket/pipe\", credentialsSecret: s3, caBundle: {configMap: ca, key: root.pem}}\n";
static const char container[] =
    "  steps:\n"
    "    - name: fit\n"
    "      resources: {memory: 1Gi, cpu: 500m}\n"
    "      timeoutSeconds: 90\n"
    "%s"
    "      container: {image: \"x/fit@sha256:" /* 64 digits */
    "0000000000000000000000000000000000000000000000000000000000000000\", command: [fit], runAsUser: 1234%s}\n";

struct made {
    struct pipeline *pipeline;
    struct run_status status;
    struct job job;
    cJSON *object, *service;
    struct err err;
    int result;
};

static const struct controller_options options = {
    .cluster_name = "east",
    .images = {"i/validate", "i/featurize", "i/train", "i/evaluate", "i/register", NULL, "i/artifact"},
    .set_user = true,
    .grace_seconds = 20,
    .ttl_seconds = 600,
};

/* The Job of the pipeline's step 0, attempt 2. */
static void make(struct made *m, const char *spec, const struct controller_options *o)
{
    _cleanup_free_ char *text = xasprintf("%s%s", head, spec);
    struct run_spec run = {.name = "pipe-3", .uid = "run-uid", .scheduled_ms = 1763600000000};
    struct plan_options plan_options = {.has_cuda = true};
    struct expr_scope scope = {0};
    *m = (struct made){.pipeline = manifest_decode(text), .err = ERR_INIT};
    run_status_init(&m->status);
    run_status_prepare(&m->status, m->pipeline);
    assert_ok(jobspec_build(m->pipeline, &run, &m->status, 0, 0, 2, &scope, &plan_options, &m->job, &m->err),
              &m->err);
    struct jobs_context x = {.pipeline = m->pipeline,
                             .run = &run,
                             .ns = "team",
                             .options = o,
                             .progress_url = "http://op:8081/v1/progress/team/pipe-3/fit/0/2",
                             .progress_token = "token",
                             .rendezvous_key = "abcd"};
    m->result = jobs_build(&x, &m->job, &m->object, &m->service, &m->err);
}

static void release(struct made *m)
{
    cJSON_Delete(m->object);
    cJSON_Delete(m->service);
    job_release(&m->job);
    run_status_release(&m->status);
    pipeline_free(m->pipeline);
}

static void make_container(struct made *m, const char *step_fields, const char *body_fields)
{
    _cleanup_free_ char *steps = xasprintf(container, step_fields, body_fields);
    _cleanup_free_ char *spec = xasprintf("%s%s", store, steps);
    make(m, spec, &options);
}

/* The training step of the documentation's manifest, with a text replaced. */
static void make_training(struct made *m, const char *from, const char *to)
{
    _cleanup_free_ char *text = manifest_with(CLICK_RANKER, from, to);
    struct run_spec run = {.name = "pipe-3", .uid = "run-uid"};
    struct plan_options plan_options = {.has_cuda = true};
    *m = (struct made){.pipeline = manifest_decode(text), .err = ERR_INIT};
    long at = pipeline_find_step(m->pipeline, "train");
    assert_true(at >= 0);
    run_status_init(&m->status);
    m->job.config = json_object();
    jobspec_resources(&m->pipeline->steps[at], NULL, m->job.config, &plan_options, &m->job);
    if (!m->job.config)
        m->job.config = json_object();
    m->job.name = plan_job_name("pipe-3", "train", false, 0, 2);
    m->job.attempt = 2;
    m->job.step = (size_t)at;
    struct jobs_context x = {.pipeline = m->pipeline,
                             .run = &run,
                             .ns = "team",
                             .options = &options,
                             .rendezvous_key = "abcd"};
    m->result = jobs_build(&x, &m->job, &m->object, &m->service, &m->err);
}

/* --- the Job ---------------------------------------------------------------------------------------------------- */

static void a_job_is_one_attempt(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", "");
    assert_ok(m.result, &m.err);
    assert_at(m.object, "apiVersion", "\"batch/v1\"");
    assert_at(m.object, "metadata.name", "\"pipe-3-fit-a2\"");
    assert_at(m.object, "metadata.namespace", "\"team\"");
    assert_at(m.object, "metadata.labels.(trainyard.dev/run-uid)", "\"run-uid\"");
    assert_at(m.object, "metadata.labels.(trainyard.dev/attempt)", "\"2\"");
    assert_at(m.object, "metadata.labels.(trainyard.dev/index)", "");
    assert_at(m.object, "metadata.labels.(app.kubernetes.io/managed-by)", "\"trainyard\"");
    assert_at(m.object, "metadata.ownerReferences[0].uid", "\"run-uid\"");
    assert_at(m.object, "metadata.ownerReferences[0].controller", "true");
    assert_at(m.object, "spec.backoffLimit", "0");
    assert_at(m.object, "spec.parallelism", "1");
    assert_at(m.object, "spec.completionMode", "\"NonIndexed\"");
    assert_at(m.object, "spec.podReplacementPolicy", "\"Failed\"");
    assert_at(m.object, "spec.suspend", "");
    assert_at(m.object, "spec.ttlSecondsAfterFinished", ""); /* they go together, after the run */
    assert_at(m.object, "spec.template.spec.restartPolicy", "\"Never\"");
    assert_at(m.object, "spec.template.spec.activeDeadlineSeconds", "90");
    assert_at(m.object, "spec.template.spec.terminationGracePeriodSeconds", "20");
    assert_null(m.service);
    release(&m);
}

static void the_rules_stand_in_the_order_that_tells_the_class(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", "");
    assert_ok(m.result, &m.err);
    assert_at(
        m.object, "spec.podFailurePolicy.rules",
        "[{\"action\":\"FailJob\",\"onPodConditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"True\"}]},"
        "{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"In\",\"values\":[64,65,66,78]}},"
        "{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"In\",\"values\":[69,74,75]}},"
        "{\"action\":\"FailJob\",\"onExitCodes\":{\"operator\":\"NotIn\",\"values\":[0]}}]");
    release(&m);
}

static void pods_are_restricted(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", "");
    assert_ok(m.result, &m.err);
    const cJSON *spec = json_at(m.object, "spec.template.spec"), *one;
    assert_at(spec, "automountServiceAccountToken", "false");
    assert_at(spec, "securityContext",
              "{\"runAsNonRoot\":true,\"seccompProfile\":{\"type\":\"RuntimeDefault\"},\"runAsUser\":1234,"
              "\"runAsGroup\":65532,\"fsGroup\":65532}");
    cJSON_ArrayForEach(one, json_at(spec, "initContainers"))
    {
        assert_at(one, "securityContext.capabilities.drop", "[\"ALL\"]");
        assert_at(one, "securityContext.allowPrivilegeEscalation", "false");
    }
    assert_at(spec, "initContainers[name=fetch].securityContext.readOnlyRootFilesystem", "true");
    assert_at(spec, "initContainers[name=step].securityContext.readOnlyRootFilesystem", "");
    assert_at(spec, "containers[name=publish].securityContext.readOnlyRootFilesystem", "true");
    assert_at(spec, "tolerations[key=node.kubernetes.io/unreachable].tolerationSeconds", "30");
    assert_at(spec, "tolerations[key=node.kubernetes.io/not-ready].effect", "\"NoExecute\"");
    release(&m);
}

static void where_the_platform_assigns_users_none_is_asked_for(void **state)
{
    struct controller_options o = options;
    struct made m;
    (void)state;
    o.set_user = false;
    _cleanup_free_ char *spec =
        xasprintf("%s  steps: [{name: fit, container: {image: \"x/fit:1\"}}]\n", store);
    make(&m, spec, &o);
    assert_ok(m.result, &m.err);
    assert_at(m.object, "spec.template.spec.securityContext.runAsUser", "");
    assert_at(m.object, "spec.template.spec.securityContext.fsGroup", "");
    assert_at(m.object, "spec.template.spec.securityContext.runAsNonRoot", "true");
    release(&m);
}

/* --- containers -------------------------------------------------------------------------------------------------- */

static void only_helpers_see_secrets(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", ", checkpoint: true");
    assert_ok(m.result, &m.err);
    const cJSON *spec = json_at(m.object, "spec.template.spec");
    static const char *const order[] = {"fetch", "checkpoint", "step"};
    for (int i = 0; i < 3; i++)
        assert_string_equal(text_at(cJSON_GetArrayItem(json_at(spec, "initContainers"), i), "name"),
                            order[i]);
    assert_at(spec, "initContainers[name=checkpoint].restartPolicy", "\"Always\"");
    assert_at(spec, "initContainers[name=step].restartPolicy", "");
    assert_at(spec, "initContainers[name=step].command", "[\"fit\"]");
    assert_at(spec, "initContainers[name=step].resources.limits.memory", "\"1073741824\"");
    assert_at(spec, "initContainers[name=step].resources.requests.cpu", "\"500m\"");
    assert_at(spec, "initContainers[name=step].resources.limits.cpu", "");
    assert_at(spec, "initContainers[name=fetch].image", "\"i/artifact\"");
    assert_at(spec, "containers[name=publish].args", "[\"publish\"]");
    static const char mount[] = "volumeMounts[mountPath=/trainyard/secrets/s3].readOnly";
    assert_at(json_at(spec, "initContainers[name=fetch]"), mount, "true");
    assert_at(json_at(spec, "initContainers[name=checkpoint]"), mount, "true");
    assert_at(json_at(spec, "containers[name=publish]"), mount, "true");
    assert_at(json_at(spec, "initContainers[name=step]"), mount, "");
    assert_at(m.object, "spec.template.metadata.annotations.(kubectl.kubernetes.io/default-container)",
              "\"step\"");
    release(&m);
}

static void documents_travel_as_annotations(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", "");
    assert_ok(m.result, &m.err);
    const char *text = text_at(m.object, "spec.template.metadata.annotations.(trainyard.dev/store)");
    _cleanup_json_ cJSON *described = object_of(text);
    assert_at(described, "caBundle", "\"/trainyard/ca/ca/root.pem\"");
    assert_at(described, "url", "\"s3://bucket/pipe\"");
    const cJSON *volume = json_at(m.object, "spec.template.spec.volumes[name=trainyard-config].downwardAPI");
    assert_at(volume, "items[path=config.json].fieldRef.fieldPath",
              "\"metadata.annotations['trainyard.dev/config']\"");
    assert_at(volume, "items[path=registry.json]", "");
    const cJSON *env = json_at(m.object, "spec.template.spec.initContainers[name=step].env");
    assert_at(env, "[name=TRAINYARD_CONFIG].value", "\"/trainyard/config/config.json\"");
    assert_at(env, "[name=TRAINYARD_ATTEMPT].value", "\"2\"");
    assert_at(env, "[name=TRAINYARD_RUN_LOCATION].value", "\"east/team\"");
    assert_at(env, "[name=TRAINYARD_INDEX].value", "");
    assert_at(env, "[name=RANK].value", "");
    /* A person's text is not expanded by the kubelet. */
    assert_at(env, "[name=" ENV_REVISION "].value", "\"$$(HOME) abc\"");
    release(&m);
}

static void a_projected_token_only_without_credentials(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "", "");
    assert_at(m.object, "spec.template.spec.volumes[name=trainyard-token]", "");
    release(&m);
    make(&m,
         "  store: {url: \"s3://bucket/pipe\"}\n  steps: [{name: fit, container: {image: \"x/fit:1\"}}]\n",
         &options);
    assert_ok(m.result, &m.err);
    assert_at(
        m.object,
        "spec.template.spec.volumes[name=trainyard-token].projected.sources[0].serviceAccountToken.audience",
        "\"sts.amazonaws.com\"");
    static const char mount[] = "volumeMounts[mountPath=/trainyard/token].readOnly";
    assert_at(json_at(m.object, "spec.template.spec.initContainers[name=fetch]"), mount, "true");
    assert_at(json_at(m.object, "spec.template.spec.initContainers[name=step]"), mount, "");
    release(&m);
}

/* --- workers --------------------------------------------------------------------------------------------------------- */

static void workers_find_each_other(void **state)
{
    struct made m;
    (void)state;
    make_training(&m, NULL, NULL);
    assert_ok(m.result, &m.err);
    assert_at(m.object, "spec.completionMode", "\"Indexed\"");
    assert_at(m.object, "spec.completions", "8");
    assert_at(m.object, "spec.parallelism", "8");
    const cJSON *spec = json_at(m.object, "spec.template.spec"),
                *env = json_at(spec, "containers[name=step].env");
    assert_at(spec, "subdomain", "\"pipe-3-train-a2\"");
    assert_at(spec, "containers[name=step].image", "\"i/train\"");
    assert_at(spec, "containers[name=step].resources.limits.(nvidia.com/gpu)", "\"1\"");
    assert_at(spec, "volumes[name=trainyard-shm].emptyDir.medium", "\"Memory\"");
    assert_at(env, "[name=RANK].valueFrom.fieldRef.fieldPath",
              "\"metadata.annotations['batch.kubernetes.io/job-completion-index']\"");
    assert_at(env, "[name=WORLD_SIZE].value", "\"8\"");
    assert_at(env, "[name=MASTER_ADDR].value", "\"pipe-3-train-a2-0.pipe-3-train-a2\"");
    assert_at(env, "[name=PET_NNODES].value", "\"8\"");
    assert_at(env, "[name=" ENV_RENDEZVOUS_KEY "].value", "\"abcd\"");
    assert_at(env, "[name=" ENV_ADVERTISE_ADDR "].valueFrom.fieldRef.fieldPath", "\"status.podIP\"");
    assert_non_null(m.service);
    assert_at(m.service, "metadata.name", "\"pipe-3-train-a2\"");
    assert_at(m.service, "metadata.ownerReferences[0].uid", "\"run-uid\"");
    assert_at(m.service, "spec.clusterIP", "\"None\"");
    assert_at(m.service, "spec.publishNotReadyAddresses", "true");
    assert_at(m.service, "spec.selector.(batch.kubernetes.io/job-name)", "\"pipe-3-train-a2\"");
    release(&m);
}

static void several_gpus_are_ranks_of_torchrun_and_not_of_our_trainer(void **state)
{
    struct made m;
    (void)state;
    make_container(&m, "      workers: 2\n      minWorkers: 2\n", "");
    assert_ok(m.result, &m.err);
    assert_at(m.object, "spec.template.spec.initContainers[name=step].env[name=PET_NPROC_PER_NODE].value",
              "\"1\"");
    release(&m);
    _cleanup_free_ char *spec =
        xasprintf("%s  steps: [{name: fit, resources: {gpu: 4}, container: {image: \"x/fit:1\"}}]\n", store);
    make(&m, spec, &options);
    assert_ok(m.result, &m.err);
    const cJSON *env = json_at(m.object, "spec.template.spec.initContainers[name=step].env");
    assert_at(env, "[name=WORLD_SIZE].value", "\"4\"");
    assert_at(env, "[name=MASTER_ADDR].value", "\"127.0.0.1\"");
    assert_at(env, "[name=PET_NPROC_PER_NODE].value", "\"4\"");
    assert_null(m.service);
    release(&m);
    make_training(&m, "{gpu: 1", "{gpu: 2");
    assert_fails(m.result, &m.err, ERR_INVALID, "ask for more workers with gpu: 1");
    release(&m);
}

static void a_queue_holds_the_job(void **state)
{
    struct made m;
    (void)state;
    make_training(&m, "queueName: gpu-queue", "priorityClassName: high\n      queueName: gpu");
    assert_ok(m.result, &m.err);
    assert_at(m.object, "metadata.labels.(kueue.x-k8s.io/queue-name)", "\"gpu\"");
    assert_at(m.object, "spec.suspend", "true");
    assert_at(m.object, "spec.template.spec.priorityClassName", "\"high\"");
    release(&m);
}

/* --- podTemplate ------------------------------------------------------------------------------------------------------ */

static void the_template_is_laid_over_the_pod(void **state)
{
    struct made m;
    (void)state;
    make_training(
        &m, "podTemplate: {nodeSelector: {pool: gpu-spot}, tolerations: [{key: spot, operator: Exists}]}",
        "podTemplate:\n"
        "        labels: {team: ranking}\n"
        "        nodeSelector: {pool: spot}\n"
        "        tolerations: [{key: spot, operator: Exists}]\n"
        "        env: [{name: MODE, value: fast}]\n"
        "        volumes: [{name: data, persistentVolumeClaim: {claimName: lake}}]\n"
        "        volumeMounts: [{name: data, mountPath: /data, readOnly: true}]\n"
        "        sidecars: [{name: proxy, image: \"x/proxy:1\", resources: {memory: 64Mi}}]\n");
    assert_ok(m.result, &m.err);
    const cJSON *spec = json_at(m.object, "spec.template.spec");
    assert_at(m.object, "spec.template.metadata.labels.team", "\"ranking\"");
    assert_at(spec, "nodeSelector.pool", "\"spot\"");
    assert_int_equal(cJSON_GetArraySize(json_at(spec, "tolerations")), 3);
    assert_at(spec, "containers[name=step].env[name=MODE].value", "\"fast\"");
    assert_at(spec, "containers[name=step].volumeMounts[mountPath=/data].name", "\"data\"");
    assert_at(spec, "initContainers[name=proxy].restartPolicy", "\"Always\"");
    assert_at(spec, "initContainers[name=proxy].securityContext.allowPrivilegeEscalation", "false");
    release(&m);
}

/* The schema refuses most of these before; here is what happens when it does not. */
static void what_a_template_may_not_have(void **state)
{
    static const struct {
        const char *template, *part;
    } cases[] = {
        {"{\"labels\":{\"trainyard.dev/run\":\"other\"}}", "podTemplate.labels: \"trainyard.dev/run\""},
        {"{\"labels\":{\"batch.kubernetes.io/job-name\":\"x\"}}", "podTemplate.labels"},
        {"{\"annotations\":{\"trainyard.dev/config\":\"{}\"}}", "podTemplate.annotations"},
        {"{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/\"}}]}",
         "podTemplate.volumes: \"hostPath\" is not allowed"},
        {"{\"env\":[{\"name\":\"TRAINYARD_STORE\",\"value\":\"x\"}]}", "podTemplate.env"},
        {"{\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/trainyard/config\"}]}",
         "volumeMounts.mountPath"},
        {"{\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/data/../trainyard\"}]}",
         "volumeMounts.mountPath"},
        {"{\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/\"}]}", "volumeMounts.mountPath"},
        {"{\"volumeMounts\":[{\"name\":\"trainyard-secret-0\",\"mountPath\":\"/data\"}]}",
         "volumeMounts.name"},
        {"{\"sidecars\":[{\"name\":\"s\",\"image\":\"x\",\"volumeMounts\":[{\"name\":\"trainyard-token\","
         "\"mountPath\":\"/t\"}]}]}",
         "sidecars.volumeMounts.name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct made m;
        make_container(&m, "", "");
        cJSON_Delete(m.object);
        m.object = NULL;
        _cleanup_json_ cJSON *template = object_of(cases[i].template);
        m.pipeline->steps[0].pod_template = template;
        struct run_spec run = {.name = "pipe-3", .uid = "run-uid"};
        struct jobs_context x = {.pipeline = m.pipeline, .run = &run, .ns = "team", .options = &options};
        assert_fails(jobs_build(&x, &m.job, &m.object, &m.service, &m.err), &m.err, ERR_INVALID,
                     cases[i].part);
        release(&m);
    }
}

/* --- what no cluster can have ------------------------------------------------------------------------------------------ */

static void hostile_or_impossible_manifests_are_refused(void **state)
{
    struct made m;
    (void)state;
    make(&m, "  store: {url: \"file:///etc\"}\n  steps: [{name: fit, container: {image: \"x/fit:1\"}}]\n",
         &options);
    assert_fails(m.result, &m.err, ERR_INVALID, "a file:// store is for `trainyard run` only");
    assert_null(m.object);
    release(&m);
    static const char *const names[] = {"../../etc", "a/b", ".hidden", ""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        make_container(&m, "", "");
        cJSON_Delete(m.object);
        m.object = NULL;
        _cleanup_json_ cJSON *changed = cJSON_Duplicate(m.pipeline->store, true);
        cJSON_ReplaceItemInObjectCaseSensitive(changed, "credentialsSecret", cJSON_CreateString(names[i]));
        m.pipeline->store = changed;
        struct run_spec run = {.name = "pipe-3", .uid = "run-uid"};
        struct jobs_context x = {.pipeline = m.pipeline, .run = &run, .ns = "team", .options = &options};
        assert_fails(jobs_build(&x, &m.job, &m.object, &m.service, &m.err), &m.err, ERR_INVALID,
                     "expected the name of an object");
        release(&m);
    }
    struct controller_options none = options;
    none.images[6] = NULL;
    _cleanup_free_ char *spec =
        xasprintf("%s  steps: [{name: fit, container: {image: \"x/fit:1\"}}]\n", store);
    make(&m, spec, &none);
    assert_fails(m.result, &m.err, ERR_INVALID, "no image for artifact");
    release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_one_attempt),
        cmocka_unit_test(the_rules_stand_in_the_order_that_tells_the_class),
        cmocka_unit_test(pods_are_restricted),
        cmocka_unit_test(where_the_platform_assigns_users_none_is_asked_for),
        cmocka_unit_test(only_helpers_see_secrets),
        cmocka_unit_test(documents_travel_as_annotations),
        cmocka_unit_test(a_projected_token_only_without_credentials),
        cmocka_unit_test(workers_find_each_other),
        cmocka_unit_test(several_gpus_are_ranks_of_torchrun_and_not_of_our_trainer),
        cmocka_unit_test(a_queue_holds_the_job),
        cmocka_unit_test(the_template_is_laid_over_the_pod),
        cmocka_unit_test(what_a_template_may_not_have),
        cmocka_unit_test(hostile_or_impossible_manifests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
