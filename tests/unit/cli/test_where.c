/* This machine or the cluster: each rule of where.h, with the ones before it out of the way. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/cli.h"
#include "common/base/fs.h"
#include "operator/cli/command.h"
#include "operator/cli/location.h"
#include "operator/cli/where.h"
#include "tests/unit/unit.h"

static const char manifest[] = "apiVersion: trainyard.dev/v1alpha1\n"
                               "kind: TrainingPipeline\n"
                               "metadata: {name: small}\n"
                               "spec:\n"
                               "  steps:\n"
                               "    - name: ask\n"
                               "      approval: {message: x}\n";

static char *dir;

static int set_up(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    if (fs_make_temp_dir("/tmp", "cli-where", &dir, &err) < 0)
        return -1;
    (void)unsetenv("KUBECONFIG");
    (void)unsetenv("KUBERNETES_SERVICE_HOST");
    (void)unsetenv("TRAINYARD_STORE");
    (void)setenv("HOME", dir, 1);
    return setenv("XDG_STATE_HOME", dir, 1);
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    cli_set_program(NULL);
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

/* A run of this machine in a store that is remembered. */
static void record(const char *name)
{
    struct err err = ERR_INIT;
    struct findings findings = {0};
    struct pipeline *p = NULL;
    struct record *r = NULL;
    _cleanup_location_ struct location l = {0};
    _cleanup_free_ char *store = fs_join(dir, "store");
    assert_ok(pipeline_decode_yaml(manifest, sizeof manifest - 1, "m", &p, &findings, &err), &err);
    findings_release(&findings);
    assert_ok(location_resolve(NULL, store, NULL, NULL, &l, &err), &err);
    struct record_options o = {.store = l.store};
    struct record_request q = {.state_dir = l.state_dir,
                               .manifest_name = "m",
                               .manifest_text = manifest,
                               .manifest_len = sizeof manifest - 1,
                               .name = name,
                               .now_ms = 1000,
                               .scheduled_ms = 1000,
                               .options = &o};
    assert_ok(record_create(&q, p, &r, &err), &err);
    record_free(r);
    location_remember(location_url(l.store));
}

static bool in_cluster(const struct where_options *o, const char *store, const char *reference)
{
    struct err err = ERR_INIT;
    _cleanup_where_ struct where w = {0};
    assert_ok(where_choose(o, store, reference, &w, &err), &err);
    return w.cluster;
}

static void options_decide(void **state)
{
    (void)state;
    record("r");
    static const struct where_options none = {0}, ns = {.namespace_ = "n"}, context = {.context = "c"},
                                      file = {.kubeconfig = "f"};
    assert_true(in_cluster(&ns, NULL, "r"));
    assert_true(in_cluster(&context, NULL, "r"));
    assert_true(in_cluster(&file, NULL, NULL));
    assert_true(in_cluster(&none, NULL, "n/r"));
    assert_false(in_cluster(&none, "s", "other"));
    struct err err = ERR_INIT;
    struct where w;
    assert_fails(where_choose(&ns, "s", "r", &w, &err), &err, ERR_INVALID, "leave one of them out");
    assert_fails(where_choose(&none, "s", "n/r", &w, &err), &err, ERR_INVALID, "leave one of them out");
    assert_fails(where_choose(&ns, NULL, "m/r", &w, &err), &err, ERR_INVALID, "--namespace says n");
    static const char *const malformed[] = {"/r", "n/", "a/b/c", "/"};
    for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
        assert_fails(where_choose(&none, NULL, malformed[i], &w, &err), &err, ERR_INVALID, "NAMESPACE/RUN");
}

static void a_store_of_the_environment_is_no_choice(void **state)
{
    (void)state;
    static const struct where_options ns = {.namespace_ = "n"}, none = {0};
    (void)setenv("TRAINYARD_STORE", "/somewhere", 1);
    const char *store = getenv("TRAINYARD_STORE");
    assert_true(in_cluster(&ns, store, "r"));
    assert_false(in_cluster(&none, store, NULL)); /* but says where runs of this machine are */
}

static void names_decide_where_options_do_not(void **state)
{
    (void)state;
    static const struct where_options none = {0};
    assert_false(in_cluster(&none, NULL, "r")); /* no kubeconfig either: the error is this machine's */
    (void)setenv("KUBECONFIG", "/a/file", 1);
    assert_true(in_cluster(&none, NULL, "r"));
    assert_true(in_cluster(&none, NULL, NULL));
    record("r");
    assert_false(in_cluster(&none, NULL, "r"));
    assert_false(in_cluster(&none, NULL, NULL));
    assert_true(in_cluster(&none, NULL, "other"));
    cli_set_program(COMMAND_PLUGIN_NAME);
    assert_true(in_cluster(&none, NULL, "r"));
    assert_true(in_cluster(&none, NULL, NULL));
    assert_false(in_cluster(&none, "s", "r"));
}

static void references_are_split(void **state)
{
    (void)state;
    static const struct where_options none = {0}, ns = {.namespace_ = "n"};
    struct err err = ERR_INIT;
    struct where w;
    assert_ok(where_in_cluster(&none, "ranking/r-1", &w, &err), &err);
    assert_string_equal(w.ns, "ranking");
    assert_string_equal(w.name, "r-1");
    where_release(&w);
    assert_ok(where_in_cluster(&ns, "r-1", &w, &err), &err);
    assert_string_equal(w.ns, "n");
    where_release(&w);
    assert_ok(where_in_cluster(&none, "r-1", &w, &err), &err);
    assert_null(w.ns);
    where_release(&w);
}

static void kubeconfigs_are_looked_for_in_order(void **state)
{
    (void)state;
    static const struct where_options none = {0}, file = {.kubeconfig = "mine"};
    struct err err = ERR_INIT;
    assert_null(where_kubeconfig(&none));
    _cleanup_free_ char *folder = fs_join(dir, ".kube"), *config = fs_join(folder, "config");
    assert_ok(fs_mkdir_p(folder, &err), &err);
    assert_ok(fs_write_atomic(config, "x", 1, &err), &err);
    _cleanup_free_ char *home = where_kubeconfig(&none);
    assert_string_equal(home, config);
    (void)setenv("KUBECONFIG", "/a:/b", 1);
    _cleanup_free_ char *variable = where_kubeconfig(&none), *option = where_kubeconfig(&file);
    assert_string_equal(variable, "/a:/b");
    assert_string_equal(option, "mine");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(options_decide),
        TEST(a_store_of_the_environment_is_no_choice),
        TEST(names_decide_where_options_do_not),
        TEST(references_are_split),
        TEST(kubeconfigs_are_looked_for_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
