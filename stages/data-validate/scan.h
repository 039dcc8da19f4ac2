/* One pass over one part: statistics of every column, every row rule, key hashes for `unique`, rows for the leakage test.
 *
 * The part is read by an engine with one thread, so rows come in the file's order whatever the machine; the parallelism is over
 * files. Results of files merge. */
#pragma once

#include <stdatomic.h>

#include "common/base/limits.h"
#include "stages/data-validate/config.h"
#include "stages/data-validate/schema.h"
#include "stages/data-validate/stats.h"

enum { SAMPLE_ROWS = LIMIT_VIOLATION_ROWS, SAMPLE_TEXT = 96, KEY_BUCKETS = 256 };
enum row_rule_kind { RULE_NULL, RULE_RANGE, RULE_VALUES, RULE_PATTERN, RULE_SQL };

struct row_rule {
    enum row_rule_kind kind;
    const struct column_rule *column; /* NULL for RULE_SQL */
    const struct check_rule *check;   /* RULE_SQL */
    size_t schema_index;              /* of the column */
    size_t stream_index; /* of the 0/1 result in the stream; SIZE_MAX: looked at here, not by DuckDB */
    const char **values; /* RULE_VALUES looked at here: a short list of texts */
    size_t *lengths, n_values;
};

struct sample {
    int64_t row; /* 1-based, in the source file */
    char value[SAMPLE_TEXT];
};
struct rule_hits {
    int64_t count;
    struct sample samples[SAMPLE_ROWS];
    size_t n_samples;
};

/* Rows for the leakage test: the label (0, 1) and each column as a number to rank by, or a hash to group by. */
struct leak_rows {
    size_t n, capacity, max;
    uint8_t *label;
    uint64_t **values;  /* per schema column: bits of a double, or a hash; NULL: not looked at */
    int64_t bad_labels; /* neither 0 nor 1 nor NULL */
};

struct scan_plan {
    const struct config *config;
    const struct schema *schema;
    struct row_rule *rules;
    size_t n_rules;
    enum column_type *types;
    size_t n_stream;
    char *select;         /* without FROM */
    size_t label_index;   /* SIZE_MAX: no leakage test */
    size_t leak_rows_max; /* per file */
    size_t n_unique;
    size_t **unique_columns; /* schema indexes, ended by SIZE_MAX */
    int64_t unique_max;      /* hashes that may be kept in memory, over all files */
    _Atomic int64_t unique_kept;
};

struct scan_result {
    int64_t rows;
    struct stats *columns; /* per schema column */
    size_t n_columns;
    struct rule_hits *hits;                 /* per rule */
    uint64_t **unique;                      /* per unique set: hashes of complete keys, by their top byte */
    size_t (*unique_from)[KEY_BUCKETS + 1]; /* where each top byte begins */
    size_t *n_unique, *unique_capacity;
    size_t n_sets;
    bool unique_dropped; /* too many to keep */
    struct leak_rows leak;
};

/* Checks every user text (against `relation`, any part) and prepares the statement. Schema and config must outlive the plan. */
int scan_plan_new(struct table *t, const struct config *config, const struct schema *schema,
                  const char *relation, int64_t memory, struct scan_plan **ret, struct err *err);
struct scan_plan *scan_plan_free(struct scan_plan *p);
int scan_run(struct scan_plan *plan, struct table *t, const char *relation, bool newest,
             struct scan_result **ret, struct err *err);
struct scan_result *scan_result_free(struct scan_result *r);

DEFINE_CLEANUP(struct scan_plan *, scan_plan_free);
#define _cleanup_scan_plan_ CLEANUP(scan_plan_free_cleanup)
DEFINE_CLEANUP(struct scan_result *, scan_result_free);
#define _cleanup_scan_result_ CLEANUP(scan_result_free_cleanup)
