/* What each kind of step is called, and what it yields (the table of docs/reference/metrics.md). */
#include <string.h>

#include "common/base/alloc.h"
#include "operator/pipeline/decode-internal.h"

static const struct kind {
    const char *body_key, *program;
    const char *outputs[4]; /* NULL-terminated */
    struct step_value values[6];
} kinds[] = {
    [STEP_DATA_VALIDATE] = {"dataValidate",
                            "data-validate",
                            {"snapshot", "profile", "report"},
                            {{"rows", PARAM_INTEGER},
                             {"partitions", PARAM_INTEGER},
                             {"warnings", PARAM_INTEGER},
                             {"newest_partition", PARAM_STRING},
                             {"max_drift", PARAM_NUMBER}}},
    [STEP_FEATURIZE] = {"featurize",
                        "featurize",
                        {"features"},
                        {{"train_rows", PARAM_INTEGER},
                         {"validation_rows", PARAM_INTEGER},
                         {"test_rows", PARAM_INTEGER},
                         {"features", PARAM_INTEGER}}},
    [STEP_TRAIN_DDP] = {"trainDdp",
                        "train-ddp",
                        {"model"},
                        {{"best_epoch", PARAM_INTEGER},
                         {"steps", PARAM_INTEGER},
                         {"validation_loss", PARAM_NUMBER}}},
    [STEP_EVALUATE] = {"evaluate", "evaluate", {"report"}, {{"gate_passed", PARAM_BOOLEAN}}},
    [STEP_REGISTER] = {"register",
                       "register",
                       {"version"},
                       {{"version", PARAM_INTEGER}, {"created", PARAM_BOOLEAN}}},
    [STEP_CONTAINER] = {"container", NULL, {NULL}, {{NULL, 0}}},
    [STEP_APPROVAL] = {"approval", NULL, {NULL}, {{NULL, 0}}},
};

const char *step_kind_body_key(enum step_kind kind)
{
    return kinds[kind].body_key;
}

const char *step_kind_program(enum step_kind kind)
{
    return kinds[kind].program;
}

int step_kind_of(const cJSON *step, enum step_kind *ret, const cJSON **ret_body)
{
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        const cJSON *body = cJSON_GetObjectItemCaseSensitive(step, kinds[k].body_key);
        if (body) {
            *ret = (enum step_kind)k;
            *ret_body = body;
            return 0;
        }
    }
    return -1;
}

static void add_value(struct step *s, const char *prefix, const char *name, enum param_type type)
{
    char *text = xasprintf("%s%s", prefix, name);
    char *at = strchr(text, '@');
    if (at) { /* ndcg@10 → ndcg_at_10 */
        char *longer = xasprintf("%.*s_at_%s", (int)(at - text), text, at + 1);
        free(text);
        text = longer;
    }
    s->values = xreallocarray(s->values, s->n_values + 1, sizeof *s->values);
    s->values[s->n_values++] = (struct step_value){text, type};
}

static enum param_type type_of(const cJSON *type)
{
    static const char *const names[] = {"string", "integer", "number", "boolean", "list"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (cJSON_IsString(type) && strcmp(type->valuestring, names[i]) == 0)
            return (enum param_type)i;
    }
    return PARAM_STRING;
}

enum param_type param_type_of(const cJSON *type)
{
    return type_of(type);
}

static void add_metric_values(struct step *s, const cJSON *metrics, const char *prefix)
{
    for (const cJSON *m = metrics ? metrics->child : NULL; m; m = m->next) {
        if (strcmp(m->valuestring, "loss") != 0) /* always measured, so in the table already */
            add_value(s, prefix, m->valuestring, PARAM_NUMBER);
    }
}

static void add_outputs(struct step *s, const cJSON *declared)
{
    const struct kind *kind = &kinds[s->kind];
    size_t n = 0, count = declared ? (size_t)cJSON_GetArraySize(declared) : ARRAY_SIZE(kind->outputs);
    const char **outputs = xcalloc(count + 1, sizeof *outputs);
    for (const cJSON *o = declared ? declared->child : NULL; o; o = o->next)
        outputs[n++] = o->valuestring;
    for (size_t i = 0; !declared && i < ARRAY_SIZE(kind->outputs) && kind->outputs[i]; i++)
        outputs[n++] = kind->outputs[i];
    s->outputs = outputs;
}

void step_describe_results(struct step *s)
{
    const struct kind *kind = &kinds[s->kind];
    const cJSON *body = s->body;
    add_outputs(s, s->kind == STEP_CONTAINER ? cJSON_GetObjectItemCaseSensitive(body, "outputs") : NULL);
    for (size_t i = 0; i < ARRAY_SIZE(kind->values) && kind->values[i].name; i++)
        add_value(s, "", kind->values[i].name, kind->values[i].type);
    if (s->kind == STEP_DATA_VALIDATE && cJSON_GetObjectItemCaseSensitive(body, "freshness")) {
        add_value(s, "", "newest_time", PARAM_STRING);
    } else if (s->kind == STEP_TRAIN_DDP) {
        const cJSON *validation = cJSON_GetObjectItemCaseSensitive(body, "validation");
        add_metric_values(s, cJSON_GetObjectItemCaseSensitive(validation, "metrics"), "validation_");
    } else if (s->kind == STEP_EVALUATE) {
        const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(body, "metrics");
        add_metric_values(s, metrics, "");
        if (cJSON_GetObjectItemCaseSensitive(body, "baseline")) {
            add_metric_values(s, metrics, "delta_");
            add_value(s, "", "baseline_version", PARAM_INTEGER);
        }
    } else if (s->kind == STEP_CONTAINER) {
        const cJSON *values = cJSON_GetObjectItemCaseSensitive(body, "values");
        for (const cJSON *v = values ? values->child : NULL; v; v = v->next)
            add_value(s, "", cJSON_GetObjectItemCaseSensitive(v, "name")->valuestring,
                      type_of(cJSON_GetObjectItemCaseSensitive(v, "type")));
    }
}
