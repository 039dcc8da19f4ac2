/* The store's front: checks keys, picks the back end, phrases the common errors. */
#include "common/store/store.h"

#include <inttypes.h>

#include "common/base/alloc.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/text.h"
#include "common/store/store-internal.h"

/* Every string of a configuration, for copying and releasing it. */
#define CONFIG_STRINGS(c)                                                                                \
    {                                                                                                    \
        &(c)->url, &(c)->endpoint, &(c)->region, &(c)->credentials_dir, &(c)->access_key_id,             \
            &(c)->secret_access_key, &(c)->session_token, &(c)->web_identity_token_file, &(c)->role_arn, \
            &(c)->sts_endpoint, &(c)->ca_file, &(c)->sse, &(c)->sse_key_id                               \
    }

static void copy_config(struct store_config *to, const struct store_config *from)
{
    *to = *from;
    const char **strings[] = CONFIG_STRINGS(to);
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        *strings[i] = *strings[i] ? xstrdup(*strings[i]) : NULL;
}

static void free_config(struct store_config *c)
{
    const char **strings[] = CONFIG_STRINGS(c);
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        free((char *)*strings[i]);
}

int store_open(const struct store_config *config, struct store **ret, struct err *err)
{
    if (!config->url)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store-url",
                        "the store has no URL; expected file:///path or s3://bucket[/prefix]");
    _cleanup_uri_ struct uri uri = {0};
    if (uri_parse(config->url, &uri, err) < 0)
        return -1;
    struct store *s = NULL;
    int r = uri.local ? file_store_open(config, &uri, &s, err) : s3_store_open(config, &uri, &s, err);
    if (r < 0)
        return -1;
    s->local = uri.local;
    s->url = uri.local ? xasprintf("file://%s", uri.path)
                       : xasprintf("s3://%s%s%s", uri.bucket, *uri.prefix ? "/" : "", uri.prefix);
    copy_config(&s->config, config);
    *ret = s;
    return 0;
}

int store_clone(const struct store *s, struct store **ret, struct err *err)
{
    if (store_open(&s->config, ret, err) < 0)
        return -1;
    (*ret)->probed = s->probed;
    return 0;
}

struct store *store_free(struct store *s)
{
    if (!s)
        return NULL;
    free(s->url);
    free_config(&s->config);
    s->ops->free(s);
    return NULL;
}

const char *store_url(const struct store *s)
{
    return s->url;
}

bool store_is_local(const struct store *s)
{
    return s->local;
}

int store_probe(struct store *s, struct err *err)
{
    if (s->probed)
        return 0;
    if (s->ops->probe(s, err) < 0)
        return -1;
    s->probed = true;
    return 0;
}

void store_object_release(struct store_object *o)
{
    o->key = xfree(o->key);
}

static int check_key(const struct store *s, const char *key, struct err *err)
{
    if (fs_safe_relative(key) && !text_starts_with(key, STORE_INTERNAL "/"))
        return 0;
    return err_fail(
        err, ERR_INVALID, EXITCODE_DATA, "store-key",
        "%s: key \"%s\" is not usable: expected names separated by single slashes, without '.', '..', "
        "backslashes or control characters, each at most 255 bytes, and not below " STORE_INTERNAL,
        s->url, key);
}

int store_get(struct store *s, const char *key, size_t max, char **ret, size_t *ret_len, char *ret_etag,
              struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    size_t len;
    return s->ops->get(s, key, max, ret, ret_len ? ret_len : &len, ret_etag, err);
}

int store_get_file(struct store *s, const char *key, const char *path, const char *expect_sha256,
                   int64_t expect_size, const char *etag, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    return s->ops->get_file(s, key, path, expect_sha256, expect_size, etag, err);
}

int store_get_range(struct store *s, const char *key, int64_t offset, size_t len, void *ret, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    if (offset < 0)
        return err_set(err, ERR_INVALID, "%s/%s: cannot read at the negative offset %" PRId64, s->url, key,
                       offset);
    return len == 0 ? 0 : s->ops->get_range(s, key, offset, len, ret, err);
}

int store_head(struct store *s, const char *key, struct store_object *ret, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    return s->ops->head(s, key, ret, err);
}

int store_put(struct store *s, const char *key, const void *data, size_t len, enum store_condition cond,
              const char *if_match_etag, char *ret_etag, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    if (cond == STORE_IF_MATCH && (!if_match_etag || !*if_match_etag))
        BUG("store_put(%s): STORE_IF_MATCH without an ETag", key);
    return s->ops->put(s, key, data, len, cond, if_match_etag, ret_etag, err);
}

int store_put_file(struct store *s, const char *key, const char *path, const char *sha256, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    return s->ops->put_file(s, key, path, sha256, /* move= */ false, err);
}

int store_put_file_moving(struct store *s, const char *key, const char *path, const char *sha256,
                          struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    return s->ops->put_file(s, key, path, sha256, /* move= */ true, err);
}

int store_delete(struct store *s, const char *key, struct err *err)
{
    if (check_key(s, key, err) < 0)
        return -1;
    return s->ops->remove(s, key, err);
}

int store_list(struct store *s, const char *prefix,
               int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
               struct err *err)
{
    /* A prefix is text before a key, so one trailing slash is fine. */
    _cleanup_free_ char *plain = xstrdup(prefix);
    size_t len = strlen(plain);
    if (len > 0 && plain[len - 1] == '/')
        plain[len - 1] = '\0';
    if (*plain && check_key(s, plain, err) < 0)
        return -1;
    return s->ops->list(s, prefix, each, ctx, err);
}

char *store_local_path(const struct store *s, const char *key)
{
    return s->ops->local_path(s, key);
}

int store_err_missing(struct err *err, const struct store *s, const char *key)
{
    return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "not-found", "%s/%s does not exist", s->url, key);
}

int store_err_checksum(struct err *err, const struct store *s, const char *key, const char *expected,
                       const char *found)
{
    return err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                    "%s/%s: the content's digest is %s, expected %s", s->url, key, found, expected);
}

int store_err_size(struct err *err, const struct store *s, const char *key, int64_t expected, int64_t found)
{
    return err_fail(err, ERR_TERMINAL, EXITCODE_IO, "checksum",
                    "%s/%s has %" PRId64 " bytes, expected %" PRId64, s->url, key, found, expected);
}

int store_err_changed(struct err *err, const struct store *s, const char *key, const char *expected,
                      const char *found)
{
    return err_fail(err, ERR_CONFLICT, EXITCODE_TEMPFAIL, "source-changed",
                    "%s/%s changed while it was being read: its ETag was %s and is now %s", s->url, key,
                    expected, found);
}
