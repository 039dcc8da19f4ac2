/* Cache keys: what is part of them, what is not. */
#include "operator/pipeline/cachekey.h"

#include "tests/unit/pipeline/world.h"

struct key_case {
    const char *says, *config, *inputs;
    int64_t workers, threads;
    const char *device, *isa;
    const char *difference; /* from the first case; "" = equal keys */
};

#define CONFIG "{\"seed\":17,\"epochs\":3,\"precision\":\"fp32\",\"determinism\":{\"isa\":\"native\"}}"
#define INPUTS "{\"f\":{\"digest\":\"d1\",\"run\":\"r1\",\"step\":\"features\",\"restart\":0}}"

static const struct key_case cases[] = {
    {"the one that all are compared with", CONFIG, INPUTS, 2, 1, "cpu", "avx2", ""},
    {"the order of keys does not matter",
     "{\"epochs\":3,\"seed\":17,\"determinism\":{\"isa\":\"native\"},\"precision\":\"fp32\"}", INPUTS, 2, 1,
     "cpu", "avx2", ""},
    {"where an input lies does not matter", CONFIG,
     "{\"f\":{\"digest\":\"d1\",\"run\":\"other\",\"step\":\"x\",\"restart\":4}}", 2, 1, "cpu", "avx2", ""},
    {"location fields do not matter",
     "{\"seed\":17,\"epochs\":3,\"precision\":\"fp32\",\"determinism\":{\"isa\":\"native\"},\"store\":\"s3://x\"}",
     INPUTS, 2, 1, "cpu", "avx2", ""},
    {"a field of the config",
     "{\"seed\":17,\"epochs\":4,\"precision\":\"fp32\",\"determinism\":{\"isa\":\"native\"}}", INPUTS, 2, 1,
     "cpu", "avx2", "config.epochs"},
    {"a field that is gone", "{\"seed\":17,\"precision\":\"fp32\",\"determinism\":{\"isa\":\"native\"}}",
     INPUTS, 2, 1, "cpu", "avx2", "config.epochs"},
    {"an input's digest", CONFIG,
     "{\"f\":{\"digest\":\"d2\",\"run\":\"r1\",\"step\":\"features\",\"restart\":0}}", 2, 1, "cpu", "avx2",
     "inputs.f"},
    {"a list where one was", CONFIG,
     "{\"f\":[{\"digest\":\"d1\",\"run\":\"r1\",\"step\":\"features\",\"index\":0,\"restart\":0}]}", 2, 1,
     "cpu", "avx2", "inputs.f"},
    {"workers", CONFIG, INPUTS, 4, 1, "cpu", "avx2", "workers"},
    {"threads", CONFIG, INPUTS, 2, 2, "cpu", "avx2", "threads"},
    {"the device", CONFIG, INPUTS, 2, 1, "cuda", "avx2", "device"},
    {"the vector level of the machine class", CONFIG, INPUTS, 2, 1, "cpu", "avx512", "isa"},
    {"precision", "{\"seed\":17,\"epochs\":3,\"precision\":\"bf16\",\"determinism\":{\"isa\":\"native\"}}",
     INPUTS, 2, 1, "cpu", "avx2", "precision, config.precision"},
    {"a pin that says what native is here",
     "{\"seed\":17,\"epochs\":3,\"precision\":\"fp32\",\"determinism\":{\"isa\":\"avx2\"}}", INPUTS, 2, 1,
     "cpu", "avx2", "config.determinism"},
};

static void compute(const struct key_case *c, char key[static DIGEST_HEX], cJSON **ret_parts)
{
    struct err err = ERR_INIT;
    const struct step step = {.name = "train", .kind = STEP_TRAIN_DDP};
    const struct plan_options options = {.isa = c->isa};
    struct job job = {.config = cJSON_Parse(c->config),
                      .inputs = cJSON_Parse(c->inputs),
                      .workers = c->workers,
                      .threads = c->threads,
                      .device = c->device};
    assert_non_null(job.config);
    assert_non_null(job.inputs);
    assert_ok(cachekey_compute(&step, &job, &options, key, ret_parts, &err), &err);
    job_release(&job);
}

static void the_key_holds_what_makes_a_difference(void **state)
{
    (void)state;
    char first[DIGEST_HEX], key[DIGEST_HEX];
    cJSON *first_parts = NULL;
    compute(&cases[0], first, &first_parts);
    for (size_t i = 1; i < sizeof cases / sizeof *cases; i++) {
        cJSON *parts = NULL;
        compute(&cases[i], key, &parts);
        bool equal = strcmp(first, key) == 0;
        if (equal != (*cases[i].difference == '\0'))
            fail_msg("%s: keys are %s, expected %s", cases[i].says, equal ? "equal" : "different",
                     equal ? "different" : "equal");
        char *difference = cachekey_difference(parts, first_parts);
        if (strcmp(difference, cases[i].difference) != 0)
            fail_msg("%s: difference \"%s\", expected \"%s\"", cases[i].says, difference,
                     cases[i].difference);
        free(difference);
        cJSON_Delete(parts);
    }
    cJSON_Delete(first_parts);
}

static const char *version_two(enum step_kind kind)
{
    (void)kind;
    return "2";
}

static void the_algorithm_version_is_part_of_it(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    const struct step step = {.name = "train", .kind = STEP_TRAIN_DDP};
    struct job job = {.config = json_object(), .inputs = json_object(), .device = "cpu"};
    char a[DIGEST_HEX], b[DIGEST_HEX];
    cJSON *pa = NULL, *pb = NULL;
    assert_ok(cachekey_compute(&step, &job, &(struct plan_options){0}, a, &pa, &err), &err);
    assert_ok(cachekey_compute(&step, &job, &(struct plan_options){.algorithm_version = version_two}, b, &pb,
                               &err),
              &err);
    assert_string_not_equal(a, b);
    _cleanup_free_ char *difference = cachekey_difference(pb, pa);
    assert_string_equal(difference, "algorithm");
    cJSON_Delete(pa);
    cJSON_Delete(pb);
    job_release(&job);
}

static void many_differences_are_counted(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *a = cJSON_Parse("{\"p\":\"1\",\"q\":\"1\",\"r\":\"1\",\"s\":\"1\",\"t\":\"1\"}");
    _cleanup_json_ cJSON *b = cJSON_Parse("{\"p\":\"2\",\"q\":\"2\",\"r\":\"2\",\"s\":\"2\",\"u\":\"1\"}");
    _cleanup_free_ char *difference = cachekey_difference(a, b);
    assert_string_equal(difference, "p, q, r and 3 more");
}

static void only_digests_pin_an_image(void **state)
{
    (void)state;
    assert_true(cachekey_image_pinned("a/b@sha256:" DIGEST_A));
    assert_true(cachekey_image_pinned("a/b:tag@sha256:" DIGEST_A));
    assert_false(cachekey_image_pinned("a/b:latest"));
    assert_false(cachekey_image_pinned("a/b@sha256:abc"));
    assert_false(cachekey_image_pinned(NULL));
}

static void which_steps_are_pure(void **state)
{
    (void)state;
    static const struct {
        enum step_kind kind;
        bool finally, pure;
    } kinds[] = {
        {STEP_DATA_VALIDATE, false, false}, {STEP_FEATURIZE, false, true}, {STEP_TRAIN_DDP, false, true},
        {STEP_EVALUATE, false, false},      {STEP_REGISTER, false, false}, {STEP_CONTAINER, false, true},
        {STEP_APPROVAL, false, false},      {STEP_CONTAINER, true, false},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct step s = {.kind = kinds[i].kind, .finally = kinds[i].finally};
        if (cachekey_is_pure(&s) != kinds[i].pure)
            fail_msg("%s%s: pure %d, expected %d", step_kind_body_key(s.kind), s.finally ? " (finally)" : "",
                     !kinds[i].pure, kinds[i].pure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("the key holds what makes a difference, and nothing else",
             the_key_holds_what_makes_a_difference),
        SAYS("the algorithm version is part of it", the_algorithm_version_is_part_of_it),
        SAYS("many differences are counted", many_differences_are_counted),
        SAYS("only digests pin an image", only_digests_pin_an_image),
        SAYS("which steps are pure", which_steps_are_pure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
