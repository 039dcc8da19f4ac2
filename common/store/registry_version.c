/* Registry: versions, see registry.h. */
#include "common/store/registry.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/contract.h"
#include "common/base/failpoint.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/store/registry-internal.h"

int registry_check_name(const char *what, const char *name, struct err *err)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= LIMIT_NAME && name[0] != '-' && name[len - 1] != '-';
    for (size_t i = 0; i < len; i++)
        ok = ok &&
             ((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '-');
    if (ok)
        return 0;
    return err_fail(
        err, ERR_INVALID, EXITCODE_CONFIG, "name",
        "expected a %s of lower-case letters, digits and inner hyphens, at most %d characters, found '%s'",
        what, LIMIT_NAME, name);
}

int registry_read_json(struct store *s, const char *key, cJSON **ret, char *ret_etag,
                       char ret_digest[static DIGEST_HEX], struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (store_get(s, key, LIMIT_REGISTRY_DOC_BYTES, &text, &len, ret_etag, err) < 0)
        return -1;
    sha256_hex(text, len, ret_digest);
    if (json_parse(text, len, LIMIT_REGISTRY_DOC_BYTES, ret, err) < 0)
        return err_wrap(err, "registry record '%s'", key);
    return 0;
}

static char *version_key(const char *model, int64_t version)
{
    return xasprintf(LAYOUT_MODELS "/%s/versions/%" PRId64 ".json", model, version);
}

/* *ret NULL when there is no such version. */
static int read_version(struct store *s, const char *model, int64_t version, cJSON **ret, struct err *err)
{
    _cleanup_free_ char *key = version_key(model, version);
    char digest[DIGEST_HEX];
    *ret = NULL;
    if (registry_read_json(s, key, ret, NULL, digest, err) == 0)
        return 0;
    if (err->class_ != ERR_NOTFOUND)
        return -1;
    err_clear(err);
    return 0;
}

static bool has_key(const cJSON *document, const char *model_digest, const char *evaluation_digest)
{
    const char *model = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(document, "model"));
    const char *evaluation = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(document, "evaluation"));
    return model && evaluation && strcmp(model, model_digest) == 0 &&
           strcmp(evaluation, evaluation_digest) == 0;
}

static int put_version(struct store *s, const char *model, int64_t version, const char *model_digest,
                       const char *evaluation_digest, const cJSON *record, struct err *err)
{
    _cleanup_json_ cJSON *document = record ? cJSON_Duplicate(record, true) : json_object();
    static const char *const ours[] = {"version", "model", "evaluation"};
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(document, ours[i]);
    json_add_int(document, "version", version);
    json_add_string(document, "model", model_digest);
    json_add_string(document, "evaluation", evaluation_digest);
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_REGISTRY_DOC_BYTES);
    if (json_canonical(document, &text, err) < 0)
        return err_wrap(err, "version record of model '%s'", model);
    _cleanup_free_ char *key = version_key(model, version);
    failpoint("registry.version.before");
    int rc = store_put(s, key, buf_str(&text), text.len, STORE_IF_NONE, NULL, NULL, err);
    failpoint("registry.version.after");
    return rc;
}

/* Reads versions from 1 up to the first that is not there; *ret_version 0 when none has the key. */
static int search(struct store *s, const char *model, const char *model_digest, const char *evaluation_digest,
                  int64_t *ret_version, int64_t *ret_free, struct err *err)
{
    if (registry_check_name("model name", model, err) < 0)
        return -1;
    *ret_version = 0;
    for (int64_t version = 1;; version++) {
        _cleanup_json_ cJSON *document = NULL;
        if (read_version(s, model, version, &document, err) < 0)
            return -1;
        if (document && has_key(document, model_digest, evaluation_digest))
            *ret_version = version;
        if (document && !*ret_version)
            continue;
        *ret_free = version;
        return 0;
    }
}

int registry_find_version(struct store *s, const char *model, const char *model_digest,
                          const char *evaluation_digest, int64_t *ret_version, struct err *err)
{
    int64_t unused;
    return search(s, model, model_digest, evaluation_digest, ret_version, &unused, err);
}

int registry_add_version(struct store *s, const char *model, const char *model_digest,
                         const char *evaluation_digest, const cJSON *record, int64_t *ret_version,
                         bool *ret_created, struct err *err)
{
    for (;;) {
        int64_t found, number;
        if (search(s, model, model_digest, evaluation_digest, &found, &number, err) < 0)
            return -1;
        *ret_created = found == 0;
        *ret_version = found ? found : number;
        if (found || put_version(s, model, number, model_digest, evaluation_digest, record, err) == 0)
            return 0;
        /* Somebody was first, or this is our own write whose reply was lost: look again. */
        if (err->class_ != ERR_EXISTS)
            return -1;
        err_clear(err);
    }
}

int registry_newest_version(struct store *s, const char *model, int64_t *ret, struct err *err)
{
    if (registry_check_name("model name", model, err) < 0)
        return -1;
    /* Versions have no gaps, so the newest is found by doubling and halving. */
    int64_t present = 0, absent = 1, step = 1;
    bool doubling = true;
    while (doubling || absent - present > 1) {
        int64_t probe = doubling ? present + step : present + (absent - present) / 2;
        _cleanup_free_ char *key = version_key(model, probe);
        struct store_object object;
        bool there = store_head(s, key, &object, err) == 0;
        if (!there) {
            if (err->class_ != ERR_NOTFOUND)
                return -1;
            err_clear(err);
            absent = probe;
            doubling = false;
        } else {
            store_object_release(&object);
            present = probe;
            step *= 2;
        }
    }
    *ret = present;
    return 0;
}

int registry_get_version(struct store *s, const char *model, int64_t version, cJSON **ret, struct err *err)
{
    if (registry_check_name("model name", model, err) < 0 || read_version(s, model, version, ret, err) < 0)
        return -1;
    if (*ret)
        return 0;
    int64_t newest;
    if (registry_newest_version(s, model, &newest, err) < 0)
        return -1;
    if (newest == 0)
        return err_set(err, ERR_NOTFOUND,
                       "model '%s' has no version in %s: register one, or check the name and the store",
                       model, store_url(s));
    return err_set(err, ERR_NOTFOUND, "model '%s' has versions 1 to %" PRId64 ", not %" PRId64, model, newest,
                   version);
}

int registry_list_versions(struct store *s, const char *model, cJSON **ret, struct err *err)
{
    int64_t newest;
    if (registry_newest_version(s, model, &newest, err) < 0)
        return -1;
    _cleanup_json_ cJSON *list = json_array();
    for (int64_t version = newest; version >= 1; version--) {
        cJSON *document;
        if (registry_get_version(s, model, version, &document, err) < 0)
            return -1;
        json_append(list, document);
    }
    *ret = steal_ptr(list);
    return 0;
}

/* Collects model names and aliases from keys below models/. */
static int collect(void *ctx, const struct store_object *object, struct err *err)
{
    (void)err;
    cJSON *models = ctx;
    const char *name = object->key + strlen(LAYOUT_MODELS "/"), *slash = strchr(name, '/');
    if (!slash || (strncmp(slash, "/versions/", 10) != 0 && strncmp(slash, "/aliases/", 9) != 0))
        return 0;
    _cleanup_free_ char *model = xstrndup(name, (size_t)(slash - name));
    cJSON *aliases = cJSON_GetObjectItemCaseSensitive(models, model);
    if (!aliases) {
        aliases = json_object();
        json_add(models, model, aliases);
    }
    if (strncmp(slash, "/aliases/", 9) == 0) {
        const char *alias = slash + 9;
        _cleanup_free_ char *alias_name = xstrndup(alias, strcspn(alias, "/."));
        if (!cJSON_HasObjectItem(aliases, alias_name))
            json_add_int(aliases, alias_name, 0);
    }
    return 0;
}

int registry_list_models(struct store *s, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *models = json_object(), *list = json_array();
    if (store_list(s, LAYOUT_MODELS "/", collect, models, err) < 0)
        return -1;
    const cJSON *model, *alias;
    cJSON_ArrayForEach(model, models)
    {
        int64_t newest, version;
        if (registry_newest_version(s, model->string, &newest, err) < 0)
            return -1;
        cJSON *entry = json_object(), *aliases = json_object();
        json_append(list, entry);
        json_add_string(entry, "name", model->string);
        json_add_int(entry, "newest", newest);
        json_add(entry, "aliases", aliases);
        cJSON_ArrayForEach(alias, model)
        {
            if (registry_get_alias(s, model->string, alias->string, &version, NULL, err) < 0)
                return -1;
            json_add_int(aliases, alias->string, version);
        }
    }
    *ret = steal_ptr(list);
    return 0;
}
