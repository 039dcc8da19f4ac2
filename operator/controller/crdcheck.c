/* See crdcheck.h. */
#include "operator/controller/crdcheck.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "operator/controller/labels.h"
#include "operator/pipeline/schema.h"

enum { AGAIN_MS = 10 * 1000 };
static const char *const names[] = {"trainingpipelines.trainyard.dev", "trainingruns.trainyard.dev"};

struct crdcheck {
    struct loop *loop;
    struct kube_client *client;
    struct kube_call *call;
    struct loop_timer *timer;
    size_t at;       /* index of the one that is looked at */
    char *complaint; /* of this round so far */
    char *shown;
};

char *crdcheck_judge(const char *name, const cJSON *crd)
{
    int64_t have = 0, wanted = 0;
    struct err ignored = ERR_INIT, ignored2 = ERR_INIT;
    const char *version = crd ? kube_annotation(crd, ANNOTATION_SCHEMA_VERSION) : NULL;
    if (!crd)
        return xasprintf(
            "CRD %s is not installed: apply the CRDs of this version (helm upgrade with crds.install=true, "
            "or kubectl apply -f crds/)",
            name);
    if (text_parse_int(schema_version(), &wanted, &ignored) < 0)
        BUG("schema version \"%s\" is no number", schema_version());
    if (version && text_parse_int(version, &have, &ignored2) == 0 && have >= wanted)
        return NULL;
    return xasprintf(
        "CRD %s has schema version %s, this operator needs %s: apply the CRDs of this version (helm "
        "upgrade with crds.install=true, or kubectl apply -f crds/)",
        name, version ? version : "none", schema_version());
}

static void look(void *ctx);

static void next(struct crdcheck *k)
{
    if (++k->at < ARRAY_SIZE(names)) {
        look(k);
        return;
    }
    if (k->complaint && !text_equal(k->complaint, k->shown))
        log_warn("not ready", "why", k->complaint, NULL);
    free(k->shown);
    k->shown = steal_ptr(k->complaint);
    k->at = 0;
    if (k->shown)
        k->timer = loop_timer_start(k->loop, AGAIN_MS, look, k);
}

static void fetched(void *ctx, cJSON **object, struct err *failure)
{
    struct crdcheck *k = ctx;
    k->call = NULL;
    char *found = NULL;
    if (failure->class_ == ERR_TERMINAL)
        log_warn("the CRDs' schema version cannot be checked", "error", failure->msg, NULL);
    else if (err_is_set(failure) && failure->class_ != ERR_NOTFOUND)
        found = xasprintf("cannot read CRD %s: %s", names[k->at], failure->msg);
    else
        found = crdcheck_judge(names[k->at], err_is_set(failure) ? NULL : *object);
    if (found && !k->complaint)
        k->complaint = found;
    else
        free(found);
    next(k);
}

static void look(void *ctx)
{
    struct crdcheck *k = ctx;
    k->timer = NULL;
    const struct kube_request r = {.verb = KUBE_GET, .resource = &KUBE_CRDS, .name = names[k->at]};
    k->call = kube_start(k->client, &r, fetched, k);
}

struct crdcheck *crdcheck_new(struct loop *loop, struct kube_client *c)
{
    struct crdcheck *k = xcalloc(1, sizeof *k);
    k->loop = loop;
    k->client = c;
    k->shown = xstrdup("the CRDs have not been checked yet");
    look(k);
    return k;
}

struct crdcheck *crdcheck_free(struct crdcheck *k)
{
    if (!k)
        return NULL;
    kube_cancel(k->call);
    loop_timer_cancel(k->timer);
    free(k->complaint);
    free(k->shown);
    free(k);
    return NULL;
}

const char *crdcheck_complaint(const struct crdcheck *k)
{
    return k->shown;
}
