/* Records of runs: what is written is read again; names are unique; damaged records harm nobody. Locations and the cache file. */
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "operator/cli/cachefile.h"
#include "operator/cli/location.h"
#include "operator/cli/record.h"
#include "tests/unit/unit.h"

static const char manifest[] = "apiVersion: trainyard.dev/v1alpha1\n"
                               "kind: TrainingPipeline\n"
                               "metadata: {name: small}\n"
                               "spec:\n"
                               "  parameters: [{name: lr, type: number, default: \"0.1\"}]\n"
                               "  steps:\n"
                               "    - name: validate\n"
                               "      dataValidate: {source: {uri: \"file:///data/\", format: csv}}\n";

static char *dir;

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    if (fs_make_temp_dir("/tmp", "cli-record", &dir, &err) < 0)
        return -1;
    _cleanup_free_ char *home = fs_join(dir, "home");
    return setenv("XDG_STATE_HOME", home, 1);
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

/* The store is <dir>/store. */
static cJSON *store_description(void)
{
    cJSON *store = json_object();
    _cleanup_free_ char *url = xasprintf("file://%s/store", dir);
    json_add_string(store, "url", url);
    return store;
}

static int create(const char *name, int64_t now_ms, struct record **ret, struct err *err)
{
    struct pipeline *p = NULL;
    struct findings f = {0};
    if (pipeline_decode_yaml(manifest, sizeof manifest - 1, "small.yaml", &p, &f, err) < 0)
        fail_msg("%s", err->msg);
    findings_release(&f);
    _cleanup_json_ cJSON *store = store_description(), *secrets = json_object();
    json_add_string(secrets, "s3", "/keys");
    struct record_options o = {.store = store,
                               .secrets = secrets,
                               .workers = 2,
                               .parallelism = 3,
                               .no_cache = true,
                               .stages_dir = (char *)"/stages"};
    struct run_param params[] = {{(char *)"lr", (char *)"0.5"}};
    _cleanup_free_ char *state_dir = xasprintf("%s/store/local", dir);
    struct record_request q = {.state_dir = state_dir,
                               .manifest_name = "small.yaml",
                               .manifest_text = manifest,
                               .manifest_len = sizeof manifest - 1,
                               .name = name,
                               .now_ms = now_ms,
                               .scheduled_ms = 1234567890123,
                               .params = params,
                               .n_params = 1,
                               .options = &o};
    return record_create(&q, p, ret, err);
}
static void what_is_written_is_read_again(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_record_ struct record *r = NULL, *again = NULL;
    assert_ok(create(NULL, 1000, &r, &err), &err);
    assert_string_equal(r->spec.name, "small-1");
    assert_int_equal(strlen(r->spec.uid), 36);
    run_status_prepare(&r->status, r->pipeline);
    r->status.phase = PHASE_RUNNING;
    r->status.steps[0].items[0].state = r->status.steps[0].state = STATE_RUNNING;
    r->status.steps[0].items[0].attempt = 2;
    r->spec.stop = RUN_STOP_GRACEFUL;
    r->spec.restart_id = xstrdup("again");
    r->spec.restart_from = xcalloc(2, sizeof *r->spec.restart_from);
    r->spec.restart_from[r->spec.n_restart_from++] = xstrdup("validate");
    assert_ok(record_write(r, &err), &err);
    assert_ok(record_load(r->state_dir, r->spec.uid, &again, &err), &err);
    assert_string_equal(again->spec.name, "small-1");
    assert_string_equal(again->pipeline->name, "small");
    assert_int_equal(again->spec.created_ms, 1000);
    assert_true(again->spec.scheduled_ms == 1234567890123);
    assert_int_equal(again->spec.n_params, 1);
    assert_string_equal(again->spec.params[0].value, "0.5");
    assert_int_equal(again->spec.stop, RUN_STOP_GRACEFUL);
    assert_string_equal(again->spec.restart_id, "again");
    assert_string_equal(again->spec.restart_from[0], "validate");
    assert_int_equal(again->options.workers, 2);
    assert_int_equal(again->options.parallelism, 3);
    assert_true(again->options.no_cache);
    assert_string_equal(again->options.stages_dir, "/stages");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(again->options.secrets, "s3")), "/keys");
    assert_int_equal(again->status.phase, PHASE_RUNNING);
    assert_int_equal(again->status.steps[0].items[0].attempt, 2);
}

static void names_are_unique_and_numbers_go_on(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_record_ struct record *a = NULL, *b = NULL, *c = NULL;
    struct record *d = NULL;
    assert_ok(create(NULL, 1000, &a, &err), &err);
    assert_ok(create("named", 2000, &b, &err), &err);
    assert_ok(create(NULL, 3000, &c, &err), &err);
    assert_string_equal(a->spec.name, "small-1");
    assert_string_equal(c->spec.name, "small-2");
    assert_int_equal(create("named", 4000, &d, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_USAGE);
    assert_non_null(strstr(err.msg, "named"));
}

static void a_name_whose_record_was_never_written_is_free(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_record_ struct record *a = NULL;
    _cleanup_free_ char *names = fs_join(dir, "store/local/names"), *name = fs_join(names, "named");
    assert_ok(fs_mkdir_p(names, &err), &err);
    assert_ok(fs_write_exclusive(name, "some-uid", 8, &err), &err);
    assert_ok(create("named", 1000, &a, &err), &err);
    assert_string_equal(a->spec.name, "named");
    _cleanup_free_ char *uid = NULL;
    assert_ok(fs_read_file(name, 128, &uid, NULL, &err), &err);
    assert_string_equal(uid, a->spec.uid);
}

static void runs_are_found_by_name_and_age(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_record_ struct record *a = NULL, *b = NULL, *found = NULL, *newest = NULL, *by_uid = NULL;
    struct record *none = NULL;
    assert_ok(create(NULL, 1000, &a, &err), &err);
    assert_ok(create(NULL, 2000, &b, &err), &err);
    _cleanup_free_ char *store = xasprintf("%s/store", dir); /* a plain path works as well as a URL */
    assert_ok(record_find(store, "small-1", NULL, &found, &err), &err);
    assert_string_equal(found->spec.uid, a->spec.uid);
    assert_ok(record_find(store, NULL, "small", &newest, &err), &err);
    assert_string_equal(newest->spec.uid, b->spec.uid);
    assert_ok(record_find(store, a->spec.uid, NULL, &by_uid, &err), &err);
    assert_string_equal(by_uid->spec.name, "small-1");
    assert_int_equal(record_find(store, "small-9", NULL, &none, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_NOINPUT);
    assert_non_null(strstr(err.msg, "small-9"));
    err_clear(&err);
    assert_int_equal(record_find(store, "../../etc", NULL, &none, &err), -1);
    err_clear(&err);
    /* Without a store: where runs were lately. */
    assert_int_equal(record_find(NULL, "small-1", NULL, &none, &err), -1);
    err_clear(&err);
    location_remember(location_url(a->options.store));
    struct record *remembered = NULL;
    assert_ok(record_find(NULL, "small-1", NULL, &remembered, &err), &err);
    record_free(remembered);
}

static void a_damaged_record_hides_only_itself(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_record_ struct record *a = NULL, *b = NULL;
    struct record *none = NULL;
    assert_ok(create(NULL, 1000, &a, &err), &err);
    assert_ok(create(NULL, 2000, &b, &err), &err);
    _cleanup_free_ char *path = record_path(b, "run.json");
    assert_ok(fs_write_atomic(path, "{\"name\":", 8, &err), &err);
    _cleanup_record_list_ struct record_list l = {0};
    assert_ok(record_list(a->state_dir, NULL, NULL, &l, &err), &err);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.items[0].name, "small-1");
    assert_int_equal(record_load(b->state_dir, b->spec.uid, &none, &err), -1);
    assert_non_null(strstr(err.msg, b->dir));
}

static void locations_are_normalised(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char cwd[4096];
    assert_non_null(getcwd(cwd, sizeof cwd));
    _cleanup_free_ char *relative = xasprintf("file://%s/no/such", cwd), *real = xasprintf("file://%s", dir);
    const struct {
        const char *text, *url;
    } cases[] = {{"no/such", relative},
                 {"./no/such", relative},
                 {dir, real},
                 {"file:///a/b/", "file:///a/b"},
                 {"s3://bucket/x/", "s3://bucket/x"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        _cleanup_free_ char *url = NULL;
        assert_ok(location_normalise(cases[i].text, &url, &err), &err);
        assert_string_equal(url, cases[i].url);
    }
    char *url = NULL;
    assert_int_equal(location_normalise("file://relative", &url, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_USAGE);
    err_clear(&err);
    assert_int_equal(location_normalise("", &url, &err), -1);
}

static void s3_records_live_in_the_users_state(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_location_ struct location l = {0};
    assert_int_equal(setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000", 1), 0);
    assert_int_equal(setenv("AWS_REGION", "eu-west-1", 1), 0);
    assert_ok(location_resolve(NULL, "s3://bucket/x", NULL, NULL, &l, &err), &err);
    assert_int_equal(unsetenv("AWS_ENDPOINT_URL") | unsetenv("AWS_REGION"), 0);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(l.store, "endpoint")),
                        "http://127.0.0.1:9000");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(l.store, "region")), "eu-west-1");
    _cleanup_free_ char *home = fs_join(dir, "home/trainyard/");
    assert_int_equal(strncmp(l.state_dir, home, strlen(home)), 0);
    assert_null(l.registry);
    struct location none;
    assert_int_equal(location_resolve(NULL, NULL, NULL, NULL, &none, &err), -1);
    assert_int_equal(err_exit_code(&err), EXITCODE_USAGE);
}

static void secrets_are_directories(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *good = xasprintf("model-signing=%s", dir), *file = xasprintf("%s/file", dir),
                        *bad_file = xasprintf("x=%s", file);
    assert_ok(fs_write_atomic(file, "x", 1, &err), &err);
    const char *items[] = {good};
    _cleanup_json_ cJSON *secrets = NULL;
    assert_ok(location_parse_secrets(items, 1, &secrets, &err), &err);
    assert_int_equal(cJSON_GetArraySize(secrets), 1);
    const char *const wrong[] = {"x", "=dir", "x=", "a/b=/tmp", "x=/nonexistent/dir", bad_file};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err why = ERR_INIT;
        cJSON *none = NULL;
        assert_int_equal(location_parse_secrets(&wrong[i], 1, &none, &why), -1);
        assert_true(err_exit_code(&why) == EXITCODE_USAGE || err_exit_code(&why) == EXITCODE_CONFIG);
    }
}

static void the_cache_file_keeps_what_plans_ask_for(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_cachefile_ struct cachefile *a = NULL, *b = NULL, *looked = NULL;
    assert_ok(cachefile_look(dir, "p", &looked, &err), &err);
    assert_int_equal(cJSON_GetArraySize(cachefile_entries(looked)), 0);
    _cleanup_free_ char *cache = fs_join(dir, "cache"), *path = fs_join(dir, "cache/p.json");
    assert_false(fs_exists(cache)); /* looking creates nothing */
    assert_ok(cachefile_open(dir, "p", &a, &err), &err);
    assert_ok(cachefile_open(dir, "p", &b, &err), &err);
    static const char *const keys[] = {"k1", "k2"};
    struct cachefile *const files[] = {a, b};
    for (size_t i = 0; i < 2; i++) { /* two runs at once lose nothing of each other */
        struct cache_update update = {.key = xstrdup(keys[i]), .entry = json_object()};
        json_add_string(update.entry, "step", "s");
        json_add_int(update.entry, "used", 1);
        assert_ok(cachefile_apply(files[i], &(struct plan){.cache_updates = &update, .n_cache_updates = 1},
                                  &err),
                  &err);
        free(update.key);
        cJSON_Delete(update.entry);
    }
    _cleanup_cachefile_ struct cachefile *c = NULL;
    assert_ok(cachefile_open(dir, "p", &c, &err), &err);
    assert_true(cJSON_HasObjectItem(cachefile_entries(c), "k1"));
    assert_true(cJSON_HasObjectItem(cachefile_entries(c), "k2"));
    assert_ok(fs_write_atomic(path, "{\"k1\":", 6, &err), &err); /* damaged counts as empty */
    _cleanup_cachefile_ struct cachefile *d = NULL;
    assert_ok(cachefile_open(dir, "p", &d, &err), &err);
    assert_int_equal(cJSON_GetArraySize(cachefile_entries(d)), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_again),
        TEST(names_are_unique_and_numbers_go_on),
        TEST(a_name_whose_record_was_never_written_is_free),
        TEST(runs_are_found_by_name_and_age),
        TEST(a_damaged_record_hides_only_itself),
        TEST(locations_are_normalised),
        TEST(s3_records_live_in_the_users_state),
        TEST(secrets_are_directories),
        TEST(the_cache_file_keeps_what_plans_ask_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
