/* Are the CRDs in the cluster at least as new as this program? A field that they lack would be dropped silently by the API server. */
#pragma once

#include "common/http/loop.h"
#include "operator/kube/client.h"

struct crdcheck; /* opaque */
/* Looks at once and, while there is anything to complain about, every ten seconds. */
struct crdcheck *crdcheck_new(struct loop *loop, struct kube_client *c);
struct crdcheck *crdcheck_free(struct crdcheck *k);
/* NULL: they are; else a sentence: which one is missing or older, and what to do. Borrowed until the loop runs. */
const char *crdcheck_complaint(const struct crdcheck *k);
/* The same of one CRD as the API server gave it; NULL: it is not there. The caller frees; NULL: it is new enough. */
char *crdcheck_judge(const char *name, const cJSON *crd);
