/* What the schema cannot say about trainDdp and evaluate. See validate.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/validate-internal.h"

static bool in_list(const cJSON *list, const char *word)
{
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        if (text_equal(item->valuestring, word))
            return true;
    }
    return false;
}

static void hint_from_list(const cJSON *list, const char *word, char ret[static HINT_MAX])
{
    const char *names[256];
    size_t n = 0;
    for (const cJSON *item = list ? list->child : NULL; item && n < ARRAY_SIZE(names) - 1; item = item->next)
        names[n++] = item->valuestring;
    names[n] = NULL;
    decoder_hint(word, names, ret);
}

/* `word` is in the list; else a finding that lists nothing but suggests. */
static void check_listed(const struct decoder *d, size_t step, const char *path, const cJSON *node,
                         const cJSON *list, const char *list_name)
{
    char hint[HINT_MAX];
    hint_from_list(list, node->valuestring, hint);
    if (!in_list(list, node->valuestring))
        decoder_step_finding(d, step, path, node, false, "\"%.80s\" is not in %s%s", node->valuestring,
                             list_name, *hint ? hint : ": add it there");
}

/* --- metrics ------------------------------------------------------------------------------------------------------------- */

static bool is_ranking_metric(const char *metric)
{
    return strchr(metric, '@') != NULL;
}

/* One of those that evaluate knows: NAME, or NAME@k for those within groups. */
static void check_metric_name(const struct decoder *d, size_t step, const char *path, const cJSON *metric)
{
    static const char *const plain[] = {"auc", "logloss", "brier", "accuracy", "mse", "rmse", "mae", NULL};
    static const char *const with_cut[] = {"ndcg@10", "mrr@10", NULL};
    static const char *const all[] = {"auc",  "logloss", "brier",   "accuracy", "mse",
                                      "rmse", "mae",     "ndcg@10", "mrr@10",   NULL};
    const char *name = metric->valuestring, *at = strchr(name, '@');
    for (const char *const *p = plain; *p; p++) {
        if (!at && strcmp(*p, name) == 0)
            return;
    }
    for (const char *const *p = with_cut; *p; p++) {
        if (at && strncmp(*p, name, (size_t)(at - name) + 1) == 0)
            return;
    }
    char hint[HINT_MAX];
    decoder_hint(name, all, hint);
    decoder_step_finding(
        d, step, path, metric, false,
        "unknown metric \"%.60s\"; known are auc, logloss, brier, accuracy, mse, rmse, mae, ndcg@k, mrr@k%s",
        name, hint);
}

/* Ranking metrics want groups and a cut. */
static void check_metrics(const struct decoder *d, size_t step, const char *where, const cJSON *metrics)
{
    const struct step *producer = validate_features_of(d, step);
    size_t k = 0;
    for (const cJSON *m = metrics ? metrics->child : NULL; m; m = m->next, k++) {
        char path[96];
        (void)snprintf(path, sizeof path, "%s[%zu]", where, k);
        check_metric_name(d, step, path, m);
        if (is_ranking_metric(m->valuestring) && producer && !field(producer->body, "group"))
            decoder_step_finding(d, step, path, m, false,
                                 "%s is measured within groups, but the step \"%s\" has no featurize.group",
                                 m->valuestring, producer->name);
    }
}

/* --- trainDdp ----------------------------------------------------------------------------------------------------------------- */

static void check_embeddings(const struct decoder *d, size_t step, const cJSON *body)
{
    const struct step *producer = validate_features_of(d, step);
    const cJSON *widths = field(field(body, "embeddings"), "perFeature");
    if (!producer)
        return;
    const char *names[LIMIT_COLUMNS + 1];
    for (const cJSON *width = widths ? widths->child : NULL; width; width = width->next) {
        size_t n = 0;
        const cJSON *found = NULL;
        for (const cJSON *f = field(producer->body, "features")->child; f && n < LIMIT_COLUMNS; f = f->next) {
            names[n++] = text_field(f, "name");
            found = text_equal(text_field(f, "name"), width->string) ? f : found;
        }
        names[n] = NULL;
        char path[JSON_PATH_MAX], hint[HINT_MAX];
        (void)snprintf(path, sizeof path, "trainDdp.embeddings.perFeature.%.200s", width->string);
        decoder_hint(width->string, names, hint);
        if (!found)
            decoder_step_finding(d, step, path, width, false, "the step \"%s\" makes no feature \"%.80s\"%s",
                                 producer->name, width->string, hint);
        else if (field(found, "numeric"))
            decoder_step_finding(d, step, path, width, false,
                                 "\"%s\" is a numeric feature: only categorical ones have embeddings",
                                 width->string);
    }
}

static void check_loss(const struct decoder *d, size_t step, const cJSON *body)
{
    static const struct {
        const char *loss, *labels;
    } table[] = {{"bce", "binary"}, {"mse", "number or relevance"}, {"huber", "number or relevance"}};
    const struct step *producer = validate_features_of(d, step);
    const cJSON *loss = field(body, "loss");
    const char *type = producer ? text_field(field(producer->body, "label"), "type") : NULL;
    for (size_t i = 0; type && i < ARRAY_SIZE(table); i++) {
        const cJSON *chosen = field(loss, table[i].loss);
        if (!chosen)
            continue;
        if (!strstr(table[i].labels, type))
            decoder_step_finding(d, step, "trainDdp.loss", loss, false,
                                 "%s is for labels of type %s, but the step \"%s\" makes one of type %s",
                                 table[i].loss, table[i].labels, producer->name, type);
    }
}

static void check_batch(const struct decoder *d, size_t step, const cJSON *body)
{
    const struct step *s = &d->p->steps[step];
    const cJSON *batch = field(body, "batch"), *global = field(batch, "global"),
                *accumulate = field(batch, "accumulate");
    int64_t ranks = s->workers * (s->gpu > 1 ? s->gpu : 1);
    int64_t parts = cJSON_IsNumber(accumulate) ? (int64_t)accumulate->valuedouble : 1;
    if (cJSON_IsNumber(global) && global->valuedouble < (double)(ranks * parts))
        decoder_step_finding(d, step, "trainDdp.batch.global", global, false,
                             "expected at least one row for each of %lld ranks times %lld parts, found %.0f",
                             (long long)ranks, (long long)parts, global->valuedouble);
}

static void check_decay(const struct decoder *d, size_t step, const cJSON *body)
{
    const cJSON *at = field(field(field(field(body, "schedule"), "decay"), "steps"), "at");
    for (const cJSON *point = at ? at->child : NULL; point && point->next; point = point->next) {
        if (point->valuedouble >= point->next->valuedouble)
            decoder_step_finding(d, step, "trainDdp.schedule.decay.steps.at", at, false,
                                 "expected rising points, found %g before %g", point->valuedouble,
                                 point->next->valuedouble);
    }
}

void validate_train_ddp(struct decoder *d, size_t step)
{
    const struct step *s = &d->p->steps[step];
    const cJSON *body = s->body, *stopping = field(body, "earlyStopping"),
                *validation = field(body, "validation");
    const cJSON *metrics = field(validation, "metrics");
    if (stopping && !text_equal(text_field(stopping, "metric"), "loss")) /* which is always measured */
        check_listed(d, step, "trainDdp.earlyStopping.metric", field(stopping, "metric"), metrics,
                     "trainDdp.validation.metrics");
    if (in_list(metrics, "logloss") && !field(field(body, "loss"), "bce"))
        decoder_step_finding(d, step, "trainDdp.validation.metrics", metrics, false,
                             "logloss needs the loss bce; loss is measured with any");
    if (!text_equal(text_field(body, "precision"), "fp32") && s->gpu == 0)
        decoder_step_finding(d, step, "trainDdp.precision", field(body, "precision"), false,
                             "%s needs a GPU (resources.gpu): CPUs train in fp32",
                             text_field(body, "precision"));
    if (text_equal(text_field(body, "device"), "cuda") && s->gpu == 0)
        decoder_step_finding(d, step, "trainDdp.device", field(body, "device"), false,
                             "cuda needs resources.gpu of at least 1");
    if (text_equal(text_field(body, "device"), "cpu") && s->gpu > 0)
        decoder_step_finding(d, step, "trainDdp.device", field(body, "device"), true,
                             "resources.gpu is %lld, but the device is cpu: the GPUs would be held idle",
                             (long long)s->gpu);
    check_embeddings(d, step, body);
    check_loss(d, step, body);
    check_batch(d, step, body);
    check_decay(d, step, body);
}

/* --- evaluate -------------------------------------------------------------------------------------------------------------------- */

static void check_gate(const struct decoder *d, size_t step, const cJSON *body, const cJSON *rule, size_t k)
{
    char path[96];
    (void)snprintf(path, sizeof path, "evaluate.gate[%zu].metric", k);
    check_listed(d, step, path, field(rule, "metric"), field(body, "metrics"), "evaluate.metrics");
    (void)snprintf(path, sizeof path, "evaluate.gate[%zu]", k);
    if ((field(rule, "minDelta") || field(rule, "minRelativeDelta")) && !field(body, "baseline"))
        decoder_step_finding(d, step, path, rule, false,
                             "minDelta and minRelativeDelta compare with a baseline: add evaluate.baseline");
    const cJSON *min = field(rule, "min"), *max = field(rule, "max");
    if (min && max && min->valuedouble > max->valuedouble)
        decoder_step_finding(d, step, path, rule, false,
                             "min (%g) is above max (%g): the gate can never pass", min->valuedouble,
                             max->valuedouble);
}

void validate_evaluate(struct decoder *d, size_t step)
{
    const cJSON *body = d->p->steps[step].body, *slices = field(body, "slices"), *gate = field(body, "gate");
    const struct step *producer = validate_features_of(d, step);
    check_metrics(d, step, "evaluate.metrics", field(body, "metrics"));
    size_t k = 0;
    for (const cJSON *slice = slices ? slices->child : NULL; producer && slice; slice = slice->next, k++) {
        char path[96], list[128];
        (void)snprintf(path, sizeof path, "evaluate.slices[%zu]", k);
        (void)snprintf(list, sizeof list, "featurize.carry of the step \"%s\"", producer->name);
        check_listed(d, step, path, slice, field(producer->body, "carry"), list);
    }
    k = 0;
    for (const cJSON *rule = gate ? gate->child : NULL; rule; rule = rule->next, k++)
        check_gate(d, step, body, rule, k);
}
