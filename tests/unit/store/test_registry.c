/* The registry on a file:// store: numbering under racing writers, alias chains, what a repeated register may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/map.h"
#include "common/store/registry.h"

struct fixture {
    char *dir, *url;
    struct store *store;
};

static void *open_store(const char *url)
{
    struct store *s;
    struct err err = ERR_INIT;
    if (store_open(&(struct store_config){.url = url}, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err err = ERR_INIT;
    if (fs_make_temp_dir("/tmp", "registry", &f->dir, &err) < 0)
        fail_msg("%s", err.msg);
    f->url = xasprintf("file://%s", f->dir);
    f->store = open_store(f->url);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    store_free(f->store);
    (void)fs_remove_tree(f->dir, &err);
    free(f->dir);
    free(f->url);
    free(f);
    return 0;
}

/* 64 hex digits that end in n. */
static const char *digest_of(int n, char ret[static DIGEST_HEX])
{
    (void)snprintf(ret, DIGEST_HEX, "%064d", n);
    return ret;
}

static int64_t add(struct store *s, int model, bool *ret_created)
{
    char a[DIGEST_HEX], b[DIGEST_HEX];
    int64_t version;
    struct err err = ERR_INIT;
    if (registry_add_version(s, "ranker", digest_of(model, a), digest_of(model + 1000, b), NULL, &version,
                             ret_created, &err) < 0)
        fail_msg("%s", err.msg);
    return version;
}

static void versions_count_up_and_repeat_by_key(void **state)
{
    struct fixture *f = *state;
    bool created;
    assert_int_equal(add(f->store, 1, &created), 1);
    assert_true(created);
    assert_int_equal(add(f->store, 2, &created), 2);
    assert_int_equal(add(f->store, 1, &created), 1);
    assert_false(created);
    int64_t newest;
    struct err err = ERR_INIT;
    assert_int_equal(registry_newest_version(f->store, "ranker", &newest, &err), 0);
    assert_int_equal(newest, 2);
}

static void newest_is_found_for_any_count(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n <= 20; n++) {
        int64_t newest;
        struct err err = ERR_INIT;
        assert_int_equal(registry_newest_version(f->store, "ranker", &newest, &err), 0);
        assert_int_equal(newest, n);
        bool created;
        assert_int_equal(add(f->store, n, &created), n + 1);
    }
}

static void racing_writers_leave_no_gap_and_no_duplicate(void **state)
{
    enum { WRITERS = 6, EACH = 5 };
    struct fixture *f = *state;
    for (int w = 0; w < WRITERS; w++) {
        if (fork() == 0) {
            struct store *s = open_store(f->url);
            bool created;
            for (int i = 0; i < EACH; i++)
                (void)add(s, i % 2 ? 500 + i : w * EACH + i, &created); /* some keys are everybody's */
            store_free(s);
            _exit(0);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed += status != 0;
    assert_int_equal(failed, 0);
    _cleanup_json_ cJSON *list = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(registry_list_versions(f->store, "ranker", &list, &err), 0);
    /* 3 own keys a writer and 2 shared ones. */
    assert_int_equal(cJSON_GetArraySize(list), WRITERS * 3 + 2);
    _cleanup_map_ struct map *seen = map_new(100, NULL);
    const cJSON *version;
    int expected = WRITERS * 3 + 2;
    cJSON_ArrayForEach(version, list)
    {
        assert_int_equal(cJSON_GetObjectItem(version, "version")->valueint, expected--);
        const char *key = cJSON_GetObjectItem(version, "model")->valuestring;
        assert_false(map_has(seen, key));
        (void)map_set(seen, key, (void *)1);
    }
}

static const struct registry_change person = {.who = "someone", .why = "test", .at_ms = 1, .expect_from = -1};
static const struct registry_change machine = {.who = "run r",
                                               .why = "registered",
                                               .at_ms = 1,
                                               .expect_from = -1,
                                               .automatic = true};

static int64_t target(struct store *s, const char *alias)
{
    int64_t version;
    struct err err = ERR_INIT;
    if (registry_get_alias(s, "ranker", alias, &version, NULL, &err) < 0)
        fail_msg("%s", err.msg);
    return version;
}

static void set_alias(struct store *s, const char *alias, int64_t version,
                      const struct registry_change *change)
{
    struct err err = ERR_INIT;
    if (registry_set_alias(s, "ranker", alias, version, change, &err) < 0)
        fail_msg("%s", err.msg);
}

static void aliases_move_and_remember(void **state)
{
    struct fixture *f = *state;
    bool created;
    for (int i = 1; i <= 3; i++)
        (void)add(f->store, i, &created);
    assert_int_equal(target(f->store, "production"), 0);
    set_alias(f->store, "production", 1, &person);
    set_alias(f->store, "production", 3, &person);
    set_alias(f->store, "production", 3, &person); /* no second record */
    int64_t previous;
    struct err err = ERR_INIT;
    assert_int_equal(registry_previous_target(f->store, "ranker", "production", &previous, &err), 0);
    assert_int_equal(previous, 1);
    _cleanup_json_ cJSON *history = NULL;
    assert_int_equal(registry_alias_history(f->store, "ranker", "production", &history, &err), 0);
    assert_int_equal(cJSON_GetArraySize(history), 2);
    assert_int_equal(registry_set_alias(f->store, "ranker", "production", 9, &person, &err), -1);
    assert_int_equal(err.class_, ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "versions 1 to 3"));
    err_clear(&err);
    struct registry_change expects = person;
    expects.expect_from = 1;
    assert_int_equal(registry_set_alias(f->store, "ranker", "production", 2, &expects, &err), -1);
    assert_int_equal(err.class_, ERR_CONFLICT);
    _cleanup_free_ char *pointer = NULL;
    size_t len;
    err_clear(&err);
    assert_int_equal(store_get(f->store, "models/ranker/aliases/production.json", 4096, &pointer, &len, NULL,
                               &err),
                     0);
    assert_non_null(strstr(pointer, "\"version\":3"));
}

static void a_tampered_chain_is_named(void **state)
{
    struct fixture *f = *state;
    bool created;
    (void)add(f->store, 1, &created);
    (void)add(f->store, 2, &created);
    set_alias(f->store, "production", 1, &person);
    set_alias(f->store, "production", 2, &person);
    struct err err = ERR_INIT;
    const char *forged =
        "{\"at\":\"1970-01-01T00:00:00Z\",\"from\":0,\"previous\":\"\",\"seq\":1,\"to\":2,\"who\":\"x\",\"why\":\"\"}";
    assert_int_equal(store_put(f->store, "models/ranker/aliases/production/1.json", forged, strlen(forged),
                               STORE_ALWAYS, NULL, NULL, &err),
                     0);
    int64_t version;
    assert_int_equal(registry_get_alias(f->store, "ranker", "production", &version, NULL, &err), -1);
    assert_string_equal(err.reason, "alias-chain");
    assert_non_null(strstr(err.msg, "record 2"));
}

static bool set_once(struct store *s, int64_t version)
{
    bool moved;
    struct err err = ERR_INIT;
    if (registry_set_alias_once(s, "ranker", "candidate", version, &machine, &moved, &err) < 0)
        fail_msg("%s", err.msg);
    return moved;
}

static void a_repeated_register_never_undoes_a_person(void **state)
{
    struct fixture *f = *state;
    bool created;
    (void)add(f->store, 1, &created);
    (void)add(f->store, 2, &created);
    assert_true(set_once(f->store, 1));
    assert_false(set_once(f->store, 1));
    assert_true(set_once(f->store, 2));  /* a machine's move is no person's */
    assert_false(set_once(f->store, 1)); /* never back to an older one */
    set_alias(f->store, "candidate", 1, &person);
    assert_false(set_once(f->store, 2));
    assert_int_equal(target(f->store, "candidate"), 1);
}

static void names_that_could_escape_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "../x", "a/b", "A", "-a", "a-", "a.b", "a b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t newest;
        struct err err = ERR_INIT;
        assert_int_equal(registry_newest_version(f->store, bad[i], &newest, &err), -1);
        assert_int_equal(err_exit_code(&err), 78);
    }
}

/* A version with real payload, for verification. */
static void register_payload(struct fixture *f, char ret_model[static DIGEST_HEX])
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *dir = NULL;
    char digests[2][DIGEST_HEX];
    static const char *const kinds[] = {"model", "report"};
    for (int i = 0; i < 2; i++) {
        _cleanup_artifact_ struct artifact *a = NULL;
        if (fs_make_temp_dir(f->dir, "payload", &dir, &err) < 0)
            fail_msg("%s", err.msg);
        _cleanup_free_ char *file = fs_join(dir, "weights");
        _cleanup_free_ char *prefix = NULL;
        assert_int_equal(fs_write_atomic(file, kinds[i], strlen(kinds[i]), &err), 0);
        assert_int_equal(artifact_describe(dir, kinds[i], NULL, NULL, NULL, &a, &err), 0);
        memcpy(digests[i], a->digest, DIGEST_HEX);
        prefix = i == 0 ? registry_payload_prefix("ranker", a->digest)
                        : registry_evaluation_prefix("ranker", a->digest);
        assert_int_equal(artifact_publish(f->store, prefix, dir, a, &err), 0);
        dir = xfree(dir);
    }
    bool created;
    int64_t version;
    assert_int_equal(registry_add_version(f->store, "ranker", digests[0], digests[1], NULL, &version,
                                          &created, &err),
                     0);
    memcpy(ret_model, digests[0], DIGEST_HEX);
}

static void verification_notices_an_altered_file(void **state)
{
    struct fixture *f = *state;
    char model[DIGEST_HEX];
    register_payload(f, model);
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *findings = json_array();
    if (registry_verify(f->store, "ranker", 1, NULL, f->dir, findings, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(cJSON_GetArraySize(findings), 3);
    _cleanup_free_ char *prefix = registry_payload_prefix("ranker", model), *key = fs_join(prefix, "weights");
    assert_int_equal(store_put(f->store, key, "modem", 5, STORE_ALWAYS, NULL, NULL, &err), 0);
    assert_int_equal(registry_verify(f->store, "ranker", 1, NULL, f->dir, findings, &err), -1);
    assert_non_null(strstr(err.msg, "weights"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(versions_count_up_and_repeat_by_key, setup, teardown),
        cmocka_unit_test_setup_teardown(newest_is_found_for_any_count, setup, teardown),
        cmocka_unit_test_setup_teardown(racing_writers_leave_no_gap_and_no_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(aliases_move_and_remember, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tampered_chain_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_repeated_register_never_undoes_a_person, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_could_escape_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(verification_notices_an_altered_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
