/* A store's configuration from its description (common/base/contract.h) and the environment's AWS_* values. */
#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/store/store.h"

static const char *no_env(const char *name)
{
    (void)name;
    return NULL;
}

static const char *set_or_null(const char *value)
{
    return value && *value ? value : NULL;
}

static const char *first_of(const char *(*env)(const char *), const char *a, const char *b)
{
    const char *value = set_or_null(env(a));
    return value ? value : set_or_null(env(b));
}

static int decode_addressing(const char *text, enum store_addressing *ret, struct err *err)
{
    static const char *const names[] = {"auto", "path", "virtual", NULL};
    for (int i = 0; names[i]; i++)
        if (text_equal(text, names[i])) {
            *ret = (enum store_addressing)i;
            return 0;
        }
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store",
                    "store.addressing: expected auto, path or virtual, found \"%s\"", text);
}

static int decode_encryption(const cJSON *description, const struct json_path *path, struct store_config *c,
                             struct err *err)
{
    const cJSON *encryption;
    if (json_get_object_or(description, path, "encryption", &encryption, err) < 0)
        return -1;
    if (!encryption)
        return 0;
    struct json_path here = {.parent = path, .key = "encryption"};
    static const char *const keys[] = {"sse", "keyId", NULL};
    if (json_only_keys(encryption, &here, keys, err) < 0 ||
        json_get_string_or(encryption, &here, "sse", NULL, &c->sse, err) < 0 ||
        json_get_string_or(encryption, &here, "keyId", NULL, &c->sse_key_id, err) < 0)
        return -1;
    if (c->sse && !text_equal(c->sse, "AES256") && !text_equal(c->sse, "aws:kms"))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store",
                        "store.encryption.sse: expected AES256 or aws:kms, found \"%s\"", c->sse);
    if (c->sse_key_id && !text_equal(c->sse, "aws:kms"))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store",
                        "store.encryption.keyId needs sse: aws:kms");
    return 0;
}

/* What the description leaves open may come from the variables that every S3 tool reads. */
static void fill_from_env(struct store_config *c, const char *(*env)(const char *))
{
    if (!c->endpoint)
        c->endpoint = first_of(env, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    if (!c->region)
        c->region = first_of(env, "AWS_REGION", "AWS_DEFAULT_REGION");
    if (!c->ca_file)
        c->ca_file = set_or_null(env("AWS_CA_BUNDLE"));
    if (c->credentials_dir)
        return;
    c->access_key_id = set_or_null(env(CRED_ACCESS_KEY_ID));
    c->secret_access_key = set_or_null(env(CRED_SECRET_ACCESS_KEY));
    c->session_token = set_or_null(env(CRED_SESSION_TOKEN));
    if (c->access_key_id && c->secret_access_key)
        return;
    c->web_identity_token_file = set_or_null(env("AWS_WEB_IDENTITY_TOKEN_FILE"));
    c->role_arn = set_or_null(env("AWS_ROLE_ARN"));
    c->sts_endpoint = first_of(env, "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL");
}

int store_config_from_json(const cJSON *description, const char *secrets_dir,
                           const char *(*env)(const char *), struct store_config *ret, struct err *err)
{
    struct store_config c = {0};
    if (cJSON_IsString(description)) { /* a plain URL */
        c.url = description->valuestring;
    } else {
        struct json_path root = {.key = "store"};
        static const char *const keys[] =
            {"url", "endpoint", "region", "addressing", "credentialsSecret", "caBundle", "encryption", NULL};
        const char *addressing, *secret;
        if (json_only_keys(description, &root, keys, err) < 0 ||
            json_get_string(description, &root, "url", &c.url, err) < 0 ||
            json_get_string_or(description, &root, "endpoint", NULL, &c.endpoint, err) < 0 ||
            json_get_string_or(description, &root, "region", NULL, &c.region, err) < 0 ||
            json_get_string_or(description, &root, "addressing", "auto", &addressing, err) < 0 ||
            json_get_string_or(description, &root, "credentialsSecret", NULL, &secret, err) < 0 ||
            json_get_string_or(description, &root, "caBundle", NULL, &c.ca_file, err) < 0 ||
            decode_addressing(addressing, &c.addressing, err) < 0 ||
            decode_encryption(description, &root, &c, err) < 0)
            return -1;
        if (secret && secrets_dir) {
            if (!fs_safe_relative(secret) || strchr(secret, '/'))
                return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store",
                                "store.credentialsSecret: \"%s\" is not the name of a Secret", secret);
            c.credentials_dir = fs_join(secrets_dir, secret);
            /* Without the directory the environment may still help: a laptop run names no --secret. */
            if (!fs_exists(c.credentials_dir) && env && env(CRED_ACCESS_KEY_ID))
                c.credentials_dir = xfree((char *)c.credentials_dir);
        }
    }
    fill_from_env(&c, env ? env : no_env);
    *ret = c;
    return 0;
}

void store_config_release(struct store_config *c)
{
    free((char *)c->credentials_dir);
    *c = (struct store_config){0};
}
