#include "operator/cli/cluster/submission.h"

#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/command.h"
#include "operator/pipeline/params.h"

enum { POLL_MS = 300, GENERATED = 6 /* of a name that the API server ends: "-" and five characters */ };

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* --- the pipeline ------------------------------------------------------------------------------------------- */

cJSON *submission_body(const cJSON *tree, const char *ns)
{
    static const char *const theirs[] = {"uid",           "resourceVersion",   "generation",
                                         "managedFields", "creationTimestamp", "deletionTimestamp",
                                         "selfLink",      "namespace",         NULL};
    cJSON *body = cJSON_Duplicate(tree, true), *metadata = cJSON_GetObjectItemCaseSensitive(body, "metadata");
    for (const char *const *key = theirs; *key; key++)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, *key);
    cJSON_DeleteItemFromObjectCaseSensitive(body, "status");
    json_add_string(metadata, "namespace", ns);
    return body;
}

bool submission_starts_itself(const struct pipeline *p, const cJSON *before)
{
    const cJSON *on, *list = get(p->spec, "runOn");
    bool by_change = list == NULL; /* the default */
    cJSON_ArrayForEach(on, list) by_change |=
        cJSON_IsString(on) && strcmp(on->valuestring, "SpecChange") == 0;
    return by_change && strcmp(cluster_text(before, "status", "lastHash"), p->hash) != 0;
}

const char *submission_started(const cJSON *pipeline, const char *hash)
{
    const cJSON *status = get(pipeline, "status");
    const char *names[] = {cluster_text(status, "starting", "name"), cluster_text(status, "pending", "name"),
                           cluster_text(status, "currentRun", NULL), cluster_text(status, "lastRun", "name")};
    if (strcmp(cluster_text(status, "lastHash", NULL), hash) != 0)
        return "";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (*names[i])
            return names[i];
    }
    return "";
}

static double generation_of(const cJSON *object)
{
    const cJSON *g = get(get(object, "metadata"), "generation");
    return cJSON_IsNumber(g) ? g->valuedouble : 0;
}

static bool is_observed(const cJSON *pipeline, double generation)
{
    const cJSON *seen = get(get(pipeline, "status"), "observedGeneration");
    return cJSON_IsNumber(seen) && seen->valuedouble >= generation;
}

static int check_ready(const cJSON *pipeline, struct err *err)
{
    const char *message = "", *ready = cluster_condition(pipeline, "Ready", &message);
    if (!ready || strcmp(ready, "False") != 0)
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "not-ready",
                    "pipeline %s cannot run: the operator says: %s",
                    cluster_text(pipeline, "metadata", "name"), message);
}

/* Until the operator has looked at this generation and, with `hash`, decided on a run for it. *ret_name "" where none is awaited. */
static int wait_for_operator(const struct cluster *c, const cJSON *applied, const char *hash,
                             const struct submission *s, char **ret_name, struct err *err)
{
    const char *name = cluster_text(applied, "metadata", "name");
    int64_t end = clock_system.mono_ms(clock_system.ctx) + s->wait_ms;
    for (;;) {
        _cleanup_json_ cJSON *now = NULL;
        if (cluster_get(c, &CLUSTER_PIPELINES, name, &now, err) < 0)
            return -1;
        const char *run = hash ? submission_started(now, hash) : "";
        if (is_observed(now, generation_of(applied))) {
            if (check_ready(now, err) < 0)
                return -1;
            if (!hash || *run) {
                *ret_name = xstrdup(run);
                return 0;
            }
        }
        if (clock_system.mono_ms(clock_system.ctx) >= end)
            return err_fail(
                err, ERR_RETRY, EXITCODE_TEMPFAIL, "operator",
                "pipeline %s is stored, but within %lld s the operator %s: is it running? --wait says how long to wait for it",
                name, (long long)(s->wait_ms / 1000),
                is_observed(now, generation_of(applied)) ? "has started no run of it"
                                                         : "has not looked at it");
        clock_system.sleep_ms(clock_system.ctx, POLL_MS);
    }
}

static int apply(const struct cluster *c, const cJSON *tree, const struct submission *s, cJSON **ret,
                 struct err *err)
{
    _cleanup_json_ cJSON *body = submission_body(tree, c->ns);
    const char *name = cluster_text(tree, "metadata", "name");
    const struct kube_request q = {.verb = KUBE_APPLY,
                                   .resource = &CLUSTER_PIPELINES,
                                   .ns = c->ns,
                                   .name = name,
                                   .query =
                                       s->force
                                           ? "fieldManager=trainyard-cli&fieldValidation=Strict&force=true"
                                           : "fieldManager=trainyard-cli&fieldValidation=Strict&force=false",
                                   .body = body};
    if (cluster_call(c, &q, ret, err) == 0)
        return 0;
    if (err->class_ != ERR_CONFLICT)
        return err_wrap(err, "cannot apply pipeline %s", name);
    err->exit_code = EXITCODE_USAGE;
    return err_wrap(
        err,
        "pipeline %s was applied by another tool: change it there, start it as it is with `%s submit %s -n %s`, or take the fields over with --force-conflicts",
        name, cli_program("trainyard"), name, c->ns);
}

/* --- the run -------------------------------------------------------------------------------------------------- */

static int check_params(const struct pipeline *p, const struct run_spec *run, struct err *err)
{
    struct run_spec probe = *run;
    _cleanup_json_ cJSON *resolved = NULL;
    probe.name = (char *)(run->name ? run->name : "run");
    probe.uid = (char *)"";
    if (params_resolve(p, &probe, &resolved, err) < 0) {
        err->exit_code = EXITCODE_USAGE;
        return err_wrap(err, "parameters");
    }
    return 0;
}

static int add_params(cJSON *spec, const struct run_spec *run, struct err *err)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(spec, "parameters");
    const cJSON *one;
    if (run->n_params == 0)
        return 0;
    if (!list) {
        list = json_array();
        json_add(spec, "parameters", list);
    }
    for (size_t i = 0; i < run->n_params; i++) {
        cJSON_ArrayForEach(one, list)
        {
            if (strcmp(cluster_text(one, "name", NULL), run->params[i].name) == 0)
                return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "usage",
                                "--param %s: the file gives this parameter already", run->params[i].name);
        }
        cJSON *mine = json_object();
        json_add_string(mine, "name", run->params[i].name);
        json_add_string(mine, "value", run->params[i].value);
        json_append(list, mine);
    }
    return 0;
}

static int create(const struct cluster *c, const cJSON *body, char **ret_name, struct err *err)
{
    _cleanup_json_ cJSON *made = NULL;
    const char *name = cluster_text(body, "metadata", "name");
    const struct kube_request q = {.verb = KUBE_CREATE,
                                   .resource = &CLUSTER_RUNS,
                                   .ns = c->ns,
                                   .query = "fieldManager=trainyard-cli&fieldValidation=Strict",
                                   .body = body};
    if (cluster_call(c, &q, &made, err) < 0) {
        if (err->class_ != ERR_EXISTS)
            return err_wrap(err, "cannot create the run");
        err_clear(err);
        return err_fail(err, ERR_EXISTS, EXITCODE_USAGE, "run-exists",
                        "namespace %s has a run %s already, and runs are not replaced: choose another name",
                        c->ns, name);
    }
    *ret_name = xstrdup(cluster_text(made, "metadata", "name"));
    return 0;
}

static int create_of(const struct cluster *c, const char *pipeline, const struct submission *s,
                     char **ret_name, struct err *err)
{
    _cleanup_json_ cJSON *body = kube_object(&CLUSTER_RUNS, c->ns, s->run->name);
    cJSON *spec = json_object(), *metadata = cJSON_GetObjectItemCaseSensitive(body, "metadata");
    json_add(body, "spec", spec);
    json_add_string(spec, "pipeline", pipeline);
    if (!s->run->name) {
        _cleanup_free_ char *stem = xasprintf("%.*s-", (int)(LIMIT_NAME - GENERATED), pipeline);
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "name");
        json_add_string(metadata, "generateName", stem);
    }
    if (s->scheduled) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(s->run->scheduled_ms, time);
        json_add_string(spec, "scheduledTime", time);
    }
    return add_params(spec, s->run, err) < 0 ? -1 : create(c, body, ret_name, err);
}

/* --- submissions ------------------------------------------------------------------------------------------------ */

int submission_pipeline(const struct cluster *c, const cJSON *tree, const struct pipeline *pipeline,
                        const struct submission *s, char **ret_name, struct err *err)
{
    _cleanup_json_ cJSON *before = NULL, *applied = NULL;
    _cleanup_free_ char *ignored = NULL;
    struct err why = ERR_INIT;
    bool plain = s->run->n_params == 0 && !s->run->name && !s->scheduled;
    if (check_params(pipeline, s->run, err) < 0)
        return -1;
    if (cluster_get(c, &CLUSTER_PIPELINES, pipeline->name, &before, &why) < 0 && why.class_ != ERR_NOTFOUND) {
        *err = why;
        return -1;
    }
    if (apply(c, tree, s, &applied, err) < 0)
        return -1;
    bool changed = generation_of(applied) != generation_of(before);
    bool automatic = submission_starts_itself(pipeline, before);
    (void)fprintf(stderr, "pipeline %s in namespace %s is %s\n", pipeline->name, c->ns,
                  !before   ? "created"
                  : changed ? "changed"
                            : "as it was");
    if (automatic && plain)
        return wait_for_operator(c, applied, pipeline->hash, s, ret_name, err);
    if (automatic)
        (void)fprintf(
            stderr,
            "the changed pipeline also starts a run of its own, with default parameters (spec.runOn has SpecChange)\n");
    if (wait_for_operator(c, applied, NULL, s, &ignored, err) < 0)
        return -1;
    return create_of(c, pipeline->name, s, ret_name, err);
}

static int no_pipeline(const struct cluster *c, const char *name, struct err *err)
{
    _cleanup_free_ char *near = NULL;
    err_clear(err);
    if (cluster_nearest(c, &CLUSTER_PIPELINES, name, &near, err) < 0)
        return -1;
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-pipeline",
                    "%s is no file, and namespace %s of context %s has no pipeline of that name%s%s%s", name,
                    c->ns, c->config->context, near ? "; did you mean " : "", near ? near : "",
                    near ? "?" : "");
}

int submission_of(const struct cluster *c, const char *pipeline, const struct submission *s, char **ret_name,
                  struct err *err)
{
    _cleanup_json_ cJSON *object = NULL;
    struct findings findings = {0};
    struct pipeline *decoded = NULL;
    struct err ignored = ERR_INIT; /* the operator judges a spec that this version does not understand */
    if (cluster_get(c, &CLUSTER_PIPELINES, pipeline, &object, err) < 0)
        return err->class_ == ERR_NOTFOUND ? no_pipeline(c, pipeline, err) : -1;
    if (check_ready(object, err) < 0)
        return -1;
    int r = pipeline_decode_json(object, &decoded, &findings, &ignored);
    findings_release(&findings);
    int checked = r < 0 ? 0 : check_params(decoded, s->run, err);
    pipeline_free(decoded);
    return checked < 0 ? -1 : create_of(c, pipeline, s, ret_name, err);
}

int submission_run(const struct cluster *c, const cJSON *tree, const struct submission *s, char **ret_name,
                   struct err *err)
{
    _cleanup_json_ cJSON *body = submission_body(tree, c->ns);
    cJSON *metadata = cJSON_GetObjectItemCaseSensitive(body, "metadata"),
          *spec = cJSON_GetObjectItemCaseSensitive(body, "spec");
    char time[CLOCK_RFC3339_MAX];
    if (s->run->name) {
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "name");
        json_add_string(metadata, "name", s->run->name);
    }
    if (s->scheduled) {
        clock_format_rfc3339(s->run->scheduled_ms, time);
        cJSON_DeleteItemFromObjectCaseSensitive(spec, "scheduledTime");
        json_add_string(spec, "scheduledTime", time);
    }
    return add_params(spec, s->run, err) < 0 ? -1 : create(c, body, ret_name, err);
}
