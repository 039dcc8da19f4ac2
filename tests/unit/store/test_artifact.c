/* Artifacts on a file:// store: describe, publish, load, fetch; and what a damaged one looks like to a consumer. */

#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/store/artifact-internal.h"
#include "tests/unit/unit.h"

struct fixture {
    char *dir, *out;
    struct store *store;
};

static void write_file(const char *dir, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = fs_join(dir, name);
    _cleanup_free_ char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    assert_ok(fs_mkdir_p(parent, &err), &err);
    assert_ok(fs_write_atomic(path, text, strlen(text), &err), &err);
}

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = xcalloc(1, sizeof *f);
    assert_ok(fs_make_temp_dir("/tmp", "artifact-test", &f->dir, &err), &err);
    _cleanup_free_ char *url = xasprintf("file://%s/root", f->dir);
    assert_ok(store_open(&(struct store_config){.url = url}, &f->store, &err), &err);
    f->out = fs_join(f->dir, "out");
    write_file(f->out, "b.txt", "bee");
    write_file(f->out, "a/x.txt", "ex");
    write_file(f->out, "data/part-0", "shared bytes");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    store_free(f->store);
    assert_ok(fs_remove_tree(f->dir, &err), &err);
    free(f->dir);
    free(f->out);
    free(f);
    return 0;
}

static struct artifact *describe(const struct fixture *f, const char *config_text)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *config = cJSON_Parse(config_text);
    _cleanup_json_ cJSON *inputs = json_object();
    struct artifact *a;
    assert_ok(artifact_describe(f->out, "snapshot", config, inputs, "data/", &a, &err), &err);
    return a;
}

static void the_manifest_is_canonical_and_its_digest_is_known(void **state)
{
    struct err err = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = describe(*state, "{\"seed\": 17, \"alpha\": 0.5}");
    _cleanup_buf_ struct buf text = BUF_INIT(10000);
    assert_ok(artifact_manifest_format(a, &text, &err), &err);
    /* sha256sum of "ex", "bee" and "shared bytes" */
    static const char expected[] =
        "{\"config\":{\"alpha\":0.5,\"seed\":17},\"files\":["
        "{\"name\":\"a/x.txt\",\"sha256\":\"EX\",\"size\":\"2\"},{\"name\":\"b.txt\",\"sha256\":\"BEE\",\"size\":\"3\"},"
        "{\"name\":\"data/part-0\",\"sha256\":\"SHARED\",\"shared\":true,\"size\":\"12\"}],"
        "\"inputs\":{},\"type\":\"snapshot\",\"version\":1}";
    char ex[DIGEST_HEX], bee[DIGEST_HEX], shared[DIGEST_HEX];
    sha256_hex("ex", 2, ex);
    sha256_hex("bee", 3, bee);
    sha256_hex("shared bytes", 12, shared);
    _cleanup_buf_ struct buf filled = BUF_INIT(10000);
    for (const char *p = expected; *p;) {
        const char *value = strncmp(p, "\"EX\"", 4) == 0       ? ex
                            : strncmp(p, "\"BEE\"", 5) == 0    ? bee
                            : strncmp(p, "\"SHARED\"", 8) == 0 ? shared
                                                               : NULL;
        if (!value) {
            (void)buf_addc(&filled, *p++);
            continue;
        }
        (void)buf_addf(&filled, "\"%s\"", value);
        p = strchr(p + 1, '"') + 1;
    }
    assert_string_equal(buf_str(&text), buf_str(&filled));
    char digest[DIGEST_HEX];
    sha256_hex(buf_str(&text), text.len, digest);
    assert_string_equal(a->digest, digest);
}

static void publish_load_fetch_gives_the_files(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = describe(f, "{}");
    assert_ok(artifact_publish(f->store, "runs/1/validate/g0/a1/snapshot", f->out, a, &err), &err);
    _cleanup_free_ char *left = fs_join(f->out, "b.txt");
    assert_false(fs_exists(left)); /* a local store takes the files */
    _cleanup_artifact_ struct artifact *b = NULL;
    assert_ok(artifact_load(f->store, "runs/1/validate/g0/a1/snapshot", a->digest, &b, &err), &err);
    assert_string_equal(b->digest, a->digest);
    assert_int_equal(b->n_files, 3);
    _cleanup_free_ char *in = fs_join(f->dir, "in");
    assert_ok(artifact_fetch(f->store, "runs/1/validate/g0/a1/snapshot", b, NULL, in, &err), &err);
    _cleanup_free_ char *part = fs_join(in, "data/part-0");
    _cleanup_free_ char *text = NULL;
    assert_ok(fs_read_file(part, 100, &text, NULL, &err), &err);
    assert_string_equal(text, "shared bytes");
    struct stat st;
    assert_int_equal(lstat(part, &st), 0);
    assert_true(S_ISREG(st.st_mode) && st.st_nlink == 2); /* a second name, no copy */
    _cleanup_free_ char *key = artifact_file_key("runs/1", &b->files[2]);
    _cleanup_free_ char *expected = xasprintf("shared/sha256/%s", b->files[2].sha256);
    assert_string_equal(key, expected);
    assert_ok(artifact_fetch(f->store, "runs/1/validate/g0/a1/snapshot", b, "a/", in, &err),
              &err); /* again: replaces the links */
}

static void shared_files_are_stored_once(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = describe(f, "{}");
    assert_ok(artifact_publish(f->store, "one", f->out, a, &err), &err);
    _cleanup_free_ char *key = artifact_file_key("one", &a->files[2]);
    struct store_object before, after;
    assert_ok(store_head(f->store, key, &before, &err), &err);
    write_file(f->out, "b.txt", "bee");
    write_file(f->out, "a/x.txt", "ex");
    write_file(f->out, "data/part-0", "shared bytes");
    assert_ok(artifact_publish(f->store, "two", f->out, a, &err), &err);
    assert_ok(store_head(f->store, key, &after, &err), &err);
    assert_string_equal(before.etag, after.etag);
    _cleanup_artifact_ struct artifact *b = NULL;
    assert_ok(artifact_load(f->store, "two", a->digest, &b, &err), &err);
}

static void expect_missing(int r, const struct err *err)
{
    assert_int_equal(r, -1);
    if (err_exit_code(err) != 66 || strcmp(err->reason, "artifact-missing") != 0)
        fail_msg("expected exit 66 artifact-missing, found exit %d %s: %s", err_exit_code(err), err->reason,
                 err->msg);
}

static void damage_is_artifact_missing_for_the_consumer(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    _cleanup_artifact_ struct artifact *a = describe(f, "{}");
    struct artifact *b = NULL;
    _cleanup_free_ char *in = fs_join(f->dir, "in");
    expect_missing(artifact_load(f->store, "p", a->digest, &b, &err), &err);
    err = ERR_INIT;
    assert_ok(artifact_publish(f->store, "p", f->out, a, &err), &err);
    char other[DIGEST_HEX];
    sha256_hex("x", 1, other);
    expect_missing(artifact_load(f->store, "p", other, &b, &err), &err);
    err = ERR_INIT;
    assert_ok(store_put(f->store, "p/b.txt", "bad", 3, STORE_ALWAYS, NULL, NULL, &err),
              &err); /* same size, other bytes */
    expect_missing(artifact_fetch(f->store, "p", a, NULL, in, &err), &err);
    err = ERR_INIT;
    assert_ok(store_delete(f->store, "p/b.txt", &err), &err);
    expect_missing(artifact_fetch(f->store, "p", a, NULL, in, &err), &err);
    err = ERR_INIT;
    assert_ok(artifact_fetch(f->store, "p", a, "data/", in, &err), &err); /* the rest is whole */
}

static void equal_content_from_elsewhere_has_an_equal_digest(void **state)
{
    static const char here[] =
        "{\"source\": {\"uri\": \"s3://a/b\", \"window\": 30}, \"checks\": [{\"sql\": \"x\"}], \"registry\": {\"url\": \"s3://m\"},"
        "\"volume\": {\"baseline\": \"s3://a/b@0123\", \"tolerance\": 0.2}, \"signingSecret\": \"k\"}";
    static const char there[] =
        "{\"checks\": [{\"sql\": \"x\"}], \"source\": {\"uri\": \"file:///data\"}, \"volume\": {\"tolerance\": 0.2,"
        "\"baseline\": \"file:///data/b@0123\"}}";
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *a = cJSON_Parse(here);
    _cleanup_json_ cJSON *b = cJSON_Parse(there);
    _cleanup_json_ cJSON *x = artifact_config_without_locations(a);
    _cleanup_json_ cJSON *y = artifact_config_without_locations(b);
    _cleanup_buf_ struct buf s = BUF_INIT(1000);
    _cleanup_buf_ struct buf t = BUF_INIT(1000);
    assert_ok(json_canonical(x, &s, &err), &err);
    assert_ok(json_canonical(y, &t, &err), &err);
    assert_string_equal(buf_str(&s), buf_str(&t));
    assert_string_equal(
        buf_str(&s), "{\"checks\":[{\"sql\":\"x\"}],\"volume\":{\"baseline\":\"@0123\",\"tolerance\":0.2}}");
    assert_non_null(cJSON_GetObjectItem(a, "source")); /* the original is untouched */
}

static void bad_manifests_are_refused(void **state)
{
#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", ""},
        {"[]", "not a JSON object"},
        {"{\"config\":{},\"files\":[],\"inputs\":{},\"type\":\"x\",\"version\":2}",
         "version: expected 1, found 2"},
        {"{\"config\":{},\"files\":[],\"inputs\":{},\"type\":\"x\",\"version\":1} ", "canonical"},
        {"{\"config\":{},\"files\":[],\"inputs\":{},\"type\":\"x\",\"uri\":\"y\",\"version\":1}", "uri"},
        {"{\"config\":{},\"files\":[{\"name\":\"../x\",\"sha256\":\"" SHA
         "\",\"size\":\"1\"}],\"inputs\":{},\"type\":\"x\",\"version\":1}",
         "safe relative name"},
        {"{\"config\":{},\"files\":[{\"name\":\"x\",\"sha256\":\"abc\",\"size\":\"1\"}],\"inputs\":{},\"type\":\"x\",\"version\":1}",
         "64 lower-case hex digits"},
        {"{\"config\":{},\"files\":[{\"name\":\"x\",\"sha256\":\"" SHA
         "\",\"size\":1}],\"inputs\":{},\"type\":\"x\",\"version\":1}",
         "as a string"},
        {"{\"config\":{},\"files\":[{\"name\":\"x\",\"sha256\":\"" SHA
         "\",\"size\":\"-1\"}],\"inputs\":{},\"type\":\"x\",\"version\":1}",
         "0 or more"},
        {"{\"config\":{},\"files\":[{\"name\":\"b\",\"sha256\":\"" SHA
         "\",\"size\":\"1\"},{\"name\":\"a\",\"sha256\":\"" SHA
         "\",\"size\":\"1\"}],\"inputs\":{},\"type\":\"x\",\"version\":1}",
         "does not sort after"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct err err = ERR_INIT;
        struct artifact *a;
        assert_int_equal(artifact_manifest_parse(table[i].text, strlen(table[i].text), &a, &err), -1);
        if (!strstr(err.msg, table[i].says))
            fail_msg("%s: expected a message with \"%s\", found \"%s\"", table[i].text, table[i].says,
                     err.msg);
    }
    struct err err = ERR_INIT;
    static const char good[] =
        "{\"config\":{},\"files\":[{\"name\":\"x\",\"sha256\":\"" SHA
        "\",\"size\":\"9007199254740993\"}],\"inputs\":{},\"type\":\"x\",\"version\":1}";
    _cleanup_artifact_ struct artifact *a = NULL;
    assert_ok(artifact_manifest_parse(good, strlen(good), &a, &err), &err);
    assert_true(a->files[0].size == 9007199254740993);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_manifest_is_canonical_and_its_digest_is_known),
        T(publish_load_fetch_gives_the_files),
        T(shared_files_are_stored_once),
        T(damage_is_artifact_missing_for_the_consumer),
        cmocka_unit_test(equal_content_from_elsewhere_has_an_equal_digest),
        cmocka_unit_test(bad_manifests_are_refused),
    };
    return cmocka_run_group_tests_name("store artifact", tests, NULL, NULL);
}
