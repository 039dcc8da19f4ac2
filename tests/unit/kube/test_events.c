/* Events: what is created, what only raises a count, and where it stops. */
#include "tests/unit/kube/script.h"

#include "common/base/json.h"
#include "common/base/limits.h"
#include "operator/kube/events.h"

#define CREATED ANSWER("201 Created", "{\"kind\":\"Event\",\"metadata\":{\"name\":\"x.1\"}}")
#define PATCHED ANSWER("200 OK", "{\"kind\":\"Event\",\"metadata\":{\"name\":\"x.1\"}}")
#define PATH "/apis/events.k8s.io/v1/namespaces/team/events"

static const struct kube_reference job = {.resource = &KUBE_JOBS,
                                          .ns = "team",
                                          .name = "rank-1",
                                          .uid = "u-1"};

struct world {
    struct script script;
    struct recorder *recorder;
};

static void begin(struct world *w, const char *const *answers)
{
    script_start(&w->script, answers);
    w->recorder = recorder_new(w->script.client, "trainyard-operator", "operator-0");
}

static void end(struct world *w)
{
    recorder_free(w->recorder);
    script_end(&w->script);
}

/* Until n requests have come, and some time more, in which no other may. */
static void expect_requests(struct world *w, size_t n)
{
    struct err err = ERR_INIT;
    for (int64_t until = loop_now_ms() + 5000; w->script.n_requests < n && loop_now_ms() < until;)
        assert_ok(loop_step(w->script.loop, 5, &err), &err);
    for (int64_t until = loop_now_ms() + 100; loop_now_ms() < until;)
        assert_ok(loop_step(w->script.loop, 5, &err), &err);
    assert_int_equal(w->script.n_requests, n);
}

static cJSON *body_of(const struct world *w, size_t i)
{
    struct err err = ERR_INIT;
    cJSON *j = NULL;
    const char *text = strstr(w->script.requests[i], "\r\n\r\n") + 4;
    assert_ok(json_parse(text, strlen(text), 1 << 20, &j, &err), &err);
    return j;
}

static const char *text_at(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    if (!cJSON_IsString(v))
        fail_msg("expected the string %s", key);
    return v->valuestring;
}

static int count_of(const cJSON *event)
{
    const cJSON *series = cJSON_GetObjectItemCaseSensitive(event, "series"),
                *count = cJSON_GetObjectItemCaseSensitive(series, "count");
    return cJSON_IsNumber(count) ? (int)count->valuedouble : 1;
}

static size_t count_requests(const struct world *w, const char *beginning)
{
    size_t n = 0;
    for (size_t i = 0; i < w->script.n_requests; i++)
        n += strncmp(w->script.requests[i], beginning, strlen(beginning)) == 0;
    return n;
}

static void created_once(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, NULL};
    begin(&w, answers);
    recorder_event(w.recorder, &job, true, "AttemptFailed", "it failed: \"exit 1\"");
    expect_requests(&w, 1);
    assert_int_equal(count_requests(&w, "POST " PATH " "), 1);
    _cleanup_json_ cJSON *o = body_of(&w, 0);
    const cJSON *regarding = cJSON_GetObjectItemCaseSensitive(o, "regarding"),
                *metadata = cJSON_GetObjectItemCaseSensitive(o, "metadata");
    assert_string_equal(text_at(o, "note"), "it failed: \"exit 1\"");
    assert_string_equal(text_at(o, "reason"), "AttemptFailed");
    assert_string_equal(text_at(o, "type"), "Warning");
    assert_string_equal(text_at(o, "reportingController"), "trainyard-operator");
    assert_string_equal(text_at(o, "reportingInstance"), "operator-0");
    assert_int_equal(strlen(text_at(o, "eventTime")), strlen("2026-01-01T00:00:00.000000Z"));
    assert_true(*text_at(o, "action") != '\0');
    assert_string_equal(text_at(regarding, "kind"), "Job");
    assert_string_equal(text_at(regarding, "apiVersion"), "batch/v1");
    assert_string_equal(text_at(regarding, "name"), "rank-1");
    assert_string_equal(text_at(regarding, "uid"), "u-1");
    assert_string_equal(text_at(metadata, "namespace"), "team");
    assert_int_equal(strncmp(text_at(metadata, "name"), "rank-1.", 7), 0);
    assert_null(cJSON_GetObjectItemCaseSensitive(o, "series"));
    end(&w);
}

static void said_again_raises_the_count(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, PATCHED, NULL};
    begin(&w, answers);
    recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 1);
    for (int i = 0; i < 4; i++) /* while a patch is under way the others wait and go together */
        recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 3);
    assert_int_equal(count_requests(&w, "PATCH " PATH "/"), 2);
    _cleanup_json_ cJSON *first = body_of(&w, 1), *last = body_of(&w, 2);
    assert_int_equal(count_of(first), 2);
    assert_int_equal(count_of(last), 5);
    assert_int_equal(strlen(text_at(cJSON_GetObjectItemCaseSensitive(last, "series"), "lastObservedTime")),
                     27);
    assert_int_equal(cJSON_GetArraySize(last), 1); /* nothing else is patched */
    end(&w);
}

static void another_message_is_another_event(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, NULL};
    begin(&w, answers);
    struct kube_reference other = job;
    other.uid = "u-2";
    recorder_event(w.recorder, &job, false, "Started", "a1");
    recorder_event(w.recorder, &job, false, "Started", "a2");
    recorder_event(w.recorder, &job, false, "Ended", "a1");
    recorder_event(w.recorder, &other, false, "Started", "a1");
    expect_requests(&w, 4);
    assert_int_equal(count_requests(&w, "POST "), 4);
    end(&w);
}

static void many_different_messages_become_one(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, NULL};
    begin(&w, answers);
    for (int i = 0; i < 15; i++) {
        char message[32];
        (void)snprintf(message, sizeof message, "pod %d", i);
        recorder_event(w.recorder, &job, true, "PodFailed", message);
    }
    /* Ten as they are, one for the other five. */
    expect_requests(&w, 11);
    assert_int_equal(count_requests(&w, "POST "), 11);
    bool found = false;
    for (size_t i = 0; i < w.script.n_requests; i++) {
        _cleanup_json_ cJSON *o = body_of(&w, i);
        if (!strstr(text_at(o, "note"), "more than 10 different messages"))
            continue;
        found = true;
        assert_contains(text_at(o, "note"), "pod 10");
        assert_int_equal(count_of(o), 5);
    }
    assert_true(found);
    end(&w);
}

static void an_object_may_not_flood(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, NULL};
    begin(&w, answers);
    for (int i = 0; i < 40; i++) {
        char reason[32];
        (void)snprintf(reason, sizeof reason, "Reason%d", i);
        recorder_event(w.recorder, &job, false, reason, "x");
    }
    struct kube_reference other = job;
    other.uid = "u-2";
    recorder_event(w.recorder, &other, false, "Reason", "x"); /* that is no fault of others */
    expect_requests(&w, 26);
    end(&w);
}

static void what_the_server_forgot_is_made_anew(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, ANSWER("404 Not Found", STATUS(404, "NotFound", "gone")), CREATED,
                                   NULL};
    begin(&w, answers);
    recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 1);
    recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 3);
    assert_int_equal(count_requests(&w, "POST "), 2);
    _cleanup_json_ cJSON *o = body_of(&w, 2);
    assert_int_equal(count_of(o), 2);
    end(&w);
}

static void refused_ones_are_dropped(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {ANSWER("403 Forbidden", STATUS(403, "Forbidden", "no events for you")),
                                   CREATED, NULL};
    begin(&w, answers);
    recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 1); /* nobody insists */
    recorder_event(w.recorder, &job, false, "Started", "a1");
    expect_requests(&w, 2);
    assert_int_equal(count_requests(&w, "POST "), 2);
    end(&w);
}

static void long_ones_are_cut_between_characters(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {CREATED, NULL};
    begin(&w, answers);
    _cleanup_free_ char *message = xcalloc(3 * LIMIT_MESSAGE_BYTES, 1);
    message[0] = 'x';
    for (int i = 0; i < LIMIT_MESSAGE_BYTES; i++)
        memcpy(message + 1 + 2 * (size_t)i, "\xc3\xa4",
               2); /* 1 + 2 n bytes: the limit falls into a character */
    char name[254];
    memset(name, 'n', 253);
    name[253] = '\0';
    struct kube_reference about = job;
    about.name = name;
    recorder_event(w.recorder, &about, false, "Started", message);
    expect_requests(&w, 1);
    _cleanup_json_ cJSON *o = body_of(&w, 0);
    size_t len = strlen(text_at(o, "note"));
    assert_true(len <= LIMIT_MESSAGE_BYTES && len >= LIMIT_MESSAGE_BYTES - 1);
    assert_int_equal(len % 2, 1);
    assert_true(strlen(text_at(cJSON_GetObjectItemCaseSensitive(o, "metadata"), "name")) <= 253);
    end(&w);
}

static void freed_with_events_waiting(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {HOLD, NULL};
    begin(&w, answers);
    for (int i = 0; i < 20; i++) {
        char reason[32];
        (void)snprintf(reason, sizeof reason, "Reason%d", i);
        recorder_event(w.recorder, &job, false, reason, "x");
    }
    expect_requests(&w, 4); /* no more at once */
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"an event is created with all that events.k8s.io asks for", created_once, NULL, NULL, NULL},
        {"said again raises the count of its series", said_again_raises_the_count, NULL, NULL, NULL},
        {"another object, reason or message is another event", another_message_is_another_event, NULL, NULL,
         NULL},
        {"more than ten different messages become one", many_different_messages_become_one, NULL, NULL, NULL},
        {"an object may not flood", an_object_may_not_flood, NULL, NULL, NULL},
        {"what the API server forgot is made anew", what_the_server_forgot_is_made_anew, NULL, NULL, NULL},
        {"refused ones are dropped", refused_ones_are_dropped, NULL, NULL, NULL},
        {"long messages and names are cut", long_ones_are_cut_between_characters, NULL, NULL, NULL},
        {"freed with events waiting", freed_with_events_waiting, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
