/* Fits the features on the training split and writes the feature spec: feature-spec.json and vocabularies.safetensors.
 *
 * Beside what stages/tensor/featurespec.h documents, the document holds what train, evaluate and --transform need to know of rows:
 *   label     {column | sql, type, classes?}           group, time, weight, where: as in the manifest
 *   rowKey, carry: columns                              carryDictionaries: {column: [values; code = 1 + index]}
 *   sql       {rowKey, rowOrder, label, weight?, group?, time?}: expressions over the source columns, which give BIGINT, a list for ORDER BY,
 *             DOUBLE, DOUBLE, BIGINT, and BIGINT microseconds since 1970 UTC
 *   split     {by, validationFrom?, testFrom?} (µs as text)   newestTrainTime: µs since 1970 UTC as text, absent without time
 *   derive    [{name, sql, pointInTime?}]: columns computed before all else (heldout rows hold them)
 *   source    {columns: [{name, type}], rows, duplicatesDropped, trainRows, validationRows, testRows} */
#pragma once

#include "common/base/err.h"
#include "stages/featurize/source.h"
#include "stages/tensor/featurespec.h"
#include "stages/tensor/vocabulary.h"

/* Codes of the carry columns, in the order of the config. */
struct fit_carry {
    struct vocabulary **dictionaries;
    size_t n;
};

/* Writes into `output`, then loads what it wrote. */
int fit_features(struct source *s, const char *output, struct featurespec **ret, struct fit_carry *ret_carry,
                 struct err *err);
void fit_carry_release(struct fit_carry *c);
