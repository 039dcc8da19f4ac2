/* The progress receiver: who may post, what is taken from a post. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/limits.h"
#include "operator/cli/local/progress.h"

static const uint8_t key[SHA256_LEN] = {1, 2, 3};
#define UID "0a1b2c3d-0000-4000-8000-000000000001"

static char *bearer(const char *step, int attempt, int64_t item)
{
    char token[DIGEST_HEX];
    progress_sign(key, "progress", UID, step, attempt, item, token);
    return xasprintf("Bearer %s", token);
}

static int post(struct progress *p, const char *path, const char *authorization, const char *body)
{
    return progress_handle(p, "POST", path, authorization, body, strlen(body), 1000);
}

#define PATH "/v1/progress/" UID "/train/2/0"

static void a_post_with_the_right_token_is_kept(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *auth = bearer("train", 2, 0);
    (void)progress_begin(p, "train", 2, 0);
    assert_false(progress_changed(p));
    assert_int_equal(
        post(
            p, PATH, auth,
            "{\"fraction\":0.25,\"message\":\"epoch 1/3\",\"metrics\":{\"loss\":0.5,\"bad\":\"x\"},\"checkpoint_step\":7}"),
        204);
    assert_true(progress_changed(p));
    assert_false(progress_changed(p));
    const struct progress_entry *e = progress_find(p, "train", 2, 0);
    assert_non_null(e);
    assert_true(e->fraction == 0.25);
    assert_string_equal(e->message, "epoch 1/3");
    assert_int_equal(cJSON_GetArraySize(e->metrics), 1);
    assert_int_equal(e->checkpoint_step, 7);
    /* A checkpoint never goes back; what a post does not say stays. */
    assert_int_equal(post(p, PATH, auth, "{\"metrics\":{\"checkpoint_step\":5}}"), 204);
    assert_int_equal(e->checkpoint_step, 7);
    assert_true(e->fraction == 0.25);
    assert_int_equal(post(p, PATH, auth, "{\"metrics\":{\"checkpoint_step\":9}}"), 204);
    assert_int_equal(e->checkpoint_step, 9);
}

static void other_tokens_are_refused(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *right = bearer("train", 2, 0), *attempt = bearer("train", 3, 0),
                        *step = bearer("trainx", 2, 0), *item = bearer("train", 2, 1);
    _cleanup_free_ char *shorter = xstrndup(right, strlen(right) - 1), *longer = xasprintf("%s0", right);
    const char *const wrong[] = {NULL, "",   "Bearer ", "Bearer x", attempt,
                                 step, item, shorter,   longer,     right + strlen("Bearer ")};
    (void)progress_begin(p, "train", 2, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(post(p, PATH, wrong[i], "{}"), 401);
    assert_int_equal(post(p, "/v1/progress/other-run/train/2/0", right, "{}"), 401);
    assert_int_equal(post(p, PATH, right, "{}"), 204);
}

static void paths_and_bodies_are_checked(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *auth = bearer("train", 2, 0);
    static const char *const paths[] = {"/",
                                        "/v1/progress/",
                                        "/v1/progress/" UID,
                                        "/v1/progress/" UID "/train/2",
                                        PATH "/",
                                        PATH "/x",
                                        "/v1/progress/" UID "/train/x/0",
                                        "/v1/progress/" UID "/train/-2/0",
                                        "/v1/progress/" UID "//2/0"};
    (void)progress_begin(p, "train", 2, 0);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_int_equal(post(p, paths[i], auth, "{}"), 404);
    assert_int_equal(progress_handle(p, "GET", PATH, auth, "", 0, 0), 405);
    static const char *const bodies[] =
        {"", "[]", "{", "{\"fraction\":\"x\"}", "{\"metrics\":[]}", "{\"message\":1}", "{} x"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        assert_int_equal(post(p, PATH, auth, bodies[i]), 400);
    _cleanup_buf_ struct buf large = BUF_INIT(LIMIT_PROGRESS_BYTES * 2);
    (void)buf_adds(&large, "{\"message\":\"");
    while (large.len <= LIMIT_PROGRESS_BYTES)
        (void)buf_addc(&large, 'x');
    (void)buf_adds(&large, "\"}");
    assert_int_equal(post(p, PATH, auth, buf_str(&large)), 413);
    assert_false(progress_changed(p));
}

static void ended_and_unknown_attempts_are_gone(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *auth = bearer("train", 2, 0);
    assert_int_equal(post(p, PATH, auth, "{}"), 410);
    (void)progress_begin(p, "train", 2, 0);
    assert_int_equal(post(p, PATH, auth, "{}"), 204);
    progress_end(p, "train", 2, 0);
    assert_int_equal(post(p, PATH, auth, "{}"), 410);
}

static void messages_cannot_drive_the_terminal(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *auth = bearer("train", 2, 0);
    const struct progress_entry *e = progress_begin(p, "train", 2, 0);
    assert_int_equal(post(p, PATH, auth, "{\"message\":\"a\\u001b[2Jb\\nc\\u007f\",\"fraction\":7}"), 204);
    assert_string_equal(e->message, "a [2Jb c ");
    assert_true(e->fraction == 1);
}

static void only_rank_0_speaks(void **state)
{
    (void)state;
    _cleanup_progress_ struct progress *p = progress_new(UID, key);
    _cleanup_free_ char *auth = bearer("train", 2, 0);
    const struct progress_entry *e = progress_begin(p, "train", 2, 0);
    assert_int_equal(post(p, PATH, auth, "{\"rank\":1,\"fraction\":0.9}"), 204);
    assert_true(e->fraction < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_post_with_the_right_token_is_kept),
        cmocka_unit_test(other_tokens_are_refused),
        cmocka_unit_test(paths_and_bodies_are_checked),
        cmocka_unit_test(ended_and_unknown_attempts_are_gone),
        cmocka_unit_test(messages_cannot_drive_the_terminal),
        cmocka_unit_test(only_rank_0_speaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
