/* What a run would start, before anything is known. */
#include "operator/pipeline/preview.h"

#include "tests/unit/pipeline/world.h"

static const char spec[] =
    "  parameters: [{name: day, type: string, default: \"mon\"}, {name: list, type: list, default: '[\"p\",\"q\"]'}]\n";
static const char steps[] = STEP(
    "a",
    "      workers: 4\n      resources: {gpu: 1, memory: 2Gi}\n") "    - name: b\n      inputs: [{name: i, from: a.o}]\n"
                                                                  "      when: \"steps.a.values.v > 1\"\n      container: {image: \"" IMAGE
                                                                  "\", args: [\"$(params.day)\", \"$(steps.a.values.v)\"]}\n"
                                                                  "    - name: c\n      inputs: [{name: i, from: a.o}]\n      foreach: {from: \"$(params.list)\"}\n      container: {image: \"" IMAGE
                                                                  "\", args: [\"$(item)\"], outputs: [o]}\n"
                                                                  "    - name: f\n      finally: true\n      inputs: [{name: all, from: c.o}]\n      container: {image: \"" IMAGE
                                                                  "\", args: [\"$(run.phase)\"]}\n";

static cJSON *preview(struct world *w)
{
    struct err err = ERR_INIT;
    cJSON *o = NULL;
    assert_ok(plan_preview(w->pipeline, &w->run, &w->options, &o, &err), &err);
    return o;
}

static const cJSON *job(const cJSON *o, int n)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItem(o, "jobs"), n);
}

static void later_values_stay_symbolic(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, spec, steps);
    w.options.max_workers = 2;
    _cleanup_json_ cJSON *o = preview(&w);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "jobs")), 5);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(job(o, 0), "name")), "r-a-a1");
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(job(o, 0), "workers")), 2);
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(job(o, 0), "workersInManifest")), 4);
    _cleanup_free_ char *args =
        cJSON_PrintUnformatted(cJSON_GetObjectItem(cJSON_GetObjectItem(job(o, 1), "config"), "args"));
    assert_contains(args, "\"mon\"");
    assert_contains(args, "steps.a.values.v");
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(cJSON_GetObjectItem(job(o, 1), "inputs"));
    assert_string_equal(inputs, "{\"i\":\"a.o\"}");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(job(o, 3), "name")), "r-c-1-a1");
    _cleanup_free_ char *all = cJSON_PrintUnformatted(cJSON_GetObjectItem(job(o, 4), "inputs"));
    assert_string_equal(all, "{\"all\":\"c.o[*]\"}");
    world_release(&w);
}

static void people_read_text(void **state)
{
    (void)state;
    struct world w;
    struct err err = ERR_INIT;
    _cleanup_buf_ struct buf out = BUF_INIT(65536);
    world_init(&w, spec, steps);
    w.options.max_workers = 2;
    w.options.force_cpu = true;
    _cleanup_json_ cJSON *o = preview(&w);
    assert_ok(plan_preview_text(o, &out, &err), &err);
    static const char *const parts[] = {
        "Run r of pipeline p: 5 jobs\n",
        "  1. r-a-a1  container\n     2 workers (the manifest says 4), 1 thread, cpu (gpu: 1 in the manifest), 2 GiB memory; cache: off\n",
        "     when    steps.a.values.v > 1\n",
        "     item    item = q\n",
        "     input   all <- c.o[*]\n",
        "r-f-a1  container  (finally)\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_contains(buf_str(&out), parts[i]);
    world_release(&w);
}

static void wrong_parameters_are_an_error(void **state)
{
    (void)state;
    struct world w;
    struct err err = ERR_INIT;
    cJSON *o = NULL;
    world_init(&w, "  parameters: [{name: count, type: integer}]\n", STEP("a", ""));
    assert_fails(plan_preview(w.pipeline, &w.run, &w.options, &o, &err), &err, ERR_INVALID, "count");
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("what is only known later stays symbolic", later_values_stay_symbolic),
        SAYS("people read text", people_read_text),
        SAYS("wrong parameters are an error", wrong_parameters_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
