/* Carrying out what a pipeline's status says, one request after the other. See pipeline.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/failpoint.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "operator/controller/pipeline-internal.h"

/* --- actions --- */

static void action_done(void *ctx, const struct err *failure)
{
    struct pass *p = ctx;
    struct state *s = p->s;
    struct pipeline_action *a = &p->actions[p->next_action];
    if (a->kind == ACTION_CREATE_RUN && failure->class_ == ERR_EXISTS) {
        pipeline_end(p, true); /* the cache will tell whose it is */
        return;
    }
    if (failure->class_ == ERR_CONFLICT) {
        pipeline_end(p, true);
        return;
    }
    bool gone = failure->class_ == ERR_NOTFOUND && a->kind != ACTION_CREATE_RUN; /* so much the better */
    if (err_is_set(failure) && !gone) {
        _cleanup_free_ char *what = xasprintf("%s %s", pipeline_action_name(a->kind), a->name ? a->name : "");
        pipeline_failed(p, what, failure);
        return;
    }
    _cleanup_free_ char *message = NULL;
    switch (a->kind) {
    case ACTION_CREATE_RUN:
        failpoint("pipeline.create.after");
        log_info("run created", "pipeline", s->key, "run", a->name, NULL);
        message = xasprintf("created run %s", a->name);
        pipeline_say(s, false, "RunCreated", message);
        pipeline_set(&s->last_event, NULL);
        break;
    case ACTION_STOP_RUN:
        message =
            xasprintf("run %s is stopped: another one replaces it (concurrencyPolicy Replace)", a->name);
        pipeline_say(s, false, "RunReplaced", message);
        break;
    case ACTION_CONTROL:
        pipeline_set(&s->control_done, a->uid);
        p->wake_ms = 1; /* to record it */
        break;
    case ACTION_DELETE_RUN:
        log_info("run deleted", "pipeline", s->key, "run", a->name, "why", "retention", NULL);
        break;
    case ACTION_PRUNE:
        s->prune = false;
        break;
    }
    p->next_action++;
    pipeline_next_action(p);
}

static void call_done(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    (void)object;
    p->call = NULL;
    action_done(p, failure);
}

static void control_patched(void *ctx, cJSON **object, struct err *failure)
{
    call_done(ctx, object, failure);
}

static void control_fetched(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct pipeline_action *a = &p->actions[p->next_action];
    p->call = NULL;
    if (err_is_set(failure)) {
        action_done(p, failure);
        return;
    }
    _cleanup_json_ cJSON *patch = pipeline_action_control_patch(a->body, *object);
    if (!patch) {
        action_done(p, &ERR_INIT);
        return;
    }
    const struct kube_request r = {.verb = KUBE_MERGE,
                                   .resource = &RUNS,
                                   .ns = p->s->ns,
                                   .name = a->name,
                                   .body = patch};
    pipeline_call(p, &r, control_patched);
}

static void revisions_listed(void *ctx, cJSON **object, struct err *failure);

static void revision_pruned(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct pipeline_action *a = &p->actions[p->next_action];
    (void)object;
    p->call = NULL;
    if (err_is_set(failure) && failure->class_ != ERR_NOTFOUND && failure->class_ != ERR_CONFLICT) {
        action_done(p, failure);
        return;
    }
    cJSON_DeleteItemFromArray(a->body, 0);
    revisions_listed(p, NULL, &ERR_INIT);
}

struct naming {
    const struct state *s;
    const char *revision;
    bool found;
};

static bool names_revision(void *ctx, const void *trimmed)
{
    struct naming *n = ctx;
    const struct seen_run *run = trimmed;
    bool choosing =
        !run->revision && !run_phase_finished(run->phase) &&
        text_equal(run->pipeline, n->s->name); /* it may have chosen what is no longer the newest */
    n->found = text_equal(run->meta.ns, n->s->ns) && (choosing || text_equal(run->revision, n->revision));
    return !n->found;
}

/* What of a list of revisions may go: ours, named neither by the status nor by any run. */
static cJSON *unnamed(struct pass *p, const cJSON *list)
{
    struct state *s = p->s;
    cJSON *out = json_array();
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(list, "items"))
    {
        struct kube_meta meta;
        kube_meta_init(&meta, item);
        struct naming n = {.s = s, .revision = meta.name};
        reflectors_each(s->c->runs, names_revision, &n);
        if (!n.found && text_equal(meta.owner_uid, s->view.uid) && !text_equal(meta.name, s->view.revision) &&
            !text_equal(meta.name, p->status.revision) &&
            !text_equal(meta.name, p->status.memory.starting.revision)) {
            cJSON *one = json_object();
            json_add_string(one, "name", meta.name);
            json_add_string(one, "uid", meta.uid);
            json_append(out, one);
        }
        kube_meta_release(&meta);
    }
    return out;
}

/* The first time with the list, then after each deletion. */
static void revisions_listed(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct pipeline_action *a = &p->actions[p->next_action];
    p->call = NULL;
    if (err_is_set(failure)) {
        action_done(p, failure);
        return;
    }
    if (object)
        a->body = unnamed(p, *object);
    const cJSON *first = cJSON_GetArrayItem(a->body, 0);
    if (!first) {
        action_done(p, &ERR_INIT);
        return;
    }
    _cleanup_json_ cJSON *options =
        pipeline_action_delete(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(first, "uid")), NULL);
    const struct kube_request r = {.verb = KUBE_DELETE,
                                   .resource = &KUBE_CONTROLLER_REVISIONS,
                                   .ns = p->s->ns,
                                   .name =
                                       cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(first, "name")),
                                   .body = options};
    pipeline_call(p, &r, revision_pruned);
}

void pipeline_next_action(struct pass *p)
{
    struct state *s = p->s;
    if (p->next_action == p->n_actions || !controller_leading(s->c)) {
        pipeline_end(p, p->next_action < p->n_actions);
        return;
    }
    struct pipeline_action *a = &p->actions[p->next_action];
    struct kube_request r = {.resource = &RUNS, .ns = s->ns, .name = a->name, .body = a->body};
    _cleanup_json_ cJSON *options = NULL;
    _cleanup_free_ char *query = NULL;
    void (*done)(void *ctx, cJSON **object, struct err *failure) = call_done;
    switch (a->kind) {
    case ACTION_CREATE_RUN:
        r.verb = KUBE_CREATE;
        r.name = NULL;
        break;
    case ACTION_STOP_RUN:
        r.verb = KUBE_MERGE;
        break;
    case ACTION_CONTROL:
        r.verb = KUBE_GET;
        r.body = NULL;
        done = control_fetched;
        break;
    case ACTION_DELETE_RUN:
        r.verb = KUBE_DELETE;
        options = pipeline_action_delete(a->uid, a->version);
        r.body = options;
        break;
    case ACTION_PRUNE:
        query = pipeline_action_revisions_query(s->name);
        r = (struct kube_request){.verb = KUBE_GET,
                                  .resource = &KUBE_CONTROLLER_REVISIONS,
                                  .ns = s->ns,
                                  .query = query};
        done = revisions_listed;
        break;
    }
    pipeline_call(p, &r, done);
}
