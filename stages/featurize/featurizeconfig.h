/* The `featurize:` block of a manifest, decoded and checked as far as it can be without the data.
 *
 * Strings are borrowed from the JSON tree, which must outlive the struct. What this release does not do
 * (sequence and tensor features) is refused with exit 78 and says what to use instead. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

enum label_type { LABEL_NONE, LABEL_BINARY, LABEL_CLASS, LABEL_NUMBER, LABEL_RELEVANCE };
enum split_by { SPLIT_TIME, SPLIT_HASH, SPLIT_COLUMN, SPLIT_FOLDS };
enum boundary { BOUNDARY_EXACT, BOUNDARY_HOUR, BOUNDARY_DAY };
enum impute { IMPUTE_NONE, IMPUTE_MEAN, IMPUTE_MEDIAN, IMPUTE_ZERO };
enum scale { SCALE_NONE, SCALE_STANDARD, SCALE_MINMAX, SCALE_ROBUST };

struct config_names {
    const char **items;
    size_t n;
};

struct config_derive {
    const char *name, *sql;
    const char *point_in_time; /* time column of its windows; NULL: an expression of one row */
};

struct config_feature {
    const char *name;
    const char *column, *sql;  /* exactly one, unless crossed */
    struct config_names cross; /* names of categorical features */
    bool numeric;
    /* numeric */
    enum impute impute;
    bool missing_flag, clip;
    double clip_low, clip_high; /* quantiles */
    enum scale scale;
    const char *transform; /* none, log, log1p, sqrt */
    /* categorical: exactly one */
    const cJSON *vocabulary, *values, *hash;
    int64_t min_count, max_size, oov_buckets, oov_seed;
    const cJSON *serving_value; /* NULL: as logged */
};

struct featurizeconfig {
    int64_t seed;
    struct config_names row_key;
    bool dedupe, keep_last;
    struct config_names dedupe_order;
    const char *where, *weight, *group, *time; /* NULL: none */
    struct config_derive *derive;
    size_t n_derive;
    const char *label_column, *label_sql;
    enum label_type label_type;
    const char *label_type_name;
    struct config_names carry;
    struct {
        enum split_by by;
        const char *column;
        int64_t validation_ms, test_ms; /* by time */
        double validation, test;        /* by hash: shares */
        enum boundary boundary;
        int64_t folds, fold;
        const char *time_zone;
    } split;
    double negatives; /* share kept in train/ */
    struct config_feature *features;
    size_t n_features;
    int64_t shard_rows;
    bool hashed_order; /* of train/; else the order of rowKey */
};

int featurizeconfig_parse(const cJSON *config, struct featurizeconfig *ret, struct err *err);
void featurizeconfig_release(struct featurizeconfig *c);

static inline void featurizeconfig_cleanup_func(struct featurizeconfig *c)
{
    featurizeconfig_release(c);
}
#define _cleanup_featurizeconfig_ CLEANUP(featurizeconfig_cleanup_func)
