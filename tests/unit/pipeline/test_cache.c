/* The cache of pure steps, through plan(), and its bounds. */
#include "tests/unit/pipeline/world.h"

#include "common/base/limits.h"

#define CACHED "      cache: {enabled: true}\n"
static const char pure[] = STEP("a", CACHED) STEP("b", FROM("a") CACHED);

static void run_to_the_end(struct world *w)
{
    for (int guard = 0; !run_phase_finished(w->status.phase); guard++) {
        assert_in_range(guard, 0, 100);
        world_plan(w);
        for (size_t i = 0; i < w->n_attempts; i++) {
            struct world_attempt *a = &w->attempts[i];
            for (size_t k = 0; k < a->a.n_pods; k++)
                if (a->pods[k].phase == POD_PENDING)
                    world_pod_ends(w, &a->pods[k], 0, OK_MESSAGE);
        }
    }
}

static void the_same_run_again_starts_nothing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", pure);
    run_to_the_end(&w);
    assert_string_equal(world_item(&w, "a", 0)->cache_note, "not cached: there is no earlier result");
    world_new_run(&w, "uid-2");
    world_plan(&w);
    assert_phase(&w, PHASE_SUCCEEDED);
    assert_int_equal(w.n_attempts, 0);
    assert_state(&w, "a", 0, STATE_CACHED);
    assert_state(&w, "b", 0, STATE_CACHED);
    assert_string_equal(world_item(&w, "a", 0)->cache_note, "cached: same key as run uid-1");
    assert_string_equal(world_item(&w, "a", 0)->from_run, "uid-1");
    _cleanup_free_ char *values = cJSON_PrintUnformatted(world_item(&w, "b", 0)->values);
    assert_string_equal(values, "{\"v\":1}");
    world_release(&w);
}

static void a_consumer_reads_where_the_producer_wrote(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", CACHED) STEP("b", FROM("a")));
    run_to_the_end(&w);
    world_new_run(&w, "uid-2");
    world_plan(&w);
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_string_equal(inputs, "{\"i\":{\"digest\":\"" DIGEST_A
                                "\",\"run\":\"uid-1\",\"step\":\"a\",\"restart\":0}}");
    world_release(&w);
}

static void an_equal_step_of_another_name_hits(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", CACHED) STEP("b", "      after: [a]\n" CACHED) STEP("c", FROM("b")));
    world_plan(&w);
    world_succeeds(&w, "a");
    assert_state(&w, "b", 0, STATE_CACHED);
    assert_string_equal(world_item(&w, "b", 0)->from_step, "a");
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "c", 0)->job.inputs);
    assert_contains(inputs, "\"run\":\"uid-1\",\"step\":\"a\"");
    world_release(&w);
}

static void a_miss_says_what_changed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "",
               "    - name: a\n      cache: {enabled: true}\n      container: {image: \"" IMAGE
               "\", args: [\"x\"], outputs: [o]}\n");
    run_to_the_end(&w);
    pipeline_free(w.pipeline);
    w.pipeline =
        world_pipeline("", "    - name: a\n      cache: {enabled: true}\n      container: {image: \"" IMAGE
                           "\", args: [\"y\"], outputs: [o]}\n");
    world_new_run(&w, "uid-2");
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_string_equal(world_item(&w, "a", 0)->cache_note, "not cached: config.args changed");
    w.options.max_threads = 1;
    world_release(&w);
}

static void another_input_is_another_key(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", FROM("a") CACHED));
    run_to_the_end(&w);
    world_new_run(&w, "uid-2");
    world_plan(&w);
    world_ends(&w, "a", 0, 0, "{\"outputs\":{\"o\":\"" DIGEST_B "\"},\"values\":{\"v\":1}}");
    assert_state(&w, "b", 0, STATE_RUNNING);
    assert_string_equal(world_item(&w, "b", 0)->cache_note, "not cached: inputs.i changed");
    world_release(&w);
}

static void entries_grow_too_old(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", "      cache: {enabled: true, ttlSeconds: 100}\n"));
    run_to_the_end(&w);
    world_new_run(&w, "uid-2");
    w.now += 99999;
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_CACHED);
    world_new_run(&w, "uid-3");
    w.now += 1;
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_contains(world_item(&w, "a", 0)->cache_note, "older than cache.ttlSeconds = 100");
    world_release(&w);
}

static void what_may_not_be_cached_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *says, *step;
        bool disabled;
        const char *note;
    } cases[] = {
        {"a container must ask for it", STEP("a", ""), false,
         "not cached: cache.enabled: true is not written"},
        {"an image must be pinned",
         "    - name: a\n      cache: {enabled: true}\n      container: {image: \"example.com/image:latest\"}\n",
         false, "not-cached: image not pinned"},
        {"the run may switch it off", STEP("a", CACHED), true,
         "not cached: the cache is switched off for this run"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(&w, "", cases[i].step);
        w.options.cache_disabled = cases[i].disabled;
        run_to_the_end(&w);
        if (strcmp(world_item(&w, "a", 0)->cache_note, cases[i].note) != 0)
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].says, world_item(&w, "a", 0)->cache_note,
                     cases[i].note);
        assert_int_equal(cJSON_GetArraySize(w.cache), 0);
        world_release(&w);
    }
}

static void finally_steps_are_never_cached(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("f", "      finally: true\n" CACHED));
    run_to_the_end(&w);
    assert_int_equal(cJSON_GetArraySize(w.cache), 0);
    assert_null(world_item(&w, "f", 0)->cache_note);
    world_release(&w);
}

static void a_restarted_step_does_its_work_again(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", pure);
    run_to_the_end(&w);
    w.run.restart_id = xstrdup("one");
    w.run.restart_from = xcalloc(1, sizeof *w.run.restart_from);
    w.run.restart_from[0] = xstrdup("a");
    w.run.n_restart_from = 1;
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_RUNNING);
    assert_string_equal(world_item(&w, "a", 0)->cache_note, "not cached: the step was asked for again");
    world_succeeds(&w, "a");
    assert_state(&w, "b", 0, STATE_CACHED); /* it reads what it read before */
    world_release(&w);
}

static void a_missing_artifact_evicts_its_entry(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", CACHED) STEP("b", FROM("a")));
    run_to_the_end(&w);
    assert_int_equal(cJSON_GetArraySize(w.cache), 1);
    world_new_run(&w, "uid-2");
    world_plan(&w);
    assert_state(&w, "a", 0, STATE_CACHED);
    world_ends(&w, "b", 0, 66, ERROR_MESSAGE("artifact-missing", "no such artifact"));
    assert_int_equal(cJSON_GetArraySize(w.cache), 0);
    assert_state(&w, "a", 0, STATE_RUNNING);
    world_succeeds(&w, "a");
    assert_int_equal(cJSON_GetArraySize(w.cache), 1);
    _cleanup_free_ char *inputs = cJSON_PrintUnformatted(world_attempt(&w, "b", 0)->job.inputs);
    assert_contains(inputs, "\"run\":\"uid-2\"");
    world_release(&w);
}

static void a_fan_out_has_one_entry(void **state)
{
    (void)state;
    struct world w;
    static const char steps[] =
        "    - name: a\n      cache: {enabled: true}\n      foreach: {items: [\"1\", \"2\", \"3\"]}\n"
        "      container: {image: \"" IMAGE "\", args: [\"$(item)\"], outputs: [o]}\n";
    world_init(&w, "", steps);
    run_to_the_end(&w);
    assert_int_equal(cJSON_GetArraySize(w.cache), 1);
    assert_int_equal(cJSON_GetArraySize(
                         cJSON_GetObjectItem(cJSON_GetObjectItem(w.cache, "fanout.a"), "items")),
                     3);
    world_new_run(&w, "uid-2");
    world_plan(&w);
    assert_phase(&w, PHASE_SUCCEEDED);
    assert_int_equal(w.n_attempts, 0);
    world_release(&w);
}

/* --- bounds ------------------------------------------------------------------------------------------------------- */

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *cache = json_object();
    char name[16];
    for (int i = 0; i < 100; i++) {
        cJSON *entry = json_object();
        json_add_int(entry, "used", (i * 37) % 100);
        json_add_string(entry, "step", "some text so that the entry has a size");
        (void)snprintf(name, sizeof name, "k%d", i);
        json_add(cache, name, entry);
    }
    assert_true(cache_bound(cache, 1000));
    _cleanup_free_ char *text = cJSON_PrintUnformatted(cache);
    assert_in_range(strlen(text), 800, 1000);
    const cJSON *entry;
    int n = cJSON_GetArraySize(cache);
    cJSON_ArrayForEach(entry, cache)
        assert_in_range(cJSON_GetNumberValue(cJSON_GetObjectItem(entry, "used")), 100 - n, 99);
    assert_false(cache_bound(cache, 1000));
}

static void a_fan_outs_entry_keeps_its_newest_items(void **state)
{
    (void)state;
    struct plan p = {0};
    struct cache_view v = {.plan = &p};
    char key[16];
    for (int i = 0; i < LIMIT_FANOUT_ITEMS + 5; i++) {
        cJSON *record = json_object();
        json_add_int(record, "created", i);
        (void)snprintf(key, sizeof key, "k%d", i);
        cache_put(&v, "s", true, key, record, i);
    }
    assert_null(cache_find(&v, "s", true, "k4"));
    assert_non_null(cache_find(&v, "s", true, "k5"));
    assert_int_equal(p.n_cache_updates, 1);
    plan_release(&p);
}

static void use_is_noted_once_an_hour(void **state)
{
    (void)state;
    struct plan p = {0};
    _cleanup_json_ cJSON *cache =
        cJSON_Parse("{\"k\":{\"step\":\"s\",\"used\":0,\"record\":{\"created\":0}}}");
    struct cache_view v = {.cache = cache, .plan = &p};
    cache_touch(&v, "s", false, "k", 3599999);
    assert_int_equal(p.n_cache_updates, 0);
    cache_touch(&v, "s", false, "k", 3600000);
    assert_int_equal(p.n_cache_updates, 1);
    assert_true(cache_apply(cache, &p));
    assert_int_equal(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(cache, "k"), "used")),
                     3600000);
    plan_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("the same run again starts nothing", the_same_run_again_starts_nothing),
        SAYS("a consumer reads where the producer wrote", a_consumer_reads_where_the_producer_wrote),
        SAYS("an equal step of another name hits", an_equal_step_of_another_name_hits),
        SAYS("a miss says what changed", a_miss_says_what_changed),
        SAYS("another input is another key", another_input_is_another_key),
        SAYS("entries grow too old", entries_grow_too_old),
        SAYS("what may not be cached says why", what_may_not_be_cached_says_why),
        SAYS("finally steps are never cached", finally_steps_are_never_cached),
        SAYS("a restarted step does its work again", a_restarted_step_does_its_work_again),
        SAYS("a missing artifact evicts its entry", a_missing_artifact_evicts_its_entry),
        SAYS("a fan-out has one entry", a_fan_out_has_one_entry),
        SAYS("the least recently used goes first", the_least_recently_used_goes_first),
        SAYS("a fan-out's entry keeps its newest items", a_fan_outs_entry_keeps_its_newest_items),
        SAYS("use is noted once an hour", use_is_noted_once_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
