/* The cache through lists, streams, and everything that ends them. */
#include "tests/unit/kube/script.h"

#include "operator/kube/answer.h"
#include "operator/kube/framer.h"
#include "operator/kube/reflector.h"

#define ITEM(name, uid, version)                                              \
    "{\"metadata\":{\"namespace\":\"n\",\"name\":\"" name "\",\"uid\":\"" uid \
    "\",\"resourceVersion\":\"" version "\"}}"
#define LIST(version, more, items) \
    ANSWER("200 OK", "{\"metadata\":{\"resourceVersion\":\"" version "\"" more "},\"items\":[" items "]}")
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define STREAM(events) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" events

struct thing {
    struct kube_meta meta;
};
struct seen {
    struct script s;
    struct reflector *r;
    struct buf log; /* "+a1 ~a2 -a2 …" */
    int synced;
};

static void *trim(void *ctx, const cJSON *object)
{
    (void)ctx;
    struct thing *t = xcalloc(1, sizeof *t);
    kube_meta_init(&t->meta, object);
    return t;
}

static void free_thing(void *thing)
{
    kube_meta_release(&((struct thing *)thing)->meta);
    free(thing);
}

static void changed(void *ctx, const void *old, const void *now)
{
    struct seen *w = ctx;
    const struct thing *t = now ? now : old;
    (void)buf_addf(&w->log, "%c%s%s ", !old ? '+' : now ? '~' : '-', t->meta.name, t->meta.resource_version);
}

static void synced(void *ctx)
{
    ((struct seen *)ctx)->synced++;
}

static void begin(struct seen *w, const char *const *answers, int64_t silence_ms)
{
    *w = (struct seen){.log = BUF_INIT(4096)};
    script_start(&w->s, answers);
    struct reflector_config config = {.resource = &KUBE_JOBS,
                                      .label_selector = "a=b,!c",
                                      .page = 2,
                                      .silence_ms = silence_ms,
                                      .trim = trim,
                                      .free_trimmed = free_thing,
                                      .changed = changed,
                                      .synced = synced,
                                      .ctx = w};
    w->r = reflector_new(w->s.client, &config);
}

static void until(struct seen *w, const char *log)
{
    struct err err = ERR_INIT;
    for (int64_t end = loop_now_ms() + 8000; strcmp(buf_str(&w->log), log) != 0 && loop_now_ms() < end;)
        assert_ok(loop_step(w->s.loop, 100, &err), &err);
    assert_string_equal(buf_str(&w->log), log);
}

static void end(struct seen *w)
{
    reflector_free(w->r);
    script_end(&w->s);
    buf_release(&w->log);
}

static void pages_then_the_stream(void **state)
{
    (void)state;
    const char *const answers[] =
        {LIST("10", ",\"continue\":\"more\"", ITEM("a", "1", "5") "," ITEM("b", "2", "6")),
         LIST("10", "", ITEM("c", "3", "7")),
         STREAM(EVENT("ADDED", ITEM("d", "4", "11")) EVENT("MODIFIED", ITEM("a", "1", "12"))
                    EVENT("BOOKMARK", ITEM("", "", "20")) EVENT("DELETED", ITEM("b", "2", "21")) HOLD),
         NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a5 +b6 +c7 +d11 ~a12 -b6 ");
    assert_int_equal(w.synced, 1);
    assert_int_equal(reflector_count(w.r), 3);
    assert_non_null(reflector_get(w.r, "n", "d"));
    assert_null(reflector_get(w.r, "n", "b"));
    assert_contains(w.s.requests[0], "GET /apis/batch/v1/jobs?limit=2&labelSelector=a%3Db%2C%21c HTTP");
    assert_contains(w.s.requests[1], "&continue=more HTTP");
    assert_contains(w.s.requests[2], "watch=1&allowWatchBookmarks=true&timeoutSeconds=");
    assert_contains(w.s.requests[2], "&resourceVersion=10&labelSelector=");
    end(&w);
}

static void an_ended_stream_is_resumed_where_it_was(void **state)
{
    (void)state;
    const char *const answers[] = {LIST("10", "", ""), STREAM(EVENT("ADDED", ITEM("a", "1", "11"))),
                                   STREAM(EVENT("MODIFIED", ITEM("a", "1", "12")) "{\"type\":\"MODI"),
                                   STREAM(EVENT("MODIFIED", ITEM("a", "1", "13")) HOLD), NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a11 ~a12 ~a13 ");
    assert_contains(w.s.requests[2], "resourceVersion=11");
    assert_contains(w.s.requests[3], "resourceVersion=12");
    end(&w);
}

static void too_old_lists_again_and_finds_what_was_deleted(void **state)
{
    (void)state;
    static const char *const ends[] = {
        STREAM(EVENT("ERROR", STATUS(410, "Expired", "too old resource version"))),
        ANSWER("410 Gone", STATUS(410, "Expired", "too old resource version")),
        ANSWER("504 Late",
               "{\"kind\":\"Status\",\"code\":504,\"reason\":\"Timeout\",\"details\":{\"causes\":[{"
               "\"reason\":\"ResourceVersionTooLarge\"}]}}"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const char *const answers[] = {LIST("10", "", ITEM("a", "1", "5") "," ITEM("b", "2", "6")), ends[i],
                                       LIST("30", "", ITEM("a", "1", "5") "," ITEM("b", "9", "25")),
                                       STREAM(HOLD), NULL};
        struct seen w;
        begin(&w, answers, 0);
        until(&w, "+a5 +b6 -b6 +b25 "); /* b came back as another object; a did not change */
        assert_int_equal(w.synced, 1);
        end(&w);
        const char *const fewer[] = {LIST("10", "", ITEM("a", "1", "5") "," ITEM("b", "2", "6")), ends[i],
                                     LIST("30", "", ITEM("b", "2", "6")), STREAM(HOLD), NULL};
        begin(&w, fewer, 0);
        until(&w, "+a5 +b6 -a5 ");
        end(&w);
    }
}

static void pages_that_expire_begin_anew(void **state)
{
    (void)state;
    const char *const answers[] = {LIST("10", ",\"continue\":\"old\"", ITEM("a", "1", "5")),
                                   ANSWER("410 Gone",
                                          STATUS(410, "Expired", "the continue token is too old")),
                                   LIST("20", "", ITEM("b", "2", "15")), STREAM(HOLD), NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a5 +b15 -a5 ");
    assert_false(strstr(w.s.requests[2], "continue=") != NULL);
    end(&w);
}

static void failures_of_all_kinds_pass(void **state)
{
    (void)state;
    const char *const answers[] = {ANSWER("500 Oops", STATUS(500, "InternalError", "x")),
                                   "",
                                   LIST("10", "", ITEM("a", "1", "5")),
                                   ANSWER("500 Oops", STATUS(500, "InternalError", "x")),
                                   STREAM("not json\n"),
                                   "",
                                   STREAM(EVENT("MODIFIED", ITEM("a", "1", "12")) HOLD),
                                   NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a5 ~a12 ");
    end(&w);
}

static void an_event_that_cannot_be_read_again_and_again_lists(void **state)
{
    (void)state;
    const char *const answers[] = {LIST("10", "", ITEM("a", "1", "5") "," ITEM("b", "2", "6")),
                                   STREAM("not json\n"),
                                   STREAM(EVENT("ERROR", STATUS(500, "InternalError", "x"))),
                                   STREAM("{}\n"),
                                   LIST("30", "", ITEM("b", "2", "6")),
                                   STREAM(HOLD),
                                   NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a5 +b6 -a5 ");
    end(&w);
}

static void a_page_that_is_too_large_is_asked_for_in_halves(void **state)
{
    (void)state;
    const char *const answers[] = {ANSWER("400 Bad Request", STATUS(400, "BadRequest", "too large")),
                                   LIST("10", ",\"continue\":\"more\"", ITEM("a", "1", "5")),
                                   LIST("10", "", ITEM("b", "2", "6")), STREAM(HOLD), NULL};
    struct seen w;
    begin(&w, answers, 0);
    until(&w, "+a5 +b6 ");
    assert_contains(w.s.requests[0], "limit=2&");
    assert_contains(w.s.requests[1], "limit=1&");
    assert_contains(w.s.requests[2], "limit=1&");
    end(&w);
}

static void a_silent_stream_is_cut(void **state)
{
    (void)state;
    const char *const answers[] = {LIST("10", "", ITEM("a", "1", "5")), STREAM(HOLD),
                                   STREAM(EVENT("DELETED", ITEM("a", "1", "12")) HOLD), NULL};
    struct seen w;
    begin(&w, answers, 300);
    until(&w, "+a5 -a5 ");
    end(&w);
}

static int take_line(void *ctx, char *text, size_t len, struct err *err)
{
    (void)err;
    assert_int_equal(strlen(text), len);
    return buf_addf(ctx, "[%s]", text);
}

static void lines_come_in_any_pieces(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":1}\n\n{\"b\":2}\n{\"c\":3}\n";
    struct err err = ERR_INIT;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        _cleanup_buf_ struct buf lines = BUF_INIT(1024);
        struct framer f;
        framer_init(&f);
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t n = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            assert_ok(framer_feed(&f, text + at, n, take_line, &lines, &err), &err);
        }
        assert_string_equal(buf_str(&lines), "[{\"a\":1}][{\"b\":2}][{\"c\":3}]");
        framer_release(&f);
    }
}

static void managed_fields_are_cut_out(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"metadata\":{\"managedFields\":[{\"a\":[1,2],\"b\":\"]\\\"]\"}],\"name\":\"x\"}}",
         "{\"metadata\":{\"name\":\"x\"}}"},
        {"{\"name\":\"x\",\"managedFields\":[]}", "{\"name\":\"x\"}"},
        {"{\"managedFields\":[]}", "{}"},
        {"[{\"managedFields\":[1],\"a\":1},{\"managedFields\":[2]}]", "[{\"a\":1},{}]"},
        {"{\"a\":\"\\\"managedFields\\\":[\"}", "{\"a\":\"\\\"managedFields\\\":[\"}"},
        {"{\"managedFields\":[{\"a\":\"", "{"},
        {"{\"managedFields\":[\"\\", "{"},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *text = xstrdup(cases[i][0]);
        size_t len = kube_cut_members(text, strlen(text), NULL);
        assert_string_equal(text, cases[i][1]);
        assert_int_equal(len, strlen(cases[i][1]));
    }
}

static void members_nobody_reads_are_cut_out(void **state)
{
    (void)state;
    static const char *const names[] = {"containers", "x/config", "template", NULL};
    static const char *const cases[][2] = {
        {"{\"a\":{\"containers\":[{\"n\":\"}]\"}],\"b\":1},\"template\":{\"spec\":{}}}", "{\"a\":{\"b\":1}}"},
        {"{\"x/config\":\"{\\\"a\\\":[1]}\",\"n\":2}", "{\"n\":2}"},
        {"{\"containers\":3,\"template\":null}", "{\"containers\":3,\"template\":null}"},
        {"{\"containersX\":[1],\"xcontainers\":[2]}", "{\"containersX\":[1],\"xcontainers\":[2]}"},
        {"{\"template\":{\"a\":[", "{"},
        {"{\"template\":", "{\"template\":"},
        {"{\"a\":1,\"managedFields\":[{}],\"template\":{}}", "{\"a\":1}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *text = xstrdup(cases[i][0]);
        size_t len = kube_cut_members(text, strlen(text), names);
        assert_string_equal(text, cases[i][1]);
        assert_int_equal(len, strlen(cases[i][1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_then_the_stream),
        cmocka_unit_test(an_ended_stream_is_resumed_where_it_was),
        cmocka_unit_test(too_old_lists_again_and_finds_what_was_deleted),
        cmocka_unit_test(pages_that_expire_begin_anew),
        cmocka_unit_test(failures_of_all_kinds_pass),
        cmocka_unit_test(an_event_that_cannot_be_read_again_and_again_lists),
        cmocka_unit_test(a_page_that_is_too_large_is_asked_for_in_halves),
        cmocka_unit_test(a_silent_stream_is_cut),
        cmocka_unit_test(lines_come_in_any_pieces),
        cmocka_unit_test(managed_fields_are_cut_out),
        cmocka_unit_test(members_nobody_reads_are_cut_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
