/* Jobs: names, shape, configs. */
#include "common/base/limits.h"
#include "tests/unit/pipeline/world.h"

static void names_are_short_and_different(void **state)
{
    (void)state;
    static const char long_run[] = "a-pipeline-with-quite-a-long-name-20260131-0200";
    static const struct {
        const char *run, *step;
        bool fanout;
        int64_t item;
        int attempt;
        const char *name; /* NULL: cut, with a hash */
    } cases[] = {
        {"r", "train", false, 0, 1, "r-train-a1"},
        {"r", "train", true, 12, 3, "r-train-12-a3"},
        {long_run, "validate", false, 0, 1, NULL},
        {long_run, "validate", false, 0, 2, NULL},
        {long_run, "validate2", false, 0, 1, NULL},
        {long_run, "validate", true, 0, 1, NULL},
        {long_run, "validate", true, 1, 1, NULL},
        {long_run, "validate", true, 1, 1000000, NULL},
        {"a23456789012345678901234567890123456789-", "012345678", false, 0, 1, NULL},
    };
    enum { N = sizeof cases / sizeof *cases };
    char *names[N];
    for (size_t i = 0; i < N; i++) {
        names[i] =
            plan_job_name(cases[i].run, cases[i].step, cases[i].fanout, cases[i].item, cases[i].attempt);
        if (cases[i].name)
            assert_string_equal(names[i], cases[i].name);
        if (strlen(names[i]) > LIMIT_JOB_NAME || strstr(names[i], "--"))
            fail_msg("%s has %zu characters, at most %d, and no two hyphens", names[i], strlen(names[i]),
                     LIMIT_JOB_NAME);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
        _cleanup_free_ char *again =
            plan_job_name(cases[i].run, cases[i].step, cases[i].fanout, cases[i].item, cases[i].attempt);
        assert_string_equal(names[i], again);
    }
    for (size_t i = 0; i < N; i++)
        free(names[i]);
}

static void shape_follows_manifest_and_machine(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        struct step step;
        const char *config;
        struct plan_options options;
        int64_t workers, threads, gpu;
        const char *device;
    } cases[] = {
        {"nothing said: one worker, one thread, cpu", {0}, "{}", {0}, 1, 1, 0, "cpu"},
        {"threads follow whole cpus", {.cpu_milli = 3900}, "{}", {0}, 1, 3, 0, "cpu"},
        {"half a cpu is one thread", {.cpu_milli = 500}, "{}", {0}, 1, 1, 0, "cpu"},
        {"written threads win", {.cpu_milli = 8000}, "{\"threads\":2}", {0}, 1, 2, 0, "cpu"},
        {"the laptop has fewer threads",
         {.cpu_milli = 8000},
         "{\"threads\":4}",
         {.max_threads = 2},
         1,
         2,
         0,
         "cpu"},
        {"the laptop has fewer workers", {.workers = 8}, "{}", {.max_workers = 2}, 2, 1, 0, "cpu"},
        {"fewer workers than the laptop allows stay",
         {.workers = 2},
         "{}",
         {.max_workers = 4},
         2,
         1,
         0,
         "cpu"},
        {"auto with a gpu is cuda where there is a device",
         {.gpu = 1},
         "{\"device\":\"auto\"}",
         {.has_cuda = true},
         1,
         1,
         1,
         "cuda"},
        {"auto with a gpu is cpu where there is none",
         {.gpu = 1},
         "{\"device\":\"auto\"}",
         {0},
         1,
         1,
         0,
         "cpu"},
        {"auto without gpu is cpu", {0}, "{\"device\":\"auto\"}", {.has_cuda = true}, 1, 1, 0, "cpu"},
        {"cpu as written keeps the gpu's node",
         {.gpu = 1},
         "{\"device\":\"cpu\"}",
         {.has_cuda = true},
         1,
         1,
         1,
         "cpu"},
        {"cuda as written stays cuda", {.gpu = 1}, "{\"device\":\"cuda\"}", {0}, 1, 1, 1, "cuda"},
        {"--cpu wins over everything",
         {.gpu = 2},
         "{\"device\":\"cuda\"}",
         {.has_cuda = true, .force_cpu = true},
         1,
         1,
         0,
         "cpu"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_json_ cJSON *config = cJSON_Parse(cases[i].config);
        struct job j = {0};
        jobspec_resources(&cases[i].step, NULL, config, &cases[i].options, &j);
        if (j.workers != cases[i].workers || j.threads != cases[i].threads || j.gpu != cases[i].gpu ||
            strcmp(j.device, cases[i].device) != 0)
            fail_msg("%s: %lld workers, %lld threads, %lld gpus, %s; expected %lld, %lld, %lld, %s",
                     cases[i].says, (long long)j.workers, (long long)j.threads, (long long)j.gpu, j.device,
                     (long long)cases[i].workers, (long long)cases[i].threads, (long long)cases[i].gpu,
                     cases[i].device);
    }
}

static void memory_and_scratch_have_defaults(void **state)
{
    (void)state;
    const struct plan_options options = {.default_memory_bytes = 100, .default_scratch_bytes = 200};
    const struct step plain = {0}, written = {.memory_bytes = 5, .scratch_bytes = 6, .timeout_ms = 7};
    struct item_status grown = {.memory_bytes = 50};
    struct job j = {0};
    jobspec_resources(&plain, NULL, NULL, &options, &j);
    assert_int_equal(j.memory_bytes, 100);
    assert_int_equal(j.scratch_bytes, 200);
    jobspec_resources(&written, NULL, NULL, &options, &j);
    assert_int_equal(j.memory_bytes, 5);
    assert_int_equal(j.scratch_bytes, 6);
    assert_int_equal(j.timeout_ms, 7);
    jobspec_resources(&written, &grown, NULL, &options, &j);
    assert_int_equal(j.memory_bytes, 50);
}

static void configs_are_resolved(void **state)
{
    (void)state;
    struct world w;
    world_init(
        &w, "  parameters: [{name: day, type: string, default: \"2026-01-31\"}]\n",
        STEP("a", "") "    - name: b\n      inputs: [{name: i, from: a.o}]\n      container: {image: \"" IMAGE
                      "\", args: [\"$(params.day)\", \"$(steps.a.values.v)\", \"$(run.name)\"]}\n");
    world_plan(&w);
    world_succeeds(&w, "a");
    _cleanup_free_ char *args =
        cJSON_PrintUnformatted(cJSON_GetObjectItem(world_attempt(&w, "b", 0)->job.config, "args"));
    assert_string_equal(args, "[\"2026-01-31\",\"1\",\"r\"]");
    world_release(&w);
}

static void a_config_that_is_too_large_fails_its_step(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "  parameters: [{name: text, type: string, default: \"x\"}]\n",
               "    - name: a\n      container: {image: \"" IMAGE
               "\", args: [\"$(params.text)\", \"$(params.text)\", \"$(params.text)\"]}\n");
    char *text = xmalloc(100 * 1024 + 1);
    memset(text, 'x', 100 * 1024);
    text[100 * 1024] = '\0';
    w.run.params = xcalloc(1, sizeof *w.run.params);
    w.run.params[0] = (struct run_param){.name = xstrdup("text"), .value = text};
    w.run.n_params = 1;
    world_plan(&w);
    assert_phase(&w, PHASE_FAILED);
    assert_state(&w, "a", 0, STATE_FAILED);
    assert_int_equal(world_item(&w, "a", 0)->fail, FAIL_USER);
    world_release(&w);
}

static void only_what_is_done_can_be_an_input(void **state)
{
    (void)state;
    struct world w;
    struct err err = ERR_INIT;
    cJSON *inputs = NULL;
    world_init(&w, "", STEP("a", "") STEP("b", FROM("a")));
    world_plan(&w);
    assert_fails(jobspec_inputs(&w.run, &w.status, &w.pipeline->steps[1], &inputs, &err), &err, ERR_INVALID,
                 "step a is not done");
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("names are short and different", names_are_short_and_different),
        SAYS("the shape follows manifest and machine", shape_follows_manifest_and_machine),
        SAYS("memory and scratch have defaults", memory_and_scratch_have_defaults),
        SAYS("configs are resolved", configs_are_resolved),
        SAYS("a config that is too large fails its step", a_config_that_is_too_large_fails_its_step),
        SAYS("only what is done can be an input", only_what_is_done_can_be_an_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
