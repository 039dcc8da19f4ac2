/* What the files of decoding and validation share. */
#pragma once

#include "common/base/json.h"
#include "common/base/map.h"
#include "operator/pipeline/pipeline.h"
#include "operator/pipeline/yaml.h"

struct decoder {
    struct pipeline *p;
    const struct yaml_lines *lines; /* NULL for API objects */
    struct findings *findings;
    struct map *step_index;  /* name → index + 1 */
    const char **step_names; /* NULL-terminated, for suggestions; borrowed strings */
};

/* A finding at spec.steps[i].<field> (field may be ""), with the line of `node`. */
void decoder_step_finding(const struct decoder *d, size_t step, const char *field, const cJSON *node,
                          bool warning, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* A finding at `path`. */
void decoder_finding(const struct decoder *d, const char *path, const cJSON *node, bool warning,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Index of a step, or -1 after a finding with a suggestion. */
long decoder_find_step(const struct decoder *d, size_t step, const char *field, const cJSON *node,
                       const char *name);
/* "; did you mean "x"?" or "" into `ret`. */
enum { HINT_MAX = 160 };
void decoder_hint(const char *word, const char *const *candidates, char ret[static HINT_MAX]);

/* decode_step.c: fills p->steps from the array; references to other steps are resolved. */
void decode_steps(struct decoder *d, const cJSON *steps);
/* Makes step i wait for `other`, if it does not yet. */
void decoder_add_after(struct decoder *d, size_t i, size_t other);
/* The step's own JSON: the i-th of spec.steps. */
const cJSON *decoder_step_json(const struct decoder *d, size_t step);

/* kinds.c */
int step_kind_of(const cJSON *step, enum step_kind *ret, const cJSON **ret_body);
enum param_type param_type_of(const cJSON *type);
/* Fills outputs and values from kind and body. */
void step_describe_results(struct step *s);

/* decode_envelope.c: apiVersion, kind, metadata and unknown top-level keys. */
void decode_envelope(const cJSON *tree, const char *kind, const struct yaml_lines *lines,
                     struct findings *findings);
