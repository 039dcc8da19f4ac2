/* The status as JSON: both ways, in ranges, within its bounds. */
#include "common/base/limits.h"
#include "common/base/text.h"
#include "tests/unit/pipeline/world.h"

static void fill_item(struct item_status *i, int n)
{
    i->state = STATE_RETRYING;
    i->restart = 2;
    i->attempt = 7;
    for (int c = 1; c < FAIL_N; c++)
        i->charged[c] = c;
    i->progressless_preemptions = 3;
    i->uncharged = 1;
    i->missing_inputs = 1;
    i->memory_bytes = 123456789012;
    i->fail = FAIL_MEMORY;
    (void)item_status_explain(i, "OOMKilled", "too much \"memory\" – %d", n);
    item_status_note_cache(i, "not cached: config.epochs changed");
    i->started_ms = 1700000000123;
    i->attempt_started_ms = 1700000001000 + n;
    i->attempt_ended_ms = 1700000002000;
    i->attempt_over = false;
    i->deleting_ms = 1700000002001;
    i->gang_failed_ms = 1700000002002;
    i->stop_at_ms = 1700000002003;
    i->retry_at_ms = 1700000002004;
    i->pending = (struct stopwatch){.counted_ms = 5, .since_ms = 1700000002005};
    i->progress = 0.35;
    i->checkpoint_step = 0;
    i->checkpoint_at_start = 12;
    i->gpu_seconds_used = 1234.5678;
    i->gpu_seconds_wasted = 0.1;
    i->cache_bypass = true;
    i->cache_key = xstrdup(DIGEST_B);
}

static char *to_text(const struct run_status *s)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *json = NULL;
    assert_ok(run_status_to_json(s, &json, &err), &err);
    return cJSON_Print(json);
}

static void everything_comes_back(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct world w;
    world_init(&w, "", STEP("a", "") STEP("b", "") STEP("c", ""));
    run_status_prepare(&w.status, w.pipeline);
    w.status.phase = PHASE_STOPPING;
    (void)status_explain(&w.status.reason, &w.status.message, "StopRequested", "stopped");
    w.status.started_ms = 1700000000000;
    w.status.finished_ms = 1700000009999;
    w.status.clock = (struct stopwatch){.counted_ms = 77, .since_ms = 1700000000001};
    w.status.stopping = RUN_STOP_NOW;
    w.status.out_of_time = true;
    w.status.observed_restart = xstrdup("again");
    fill_item(&w.status.steps[0].items[0], 1);
    w.status.steps[0].state = STATE_RETRYING;
    struct item_status *done = &w.status.steps[1].items[0];
    done->state = w.status.steps[1].state = STATE_CACHED;
    done->outputs = cJSON_Parse("{\"o\":\"" DIGEST_A "\"}");
    done->values = cJSON_Parse("{\"v\":0.1,\"w\":true,\"x\":\"text\"}");
    done->from_run = xstrdup("other");
    done->from_step = xstrdup("s");
    done->from_restart = 3;
    struct step_status *fan = &w.status.steps[2];
    step_status_resize(fan, 5);
    fan->expanded = true;
    fan->state = STATE_RETRYING;
    fan->axes =
        cJSON_Parse("[{\"item\":\"a\"},{\"item\":\"b\"},{\"item\":\"c\"},{\"item\":\"d\"},{\"item\":\"e\"}]");
    (void)status_explain(&fan->reason, &fan->message, NULL, "0 of 5 items are done");
    fill_item(&fan->items[1], 2);
    fill_item(&fan->items[2], 2);
    fan->items[2].progress = 0.5;

    _cleanup_free_ char *before = to_text(&w.status);
    _cleanup_json_ cJSON *json = cJSON_Parse(before);
    struct run_status back;
    assert_ok(run_status_from_json(json, w.pipeline, &back, &err), &err);
    _cleanup_free_ char *after = to_text(&back);
    assert_string_equal(before, after);
    /* Not only is the text equal: the fields are. */
    const struct item_status *a = &w.status.steps[0].items[0], *b = &back.steps[0].items[0];
    assert_int_equal(b->attempt_started_ms, a->attempt_started_ms);
    assert_int_equal(b->memory_bytes, a->memory_bytes);
    assert_memory_equal(b->charged, a->charged, sizeof a->charged);
    assert_true(b->gpu_seconds_used == a->gpu_seconds_used && b->gpu_seconds_wasted == a->gpu_seconds_wasted);
    assert_false(b->attempt_over);
    assert_true(b->cache_bypass);
    assert_int_equal(b->checkpoint_step, 0);
    assert_int_equal(back.steps[1].items[0].from_restart, 3);
    assert_int_equal(back.steps[0].items[0].fail, FAIL_MEMORY);
    assert_int_equal(back.stopping, RUN_STOP_NOW);
    assert_true(back.out_of_time);
    assert_int_equal(back.steps[2].n_items, 5);
    assert_true(back.steps[2].items[2].progress == 0.5);
    assert_int_equal(back.clock.since_ms, w.status.clock.since_ms);
    run_status_release(&back);
    world_release(&w);
}

static void items_that_look_alike_are_one_range(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", ""));
    run_status_prepare(&w.status, w.pipeline);
    struct step_status *s = &w.status.steps[0];
    step_status_resize(s, 1000);
    s->axes = json_array();
    s->items[500].state = STATE_RUNNING;
    s->items[500].attempt = 1;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *json = NULL;
    assert_ok(run_status_to_json(&w.status, &json, &err), &err);
    _cleanup_free_ char *items = cJSON_PrintUnformatted(
        cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "steps"), 0), "items"));
    assert_string_equal(
        items,
        "[{\"state\":\"Waiting\",\"from\":0,\"to\":499},{\"state\":\"Running\",\"attempt\":1,\"from\":500,\"to\":500},"
        "{\"state\":\"Waiting\",\"from\":501,\"to\":999}]");
    world_release(&w);
}

static void a_thousand_steps_fit(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct pipeline p = {.n_steps = N, .steps = xcalloc(N, sizeof *p.steps)};
    char *names[N];
    struct run_status s;
    run_status_init(&s);
    for (int i = 0; i < N; i++)
        p.steps[i].name = names[i] = xasprintf("step-with-a-long-name-%d", i);
    run_status_prepare(&s, &p);
    char *words = xmalloc(2001);
    memset(words, 'w', 2000);
    words[2000] = '\0';
    for (int i = 0; i < N; i++) {
        struct item_status *item = &s.steps[i].items[0];
        item->state = STATE_SUCCEEDED;
        item->attempt = 2;
        item->started_ms = item->attempt_started_ms = 1700000000001;
        item->finished_ms = item->attempt_ended_ms = 1700000001001;
        (void)item_status_explain(item, "Reason", "%s", words);
        item_status_note_cache(item, "not cached: config.epochs changed");
        item->outputs = cJSON_Parse("{\"model\":\"" DIGEST_A "\",\"report\":\"" DIGEST_B "\"}");
        item->values = cJSON_Parse(
            "{\"auc\":0.7261234567,\"logloss\":0.41234567,\"ndcg_at_10\":0.71,\"gate_passed\":true}");
        item->cache_key = xstrdup(DIGEST_A);
    }
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *json = NULL;
    assert_ok(run_status_to_json(&s, &json, &err), &err);
    _cleanup_free_ char *text = cJSON_PrintUnformatted(json);
    assert_in_range(strlen(text), 500000, LIMIT_STATUS_BYTES);
    const cJSON *last = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "steps"), N - 1);
    assert_string_equal(cJSON_GetStringValue(
                            cJSON_GetObjectItem(cJSON_GetObjectItem(last, "outputs"), "model")),
                        DIGEST_A);
    struct run_status back;
    assert_ok(run_status_from_json(json, &p, &back, &err), &err);
    run_status_release(&back);

    for (int i = 0; i < N; i++) /* values are never cut: then the whole is refused */
        json_add_string(s.steps[i].items[0].values, "text", words + 800);
    cJSON *too_large = NULL;
    assert_fails(run_status_to_json(&s, &too_large, &err), &err, ERR_INVALID, "at most 1048576 are allowed");
    run_status_release(&s);
    free(words);
    for (int i = 0; i < N; i++)
        free(names[i]);
    free(p.steps);
}

static void messages_are_cut_and_cleaned(void **state)
{
    (void)state;
    struct item_status i;
    item_status_init(&i);
    char *long_text = xmalloc(3001);
    for (int k = 0; k < 3000; k += 2)
        memcpy(long_text + k, "ä", 2);
    long_text[3000] = '\0';
    assert_true(item_status_explain(&i, "R", "x%s", long_text));
    assert_true(strlen(i.message) <= LIMIT_MESSAGE_BYTES);
    assert_true(strlen(i.message) > LIMIT_MESSAGE_BYTES - 8);
    assert_true(text_valid_utf8(i.message, strlen(i.message)));
    assert_true(text_ends_with(i.message, "…"));
    assert_false(item_status_explain(&i, "R", "x%s", long_text)); /* the same again is no change */
    assert_true(item_status_explain(&i, "R", "%s", "a\nb\t\x01\xff\xc3z"));
    assert_string_equal(i.message, "a b ???z");
    assert_true(item_status_explain(&i, NULL, NULL));
    assert_null(i.message);
    item_status_release(&i);
    free(long_text);
}

static void wrong_json_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *says, *json, *part;
    } cases[] = {
        {"no phase", "{}", "phase"},
        {"a phase of the future", "{\"phase\":\"Dreaming\"}", "none that this version knows"},
        {"a time that is none", "{\"phase\":\"Running\",\"started\":\"yesterday\"}", "started"},
        {"steps of another pipeline",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\"}]}", "another pipeline"},
        {"another step",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\"},{\"name\":\"z\",\"state\":\"Waiting\"}]}",
         "\"z\" where"},
        {"a state that is none",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Odd\"},{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "\"Odd\""},
        {"a gap between ranges",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"items\":[{\"state\":\"Waiting\",\"from\":1,\"to\":2}]},{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "do not follow"},
        {"a range too far",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"items\":[{\"state\":\"Waiting\",\"from\":0,\"to\":99999999}]},{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "do not follow"},
        {"each of another length",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"items\":[{\"state\":\"Waiting\",\"from\":0,\"to\":1,\"each\":[{}]}]},{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "another length"},
        {"an attempt beyond all counting",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"attempt\":99999999999},"
         "{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "attempt is 99999999999, expected at most 1000000000"},
        {"an attempt that is text",
         "{\"phase\":\"Running\",\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"attempt\":\"x\"},{\"name\":\"b\",\"state\":\"Waiting\"}]}",
         "attempt"},
    };
    struct pipeline *p = world_pipeline("", STEP("a", "") STEP("b", ""));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = ERR_INIT;
        struct run_status s;
        _cleanup_json_ cJSON *json = cJSON_Parse(cases[i].json);
        assert_non_null(json);
        assert_fails(run_status_from_json(json, p, &s, &err), &err, ERR_INVALID, cases[i].part);
    }
    pipeline_free(p);
}

static void what_a_newer_operator_wrote_is_ignored(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct pipeline *p = world_pipeline("", STEP("a", ""));
    _cleanup_json_ cJSON *json = cJSON_Parse(
        "{\"phase\":\"Running\",\"moon\":1,\"steps\":[{\"name\":\"a\",\"state\":\"Waiting\",\"tide\":{}}]}");
    struct run_status s;
    assert_ok(run_status_from_json(json, p, &s, &err), &err);
    assert_int_equal(s.steps[0].state, STATE_WAITING);
    run_status_release(&s);
    pipeline_free(p);
}

static void a_copy_is_deep(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "", STEP("a", ""));
    world_plan(&w);
    world_succeeds(&w, "a");
    struct run_status copy;
    run_status_copy(&w.status, &copy);
    _cleanup_free_ char *before = to_text(&copy);
    run_status_release(&w.status);
    run_status_init(&w.status);
    _cleanup_free_ char *after = to_text(&copy);
    assert_string_equal(before, after);
    run_status_release(&copy);
    world_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAYS("everything comes back", everything_comes_back),
        SAYS("items that look alike are one range", items_that_look_alike_are_one_range),
        SAYS("a thousand steps fit, values are never cut", a_thousand_steps_fit),
        SAYS("messages are cut and cleaned", messages_are_cut_and_cleaned),
        SAYS("wrong JSON is refused", wrong_json_is_refused),
        SAYS("what a newer operator wrote is ignored", what_a_newer_operator_wrote_is_ignored),
        SAYS("a copy is deep", a_copy_is_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
