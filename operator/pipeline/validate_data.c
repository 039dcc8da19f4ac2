/* What the schema cannot say about dataValidate and featurize. See validate.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/validate-internal.h"

/* min above max, at `path`. */
static void check_order(const struct decoder *d, size_t step, const char *path, const cJSON *object,
                        const char *low_key, const char *high_key)
{
    const cJSON *low = field(object, low_key), *high = field(object, high_key);
    if (low && high && low->valuedouble > high->valuedouble)
        decoder_step_finding(d, step, path, low, false, "%s (%g) is above %s (%g): nothing can satisfy both",
                             low_key, low->valuedouble, high_key, high->valuedouble);
}

/* --- dataValidate -------------------------------------------------------------------------------------------------------- */

static void check_rule(const struct decoder *d, size_t step, const cJSON *rule, const char *path)
{
    bool aggregate = field(rule, "aggregate") != NULL;
    check_order(d, step, path, rule, "min", "max");
    if (aggregate && !field(rule, "min") && !field(rule, "max"))
        decoder_step_finding(d, step, path, rule, false,
                             "an aggregate rule needs min or max, or it checks nothing");
    if (aggregate && field(rule, "maxViolations"))
        decoder_step_finding(
            d, step, path, rule, false,
            "maxViolations counts rows that violate sql: an aggregate rule has min and max instead");
    if (!aggregate && (field(rule, "min") || field(rule, "max")))
        decoder_step_finding(d, step, path, rule, false,
                             "min and max bound an aggregate: a row rule says its bounds in sql");
}

void validate_data_validate(struct decoder *d, size_t step)
{
    const cJSON *body = d->p->steps[step].body;
    const cJSON *columns = field(body, "columns"), *checks = field(body, "checks"),
                *drift = field(body, "drift");
    char path[96];
    size_t k = 0;
    for (const cJSON *column = columns ? columns->child : NULL; column; column = column->next, k++) {
        (void)snprintf(path, sizeof path, "dataValidate.columns[%zu]", k);
        check_order(d, step, path, column, "min", "max");
        const cJSON *fraction = field(column, "maxNullFraction");
        if (cJSON_IsFalse(field(column, "nullable")) && fraction && fraction->valuedouble > 0)
            decoder_step_finding(
                d, step, path, column, false,
                "nullable: false allows no nulls, maxNullFraction: %g allows some: remove one",
                fraction->valuedouble);
    }
    k = 0;
    for (const cJSON *rule = checks ? checks->child : NULL; rule; rule = rule->next, k++) {
        (void)snprintf(path, sizeof path, "dataValidate.checks[%zu]", k);
        check_rule(d, step, rule, path);
    }
    if (drift && !field(drift, "columns") && cJSON_GetArraySize(columns) == 0)
        decoder_step_finding(d, step, "dataValidate.drift", drift, false,
                             "no column to look at: name some in drift.columns or in columns");
    const cJSON *references = field(body, "references");
    k = 0;
    for (const cJSON *r = references ? references->child : NULL; r; r = r->next, k++) {
        (void)snprintf(path, sizeof path, "dataValidate.references[%zu].table.columns", k);
        const cJSON *theirs = field(field(r, "table"), "columns");
        if (theirs && cJSON_GetArraySize(theirs) != cJSON_GetArraySize(field(r, "columns")))
            decoder_step_finding(d, step, path, theirs, false,
                                 "expected as many columns as in columns, %d, found %d",
                                 cJSON_GetArraySize(field(r, "columns")), cJSON_GetArraySize(theirs));
    }
}

/* --- featurize: split ------------------------------------------------------------------------------------------------------ */

static bool is_share(const char *s)
{
    return s && (s[0] == '.' || (s[0] == '0' && s[1] == '.'));
}

static void check_lengths(const struct decoder *d, size_t step, const cJSON *split, bool shares)
{
    static const char *const keys[] = {"validation", "test"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const cJSON *v = field(split, keys[i]);
        char path[64];
        (void)snprintf(path, sizeof path, "featurize.split.%s", keys[i]);
        if (!v)
            decoder_step_finding(d, step, path, split, false, "required field is missing: %s",
                                 shares ? "its share, such as \"0.1\"" : "its length, such as 2d");
        else if (is_share(v->valuestring) != shares)
            decoder_step_finding(d, step, path, v, false, "split by %s: expected %s, found \"%s\"",
                                 shares ? "hash" : "time",
                                 shares ? "a share such as \"0.1\"" : "a length such as 2d", v->valuestring);
    }
}

static void check_split(const struct decoder *d, size_t step, const cJSON *body)
{
    const cJSON *split = field(body, "split");
    const char *by = text_field(split, "by");
    static const struct {
        const char *key, *by;
    } owners[] = {{"column", "column"}, {"folds", "folds"}, {"fold", "folds"}};
    if (strcmp(by, "time") == 0 && !field(body, "time"))
        decoder_step_finding(
            d, step, "featurize.time", split, false,
            "required field is missing: split by time needs the column with the time of the row");
    if (strcmp(by, "time") == 0 || strcmp(by, "hash") == 0)
        check_lengths(d, step, split, strcmp(by, "hash") == 0);
    if (strcmp(by, "column") == 0 && !field(split, "column"))
        decoder_step_finding(
            d, step, "featurize.split.column", split, false,
            "required field is missing: the column whose values are train, validation or test");
    if (strcmp(by, "folds") == 0 && (!field(split, "folds") || !field(split, "fold")))
        decoder_step_finding(d, step, "featurize.split", split, false,
                             "split by folds needs folds (how many) and fold (which one, such as $(item))");
    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "featurize.split.%s", owners[i].key);
        if (field(split, owners[i].key) && strcmp(by, owners[i].by) != 0)
            decoder_step_finding(d, step, path, field(split, owners[i].key), false,
                                 "belongs to split by %s, but the split is by %s", owners[i].by, by);
    }
}

/* --- featurize: features ------------------------------------------------------------------------------------------------------ */

static const cJSON *find_feature(const cJSON *features, const char *name)
{
    for (const cJSON *f = features->child; f; f = f->next) {
        if (text_equal(text_field(f, "name"), name))
            return f;
    }
    return NULL;
}

/* The named feature is categorical; a finding otherwise. */
static void check_categorical(const struct decoder *d, size_t step, const char *path, const cJSON *node,
                              const cJSON *features, const cJSON *self, const char *name)
{
    const cJSON *found = find_feature(features, name);
    size_t n = 0;
    const char *names[LIMIT_COLUMNS + 1];
    for (const cJSON *f = features->child; f && n < LIMIT_COLUMNS; f = f->next)
        names[n++] = text_field(f, "name");
    names[n] = NULL;
    char hint[HINT_MAX];
    decoder_hint(name, names, hint);
    if (!found)
        decoder_step_finding(d, step, path, node, false, "there is no feature \"%.80s\"%s", name, hint);
    else if (found == self)
        decoder_step_finding(d, step, path, node, false, "a feature cannot be made of itself");
    else if (!field(found, "categorical") || field(found, "cross"))
        decoder_step_finding(d, step, path, node, false, "\"%s\" is not a plain categorical feature", name);
}

static void check_numeric(const struct decoder *d, size_t step, const char *path, const cJSON *numeric)
{
    const cJSON *clip = field(numeric, "clip");
    if (clip && clip->child->valuedouble >= clip->child->next->valuedouble)
        decoder_step_finding(d, step, path, clip, false,
                             "clip: expected two rising quantiles, found %g and %g", clip->child->valuedouble,
                             clip->child->next->valuedouble);
}

static void check_feature(const struct decoder *d, size_t step, const cJSON *features, const cJSON *f,
                          size_t k)
{
    char path[96];
    (void)snprintf(path, sizeof path, "featurize.features[%zu]", k);
    const cJSON *cross = field(f, "cross"), *categorical = field(f, "categorical"),
                *sequence = field(f, "sequence");
    for (const cJSON *part = cross ? cross->child : NULL; part; part = part->next)
        check_categorical(d, step, path, part, features, f, part->valuestring);
    if (cross && !field(categorical, "hash"))
        decoder_step_finding(d, step, path, f, false,
                             "a cross is categorical, by hash: categorical: {hash: {buckets: 4096}}");
    if (cross && field(f, "servingValue"))
        decoder_step_finding(d, step, path, field(f, "servingValue"), false,
                             "a cross has no servingValue of its own: give it to the features it is made of");
    if (sequence)
        decoder_step_finding(
            d, step, path, sequence, false,
            "sequence features are not available in this version: use numeric or categorical ones");
    check_numeric(d, step, path, field(f, "numeric"));
    check_order(d, step, path, field(categorical, "values"), "from", "to");
    const cJSON *range = field(categorical, "values"), *from = field(range, "from"), *to = field(range, "to");
    if (from && to && to->valuedouble - from->valuedouble >= 1000000)
        decoder_step_finding(d, step, path, from, false,
                             "categorical.values: expected at most 1000000 values, found %.0f",
                             to->valuedouble - from->valuedouble + 1);
}

void validate_featurize(struct decoder *d, size_t step)
{
    const cJSON *body = d->p->steps[step].body, *features = field(body, "features");
    check_split(d, step, body);
    size_t k = 0;
    for (const cJSON *f = features->child; f; f = f->next, k++)
        check_feature(d, step, features, f, k);
    const cJSON *negatives = field(field(body, "trainSampling"), "negatives");
    if (negatives && negatives->valuedouble < 1 &&
        !text_equal(text_field(field(body, "label"), "type"), "binary"))
        decoder_step_finding(d, step, "featurize.trainSampling.negatives", negatives, false,
                             "only labels of type binary have negatives");
    if (text_equal(text_field(field(body, "label"), "type"), "relevance") && !field(body, "group"))
        decoder_step_finding(
            d, step, "featurize.group", field(body, "label"), false,
            "required field is missing: a label of type relevance needs the column of the ranking query");
}
