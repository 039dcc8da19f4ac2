/* Sources of credentials: see credentials.h. */
#include "common/store/credentials.h"

#include <errno.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/http/http.h"
#include "common/store/uri.h"
#include "common/store/xml.h"

enum {
    SECRET_MAX = 64 * 1024,
    TOKEN_MAX = 64 * 1024,
    REFRESH_BEFORE_MS = 5 * 60 * 1000,
    SHORTEST_REFRESH_MS = 10 * 1000
};
enum { EXCHANGE_TRIES = 4, EXCHANGE_TIMEOUT_MS = 10 * 1000 };

struct credentials {
    char *access_key_id, *secret_access_key, *session_token; /* current; all NULL: none yet */
    const struct clock *clock;
    /* files */
    char *dir;
    struct stat seen; /* of the secret key's file, when it was read */
    /* web identity */
    char *token_file, *role_arn, *sts_url, *ca_file;
    struct http_client *http;
    int64_t refresh_ms, expires_ms; /* wall clock */
};

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

int credentials_new(const struct store_config *config, struct credentials **ret, struct err *err)
{
    bool values = config->access_key_id && config->secret_access_key;
    bool web = config->web_identity_token_file && config->role_arn;
    if (!config->credentials_dir && !web && !values)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
            "%s: no credentials: expected a mounted Secret (credentialsSecret; locally --secret NAME=DIR) with files " CRED_ACCESS_KEY_ID
            " and " CRED_SECRET_ACCESS_KEY
            ", these two in the environment, or AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN",
            config->url);
    struct credentials *c = xcalloc(1, sizeof *c);
    c->clock = config->clock ? config->clock : &clock_system;
    c->dir = dup_or_null(config->credentials_dir);
    if (!c->dir && web) {
        c->token_file = xstrdup(config->web_identity_token_file);
        c->role_arn = xstrdup(config->role_arn);
        c->sts_url = config->sts_endpoint ? xstrdup(config->sts_endpoint)
                                          : xasprintf("https://sts.%s.amazonaws.com/",
                                                      config->region ? config->region : "us-east-1");
        c->ca_file = dup_or_null(config->ca_file);
    } else if (!c->dir) {
        c->access_key_id = xstrdup(config->access_key_id);
        c->secret_access_key = xstrdup(config->secret_access_key);
        c->session_token = dup_or_null(config->session_token);
    }
    *ret = c;
    return 0;
}

static char *wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    return xfree(secret);
}

static void forget(struct credentials *c)
{
    c->access_key_id = wipe(c->access_key_id);
    c->secret_access_key = wipe(c->secret_access_key);
    c->session_token = wipe(c->session_token);
}

struct credentials *credentials_free(struct credentials *c)
{
    if (!c)
        return NULL;
    forget(c);
    free(c->dir);
    free(c->token_file);
    free(c->role_arn);
    free(c->sts_url);
    free(c->ca_file);
    http_client_free(c->http);
    free(c);
    return NULL;
}

bool credentials_forget(struct credentials *c)
{
    if (!c->dir && !c->token_file)
        return false;
    forget(c);
    c->refresh_ms = c->expires_ms = 0;
    return true;
}

/* --- mounted files ---------------------------------------------------------------------------------- */

static void trim_end(char *s)
{
    size_t n = strlen(s);
    while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == '\r' || s[n - 1] == ' '))
        s[--n] = '\0';
}

static int read_secret(const char *dir, const char *key, bool required, char **ret, struct err *err)
{
    _cleanup_free_ char *path = fs_join(dir, key);
    struct err cause = ERR_INIT;
    char *text = NULL;
    if (fs_read_file(path, SECRET_MAX, &text, NULL, &cause) < 0) {
        if (cause.class_ == ERR_NOTFOUND && !required) {
            *ret = NULL;
            return 0;
        }
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
            "cannot read the credentials file %s: %s; expected the Secret named by credentialsSecret, with "
            "the keys " CRED_ACCESS_KEY_ID " and " CRED_SECRET_ACCESS_KEY
            ": create it in the run's namespace (locally: --secret NAME=DIR)",
            path, cause.msg);
    }
    trim_end(text);
    *ret = text;
    if (!*text && required)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "credentials", "the credentials file %s is empty",
                        path);
    if (!*text)
        *ret = xfree(text);
    return 0;
}

/* A Secret is replaced as a whole (its folder is a symbolic link that is switched), so one file stands for all. */
static bool files_changed(struct credentials *c)
{
    _cleanup_free_ char *path = fs_join(c->dir, CRED_SECRET_ACCESS_KEY);
    struct stat st;
    if (stat(path, &st) < 0)
        return false; /* keep what we have; a failing request will say more */
    bool same = st.st_ino == c->seen.st_ino && st.st_dev == c->seen.st_dev && st.st_size == c->seen.st_size &&
                st.st_mtim.tv_sec == c->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == c->seen.st_mtim.tv_nsec;
    c->seen = st;
    return !same;
}

static int get_from_files(struct credentials *c, struct err *err)
{
    if (!files_changed(c) && c->access_key_id)
        return 0;
    forget(c);
    if (read_secret(c->dir, CRED_ACCESS_KEY_ID, true, &c->access_key_id, err) < 0 ||
        read_secret(c->dir, CRED_SECRET_ACCESS_KEY, true, &c->secret_access_key, err) < 0 ||
        read_secret(c->dir, CRED_SESSION_TOKEN, false, &c->session_token, err) < 0) {
        forget(c);
        return -1;
    }
    return 0;
}

/* --- web identity ----------------------------------------------------------------------------------- */

static char *exchange_form(const struct credentials *c, struct err *err)
{
    _cleanup_free_ char *token = NULL;
    struct err cause = ERR_INIT;
    if (fs_read_file(c->token_file, TOKEN_MAX, &token, NULL, &cause) < 0) {
        (void)err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
                       "cannot read the web identity token: %s", cause.msg);
        return NULL;
    }
    trim_end(token);
    char session[9];
    random_name(session, 8);
    _cleanup_buf_ struct buf form = BUF_INIT(4 * TOKEN_MAX);
    (void)buf_adds(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    (void)uri_encode(&form, c->role_arn, false);
    (void)buf_addf(&form, "&RoleSessionName=trainyard-%s&WebIdentityToken=", session);
    (void)uri_encode(&form, token, false);
    explicit_bzero(token, strlen(token));
    return buf_take(&form);
}

static char *take_field(const char *text, size_t len, const char *path)
{
    _cleanup_free_ char *value = xmalloc(SECRET_MAX);
    return xml_find(text, len, path, value, SECRET_MAX) && *value ? xstrdup(value) : NULL;
}

static int accept_exchange(struct credentials *c, const struct http_response *response, struct err *err)
{
    const char *text = buf_str(&response->body);
    size_t len = response->body.len;
    _cleanup_free_ char *id = take_field(text, len, "Credentials/AccessKeyId");
    _cleanup_free_ char *secret = take_field(text, len, "Credentials/SecretAccessKey");
    _cleanup_free_ char *token = take_field(text, len, "Credentials/SessionToken");
    _cleanup_free_ char *expiration = take_field(text, len, "Credentials/Expiration");
    int64_t expires;
    if (!id || !secret || !token || !expiration || clock_parse_rfc3339(expiration, &expires, err) < 0) {
        err_clear(err);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "credentials",
                        "%s: the answer holds no credentials with an expiration", c->sts_url);
    }
    forget(c);
    c->access_key_id = steal_ptr(id);
    c->secret_access_key = steal_ptr(secret);
    c->session_token = steal_ptr(token);
    int64_t now = c->clock->wall_ms(c->clock->ctx), lifetime = expires - now;
    int64_t margin = lifetime / 2 < REFRESH_BEFORE_MS ? lifetime / 2 : REFRESH_BEFORE_MS;
    c->expires_ms = expires;
    c->refresh_ms =
        expires - margin > now + SHORTEST_REFRESH_MS ? expires - margin : now + SHORTEST_REFRESH_MS;
    return 0;
}

static int exchange_once(struct credentials *c, const char *form, struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
    struct http_request request = {.method = "POST",
                                   .url = c->sts_url,
                                   .headers = headers,
                                   .body = form,
                                   .body_len = strlen(form),
                                   .timeout_ms = EXCHANGE_TIMEOUT_MS,
                                   .max_body = 256 * 1024};
    _cleanup_http_response_ struct http_response response;
    if (http_perform(c->http, &request, &response, err) < 0)
        return -1;
    if (http_check(&response, c->sts_url, err) < 0) {
        if (err->class_ != ERR_RETRY)
            err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "cannot exchange the web identity token for role %s", c->role_arn);
    }
    return accept_exchange(c, &response, err);
}

static int exchange(struct credentials *c, struct err *err)
{
    if (!c->http &&
        http_client_new(NULL, &(struct http_config){.ca_file = c->ca_file, .http2 = true}, &c->http, err) < 0)
        return -1;
    _cleanup_free_ char *form = exchange_form(c, err);
    if (!form)
        return -1;
    int r = -1;
    for (int i = 0; i < EXCHANGE_TRIES; i++) {
        struct err attempt = ERR_INIT;
        r = exchange_once(c, form, &attempt);
        if (r == 0)
            break;
        if (attempt.class_ != ERR_RETRY || i + 1 == EXCHANGE_TRIES) {
            *err = attempt;
            break;
        }
        c->clock->sleep_ms(c->clock->ctx, 200 << i);
    }
    explicit_bzero(form, strlen(form));
    return r;
}

static int get_by_web_identity(struct credentials *c, struct err *err)
{
    int64_t now = c->clock->wall_ms(c->clock->ctx);
    if (c->access_key_id && now < c->refresh_ms)
        return 0;
    struct err cause = ERR_INIT;
    if (exchange(c, &cause) == 0)
        return 0;
    if (c->access_key_id && now < c->expires_ms) { /* still good: try again in a while */
        c->refresh_ms = now + SHORTEST_REFRESH_MS;
        return 0;
    }
    *err = cause;
    return -1;
}

int credentials_get(struct credentials *c, struct credential_values *ret, struct err *err)
{
    if (c->dir ? get_from_files(c, err) < 0 : c->token_file ? get_by_web_identity(c, err) < 0 : false)
        return -1;
    *ret = (struct credential_values){c->access_key_id, c->secret_access_key, c->session_token};
    return 0;
}
