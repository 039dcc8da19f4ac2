/* Where a version comes from: the in-toto statement that is signed, and the facts that go into the version's record. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/store/artifact.h"

#define LINEAGE_PAYLOAD_TYPE "application/vnd.in-toto+json"

struct lineage {
    const char *model_name;
    const struct artifact *model, *evaluation;
    const char *run_name, *run_uid, *revision; /* NULL: unknown */
    int64_t scheduled_ms;
};

/* in-toto Statement v1 with an SLSA Provenance v1 predicate: subject = the model, dependencies = its inputs and evaluation. */
int lineage_statement(const struct lineage *l, struct buf *out, struct err *err);
/* "run", "runUid", "revision", "lineage": {"inputs", "evaluationInputs"}; caller owns. */
cJSON *lineage_record(const struct lineage *l);
