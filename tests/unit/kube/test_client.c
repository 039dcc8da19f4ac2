/* Calls: what is repeated and what is not, what errors say, how many are under way. */
#include "tests/unit/kube/script.h"

#include "common/base/json.h"

struct outcome {
    bool finished;
    char *name; /* metadata.name of the answer */
    struct err failure;
};

static void on_done(void *ctx, cJSON **object, struct err *failure)
{
    struct outcome *o = ctx;
    const cJSON *metadata = *object ? cJSON_GetObjectItem(*object, "metadata") : NULL;
    const cJSON *name = metadata ? cJSON_GetObjectItem(metadata, "name") : NULL;
    o->finished = true;
    o->name = cJSON_IsString(name) ? xstrdup(name->valuestring) : NULL;
    o->failure = *failure;
}

static void run(struct script *s, const struct kube_request *r, struct outcome *ret)
{
    struct err err = ERR_INIT;
    *ret = (struct outcome){.finished = false};
    (void)kube_start(s->client, r, on_done, ret);
    assert_false(ret->finished); /* never inside kube_start() */
    while (!ret->finished)
        assert_ok(loop_step(s->loop, 5000, &err), &err);
}

#define OBJECT "{\"metadata\":{\"name\":\"x\"}}"
static const struct kube_request read_one = {.verb = KUBE_GET,
                                             .resource = &KUBE_JOBS,
                                             .ns = "n",
                                             .name = "x"};

static void expect(const char *const *answers, const struct kube_request *r, enum err_class class_,
                   const char *part, size_t requests)
{
    struct script s;
    struct outcome o;
    script_start(&s, answers);
    run(&s, r, &o);
    if (class_ == ERR_NONE && err_is_set(&o.failure))
        fail_msg("expected success, found %s", o.failure.msg);
    assert_int_equal(o.failure.class_, class_);
    if (class_ == ERR_NONE)
        assert_string_equal(o.name, "x");
    else
        assert_contains(o.failure.msg, part);
    assert_int_equal(s.n_requests, requests);
    free(o.name);
    script_end(&s);
}

static void reads_are_repeated(void **state)
{
    (void)state;
    static const char *const failures[] = {
        ANSWER("500 Oops", STATUS(500, "InternalError", "etcd is away")),
        ANSWER("429 Slow", STATUS(429, "TooManyRequests", "slow down")),
        ANSWER("504 Late", STATUS(504, "Timeout", "late")),
        ANSWER("200 OK", "{\"metadata\":{\"na"), /* cut */
        "",                                      /* closed without an answer: the reply is lost */
    };
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
        const char *const answers[] = {failures[i], ANSWER("200 OK", OBJECT), NULL};
        expect(answers, &read_one, ERR_NONE, NULL, 2);
    }
}

static void reads_give_up_in_the_end(void **state)
{
    (void)state;
    const char *const answers[] = {ANSWER("503 No", STATUS(503, "ServiceUnavailable", "not now")), NULL};
    expect(answers, &read_one, ERR_RETRY, "after 5 tries: get jobs n/x: HTTP 503: not now", KUBE_TRIES);
}

static void writes_are_repeated_only_where_the_server_did_nothing(void **state)
{
    (void)state;
    _cleanup_json_ cJSON *body = kube_object(&KUBE_JOBS, "n", "x");
    const struct kube_request create = {.verb = KUBE_CREATE, .resource = &KUBE_JOBS, .ns = "n", .body = body};
    const char *const slow[] = {"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
                                ANSWER("201 Created", OBJECT), NULL};
    int64_t began = loop_now_ms();
    expect(slow, &create, ERR_NONE, NULL, 2);
    assert_true(loop_now_ms() - began >= 1000); /* as the server asked */
    const char *const failing[] = {ANSWER("500 Oops", STATUS(500, "InternalError", "etcd is away")), NULL};
    expect(failing, &create, ERR_RETRY, "create jobs n: HTTP 500: etcd is away", 1);
    const char *const lost[] = {"", NULL};
    expect(lost, &create, ERR_RETRY, "create jobs n", 1);
    const char *const cut[] = {ANSWER("201 Created", "{\"met"), NULL};
    expect(cut, &create, ERR_RETRY, "no JSON", 1);
}

static void errors_have_class_reason_and_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum err_class class_;
        const char *reason, *part;
    } cases[] = {
        {ANSWER("409 Conflict", STATUS(409, "AlreadyExists", "x is there")), ERR_EXISTS, "AlreadyExists",
         "x is there"},
        {ANSWER("409 Conflict", STATUS(409, "Conflict", "modified")), ERR_CONFLICT, "Conflict", "modified"},
        {ANSWER("404 No", STATUS(404, "NotFound", "no x")), ERR_NOTFOUND, "NotFound", "no x"},
        {ANSWER("410 Gone", STATUS(410, "Expired", "too old")), ERR_GONE, "Expired", "too old"},
        {ANSWER("422 Bad", STATUS(422, "Invalid", "spec.x: wrong")), ERR_INVALID, "Invalid", "spec.x: wrong"},
        {ANSWER("403 No", STATUS(403, "Forbidden", "may not")), ERR_TERMINAL, "Forbidden",
         "lacks this right"},
        {ANSWER("401 No", ""), ERR_TERMINAL, "http", "does not accept our credentials"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const answers[] = {cases[i].answer, NULL};
        struct script s;
        struct outcome o;
        script_start(&s, answers);
        run(&s, &read_one, &o);
        assert_int_equal(o.failure.class_, cases[i].class_);
        assert_string_equal(o.failure.reason, cases[i].reason);
        assert_contains(o.failure.msg, cases[i].part);
        assert_int_equal(s.n_requests, 1);
        script_end(&s);
    }
}

static void requests_are_what_the_api_wants(void **state)
{
    (void)state;
    const char *const answers[] = {ANSWER("200 OK", OBJECT), NULL};
    struct script s;
    struct outcome o;
    _cleanup_json_ cJSON *body = json_object();
    json_add_int(body, "a", 1);
    script_start(&s, answers);
    s.config.token = (char *)"secret";
    run(&s,
        &(struct kube_request){.verb = KUBE_MERGE,
                               .resource = &KUBE_CONTROLLER_REVISIONS,
                               .ns = "n",
                               .name = "x",
                               .sub = "status",
                               .query = "a=b",
                               .body = body},
        &o);
    free(o.name);
    assert_contains(s.requests[0],
                    "PATCH /apis/apps/v1/namespaces/n/controllerrevisions/x/status?a=b HTTP/1.1\r\n");
    assert_contains(s.requests[0], "Content-Type: application/merge-patch+json\r\n");
    assert_contains(s.requests[0], "Authorization: Bearer secret\r\n");
    assert_contains(s.requests[0], "\r\n\r\n{\"a\":1}");
    script_end(&s);
}

static void a_replaced_token_is_read_again(void **state)
{
    (void)state;
    const char *const answers[] = {ANSWER("401 No", ""), ANSWER("200 OK", OBJECT), NULL};
    char path[] = "/tmp/kube-token-XXXXXX";
    struct script s;
    struct outcome o;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "first\n", 6), 6);
    script_start(&s, answers);
    s.config.token_file = path;
    run(&s, &read_one, &o);
    assert_false(err_is_set(&o.failure));
    free(o.name);
    assert_contains(s.requests[0], "Bearer first\r\n");
    assert_int_equal(pwrite(fd, "other\n", 6, 0), 6);
    (void)usleep(1100 * 1000); /* the file is looked at once a second */
    run(&s, &read_one, &o);
    free(o.name);
    assert_contains(s.requests[2], "Bearer other\r\n");
    script_end(&s);
    (void)close(fd);
    (void)unlink(path);
}

static void count_done(void *ctx, cJSON **object, struct err *failure)
{
    (void)object;
    assert_false(err_is_set(failure));
    ++*(int *)ctx;
}

static void no_more_than_allowed_are_under_way(void **state)
{
    (void)state;
    const char *const answers[] = {HOLD, NULL};
    struct script s;
    struct err err = ERR_INIT;
    int done = 0;
    script_start(&s, answers);
    s.client = kube_client_free(s.client);
    struct kube_client_options options = {.max_in_flight = 3};
    assert_ok(kube_client_new(s.loop, &s.config, &options, &s.client, &err), &err);
    struct kube_call *calls[8];
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
        calls[i] = kube_start(s.client, &read_one, count_done, &done);
    for (int64_t until = loop_now_ms() + 300; loop_now_ms() < until;)
        assert_ok(loop_step(s.loop, 50, &err), &err);
    assert_int_equal(s.n_requests, 3);
    (void)kube_cancel(calls[0]); /* the next in line goes */
    for (int64_t until = loop_now_ms() + 300; loop_now_ms() < until;)
        assert_ok(loop_step(s.loop, 50, &err), &err);
    assert_int_equal(s.n_requests, 4);
    assert_int_equal(done, 0);
    script_end(&s); /* cancels the rest: nothing runs any more */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_are_repeated),
        cmocka_unit_test(reads_give_up_in_the_end),
        cmocka_unit_test(writes_are_repeated_only_where_the_server_did_nothing),
        cmocka_unit_test(errors_have_class_reason_and_sentence),
        cmocka_unit_test(requests_are_what_the_api_wants),
        cmocka_unit_test(a_replaced_token_is_read_again),
        cmocka_unit_test(no_more_than_allowed_are_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
