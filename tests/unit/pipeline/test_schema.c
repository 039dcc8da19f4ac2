/* The interpreter of the CRDs' schema, and the CRDs themselves. */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "operator/pipeline/plan.h"
#include "operator/pipeline/schema-internal.h"
#include "operator/pipeline/schema.h"

static cJSON *read_yaml(const char *text)
{
    struct findings findings = {0};
    struct err err = ERR_INIT;
    cJSON *tree = NULL;
    struct yaml_lines *lines = NULL;
    if (yaml_parse(text, strlen(text), NULL, &findings, &tree, &lines, &err) < 0)
        fail_msg("%s", err.msg);
    yaml_lines_free(lines);
    findings_release(&findings);
    return tree;
}

struct sample {
    const char *name, *schema, *value;
    const char *expected; /* "path: message" of the first finding; "": none */
};

static void check(const struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &samples[i];
        cJSON *schema = read_yaml(s->schema), *value = read_yaml(s->value);
        struct findings findings = {0};
        const struct json_path path = {.key = "x"};
        schema_check(schema, value, &path, NULL, &findings);
        char *found =
            findings.n ? xasprintf("%s: %s", findings.items[0].path, findings.items[0].message) : xstrdup("");
        if (*s->expected ? !strstr(found, s->expected) : *found)
            fail_msg("%s: expected \"%s\", found \"%s\"", s->name, s->expected, found);
        free(found);
        findings_release(&findings);
        cJSON_Delete(schema);
        cJSON_Delete(value);
    }
}

static void test_keywords(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"text where a number is wanted", "{type: integer}", "'3'",
         "x: expected a whole number, found \"3\": remove the quotes"},
        {"a number where text is wanted", "{type: string}", "1.5",
         "x: expected text, found the number 1.5: write \"1.5\""},
        {"truth where text is wanted", "{type: string}", "true",
         "x: expected text, found true: write \"true\""},
        {"a fraction where a whole number is wanted", "{type: integer}", "1.5",
         "x: expected a whole number, found the number 1.5"},
        {"text where a list is wanted", "{type: array, items: {type: string}}", "abc",
         "x: expected a list, found \"abc\": write [\"abc\"]"},
        {"a list where a mapping is wanted", "{type: object}", "[1]", "x: expected a mapping, found a list"},
        {"text where truth is wanted", "{type: boolean}", "'true'",
         "x: expected true or false, found \"true\""},
        {"null", "{type: object, properties: {a: {type: string}}}", "{a: ~}",
         "x.a: has no value (null): give it one or leave the field out"},
        {"a value of an enum", "{type: string, enum: [fp32, bf16]}", "bf16", ""},
        {"a typo of an enum's value", "{type: string, enum: [fp32, bf16]}", "bf61",
         "x: expected one of fp32, bf16, found \"bf61\"; did you mean \"bf16\"?"},
        {"text that is too long, in characters", "{type: string, maxLength: 2}", "äöü",
         "x: expected at most 2 characters, found 3"},
        {"text of two characters and four bytes", "{type: string, maxLength: 2}", "äö", ""},
        {"empty text", "{type: string, minLength: 1}", "''", "x: expected at least 1 character, found 0"},
        {"a pattern", "{type: string, pattern: '^[a-z]+$', description: A word. More.}", "A1",
         "x: \"A1\" does not match ^[a-z]+$; what is meant: A word"},
        {"the minimum itself", "{type: integer, minimum: 1}", "1", ""},
        {"below the minimum", "{type: integer, minimum: 1}", "0", "x: expected at least 1, found 0"},
        {"the minimum when it is excluded", "{type: number, minimum: 0, exclusiveMinimum: true}", "0",
         "x: expected more than 0, found 0"},
        {"above the maximum", "{type: number, maximum: 0.5}", "0.75", "x: expected at most 0.5, found 0.75"},
        {"the maximum when it is excluded", "{type: number, maximum: 1, exclusiveMaximum: true}", "1",
         "x: expected less than 1, found 1"},
        {"too few items", "{type: array, minItems: 2, items: {type: integer}}", "[1]",
         "x: expected at least 2 items, found 1"},
        {"too many items", "{type: array, maxItems: 1, items: {type: integer}}", "[1, 2]",
         "x: expected at most 1 items, found 2"},
        {"a wrong item", "{type: array, items: {type: integer}}", "[1, a]",
         "x[1]: expected a whole number, found \"a\""},
        {"a set with a value twice", "{type: array, x-kubernetes-list-type: set, items: {type: string}}",
         "[a, b, a]", "x[2]: \"a\" occurs already in x[0]: it must be unique"},
        {"a map with a key twice",
         "{type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id], items: {type: object, properties: {id: {type: string}}}}",
         "[{id: a}, {id: a}]", "x[1]: id \"a\" occurs already in x[0]"},
        {"a missing field",
         "{type: object, required: [uri], properties: {uri: {type: string, description: Where it is. Long.}}}",
         "{}", "x.uri: required field is missing: Where it is"},
        {"an unknown field that is a typo", "{type: object, properties: {epochs: {type: integer}}}",
         "{epoch: 1}", "x.epoch: unknown field; did you mean \"epochs\"?"},
        {"an unknown field", "{type: object, properties: {a: {type: integer}, b: {type: integer}}}",
         "{zzzzzz: 1}", "x.zzzzzz: unknown field; known here: a, b"},
        {"any field where they are kept", "{type: object, x-kubernetes-preserve-unknown-fields: true}",
         "{zzz: 1}", ""},
        {"additional fields of a type", "{type: object, additionalProperties: {type: integer}}",
         "{a: 1, b: x}", "x.b: expected a whole number"},
        {"none of the alternatives",
         "{type: object, oneOf: [{required: [a]}, {required: [b]}], properties: {a: {type: integer}, b: {type: integer}}}",
         "{}", "x: expected exactly one of the fields a, b; found none of them"},
        {"two of the alternatives",
         "{type: object, oneOf: [{required: [a]}, {required: [b]}], properties: {a: {type: integer}, b: {type: integer}}}",
         "{a: 1, b: 2}", "x: expected exactly one of the fields a, b; found a, b"},
        {"alternatives of several fields",
         "{type: object, oneOf: [{required: [a, b]}, {required: [c]}], properties: {a: {type: integer}, b: {type: integer}, c: {type: integer}}}",
         "{a: 1}", "x: expected exactly one of the fields a with b, c; found none of them"},
        {"any of the alternatives",
         "{type: object, anyOf: [{required: [a]}, {required: [b]}], properties: {a: {type: integer}, b: {type: integer}}}",
         "{a: 1, b: 2}", ""},
        {"all of several conditions",
         "{type: object, allOf: [{oneOf: [{required: [a]}]}, {oneOf: [{required: [b]}]}], properties: {a: {type: integer}, b: {type: integer}}}",
         "{a: 1}", "x: expected exactly one of the fields b; found none of them"},
        {"a whole number for int-or-string",
         "{x-kubernetes-int-or-string: true, pattern: '^\\$\\(.+\\)$', minimum: 1}", "3", ""},
        {"a reference for int-or-string", "{x-kubernetes-int-or-string: true, pattern: '^\\$\\(.+\\)$'}",
         "$(params.x)", ""},
        {"text for int-or-string", "{x-kubernetes-int-or-string: true, pattern: '^\\$\\(.+\\)$'}", "three",
         "x: expected a whole number, or a reference such as $(params.name), found \"three\""},
        {"a time", "{type: string, format: date-time}", "'2026-01-31T02:00:00Z'", ""},
        {"no time", "{type: string, format: date-time}", "yesterday",
         "x: expected a time such as 2026-01-31T02:00:00Z"},
        {"too many entries", "{type: object, maxProperties: 1, additionalProperties: {type: integer}}",
         "{a: 1, b: 2}", "x: expected at most 1 entries, found 2"},
    };
    check(samples, ARRAY_SIZE(samples));
}

static void test_defaults_cascade_and_are_checked_against(void **state)
{
    (void)state;
    cJSON *schema = read_yaml(
        "{type: object, properties: {a: {type: object, default: {}, properties: {b: {type: integer, default: 3}}}, c: {type: string}}}");
    cJSON *value = read_yaml("{c: x}");
    struct findings findings = {0};
    schema_check(schema, value, NULL, NULL, &findings);
    char *text = cJSON_PrintUnformatted(value);
    assert_string_equal(text, "{\"c\":\"x\",\"a\":{\"b\":3}}");
    assert_int_equal(findings.n, 0);
    free(text);
    schema_strip_defaults(schema, value);
    text = cJSON_PrintUnformatted(value);
    assert_string_equal(text, "{\"c\":\"x\"}");
    free(text);
    cJSON_Delete(schema);
    cJSON_Delete(value);
}

static void test_fields_are_found_by_path(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const cJSON *found;
    const cJSON *train = schema_of_body("trainDdp"), *evaluate = schema_of_body("evaluate");
    assert_ok(schema_find(train, "optimizers.dense.adamw.lr", &found, &err), &err);
    assert_string_equal(schema_type(found), "number");
    assert_ok(schema_find(train, "epochs", &found, &err), &err);
    assert_string_equal(schema_type(found), "int-or-string");
    assert_ok(schema_find(train, "embeddings.perFeature.item", &found, &err), &err);
    assert_string_equal(schema_type(found), "integer");
    assert_ok(schema_find(evaluate, "gate[1].min", &found, &err), &err);
    assert_string_equal(schema_type(found), "number");
    assert_fails(schema_find(train, "optimizer.dense", &found, &err), &err, ERR_INVALID,
                 "there is no field \"optimizer\" (in optimizer.dense); did you mean \"optimizers\"?");
    assert_fails(schema_find(evaluate, "metrics.x", &found, &err), &err, ERR_INVALID,
                 "there is no field \"x\"");
    assert_fails(schema_find(evaluate, "minSupport[0]", &found, &err), &err, ERR_INVALID, "is not a list");
    assert_fails(schema_find(evaluate, "gate[x].min", &found, &err), &err, ERR_INVALID,
                 "expected an index such as [0]");
    assert_fails(schema_find(train, "", &found, &err), &err, ERR_INVALID, "there is no field \"\"");
}

/* --- our own files -------------------------------------------------------------------------------------------------- */

/* Every keyword is one that the interpreter knows, every field is described, and every list and text is bounded. */
static void inspect(const cJSON *schema, const char *path, bool is_field)
{
    static const char *const known[] = {"type",
                                        "properties",
                                        "additionalProperties",
                                        "required",
                                        "items",
                                        "enum",
                                        "pattern",
                                        "minimum",
                                        "maximum",
                                        "exclusiveMinimum",
                                        "minLength",
                                        "maxLength",
                                        "minItems",
                                        "maxItems",
                                        "default",
                                        "oneOf",
                                        "anyOf",
                                        "allOf",
                                        "format",
                                        "minProperties",
                                        "maxProperties",
                                        "description",
                                        "x-kubernetes-int-or-string",
                                        "x-kubernetes-preserve-unknown-fields",
                                        "x-kubernetes-list-type",
                                        "x-kubernetes-list-map-keys",
                                        "x-kubernetes-validations"};
    for (const cJSON *keyword = schema->child; keyword; keyword = keyword->next) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            found = found || strcmp(known[i], keyword->string) == 0;
        if (!found)
            fail_msg("%s: the keyword %s is not interpreted", path, keyword->string);
    }
    const char *type = schema_type(schema);
    bool metadata = strcmp(path, ".metadata") == 0;
    if (is_field && !metadata && !cJSON_GetObjectItem(schema, "description"))
        fail_msg("%s: no description", path);
    if (strcmp(type, "any") == 0)
        fail_msg("%s: no type", path);
    if ((strcmp(type, "string") == 0 || strcmp(type, "int-or-string") == 0) &&
        !cJSON_GetObjectItem(schema, "maxLength") && !cJSON_GetObjectItem(schema, "enum") &&
        !cJSON_GetObjectItem(schema, "format"))
        fail_msg("%s: text without a maximum", path);
    if (strcmp(type, "array") == 0 && !cJSON_GetObjectItem(schema, "maxItems"))
        fail_msg("%s: a list without a maximum", path);
    if (cJSON_GetObjectItem(schema, "additionalProperties") && !cJSON_GetObjectItem(schema, "maxProperties"))
        fail_msg("%s: a mapping without a maximum", path);
    const cJSON *parts[] = {cJSON_GetObjectItem(schema, "properties"), NULL};
    for (const cJSON *p = parts[0] ? parts[0]->child : NULL; p; p = p->next) {
        char *below = xasprintf("%s.%s", path, p->string);
        inspect(p, below, true);
        free(below);
    }
    const cJSON *items = cJSON_GetObjectItem(schema, "items"),
                *additional = cJSON_GetObjectItem(schema, "additionalProperties");
    if (items || additional) {
        char *below = xasprintf("%s[]", path);
        inspect(items ? items : additional, below, false);
        free(below);
    }
}

static void test_the_crds_are_bounded_described_and_small(void **state)
{
    (void)state;
    inspect(schema_root(SCHEMA_PIPELINE), "", false);
    inspect(schema_root(SCHEMA_RUN), "", false);
    assert_true(strlen(schema_text_pipeline) < 256 * 1024);
    assert_true(strlen(schema_text_run) < 256 * 1024);
    /* kubectl apply keeps the object in an annotation of at most 262,144 bytes. */
    char *json = cJSON_PrintUnformatted(schema_crd(SCHEMA_PIPELINE));
    assert_true(strlen(json) < 240 * 1024);
    free(json);
    assert_string_equal(schema_version(), "1");
}

/* A default that its own schema refuses would be refused by the API server as well. */
static void check_defaults(const cJSON *schema)
{
    const cJSON *fallback = cJSON_GetObjectItem(schema, "default");
    if (fallback) {
        struct findings findings = {0};
        cJSON *copy = cJSON_Duplicate(fallback, true);
        schema_check(schema, copy, NULL, NULL, &findings);
        if (findings.n)
            fail_msg("a default: %s: %s", findings.items[0].path, findings.items[0].message);
        cJSON_Delete(copy);
        findings_release(&findings);
    }
    const cJSON *properties = cJSON_GetObjectItem(schema, "properties"),
                *items = cJSON_GetObjectItem(schema, "items");
    for (const cJSON *p = properties ? properties->child : NULL; p; p = p->next)
        check_defaults(p);
    if (items)
        check_defaults(items);
}

static void test_defaults_satisfy_their_schema(void **state)
{
    (void)state;
    check_defaults(schema_root(SCHEMA_PIPELINE));
    check_defaults(schema_root(SCHEMA_RUN));
}

/* Of a status that the planner writes, the API server must drop nothing. */
static void test_a_runs_status_fits_its_schema(void **state)
{
    (void)state;
    struct run_status status;
    run_status_init(&status);
    status.phase = PHASE_STOPPING;
    status.reason = xstrdup("Asked");
    status.message = xstrdup("stopped by hand");
    status.started_ms = status.finished_ms = INT64_C(1769824800000);
    status.clock = (struct stopwatch){.counted_ms = 5, .since_ms = INT64_C(1769824800000)};
    status.stopping = RUN_STOP_GRACEFUL;
    status.out_of_time = true;
    status.observed_restart = xstrdup("again");
    cJSON *json = NULL;
    struct err err = ERR_INIT;
    assert_ok(run_status_to_json(&status, &json, &err), &err);
    const cJSON *properties = cJSON_GetObjectItem(schema_root(SCHEMA_RUN), "properties");
    struct findings findings = {0};
    schema_check(cJSON_GetObjectItem(properties, "status"), json, NULL, NULL, &findings);
    if (findings.n)
        fail_msg("%s: %s", findings.items[0].path, findings.items[0].message);
    cJSON_Delete(json);
    run_status_release(&status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_defaults_cascade_and_are_checked_against),
        cmocka_unit_test(test_fields_are_found_by_path),
        cmocka_unit_test(test_the_crds_are_bounded_described_and_small),
        cmocka_unit_test(test_defaults_satisfy_their_schema),
        cmocka_unit_test(test_a_runs_status_fits_its_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
