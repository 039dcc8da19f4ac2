#include "operator/cli/location.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/cli/lock.h"

static const char file_scheme[] = "file://";

const char *location_url(const cJSON *description)
{
    const char *url = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(description, "url"));
    return url ? url : "";
}

const char *location_file_path(const char *url)
{
    return text_starts_with(url, file_scheme) ? url + strlen(file_scheme) : NULL;
}

int location_normalise(const char *text, char **ret, struct err *err)
{
    if (strstr(text, "://")) {
        size_t len = strlen(text);
        const char *path = location_file_path(text);
        if (path && path[0] != '/')
            return err_fail(
                err, ERR_INVALID, EXITCODE_USAGE, "store-url",
                "\"%s\": expected an absolute path after file://, as in file:///data/store (or a plain path)",
                text);
        while (len > 0 && text[len - 1] == '/' && !text_ends_with(text, "://"))
            len--;
        *ret = xstrndup(text, len);
        return 0;
    }
    if (!*text)
        return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "store-url",
                        "the store is empty: expected file:///path, s3://bucket/prefix or a plain path");
    char absolute[PATH_MAX];
    if (realpath(text, absolute)) {
        *ret = xasprintf("%s%s", file_scheme, absolute);
        return 0;
    }
    if (!getcwd(absolute, sizeof absolute))
        return err_errno(err, errno, "cannot tell the working directory");
    _cleanup_free_ char *joined =
        text[0] == '/' ? xstrdup(text) : fs_join(absolute, text_starts_with(text, "./") ? text + 2 : text);
    *ret = xasprintf("%s%s", file_scheme, joined);
    return 0;
}

/* --- descriptions ------------------------------------------------------------------------------ */

static const char *secret_dir(const cJSON *secrets, const char *name)
{
    return name ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(secrets, name)) : NULL;
}

/* The manifest names a ConfigMap; here it is a directory given by --secret, or the file of AWS_CA_BUNDLE. */
static void resolve_ca_bundle(cJSON *d, const cJSON *secrets)
{
    cJSON *bundle = cJSON_DetachItemFromObjectCaseSensitive(d, "caBundle");
    const char *dir =
        secret_dir(secrets, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(bundle, "configMap")));
    const char *key = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(bundle, "key"));
    const char *env = getenv("AWS_CA_BUNDLE");
    if (dir) {
        _cleanup_free_ char *path = fs_join(dir, key ? key : "ca.pem");
        json_add_string(d, "caBundle", path);
    } else if (cJSON_IsString(bundle)) {
        json_add_string(d, "caBundle", bundle->valuestring);
    } else if (env && *env) {
        json_add_string(d, "caBundle", env);
    }
    cJSON_Delete(bundle);
}

static void add_from_environment(cJSON *d, const char *key, const char *first, const char *second)
{
    if (cJSON_HasObjectItem(d, key))
        return;
    const char *value = getenv(first);
    if (!value || !*value)
        value = getenv(second);
    if (value && *value)
        json_add_string(d, key, value);
}

/* base: the manifest's description or NULL; option: what replaces its URL, or NULL. NULL when both are. */
static int describe(const cJSON *base, const char *option, const cJSON *secrets, cJSON **ret, struct err *err)
{
    if (!base && !option) {
        *ret = NULL;
        return 0;
    }
    _cleanup_free_ char *url = NULL;
    if (location_normalise(option ? option : location_url(base), &url, err) < 0)
        return -1;
    /* Endpoint, region and encryption belong to the kind of store that the manifest names. */
    bool keep = base && (!option ||
                         (text_starts_with(url, "s3://") && text_starts_with(location_url(base), "s3://")));
    cJSON *d = keep ? cJSON_Duplicate(base, true) : json_object();
    cJSON_DeleteItemFromObjectCaseSensitive(d, "url");
    json_add_string(d, "url", url);
    if (text_starts_with(url, "s3://")) {
        resolve_ca_bundle(d, secrets);
        add_from_environment(d, "endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
        add_from_environment(d, "region", "AWS_REGION", "AWS_DEFAULT_REGION");
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(d, "credentialsSecret"));
        if (name && !secret_dir(secrets, name))
            cJSON_DeleteItemFromObjectCaseSensitive(d, "credentialsSecret");
    }
    *ret = d;
    return 0;
}

/* --- directories --------------------------------------------------------------------------------- */

/* $XDG_STATE_HOME/trainyard, else ~/.local/state/trainyard; NULL when the user has no home. Caller frees. */
static char *user_state_dir(void)
{
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (base && base[0] == '/')
        return fs_join(base, "trainyard");
    return home && home[0] == '/' ? fs_join(home, ".local/state/trainyard") : NULL;
}

int location_of_store(const cJSON *store, char **ret_state_dir, struct err *err)
{
    const char *url = location_url(store), *path = location_file_path(url);
    if (path) {
        *ret_state_dir = fs_join(path, "local");
        return 0;
    }
    _cleanup_free_ char *user = user_state_dir();
    if (!user)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "state-dir",
                        "no place for the records of runs: set XDG_STATE_HOME or HOME to an absolute path");
    char digest[DIGEST_HEX];
    sha256_hex(url, strlen(url), digest);
    digest[16] = '\0';
    *ret_state_dir = fs_join(user, digest);
    return 0;
}

int location_resolve(const struct pipeline *p, const char *store_option, const char *registry_option,
                     const cJSON *secrets, struct location *ret, struct err *err)
{
    struct location l = {0};
    if (describe(p ? p->store : NULL, store_option, secrets, &l.store, err) < 0 ||
        describe(p ? p->registry : NULL, registry_option, secrets, &l.registry, err) < 0) {
        location_release(&l);
        return -1;
    }
    if (!l.store)
        return location_release(&l),
               err_fail(
                   err, ERR_INVALID, EXITCODE_USAGE, "no-store",
                   "no store: give --store PATH (or file:///path, s3://bucket/prefix), or write spec.store.url in the manifest");
    if (location_of_store(l.store, &l.state_dir, err) < 0) {
        location_release(&l);
        return -1;
    }
    *ret = l;
    return 0;
}

void location_release(struct location *l)
{
    cJSON_Delete(l->store);
    cJSON_Delete(l->registry);
    free(l->state_dir);
    *l = (struct location){0};
}

/* --- opening ---------------------------------------------------------------------------------------- */

static const char *environment(const char *name)
{
    return getenv(name);
}

int location_open(const cJSON *description, const cJSON *secrets, struct store **ret, struct err *err)
{
    _cleanup_free_ char *secrets_dir = NULL;
    const char *name =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(description, "credentialsSecret"));
    const char *dir = secret_dir(secrets, name);
    _cleanup_json_ cJSON *d = cJSON_Duplicate(description, true);
    if (dir) { /* the description names a directory below one for all Secrets; --secret gives that directory itself */
        const char *slash = strrchr(dir, '/');
        secrets_dir = slash == dir ? xstrdup("/") : xstrndup(dir, (size_t)(slash - dir));
        cJSON_ReplaceItemInObjectCaseSensitive(d, "credentialsSecret", cJSON_CreateString(slash + 1));
    }
    struct store_config config = {0};
    if (store_config_from_json(d, secrets_dir, environment, &config, err) < 0)
        return -1;
    int r = store_open(&config, ret, err);
    store_config_release(&config);
    return r < 0 ? err_wrap(err, "cannot open the store %s", location_url(description)) : 0;
}

int location_parse_secrets(const char *const *items, size_t n, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *secrets = json_object();
    for (size_t i = 0; i < n; i++) {
        const char *equals = strchr(items[i], '=');
        if (!equals || equals == items[i] || !equals[1])
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "secret",
                            "--secret %s: expected NAME=DIR, a directory with one file a key", items[i]);
        _cleanup_free_ char *name = xstrndup(items[i], (size_t)(equals - items[i]));
        char absolute[PATH_MAX];
        struct stat st;
        if (!fs_safe_relative(name) || strchr(name, '/'))
            return err_fail(err, ERR_INVALID, EXITCODE_USAGE, "secret",
                            "--secret %s: \"%s\" is no name of a Secret", items[i], name);
        if (!realpath(equals + 1, absolute) || stat(absolute, &st) < 0)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "secret",
                            "--secret %s: cannot open the directory %s: %s", name, equals + 1,
                            strerror(errno));
        if (!S_ISDIR(st.st_mode))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "secret",
                            "--secret %s: expected a directory with one file a key, found a file: %s", name,
                            absolute);
        cJSON_DeleteItemFromObjectCaseSensitive(secrets, name);
        json_add_string(secrets, name, absolute);
    }
    *ret = steal_ptr(secrets);
    return 0;
}

/* --- known stores ----------------------------------------------------------------------------------- */

static char *known_path(void)
{
    _cleanup_free_ char *user = user_state_dir();
    return user ? fs_join(user, "stores") : NULL;
}

char **location_known(void)
{
    char **urls = xcalloc(LIMIT_KNOWN_STORES + 1, sizeof *urls);
    _cleanup_free_ char *path = known_path();
    _cleanup_free_ char *text = NULL;
    struct err err = ERR_INIT;
    if (!path || fs_read_file(path, 1024 * 1024, &text, NULL, &err) < 0)
        return urls;
    size_t n = 0, len;
    const char *cursor = text, *part;
    while (n < LIMIT_KNOWN_STORES && text_next_part(&cursor, '\n', &part, &len)) {
        if (len > 0)
            urls[n++] = xstrndup(part, len);
    }
    return urls;
}

void location_known_free(char **urls)
{
    for (char **u = urls; u && *u; u++)
        free(*u);
    free(urls);
}

void location_remember(const char *url)
{
    _cleanup_free_ char *user = user_state_dir();
    _cleanup_free_ char *path = known_path();
    struct err err = ERR_INIT;
    if (!user || fs_mkdir_p(user, &err) < 0)
        return;
    _cleanup_free_ char *lock_path = fs_join(user, "stores.lock");
    _cleanup_close_ int lock = -1;
    if (lock_file(lock_path, &lock, &err) < 0)
        return;
    char **known = location_known();
    _cleanup_buf_ struct buf text = BUF_INIT(1024 * 1024);
    (void)buf_addf(&text, "%s\n", url);
    size_t n = 1;
    for (char **u = known; *u && n < LIMIT_KNOWN_STORES; u++) {
        const char *dir = location_file_path(*u);
        if (strcmp(*u, url) != 0 && (!dir || fs_exists(dir))) { /* a store that was deleted is forgotten */
            (void)buf_addf(&text, "%s\n", *u);
            n++;
        }
    }
    bool first = known[0] && strcmp(known[0], url) == 0;
    location_known_free(known);
    if (!first && !buf_failed(&text))
        (void)fs_write_atomic(path, buf_str(&text), text.len, &err);
}
