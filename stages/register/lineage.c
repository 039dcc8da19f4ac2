/* Lineage: see lineage.h. */
#include "stages/register/lineage.h"

#include "common/base/clock.h"
#include "common/base/json.h"

static void add_optional(cJSON *o, const char *key, const char *value)
{
    if (value)
        json_add_string(o, key, value);
}

static cJSON *resource(const char *name, const char *sha256)
{
    cJSON *o = json_object(), *digest = json_object();
    json_add_string(o, "name", name);
    json_add_string(digest, "sha256", sha256);
    json_add(o, "digest", digest);
    return o;
}

/* An artifact's inputs are digests or lists of digests. */
static void add_inputs(cJSON *list, const struct artifact *a)
{
    const cJSON *input, *item;
    cJSON_ArrayForEach(input, a->inputs)
    {
        if (cJSON_IsString(input))
            json_append(list, resource(input->string, input->valuestring));
        cJSON_ArrayForEach(item, input)
            json_append(list, resource(input->string, cJSON_GetStringValue(item)));
    }
}

int lineage_statement(const struct lineage *l, struct buf *out, struct err *err)
{
    _cleanup_json_ cJSON *statement = json_object();
    json_add_string(statement, "_type", "https://in-toto.io/Statement/v1");
    cJSON *subjects = json_array();
    json_append(subjects, resource(l->model_name, l->model->digest));
    json_add(statement, "subject", subjects);
    json_add_string(statement, "predicateType", "https://slsa.dev/provenance/v1");

    cJSON *predicate = json_object(), *definition = json_object(), *dependencies = json_array();
    json_add(statement, "predicate", predicate);
    json_add(predicate, "buildDefinition", definition);
    json_add_string(definition, "buildType", "https://trainyard.dev/train/v1");
    cJSON *parameters = cJSON_Duplicate(l->model->config, true);
    json_add(definition, "externalParameters", parameters ? parameters : json_object());
    add_inputs(dependencies, l->model);
    json_append(dependencies, resource("evaluation", l->evaluation->digest));
    json_add(definition, "resolvedDependencies", dependencies);

    cJSON *details = json_object(), *builder = json_object(), *metadata = json_object();
    json_add(predicate, "runDetails", details);
    json_add_string(builder, "id", "https://trainyard.dev/train-ddp");
    json_add(details, "builder", builder);
    /* The scheduled time, not the clock: repeating the attempt gives the same statement. */
    char at[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(l->scheduled_ms, at);
    add_optional(metadata, "invocationId", l->run_uid);
    json_add_string(metadata, "startedOn", at);
    json_add(details, "metadata", metadata);
    return json_canonical(statement, out, err);
}

cJSON *lineage_record(const struct lineage *l)
{
    cJSON *record = json_object(), *lineage = json_object(), *inputs = json_array(),
          *evaluation = json_array();
    add_optional(record, "run", l->run_name);
    add_optional(record, "runUid", l->run_uid);
    add_optional(record, "revision", l->revision);
    add_inputs(inputs, l->model);
    add_inputs(evaluation, l->evaluation);
    json_add(lineage, "inputs", inputs);
    json_add(lineage, "evaluationInputs", evaluation);
    json_add(record, "lineage", lineage);
    return record;
}
