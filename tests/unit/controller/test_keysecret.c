/* The key Secret: found, made, made by another at the same moment, unusable, forbidden. */
#include "operator/controller/keysecret.h"

#include "common/base/digest.h"
#include "common/base/json.h"
#include "tests/unit/kube/script.h"

/* 32 bytes of 'k', 31 of 'k'. */
#define GOOD "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
#define SHORT "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2trcg=="
#define SECRET(key) "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"the-key\"},\"data\":{\"key\":\"" key "\"}}"
#define NOT_FOUND ANSWER("404 Not Found", STATUS(404, "NotFound", "no such secret"))

struct world {
    struct script script;
    struct keysecret *keysecret;
    int ready, failed;
    unsigned char key[64];
    size_t len;
    char why[512]; /* of the last failure */
};

static void ready(void *ctx, const void *key, size_t len)
{
    struct world *w = ctx;
    w->ready++;
    assert_true(len <= sizeof w->key);
    memcpy(w->key, key, len);
    w->len = len;
}

static void failed(void *ctx, const char *message)
{
    struct world *w = ctx;
    w->failed++;
    (void)snprintf(w->why, sizeof w->why, "%s", message);
}

static void run(struct world *w, const char *const *answers)
{
    struct err err = ERR_INIT;
    *w = (struct world){0};
    script_start(&w->script, answers);
    w->keysecret = keysecret_new(w->script.loop, w->script.client, "own", "the-key", ready, failed, w);
    for (int64_t until = loop_now_ms() + 5000; !w->ready && loop_now_ms() < until;)
        assert_ok(loop_step(w->script.loop, 10, &err), &err);
    for (int64_t until = loop_now_ms() + 300; loop_now_ms() < until;)
        assert_ok(loop_step(w->script.loop, 10, &err), &err);
    assert_int_equal(w->ready, 1); /* once */
    assert_int_equal(w->len, KEYSECRET_BYTES);
}

static void end(struct world *w)
{
    keysecret_free(w->keysecret);
    script_end(&w->script);
}

static void is_good(const struct world *w)
{
    for (size_t i = 0; i < w->len; i++)
        assert_int_equal(w->key[i], 'k');
}

static void found(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {ANSWER("200 OK", SECRET(GOOD)), NULL};
    run(&w, answers);
    is_good(&w);
    assert_int_equal(w.script.n_requests, 1);
    assert_contains(w.script.requests[0], "GET /api/v1/namespaces/own/secrets/the-key ");
    assert_int_equal(w.failed, 0);
    end(&w);
}

static char *sent_key(const struct world *w, size_t i)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *j = NULL;
    const char *text = strstr(w->script.requests[i], "\r\n\r\n") + 4;
    assert_ok(json_parse(text, strlen(text), 1 << 20, &j, &err), &err);
    const cJSON *key = cJSON_GetObjectItem(cJSON_GetObjectItem(j, "data"), "key");
    assert_true(cJSON_IsString(key));
    return xstrdup(key->valuestring);
}

static void made(void **state)
{
    (void)state;
    struct world w;
    char *keys[2];
    for (size_t i = 0; i < 2; i++) {
        struct err err = ERR_INIT;
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t len;
        const char *const answers[] = {NOT_FOUND, ANSWER("201 Created", SECRET(GOOD)), NULL};
        run(&w, answers);
        is_good(&w); /* what the API server answers counts */
        assert_int_equal(w.script.n_requests, 2);
        assert_contains(w.script.requests[1], "POST /api/v1/namespaces/own/secrets ");
        assert_contains(w.script.requests[1], "\"name\":\"the-key\"");
        assert_contains(w.script.requests[1], "\"app.kubernetes.io/managed-by\":\"trainyard\"");
        keys[i] = sent_key(&w, 1);
        assert_ok(base64_decode(keys[i], &bytes, &len, &err), &err);
        assert_int_equal(len, KEYSECRET_BYTES);
        end(&w);
    }
    assert_string_not_equal(keys[0], keys[1]);
    free(keys[0]);
    free(keys[1]);
}

static void another_was_first(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND,
                                   ANSWER("409 Conflict", STATUS(409, "AlreadyExists",
                                                                 "secrets \\\"the-key\\\" already exists")),
                                   ANSWER("200 OK", SECRET(GOOD)), NULL};
    run(&w, answers);
    is_good(&w);
    assert_int_equal(w.script.n_requests, 3);
    assert_contains(w.script.requests[2], "GET ");
    assert_int_equal(w.failed, 0); /* that is no failure */
    end(&w);
}

static void its_making_had_no_answer(void **state)
{
    (void)state;
    struct world w;
    const char *const answers[] = {NOT_FOUND, "", ANSWER("200 OK", SECRET(GOOD)), NULL};
    run(&w, answers);
    is_good(&w);
    assert_contains(w.script.requests[2], "GET "); /* never a second key */
    end(&w);
}

static void unusable_ones_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *why;
    } cases[] = {
        {ANSWER("200 OK", SECRET(SHORT)),
         "Secret own/the-key: expected data.key of at least 32 bytes, found 31"},
        {ANSWER("200 OK", SECRET("%%%")), "Secret own/the-key: expected data.key of at least 32 bytes"},
        {ANSWER("200 OK", "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"the-key\"}}"), "expected data.key"},
        {ANSWER("403 Forbidden", STATUS(403, "Forbidden", "cannot get secrets")), "cannot get secrets"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct world w;
        const char *const answers[] = {cases[i].answer, ANSWER("200 OK", SECRET(GOOD)), NULL};
        run(&w, answers); /* it goes on trying, so a mended one is taken */
        is_good(&w);
        assert_int_equal(w.failed, 1);
        assert_contains(w.why, cases[i].why);
        for (size_t r = 0; r < w.script.n_requests; r++)
            assert_contains(w.script.requests[r], "GET "); /* never written over */
        end(&w);
    }
}

static void freed_while_asking(void **state)
{
    (void)state;
    struct world w = {0};
    struct err err = ERR_INIT;
    const char *const answers[] = {ANSWER("200 OK", SECRET(GOOD)), NULL};
    script_start(&w.script, answers);
    w.keysecret = keysecret_new(w.script.loop, w.script.client, "own", "the-key", ready, failed, &w);
    w.keysecret = keysecret_free(w.keysecret);
    for (int64_t until = loop_now_ms() + 100; loop_now_ms() < until;)
        assert_ok(loop_step(w.script.loop, 10, &err), &err);
    assert_int_equal(w.ready + w.failed, 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"one that is there is used", found, NULL, NULL, NULL},
        {"one that is not there is made, of random bytes", made, NULL, NULL, NULL},
        {"made by another meanwhile: that one is used", another_was_first, NULL, NULL, NULL},
        {"made, but the answer was lost: it is read", its_making_had_no_answer, NULL, NULL, NULL},
        {"an unusable or forbidden one is named, not replaced, and looked at again", unusable_ones_are_named,
         NULL, NULL, NULL},
        {"freed while it asks", freed_while_asking, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
