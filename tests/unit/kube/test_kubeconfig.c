/* kubeconfig files, a pod's account, paths and metadata of objects. */
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "operator/kube/kubeconfig.h"
#include "operator/kube/resource.h"
#include "tests/unit/unit.h"

static char *dir;

static int make_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return fs_make_temp_dir("/tmp", "test-kubeconfig", &dir, &err);
}

static int drop_dir(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(dir, &err);
    free(dir);
    return r;
}

static char *file(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    char *path = fs_join(dir, name);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
    return path;
}

#define CONFIG(cluster, user)                                                                              \
    "current-context: one\ncontexts:\n- name: one\n  context: {cluster: c, user: u, namespace: ranking}\n" \
    "clusters:\n- name: c\n  cluster: {" cluster "}\nusers:\n- name: u\n  user: {" user "}\n"

static struct kube_config *load(const char *text)
{
    struct err err = ERR_INIT;
    struct kube_config *c;
    _cleanup_free_ char *path = file("config", text);
    assert_ok(kube_config_load(path, NULL, &c, &err), &err);
    return c;
}

static void a_plain_one(void **state)
{
    (void)state;
    _cleanup_kube_config_ struct kube_config *c =
        load(CONFIG("server: 'https://k:6443/', certificate-authority: pki/ca.crt", "token: abc"));
    _cleanup_free_ char *ca = fs_join(dir, "pki/ca.crt");
    assert_string_equal(c->server, "https://k:6443");
    assert_string_equal(c->ca_file, ca); /* beside the file that names it */
    assert_string_equal(c->token, "abc");
    assert_string_equal(c->namespace_, "ranking");
    assert_string_equal(c->context, "one");
}

static void inline_data_needs_no_file(void **state)
{
    (void)state;
    _cleanup_kube_config_ struct kube_config *c =
        load(CONFIG("server: https://k, certificate-authority-data: aGVsbG8=",
                    "client-certificate-data: Y2VydA==, client-key-data: a2V5"));
    struct err err = ERR_INIT;
    _cleanup_free_ char *text = NULL, *key = NULL;
    size_t len;
    assert_ok(fs_read_file(c->ca_file, 100, &text, &len, &err), &err);
    assert_string_equal(text, "hello");
    assert_ok(fs_read_file(c->client_key, 100, &key, &len, &err), &err);
    assert_string_equal(key, "key");
    assert_string_equal(c->namespace_, "ranking");
}

static void a_server_name_for_tls_keeps_the_address(void **state)
{
    (void)state;
    _cleanup_kube_config_ struct kube_config *c = load(
        CONFIG("server: 'https://10.0.0.1:6443/prefix', tls-server-name: kube.local", "tokenFile: token"));
    _cleanup_free_ char *token = fs_join(dir, "token");
    assert_string_equal(c->server, "https://kube.local:6443/prefix");
    assert_string_equal(c->connect_to, "::10.0.0.1:6443");
    assert_string_equal(c->token_file, token);
}

static void several_files_are_one(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char
        *first = file("first", "current-context: two\nclusters: [{name: c, cluster: {server: https://a}}]\n"),
        *second = file("second", "current-context: one\ncontexts: [{name: two, context: {cluster: c}}]\n"
                                 "clusters: [{name: c, cluster: {server: https://b}}]\n");
    _cleanup_free_ char *paths = xasprintf("%s:/nowhere:%s", first, second);
    _cleanup_kube_config_ struct kube_config *c = NULL;
    assert_ok(kube_config_load(paths, NULL, &c, &err), &err);
    assert_string_equal(c->server, "https://a"); /* the first to say it wins */
    assert_string_equal(c->namespace_, "default");
}

static void what_is_not_done_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {CONFIG("server: https://k", "exec: {command: aws}"), "authenticates with `exec`"},
        {CONFIG("server: https://k", "username: me"), "authenticates with `username`"},
        {CONFIG("server: https://k, insecure-skip-tls-verify: true", ""), "not to verify"},
        {CONFIG("certificate-authority: x", ""), "names no server"},
        {CONFIG("server: k:6443", ""), "expected an https:// URL"},
        {CONFIG("server: https://k", "client-certificate: x"), "without a key"},
        {CONFIG("server: https://k, certificate-authority-data: '%%%'", ""), "certificate-authority-data"},
        {"current-context: nosuch\n", "has no context \"nosuch\""},
        {"contexts: []\n", "names no current-context"},
        {"a: [b\n", "config:2"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = ERR_INIT;
        struct kube_config *c;
        _cleanup_free_ char *path = file("config", cases[i].text);
        int r = kube_config_load(path, NULL, &c, &err);
        assert_int_equal(err_exit_code(&err), EXITCODE_CONFIG);
        assert_fails(r, &err, ERR_INVALID, cases[i].part);
    }
    struct err err = ERR_INIT;
    struct kube_config *c;
    assert_fails(kube_config_load("/nowhere/config", NULL, &c, &err), &err, ERR_INVALID,
                 "no kubeconfig found");
}

static void in_a_pod(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *ns = file("namespace", "trainyard\n"), *token = fs_join(dir, "token");
    _cleanup_kube_config_ struct kube_config *c = NULL;
    assert_ok(kube_config_in_cluster(dir, "fd00::1", "443", &c, &err), &err);
    assert_string_equal(c->server, "https://[fd00::1]:443");
    assert_string_equal(c->token_file, token);
    assert_string_equal(c->namespace_, "trainyard");
    struct kube_config *none;
    assert_fails(kube_config_in_cluster(dir, NULL, "443", &none, &err), &err, ERR_INVALID, "not in a pod");
}

static void paths_versions_and_owners(void **state)
{
    (void)state;
    _cleanup_buf_ struct buf path = BUF_INIT(1024);
    kube_path(&KUBE_PODS, "n", "p", "log", &path);
    (void)buf_addc(&path, ' ');
    kube_path(&KUBE_JOBS, NULL, NULL, NULL, &path);
    assert_string_equal(buf_str(&path), "/api/v1/namespaces/n/pods/p/log /apis/batch/v1/jobs");
    assert_true(kube_version_at_least("100", "99"));
    assert_true(kube_version_at_least("100", "100"));
    assert_false(kube_version_at_least("99", "100"));
    assert_true(kube_version_at_least("18446744073709551616", "9")); /* beyond 64 bits */
    _cleanup_json_ cJSON *o = kube_object(&KUBE_JOBS, "n", "x");
    kube_set_owner(o, &KUBE_PODS, "owner", "u-1");
    struct kube_meta m;
    kube_meta_init(&m, o);
    assert_string_equal(m.owner_uid, "u-1");
    assert_string_equal(m.owner_kind, "Pod");
    assert_string_equal(m.resource_version, "");
    kube_meta_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_one),
        cmocka_unit_test(inline_data_needs_no_file),
        cmocka_unit_test(a_server_name_for_tls_keeps_the_address),
        cmocka_unit_test(several_files_are_one),
        cmocka_unit_test(what_is_not_done_is_said),
        cmocka_unit_test(in_a_pod),
        cmocka_unit_test(paths_versions_and_owners),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
