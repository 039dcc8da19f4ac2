/* The parsed feature spec; between featurespec.c (apply) and featurespec_load.c only. */
#pragma once

#include "stages/tensor/featurespec.h"
#include "stages/tensor/vocabulary.h"

struct numeric {
    enum numeric_transform transform;
    bool missing_flag; /* a second dense input right after */
    bool required;     /* a missing value is an error */
    bool clip;
    double fill, lowest, highest, offset, scale;
};

enum categorical_kind { CATEGORICAL_KNOWN /* vocabulary or values */, CATEGORICAL_HASH };

struct categorical {
    enum categorical_kind kind;
    struct vocabulary *known;
    uint64_t buckets; /* out-of-vocabulary buckets, or all buckets of a hash */
    uint64_t seed;
};

enum { FEATURE_CROSS_MAX = 8 };

struct feature {
    const char *name; /* in the document */
    bool is_numeric;
    size_t input[FEATURE_CROSS_MAX]; /* raw columns; one unless crossed */
    size_t n_inputs;
    size_t at; /* first dense or cat position */
    struct numeric numeric;
    struct categorical categorical;
};

struct featurespec {
    cJSON *document;
    struct featurespec_raw *raw; /* names point into the document */
    size_t n_raw;
    struct feature *features;
    size_t n_features;
    size_t dense_width, cat_width;
    char **dense_names;
    struct feature **cat_features;
};
