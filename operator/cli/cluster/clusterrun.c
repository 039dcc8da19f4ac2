#include "operator/cli/cluster/clusterrun.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { CHANGE_TRIES = 8 };

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* --- the pipeline ------------------------------------------------------------------------------------------- */

/* A ControllerRevision keeps {"spec", "revision"?} in its data and is called <pipeline>-<hash>. */
static int decode_revision(const cJSON *revision, const char *pipeline, struct pipeline **ret,
                           struct err *err)
{
    const cJSON *spec = get(get(revision, "data"), "spec");
    _cleanup_json_ cJSON *tree = json_object();
    cJSON *metadata = json_object();
    struct findings findings = {0};
    if (!cJSON_IsObject(spec))
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "revision",
                        "ControllerRevision %s holds no pipeline: expected data.spec",
                        cluster_text(revision, "metadata", "name"));
    json_add_string(tree, "apiVersion", "trainyard.dev/v1alpha1");
    json_add_string(tree, "kind", CLUSTER_PIPELINES.kind);
    json_add_string(metadata, "name", pipeline);
    if (*cluster_text(revision, "metadata", "namespace"))
        json_add_string(metadata, "namespace", cluster_text(revision, "metadata", "namespace"));
    json_add(tree, "metadata", metadata);
    json_add(tree, "spec", cJSON_Duplicate(spec, true));
    int r = pipeline_decode_json(tree, ret, &findings, err);
    findings_release(&findings);
    return r;
}

/* The steps that a status names, without anything about them. */
static struct pipeline *shadow(const char *name, const char *ns, const cJSON *status)
{
    struct pipeline *p = xcalloc(1, sizeof *p);
    const cJSON *steps = get(status, "steps"), *s;
    cJSON *spec = json_object(), *names = json_array();
    json_add_string(spec, "name", name);
    json_add_string(spec, "namespace", ns);
    json_add(spec, "names", names);
    p->spec = spec;
    p->name = cJSON_GetStringValue(get(spec, "name"));
    p->namespace_ = cJSON_GetStringValue(get(spec, "namespace"));
    p->steps = xcalloc((size_t)cJSON_GetArraySize(steps) + 1, sizeof *p->steps);
    cJSON_ArrayForEach(s, steps)
    {
        json_append(names, cJSON_CreateString(cluster_text(s, "name", NULL)));
        struct step *step = &p->steps[p->n_steps++];
        step->name = cJSON_GetStringValue(cJSON_GetArrayItem(names, cJSON_GetArraySize(names) - 1));
        step->kind = STEP_CONTAINER; /* the one that promises nothing */
    }
    return p;
}

static int decode_pipeline(const cJSON *object, struct pipeline **ret)
{
    struct findings findings = {0};
    struct err ignored = ERR_INIT; /* the operator says in its status what is wrong with it */
    int r = pipeline_decode_json(object, ret, &findings, &ignored);
    findings_release(&findings);
    return r;
}

/* --- the run -------------------------------------------------------------------------------------------------- */

static int decode_spec(const cJSON *run, struct run_spec *ret, struct err *err)
{
    struct findings findings = {0};
    int r = run_decode_json(run, ret, &findings, err);
    findings_release(&findings);
    return r < 0 ? err_wrap(err, "run %s", cluster_text(run, "metadata", "name")) : 0;
}

/* Of a run that the operator has not looked at yet, every step waits. */
static int decode_status(const cJSON *status, const struct pipeline *p, struct run_status *ret,
                         struct err *err)
{
    if (*cluster_text(status, "phase", NULL) && run_status_from_json(status, p, ret, err) < 0)
        return -1;
    if (!*cluster_text(status, "phase", NULL))
        run_status_init(ret);
    if (ret->n_steps == 0)
        run_status_prepare(ret, p);
    return 0;
}

static void adopt(struct record *r, struct pipeline *p, const char *revision)
{
    pipeline_free(r->pipeline);
    r->pipeline = p;
    cJSON_Delete(r->options.store);
    r->options.store = p->store ? cJSON_Duplicate(p->store, true) : json_object();
    free(r->spec.revision);
    r->spec.revision = revision && *revision ? xstrdup(revision) : NULL;
}

static const char *revision_of(const cJSON *run)
{
    const char *decided = cluster_text(run, "status", "revision");
    return *decided ? decided : cluster_text(run, "spec", "revision");
}

/* Takes p. */
static int make_record(const cJSON *run, struct pipeline *p, struct record **ret, struct err *err)
{
    _cleanup_record_ struct record *r = xcalloc(1, sizeof *r);
    const cJSON *status = get(run, "status");
    const char *ns = cluster_text(run, "metadata", "namespace");
    struct err why = ERR_INIT;
    r->namespace_ = xstrdup(ns);
    r->usage = json_object();
    run_status_init(&r->status);
    if (decode_spec(run, &r->spec, err) < 0) {
        pipeline_free(p);
        return -1;
    }
    if (!p)
        p = shadow(cluster_text(run, "spec", "pipeline"), ns, status);
    adopt(r, p, revision_of(run));
    if (decode_status(status, r->pipeline, &r->status, &why) < 0) { /* the pipeline has changed since */
        adopt(r, shadow(cluster_text(run, "spec", "pipeline"), ns, status), NULL);
        if (decode_status(status, r->pipeline, &r->status, err) < 0)
            return err_wrap(err, "run %s", r->spec.name);
    }
    *ret = steal_ptr(r);
    return 0;
}

int clusterrun_decode(const cJSON *run, const cJSON *revision, const cJSON *pipeline, struct record **ret,
                      struct err *err)
{
    struct pipeline *p = NULL;
    struct err ignored = ERR_INIT; /* then what the status says has to do */
    if (revision && decode_revision(revision, cluster_text(run, "spec", "pipeline"), &p, &ignored) < 0)
        p = NULL;
    if (!p && pipeline && decode_pipeline(pipeline, &p) < 0)
        p = NULL;
    return make_record(run, p, ret, err);
}

/* --- from the API server ------------------------------------------------------------------------------------------ */

/* Absent, or not ours to read: NULL. */
static int get_if_possible(const struct cluster *c, const struct kube_resource *resource, const char *name,
                           cJSON **ret, struct err *err)
{
    struct err why = ERR_INIT;
    *ret = NULL;
    if (!*name || cluster_get(c, resource, name, ret, &why) == 0 || why.class_ == ERR_NOTFOUND ||
        why.class_ == ERR_TERMINAL)
        return 0;
    *err = why;
    return -1;
}

int clusterrun_update(const struct cluster *c, const cJSON *object, struct record **record, struct err *err)
{
    const char *name = revision_of(object);
    struct record *old = *record, *fresh = NULL;
    _cleanup_json_ cJSON *revision = NULL, *pipeline = NULL;
    if (old && old->spec.revision && strcmp(old->spec.revision, name) == 0) {
        struct pipeline *p = steal_ptr(old->pipeline);
        *record = record_free(old);
        if (make_record(object, p, &fresh, err) < 0)
            return -1;
    } else if (get_if_possible(c, &KUBE_CONTROLLER_REVISIONS, name, &revision, err) < 0 ||
               (!revision && get_if_possible(c, &CLUSTER_PIPELINES, cluster_text(object, "spec", "pipeline"),
                                             &pipeline, err) < 0) ||
               clusterrun_decode(object, revision, pipeline, &fresh, err) < 0) {
        return -1;
    }
    record_free(*record);
    *record = fresh;
    return 0;
}

static int not_found(const struct cluster *c, const char *name, struct err *err)
{
    _cleanup_free_ char *near = NULL;
    err_clear(err);
    if (cluster_nearest(c, &CLUSTER_RUNS, name, &near, err) < 0)
        return -1;
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "no-run",
                    "no run \"%s\" in namespace %s of context %s%s%s%s (`%s get -n %s` lists them)", name,
                    c->ns, c->config->context, near ? "; did you mean " : "", near ? near : "",
                    near ? "?" : "", cli_program("trainyard"), c->ns);
}

static int get_object(const struct cluster *c, const char *name, cJSON **ret, struct err *err)
{
    if (cluster_get(c, &CLUSTER_RUNS, name, ret, err) == 0)
        return 0;
    return err->class_ == ERR_NOTFOUND ? not_found(c, name, err) : -1;
}

int clusterrun_get(const struct cluster *c, const char *name, struct record **ret, cJSON **ret_object,
                   struct err *err)
{
    _cleanup_json_ cJSON *object = NULL;
    struct record *r = NULL;
    if (get_object(c, name, &object, err) < 0 || clusterrun_update(c, object, &r, err) < 0)
        return -1;
    if (ret_object)
        *ret_object = steal_ptr(object);
    *ret = r;
    return 0;
}

int clusterrun_change(const struct cluster *c, const char *name,
                      int (*change)(void *ctx, const struct record *run, const cJSON *object, cJSON *spec,
                                    struct err *err),
                      void *ctx, bool *ret_changed, struct err *err)
{
    for (int i = 1;; i++) {
        _cleanup_record_ struct record *run = NULL;
        _cleanup_json_ cJSON *object = NULL, *patch = json_object();
        cJSON *metadata = json_object(), *spec = json_object();
        json_add(patch, "metadata", metadata);
        json_add(patch, "spec", spec);
        if (clusterrun_get(c, name, &run, &object, err) < 0)
            return -1;
        int r = change(ctx, run, object, spec, err);
        if (r != 0) {
            if (r > 0 && ret_changed)
                *ret_changed = false;
            return r > 0 ? 0 : -1;
        }
        json_add_string(metadata, "resourceVersion", cluster_text(object, "metadata", "resourceVersion"));
        if (cluster_merge(c, &CLUSTER_RUNS, name, patch, NULL, err) == 0) {
            if (ret_changed)
                *ret_changed = true;
            return 0;
        }
        if (err->class_ != ERR_CONFLICT || i == CHANGE_TRIES)
            return -1;
        err_clear(err);
    }
}
