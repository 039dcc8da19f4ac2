/* Specs as ControllerRevisions: names, what changes them, and the way back. */
#include "operator/controller/revisions.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "operator/controller/labels.h"
#include "tests/unit/unit.h"

static const char base[] =
    "{\"apiVersion\":\"trainyard.dev/v1alpha1\",\"kind\":\"TrainingPipeline\","
    "\"metadata\":{\"name\":\"rank\",\"namespace\":\"team\",\"uid\":\"u-1\",\"annotations\":{\"trainyard.dev/revision\":\"abc\"}},"
    "\"spec\":{\"store\":{\"url\":\"s3://bucket/x\"},\"parameters\":[{\"name\":\"n\",\"type\":\"integer\",\"default\":\"3\"}],"
    "\"steps\":[{\"name\":\"gate\",\"approval\":{\"message\":\"go?\"}}]}}";

static struct pipeline *decode(cJSON *object)
{
    struct pipeline *p = NULL;
    struct findings findings = {0};
    struct err err = ERR_INIT;
    assert_ok(pipeline_decode_json(object, &p, &findings, &err), &err);
    findings_release(&findings);
    return p;
}

/* The base with a merge of `patch` into its spec (NULL: none). */
static cJSON *object_with(const char *path, const char *value)
{
    cJSON *o = cJSON_Parse(base), *at = o;
    assert_non_null(o);
    char *copy = xstrdup(path);
    char *rest = copy;
    for (char *key; *copy && (key = strsep(&rest, "/")) != NULL;) {
        if (!rest) {
            cJSON_DeleteItemFromObjectCaseSensitive(at, key);
            json_add(at, key, cJSON_Parse(value));
            break;
        }
        at = cJSON_GetObjectItemCaseSensitive(at, key);
        assert_non_null(at);
    }
    free(copy);
    return o;
}

static char *name_with(const char *path, const char *value)
{
    _cleanup_json_ cJSON *o = object_with(path, value);
    _cleanup_pipeline_ struct pipeline *p = decode(o);
    return revision_name(p);
}

static void what_changes_the_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value;
        bool same;
    } cases[] = {
        {"spec/retention", "{\"successful\":2}", true},
        {"spec/schedule", "{\"cron\":\"0 2 * * *\"}", true},
        {"spec/control", "{\"run\":\"rank-1\",\"suspend\":true}", true},
        {"spec/runOn", "[\"SpecChange\"]", true},
        {"metadata/labels", "{\"team\":\"x\"}", true},
        {"metadata/generation", "7", true},
        {"spec/limits", "{\"parallelism\":16}", true}, /* what equals its default */
        {"spec/limits", "{\"parallelism\":17}", false},
        {"spec/serviceAccountName", "\"other\"", false},
        {"spec/store", "{\"url\":\"s3://bucket/y\"}", false},
        {"spec/store", "{\"url\":\"s3://bucket/x\",\"addressing\":\"auto\"}", true},
        {"metadata/annotations", "{\"trainyard.dev/revision\":\"def\"}", false},
        {"metadata/annotations", "{\"trainyard.dev/revision\":\"abc\",\"other\":\"1\"}", true},
    };
    _cleanup_free_ char *plain = name_with("", "");
    assert_int_equal(strlen(plain), strlen("rank-") + 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_free_ char *name = name_with(cases[i].path, cases[i].value);
        if ((strcmp(name, plain) == 0) != cases[i].same)
            fail_msg("%s = %s: %s, without it %s: expected %s", cases[i].path, cases[i].value, name, plain,
                     cases[i].same ? "the same" : "another");
    }
}

static void there_and_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *o = cJSON_Parse(base);
    _cleanup_pipeline_ struct pipeline *p = decode(o), *back = NULL;
    _cleanup_json_ cJSON *revision = revision_object(p, "u-1", 4);
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(revision, "metadata");
    assert_string_equal(kube_label(revision, LABEL_PIPELINE), "rank");
    assert_string_equal(kube_annotation(revision, ANNOTATION_SPEC_HASH), p->hash);
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(revision, "revision")->valueint, 4);
    const cJSON *owner = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(metadata, "ownerReferences"), 0);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(owner, "uid")->valuestring, "u-1");
    assert_ok(revision_decode(revision, &back, &err), &err);
    assert_string_equal(back->name, "rank");
    assert_string_equal(back->namespace_, "team");
    assert_string_equal(back->hash, p->hash);
    assert_string_equal(back->revision_annotation, "abc");
    assert_int_equal(back->n_steps, 1);
    _cleanup_free_ char *name = revision_name(p), *again = revision_name(back);
    assert_string_equal(name, again);
}

static void what_is_no_revision(void **state)
{
    (void)state;
    static const struct {
        const char *json, *part;
    } cases[] = {
        {"{\"metadata\":{\"name\":\"web-5d59d67564\"},\"data\":{\"template\":{}}}", "holds no pipeline"},
        {"{\"metadata\":{\"name\":\"x\"},\"data\":{\"spec\":{}}}", "holds no pipeline"},
        {"{\"metadata\":{\"name\":\"rank-0123456789\"},\"data\":{\"spec\":{\"steps\":[{\"name\":\"a\",\"unheard\":{}}]}}}",
         "ControllerRevision \"rank-0123456789\""},
        {"{}", "holds no pipeline"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = ERR_INIT;
        struct pipeline *p = NULL;
        _cleanup_json_ cJSON *o = cJSON_Parse(cases[i].json);
        assert_non_null(o);
        assert_fails(revision_decode(o, &p, &err), &err, ERR_INVALID, cases[i].part);
    }
}

static void nobody(void *ctx, const char *key)
{
    (void)ctx;
    fail_msg("nobody waits, but \"%s\" was woken", key);
}

/* Kept up to the maximum, the least recently used one out. */
static void only_so_many_are_kept(void **state)
{
    (void)state;
    struct revisions *r = revisions_new(NULL, 2, nobody, NULL);
    const struct pipeline *found;
    struct err err = ERR_INIT;
    for (int i = 0; i < 3; i++) {
        char name[16];
        _cleanup_json_ cJSON *o = cJSON_Parse(base);
        (void)snprintf(name, sizeof name, "rank-%d", i);
        revisions_put(r, "team", name, decode(o));
        assert_ok(revisions_get(r, "team", "rank-0", "team/run", &found, &err), &err); /* used, so it stays */
        assert_non_null(found);
        assert_string_equal(found->name, "rank");
    }
    assert_int_equal(revisions_count(r), 2);
    assert_ok(revisions_get(r, "team", "rank-2", "team/run", &found, &err), &err);
    assert_non_null(found);
    revisions_free(r);
}

static void names_are_cut_with_a_hash(void **state)
{
    (void)state;
    static const char longer[] = "a-name-that-is-longer-than-what-fits-into-the-value-of-one-label-x";
    static const char other[] = "a-name-that-is-longer-than-what-fits-into-the-value-of-one-label-y";
    _cleanup_free_ char *a = label_value(longer), *b = label_value(other), *c = label_value("short");
    assert_int_equal(strlen(a), 63);
    assert_string_not_equal(a, b);
    assert_string_equal(c, "short");
    _cleanup_free_ char *d = label_cut(longer, "-7", 63);
    assert_true(strlen(d) <= 63);
    assert_string_equal(d + strlen(d) - 2, "-7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"what a run cannot see does not change the name", what_changes_the_name, NULL, NULL, NULL},
        {"a revision gives the pipeline back", there_and_back, NULL, NULL, NULL},
        {"an object that holds no pipeline is refused", what_is_no_revision, NULL, NULL, NULL},
        {"the least recently used go first", only_so_many_are_kept, NULL, NULL, NULL},
        {"long names are cut with a hash", names_are_cut_with_a_hash, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
