/* Store descriptions, and what the environment adds to them. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/store/credentials.h"
#include "common/store/store.h"

static const char *(*table_env)[2];

static const char *env(const char *name)
{
    for (size_t i = 0; table_env && table_env[i][0]; i++)
        if (text_equal(table_env[i][0], name))
            return table_env[i][1];
    return NULL;
}

static int parse(const char *text, const char *secrets, struct store_config *ret, cJSON **ret_doc,
                 struct err *err)
{
    *ret_doc = cJSON_Parse(text);
    assert_non_null(*ret_doc);
    return store_config_from_json(*ret_doc, secrets, env, ret, err);
}

static void a_whole_description(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct store_config c;
    _cleanup_json_ cJSON *doc = NULL;
    table_env = NULL;
    assert_ok(
        parse(
            "{\"url\": \"s3://b/p\", \"endpoint\": \"https://e\", \"region\": \"eu-west-1\", \"addressing\": \"path\", \"credentialsSecret\": \"s3\","
            "\"caBundle\": \"/ca.pem\", \"encryption\": {\"sse\": \"aws:kms\", \"keyId\": \"k\"}}",
            "/secrets", &c, &doc, &err),
        &err);
    assert_string_equal(c.url, "s3://b/p");
    assert_string_equal(c.endpoint, "https://e");
    assert_string_equal(c.region, "eu-west-1");
    assert_int_equal(c.addressing, STORE_ADDRESSING_PATH);
    assert_string_equal(c.credentials_dir, "/secrets/s3");
    assert_string_equal(c.ca_file, "/ca.pem");
    assert_string_equal(c.sse, "aws:kms");
    assert_string_equal(c.sse_key_id, "k");
    store_config_release(&c);
}

static void a_plain_url_takes_the_rest_from_the_environment(void **state)
{
    (void)state;
    static const char *values[][2] = {{"AWS_ACCESS_KEY_ID", "id"}, {"AWS_SECRET_ACCESS_KEY", "secret"},
                                      {"AWS_SESSION_TOKEN", ""},   {"AWS_ENDPOINT_URL", "http://e:1"},
                                      {"AWS_DEFAULT_REGION", "r"}, {"AWS_WEB_IDENTITY_TOKEN_FILE", "/t"},
                                      {"AWS_ROLE_ARN", "arn"},     {NULL, NULL}};
    struct err err = ERR_INIT;
    struct store_config c;
    _cleanup_json_ cJSON *doc = NULL;
    table_env = values;
    assert_ok(parse("\"s3://bucket\"", NULL, &c, &doc, &err), &err);
    assert_string_equal(c.access_key_id, "id");
    assert_string_equal(c.secret_access_key, "secret");
    assert_null(c.session_token);
    assert_string_equal(c.endpoint, "http://e:1");
    assert_string_equal(c.region, "r");
    assert_null(c.web_identity_token_file); /* keys of one's own come first */
    store_config_release(&c);
}

static void a_web_identity_without_keys(void **state)
{
    (void)state;
    static const char *values[][2] = {{"AWS_WEB_IDENTITY_TOKEN_FILE", "/t"},
                                      {"AWS_ROLE_ARN", "arn"},
                                      {"AWS_ENDPOINT_URL_STS", "http://sts"},
                                      {NULL, NULL}};
    struct err err = ERR_INIT;
    struct store_config c;
    _cleanup_json_ cJSON *doc = NULL;
    table_env = values;
    assert_ok(parse("{\"url\": \"s3://bucket\"}", "/secrets", &c, &doc, &err), &err);
    assert_string_equal(c.web_identity_token_file, "/t");
    assert_string_equal(c.role_arn, "arn");
    assert_string_equal(c.sts_endpoint, "http://sts");
    assert_null(c.credentials_dir);
    store_config_release(&c);
}

static void bad_descriptions(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        {"{}", "url"},
        {"{\"url\": 1}", "url"},
        {"{\"url\": \"s3://b\", \"adressing\": \"path\"}", "adressing"},
        {"{\"url\": \"s3://b\", \"addressing\": \"dns\"}", "expected auto, path or virtual"},
        {"{\"url\": \"s3://b\", \"encryption\": {\"sse\": \"rot13\"}}", "expected AES256 or aws:kms"},
        {"{\"url\": \"s3://b\", \"encryption\": {\"keyId\": \"k\"}}", "needs sse: aws:kms"},
        {"{\"url\": \"s3://b\", \"credentialsSecret\": \"../x\"}", "not the name of a Secret"},
    };
    table_env = NULL;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err err = ERR_INIT;
        struct store_config c;
        _cleanup_json_ cJSON *doc = NULL;
        assert_fails(parse(table[i].text, "/secrets", &c, &doc, &err), &err, ERR_INVALID, table[i].says);
    }
}

static void opening_refuses_what_cannot_work(void **state)
{
    (void)state;
    static const struct {
        struct store_config config;
        const char *says;
    } table[] = {
        {{.url = NULL}, "no URL"},
        {{.url = "s3://bucket"}, "no credentials"},
        {{.url = "s3://bucket", .access_key_id = "a"}, "no credentials"},
        {{.url = "s3://bucket", .access_key_id = "a", .secret_access_key = "b", .endpoint = "localhost:9000"},
         "expected http[s]://host[:port]"},
        {{.url = "s3://bucket", .access_key_id = "a", .secret_access_key = "b", .endpoint = "http://h/path"},
         "expected http[s]://host[:port]"},
        {{.url = "s3://bucket", .access_key_id = "a", .secret_access_key = "b", .endpoint = "http://"},
         "expected http[s]://host[:port]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct err err = ERR_INIT;
        struct store *s;
        int r = store_open(&table[i].config, &s, &err);
        int exit_code = err_exit_code(&err);
        assert_fails(r, &err, ERR_INVALID, table[i].says);
        assert_int_equal(exit_code, EXITCODE_CONFIG);
    }
}

static void files_of_credentials_are_trimmed_and_reread(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *dir = NULL;
    assert_ok(fs_make_temp_dir("/tmp", "credentials-test", &dir, &err), &err);
    _cleanup_free_ char *id = fs_join(dir, "AWS_ACCESS_KEY_ID");
    _cleanup_free_ char *secret = fs_join(dir, "AWS_SECRET_ACCESS_KEY");
    _cleanup_credentials_ struct credentials *c = NULL;
    struct credential_values v;
    assert_ok(credentials_new(&(struct store_config){.url = "s3://b", .credentials_dir = dir}, &c, &err),
              &err);
    assert_fails(credentials_get(c, &v, &err), &err, ERR_INVALID, "AWS_ACCESS_KEY_ID");
    assert_ok(fs_write_atomic(id, "id\r\n", 4, &err), &err);
    assert_ok(fs_write_atomic(secret, "one\n", 4, &err), &err);
    assert_ok(credentials_get(c, &v, &err), &err);
    assert_string_equal(v.access_key_id, "id");
    assert_string_equal(v.secret_access_key, "one");
    assert_null(v.session_token);
    assert_ok(fs_write_atomic(secret, "two\n", 4, &err), &err);
    assert_ok(credentials_get(c, &v, &err), &err);
    assert_string_equal(v.secret_access_key, "two");
    assert_ok(fs_write_atomic(secret, "\n", 1, &err), &err);
    assert_fails(credentials_get(c, &v, &err), &err, ERR_INVALID, "is empty");
    assert_ok(fs_remove_tree(dir, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_description),
        cmocka_unit_test(a_plain_url_takes_the_rest_from_the_environment),
        cmocka_unit_test(a_web_identity_without_keys),
        cmocka_unit_test(bad_descriptions),
        cmocka_unit_test(opening_refuses_what_cannot_work),
        cmocka_unit_test(files_of_credentials_are_trimmed_and_reread),
    };
    return cmocka_run_group_tests_name("store config", tests, NULL, NULL);
}
