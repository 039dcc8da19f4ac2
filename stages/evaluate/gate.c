/* The gate: see gate.h. */
#include "stages/evaluate/gate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "stages/evaluate/auc.h"
#include "stages/evaluate/bootstrap.h"
#include "stages/evaluate/normal.h"

static double bootstrap_limit(const struct evaluateconfig *config, const struct gate_rule *rule,
                              bool relative, double sign, const double *samples)
{
    size_t n = (size_t)config->bootstrap_samples, width = 2 * config->n_metrics;
    double *improvement = xreallocarray(NULL, n, sizeof *improvement);
    for (size_t s = 0; s < n; s++) {
        double a = samples[s * width + rule->metric],
               b = samples[s * width + config->n_metrics + rule->metric];
        improvement[s] = sign * (a - b) / (relative ? fabs(b) : 1);
    }
    double limit = bootstrap_quantile(improvement, n, 1, 1 - rule->confidence);
    free(improvement);
    return limit;
}

/* One-sided lower limit of the improvement. */
static double lower_limit(const struct evaluateconfig *config, const struct comparison_rows *rows,
                          const struct gate_rule *rule, bool relative, const double *samples,
                          const struct measured *m)
{
    const struct metric_name *name = &config->metrics[rule->metric];
    double sign = name->higher_is_better ? 1 : -1;
    if (name->kind != METRIC_AUC || rows->candidate.weight || rows->candidate.group)
        return bootstrap_limit(config, rule, relative, sign, samples);
    double se = auc_delong_se(rows->candidate.logged, rows->baseline.logged, rows->candidate.label,
                              rows->candidate.n);
    return (m->delta - normal_quantile(rule->confidence) * se) / (relative ? m->baseline : 1);
}

static bool check_absolute(const struct gate_rule *rule, const char *name, double value,
                           struct rule_verdict *v)
{
    v->found = value;
    if (!isnan(rule->min) && value < rule->min) {
        v->limit = rule->min;
        (void)snprintf(v->why, sizeof v->why, "%s is %.6g, expected at least %.6g", name, value, rule->min);
        return false;
    }
    if (!isnan(rule->max) && value > rule->max) {
        v->limit = rule->max;
        (void)snprintf(v->why, sizeof v->why, "%s is %.6g, expected at most %.6g", name, value, rule->max);
        return false;
    }
    v->limit = isnan(rule->min) ? rule->max : rule->min;
    (void)snprintf(v->why, sizeof v->why, "%s is %.6g, within its limit %.6g", name, value, v->limit);
    return true;
}

static bool check_delta(const struct evaluateconfig *config, const struct comparison_rows *rows,
                        const struct gate_rule *rule, const double *samples, const struct comparison *c,
                        struct rule_verdict *v)
{
    const char *name = config->metrics[rule->metric].text;
    const struct measured *m = &c->metrics[rule->metric];
    bool relative = !isnan(rule->min_relative_delta);
    v->limit = relative ? rule->min_relative_delta : rule->min_delta;
    v->found = NAN;
    if (!c->has_baseline) {
        (void)snprintf(v->why, sizeof v->why, "no model has the alias '%s' yet: onMissing says %s",
                       config->baseline_alias, config->missing_baseline_passes ? "pass" : "fail");
        return config->missing_baseline_passes;
    }
    if (c->contaminated) {
        (void)snprintf(
            v->why, sizeof v->why,
            "the baseline was trained on rows as new as the test rows: the comparison is contaminated");
        return false;
    }
    if (isnan(m->baseline)) {
        (void)snprintf(v->why, sizeof v->why, "%s of the baseline is undefined", name);
        return false;
    }
    v->found = lower_limit(config, rows, rule, relative, samples, m);
    bool passed = v->found > v->limit;
    (void)snprintf(v->why, sizeof v->why,
                   "%s: the %s improvement is %.6g, at %.4g %% confidence at least %.6g; expected above %.6g",
                   name, relative ? "relative" : "absolute",
                   (config->metrics[rule->metric].higher_is_better ? 1 : -1) * m->delta /
                       (relative ? fabs(m->baseline) : 1),
                   100 * rule->confidence, v->found, v->limit);
    return passed;
}

void gate_decide(const struct evaluateconfig *config, const struct comparison_rows *rows,
                 const double *samples, struct comparison *c)
{
    c->gate_passed = true;
    for (size_t r = 0; r < config->n_rules; r++) {
        const struct gate_rule *rule = &config->rules[r];
        struct rule_verdict *v = &c->rules[r];
        const struct measured *m = &c->metrics[rule->metric];
        if (isnan(m->value)) {
            v->found = v->limit = NAN;
            (void)snprintf(v->why, sizeof v->why, "%s is undefined: %s", config->metrics[rule->metric].text,
                           m->undefined);
        } else {
            v->passed = (isnan(rule->min) && isnan(rule->max)) ||
                        check_absolute(rule, config->metrics[rule->metric].text, m->value, v);
            if (v->passed && (!isnan(rule->min_delta) || !isnan(rule->min_relative_delta)))
                v->passed = check_delta(config, rows, rule, samples, c, v);
        }
        c->gate_passed = c->gate_passed && v->passed;
    }
}
