/* What was found wrong, worst first. */
#pragma once

#include <cjson/cJSON.h>

#include "common/base/buf.h"
#include "stages/data-validate/config.h"

/* In the order in which they are told: the earlier ones explain the later. */
enum finding_kind {
    FINDING_SCHEMA,
    FINDING_NULLS,
    FINDING_RANGE,
    FINDING_VALUES,
    FINDING_PATTERN,
    FINDING_CHECK,
    FINDING_UNIQUE,
    FINDING_REFERENCE,
    FINDING_VOLUME,
    FINDING_DRIFT,
    FINDING_LEAKAGE,
    FINDING_SERVING,
    FINDING_FRESHNESS,
};
extern const char *const finding_kind_names[];

struct finding {
    enum finding_kind kind;
    enum level level;
    char *column;    /* or the rule's name; NULL: the whole table */
    char *message;   /* what was expected and found, and what to do */
    double severity; /* within a kind: larger is worse */
    size_t order;
    cJSON *samples; /* [{"file", "row", "value"?}], or NULL */
};
struct findings {
    struct finding *items;
    size_t n, capacity;
};

/* Samples may be attached to the one returned until the next is added. */
struct finding *findings_add(struct findings *f, enum finding_kind kind, enum level level, const char *column,
                             double severity, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void findings_sort(struct findings *f);
size_t findings_count(const struct findings *f, enum level level);
/* The errors' messages, worst first, as many as fit into `max` bytes; "and N more" for the rest. */
void findings_summary(const struct findings *f, char *ret, size_t max);
cJSON *findings_to_json(const struct findings *f);
void findings_release(struct findings *f);
