/* The `evaluate` body: see evaluateconfig.h. */
#include "stages/evaluate/evaluateconfig.h"

#include <math.h>
#include <string.h>

#include "common/base/json.h"

static int bad(const struct json_path *path, struct err *err)
{
    char where[JSON_PATH_MAX];
    json_path_format(path, where);
    err->exit_code = EXITCODE_CONFIG;
    return err_wrap(err, "%s", where);
}

static int too_many(const char *what, size_t max, struct err *err)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config", "%s: more than %zu are not supported", what,
                    max);
}

static int decode_metrics(const cJSON *config, struct evaluateconfig *c, struct err *err)
{
    const cJSON *list, *item;
    if (json_get_array(config, NULL, "metrics", &list, err) < 0)
        return -1;
    struct json_path path = {.key = "metrics"}, here = {.parent = &path};
    cJSON_ArrayForEach(item, list)
    {
        if (c->n_metrics == EVALUATE_METRICS_MAX)
            return too_many("metrics", EVALUATE_METRICS_MAX, err);
        if (metric_name_parse(cJSON_IsString(item) ? item->valuestring : "", &c->metrics[c->n_metrics], err) <
            0)
            return bad(&here, err);
        c->n_metrics++;
        here.index++;
    }
    return c->n_metrics ? 0
                        : err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                                   "metrics: expected at least one, found none");
}

static int decode_slices(const cJSON *config, struct evaluateconfig *c, struct err *err)
{
    const cJSON *list, *item;
    if (json_get_array_or(config, NULL, "slices", &list, err) < 0)
        return -1;
    cJSON_ArrayForEach(item, list)
    {
        if (c->n_slices == EVALUATE_SLICES_MAX)
            return too_many("slices", EVALUATE_SLICES_MAX, err);
        if (!cJSON_IsString(item))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                            "slices[%zu]: expected the name of a carried column", c->n_slices);
        c->slices[c->n_slices++] = item->valuestring;
    }
    return json_get_int_or(config, NULL, "minSupport", 100, &c->min_support, err);
}

static int decode_baseline(const cJSON *config, struct evaluateconfig *c, struct err *err)
{
    const cJSON *baseline;
    const char *on_missing;
    if (json_get_object_or(config, NULL, "baseline", &baseline, err) < 0)
        return -1;
    if (!baseline)
        return 0;
    struct json_path path = {.key = "baseline"};
    static const char *const keys[] = {"model", "alias", "onMissing", NULL};
    if (json_only_keys(baseline, &path, keys, err) < 0 ||
        json_get_string(baseline, &path, "model", &c->baseline_model, err) < 0 ||
        json_get_string_or(baseline, &path, "alias", "production", &c->baseline_alias, err) < 0 ||
        json_get_string_or(baseline, &path, "onMissing", "fail", &on_missing, err) < 0)
        return -1;
    c->missing_baseline_passes = strcmp(on_missing, "pass") == 0;
    if (!c->missing_baseline_passes && strcmp(on_missing, "fail") != 0)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "baseline.onMissing: expected pass or fail, found '%s'", on_missing);
    return 0;
}

static int decode_rule(const cJSON *item, const struct json_path *path, struct evaluateconfig *c,
                       struct err *err)
{
    static const char *const keys[] = {"metric",           "min",        "max", "minDelta",
                                       "minRelativeDelta", "confidence", NULL};
    struct gate_rule *rule = &c->rules[c->n_rules];
    const char *metric;
    if (json_only_keys(item, path, keys, err) < 0 ||
        json_get_string(item, path, "metric", &metric, err) < 0 ||
        json_get_double_or(item, path, "min", NAN, &rule->min, err) < 0 ||
        json_get_double_or(item, path, "max", NAN, &rule->max, err) < 0 ||
        json_get_double_or(item, path, "minDelta", NAN, &rule->min_delta, err) < 0 ||
        json_get_double_or(item, path, "minRelativeDelta", NAN, &rule->min_relative_delta, err) < 0 ||
        json_get_double_or(item, path, "confidence", 0.95, &rule->confidence, err) < 0)
        return -1;
    if (!(rule->confidence >= 0.5 && rule->confidence < 1))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "gate[%zu].confidence: expected 0.5 to below 1, found %g", c->n_rules,
                        rule->confidence);
    bool delta = !isnan(rule->min_delta) || !isnan(rule->min_relative_delta);
    if (!delta && isnan(rule->min) && isnan(rule->max))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "gate[%zu]: expected min, max, minDelta or minRelativeDelta", c->n_rules);
    if (delta && !c->baseline_model)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "gate[%zu]: minDelta compares with a baseline, but evaluate.baseline is absent",
                        c->n_rules);
    for (rule->metric = 0; rule->metric < c->n_metrics; rule->metric++)
        if (strcmp(c->metrics[rule->metric].text, metric) == 0)
            return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                    "gate[%zu].metric: '%s' is not one of evaluate.metrics", c->n_rules, metric);
}

static int decode_gate(const cJSON *config, struct evaluateconfig *c, struct err *err)
{
    const cJSON *list, *item;
    if (json_get_array_or(config, NULL, "gate", &list, err) < 0)
        return -1;
    struct json_path path = {.key = "gate"}, here = {.parent = &path};
    cJSON_ArrayForEach(item, list)
    {
        if (c->n_rules == EVALUATE_RULES_MAX)
            return too_many("gate", EVALUATE_RULES_MAX, err);
        here.index = c->n_rules;
        if (decode_rule(item, &here, c, err) < 0)
            return -1;
        c->n_rules++;
    }
    return 0;
}

int evaluateconfig_decode(const cJSON *config, struct evaluateconfig *ret, struct err *err)
{
    static const char *const keys[] = {"metrics", "slices",    "minSupport", "baseline",
                                       "gate",    "bootstrap", NULL};
    struct evaluateconfig c = {0};
    const cJSON *bootstrap;
    struct json_path path = {.key = "bootstrap"};
    if (json_only_keys(config, NULL, keys, err) < 0 || decode_metrics(config, &c, err) < 0 ||
        decode_slices(config, &c, err) < 0 || decode_baseline(config, &c, err) < 0 ||
        decode_gate(config, &c, err) < 0 ||
        json_get_object_or(config, NULL, "bootstrap", &bootstrap, err) < 0 ||
        json_get_int_or(bootstrap, &path, "samples", 1000, &c.bootstrap_samples, err) < 0 ||
        json_get_int_or(bootstrap, &path, "seed", 0, &c.bootstrap_seed, err) < 0)
        return -1;
    if (c.bootstrap_samples < 100 || c.bootstrap_samples > 100000)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                        "bootstrap.samples: expected 100 to 100000, found %lld",
                        (long long)c.bootstrap_samples);
    *ret = c;
    return 0;
}
