/* YAML text → cJSON tree, with the line of every node kept aside for errors.
 *
 * One document; no tags; keys are text and occur once; anchors and aliases are allowed within bounds (the expanded tree
 * counts). A plain scalar that YAML 1.1 (kubectl's and Python's readers) and YAML 1.2 read differently is refused with what to
 * write instead: yes, no, on, off, y, n; 010; 0o17; 0b1; 1_000; 1:30; 1e-8; .inf; 2026-01-31; <<. Numbers become doubles, so
 * a whole number beyond 2^53 is refused: such values travel as strings. `null` stays null; the schema refuses it.
 *
 * Bounded by LIMIT_MANIFEST_FILE_BYTES, LIMIT_JSON_DEPTH and LIMIT_YAML_NODES. */
#pragma once

#include <cjson/cJSON.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"
#include "operator/pipeline/pipeline.h"

struct yaml_lines; /* opaque: node of the tree → line; valid while the tree is unchanged or only added to */

/* Every ambiguous scalar becomes a finding, as does the first error of syntax (which ends reading); with any of them the result
 * is negative and err says the first (exit 78). file_name is for err; may be NULL. */
int yaml_parse(const char *text, size_t len, const char *file_name, struct findings *findings, cJSON **ret,
               struct yaml_lines **ret_lines, struct err *err);
/* 1-based: of the key for members of a mapping, of the item for those of a sequence. 0 if unknown; lines may be NULL. */
int yaml_line(const struct yaml_lines *lines, const cJSON *node);
struct yaml_lines *yaml_lines_free(struct yaml_lines *lines);

/* How a plain scalar reads. */
enum yaml_kind {
    YAML_KIND_STRING,
    YAML_KIND_NUMBER,
    YAML_KIND_TRUE,
    YAML_KIND_FALSE,
    YAML_KIND_NULL,
    YAML_KIND_REFUSED
};
enum { YAML_ADVICE_MAX = 256 };
/* *ret_number for numbers; why and what to write instead in `advice` when refused. */
enum yaml_kind yaml_classify(const char *plain, double *ret_number, char advice[static YAML_ADVICE_MAX]);

DEFINE_CLEANUP(struct yaml_lines *, yaml_lines_free);
#define _cleanup_yaml_lines_ CLEANUP(yaml_lines_free_cleanup)
