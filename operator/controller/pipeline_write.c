/* What one look at a pipeline writes about it: its ControllerRevision, its status. See pipeline.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/failpoint.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "operator/controller/pipeline-internal.h"
#include "operator/controller/revisions.h"

/* --- the revision --- */

static void revision_known(struct pass *p)
{
    struct state *s = p->s;
    if (s->view.pipeline)
        revisions_put(s->c->revisions, s->ns, s->view.revision, steal_ptr(s->view.pipeline));
    pipeline_set(&s->made_revision, s->view.revision);
    pipeline_again(p);
}

static void revision_adopted(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    (void)object;
    p->call = NULL;
    if (err_is_set(failure))
        pipeline_failed(p, "adopting a ControllerRevision", failure);
    else
        revision_known(p);
}

/* One of that name is there already: ours, an orphan's, or one that goes with an earlier pipeline of this name. */
static void revision_fetched(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct state *s = p->s;
    p->call = NULL;
    if (err_is_set(failure)) {
        pipeline_failed(p, "reading a ControllerRevision", failure);
        return;
    }
    struct kube_meta meta;
    kube_meta_init(&meta, *object);
    bool ours = text_equal(meta.owner_uid, s->view.uid) && !meta.deleting,
         orphan = !meta.owner_uid && !meta.deleting;
    _cleanup_free_ char *version = xstrdup(meta.resource_version);
    kube_meta_release(&meta);
    if (ours) {
        revision_known(p);
    } else if (orphan) {
        _cleanup_json_ cJSON *patch = pipeline_action_adopt(s->name, s->view.uid, version);
        const struct kube_request r = {.verb = KUBE_MERGE,
                                       .resource = &KUBE_CONTROLLER_REVISIONS,
                                       .ns = s->ns,
                                       .name = s->view.revision,
                                       .body = patch};
        pipeline_call(p, &r, revision_adopted);
    } else {
        log_debug("a revision of an earlier pipeline is still there", "pipeline", s->key, NULL);
        pipeline_end(p, true);
    }
}

static void revision_created(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct state *s = p->s;
    (void)object;
    p->call = NULL;
    failpoint("pipeline.revision.after");
    if (failure->class_ == ERR_EXISTS) {
        const struct kube_request r = {.verb = KUBE_GET,
                                       .resource = &KUBE_CONTROLLER_REVISIONS,
                                       .ns = s->ns,
                                       .name = s->view.revision};
        pipeline_call(p, &r, revision_fetched);
    } else if (err_is_set(failure)) {
        pipeline_failed(p, "creating a ControllerRevision", failure);
    } else {
        pipeline_prune_later(s);
        revision_known(p);
    }
}

void pipeline_keep_revision(struct pass *p)
{
    struct state *s = p->s;
    _cleanup_json_ cJSON *body = revision_object(s->view.pipeline, s->view.uid, s->view.generation);
    const struct kube_request r = {.verb = KUBE_CREATE,
                                   .resource = &KUBE_CONTROLLER_REVISIONS,
                                   .ns = s->ns,
                                   .body = body};
    pipeline_call(p, &r, revision_created);
}

/* --- the status --- */

static void status_written(void *ctx, cJSON **object, struct err *failure)
{
    struct pass *p = ctx;
    struct state *s = p->s;
    p->call = NULL;
    failpoint("pipeline.status.after");
    if (failure->class_ == ERR_CONFLICT || failure->class_ == ERR_NOTFOUND) {
        pipeline_end(p, true); /* the cache was behind: it will have the newer one then */
        return;
    }
    if (err_is_set(failure)) {
        pipeline_failed(p, "writing the pipeline's status", failure);
        return;
    }
    struct kube_meta meta;
    kube_meta_init(&meta, *object);
    pipeline_set(&s->written_version, meta.resource_version);
    kube_meta_release(&meta);
    if (p->decision.superseded) {
        _cleanup_free_ char *message =
            xasprintf("run %s will not start: the spec or the time has moved on", p->decision.superseded);
        pipeline_say(s, false, "PendingSuperseded", message);
    }
    if (!p->status.ready)
        pipeline_say(s, true, "Invalid", p->status.ready_message);
    p->wake_ms = 0; /* the write comes back as a change */
    pipeline_end(p, false);
}

void pipeline_write_status(struct pass *p, const cJSON *object, cJSON *status)
{
    struct state *s = p->s;
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
    _cleanup_json_ cJSON *body = kube_object(&PIPELINES, s->ns, s->name);
    cJSON *own = cJSON_GetObjectItemCaseSensitive(body, "metadata");
    static const char *const keep[] = {"uid", "resourceVersion"};
    for (size_t i = 0; i < ARRAY_SIZE(keep); i++)
        json_add(own, keep[i], cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(metadata, keep[i]), true));
    /* A PUT of the subresource ignores everything else, but must pass for a whole object. */
    json_add(body, "spec", cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(object, "spec"), true));
    json_add(body, "status", status);
    const struct kube_request r = {.verb = KUBE_UPDATE,
                                   .resource = &PIPELINES,
                                   .ns = s->ns,
                                   .name = s->name,
                                   .sub = "status",
                                   .body = body};
    pipeline_call(p, &r, status_written);
}
