/* The step's configuration, `dataValidate` of the manifest, decoded. Strings are borrowed from the JSON tree. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

enum level { LEVEL_ERROR, LEVEL_WARN };
enum format { FORMAT_AUTO, FORMAT_PARQUET, FORMAT_CSV, FORMAT_JSONL };
enum drift_method { DRIFT_PSI, DRIFT_KS, DRIFT_JS, DRIFT_CHI2 };
extern const char *const drift_method_names[]; /* ends with NULL */

struct column_rule {
    const char *name, *type, *pattern; /* type, pattern NULL: any */
    const cJSON *values;               /* array of strings, or NULL */
    double max_null_fraction;          /* NaN: none */
    double min, max;                   /* NaN: none */
    bool nullable;
    enum level level;
};

struct check_rule {
    const char *name, *sql, *aggregate; /* one of the two */
    int64_t max_violations;
    double min, max; /* NaN: none */
    enum level level;
};

struct reference_rule {
    const char *name, *uri;
    enum format format;
    const cJSON *columns, *other_columns; /* other NULL: equal names */
    int64_t max_violations;
    enum level level;
};

enum baseline_kind { BASELINE_PREVIOUS, BASELINE_WEEKDAY, BASELINE_TRAILING, BASELINE_PINNED };
struct baseline {
    enum baseline_kind kind;
    int trailing;       /* partitions */
    char *uri;          /* pinned: owned */
    const char *digest; /* pinned: 64 hex digits */
    const char *text;   /* as written */
};

struct config {
    const char *uri, *partition; /* partition NULL: the newest there is */
    enum format format;
    int64_t window; /* 0: all */

    struct column_rule *columns;
    size_t n_columns;
    struct check_rule *checks;
    size_t n_checks;
    const cJSON *unique; /* array of arrays of names, or NULL */
    struct reference_rule *references;
    size_t n_references;

    bool volume;
    struct baseline volume_baseline;
    double volume_tolerance;
    enum level volume_level;

    bool drift;
    struct baseline drift_baseline;
    enum drift_method drift_method;
    double drift_max;
    const cJSON *drift_columns; /* NULL: all listed columns */
    enum level drift_level;

    const char *freshness_column; /* NULL: no freshness rule */
    const char *freshness_text;   /* "36h" */
    int64_t freshness_ms;
    enum level freshness_level;

    const char *leakage_label; /* NULL: no leakage rule */
    double leakage_max_auc;
    enum level leakage_level;

    const char *serving_uri; /* NULL: no comparison with serving logs */
    enum format serving_format;
    enum drift_method serving_method;
    double serving_max;
    const cJSON *serving_columns;
    enum level serving_level;
};

/* Every fault is ERR_INVALID, exit 78, and names the field. */
int config_decode(const cJSON *json, struct config **ret, struct err *err);
struct config *config_free(struct config *c);
/* The rule of a column, or NULL. */
const struct column_rule *config_column(const struct config *c, const char *name);
bool config_lists(const cJSON *names, const char *name);

DEFINE_CLEANUP(struct config *, config_free);
#define _cleanup_config_ CLEANUP(config_free_cleanup)
