/* SigV4: canonical request → string to sign → derived key → signature. See sigv4.h. */
#include "common/store/sigv4.h"

#include <ctype.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/store/uri.h"

enum { CANONICAL_MAX = 64 * 1024 };

void sigv4_date(int64_t time_ms, char ret[static SIGV4_DATE_MAX])
{
    int64_t seconds = time_ms / 1000, days = seconds / 86400, rest = seconds % 86400, year;
    unsigned month, day;
    clock_civil_from_days(days, &year, &month, &day);
    (void)snprintf(ret, SIGV4_DATE_MAX, "%04u%02u%02uT%02u%02u%02uZ", (unsigned)year % 10000u, month % 100u,
                   day % 100u, (unsigned)(rest / 3600) % 100u, (unsigned)(rest / 60 % 60),
                   (unsigned)(rest % 60));
}

struct encoded {
    char *name, *value;
};

static int compare_encoded(const void *a, const void *b)
{
    const struct encoded *x = a, *y = b;
    int r = strcmp(x->name, y->name);
    return r ? r : strcmp(x->value, y->value);
}

static void release_encoded(struct encoded *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(e[i].name);
        free(e[i].value);
    }
}

static char *encode(const char *s)
{
    _cleanup_buf_ struct buf b = BUF_INIT(CANONICAL_MAX);
    (void)uri_encode(&b, s, /* keep_slash= */ false);
    return buf_take(&b);
}

int sigv4_query(const struct sigv4_pair *query, size_t n, struct buf *out)
{
    struct encoded e[SIGV4_MAX_PAIRS];
    if (n > SIGV4_MAX_PAIRS)
        BUG("%zu query parameters", n);
    int r = 0;
    for (size_t i = 0; i < n; i++)
        e[i] = (struct encoded){encode(query[i].name), encode(query[i].value)};
    if (n > 1)
        qsort(e, n, sizeof e[0], compare_encoded);
    for (size_t i = 0; i < n; i++) /* a part that was too long is NULL */
        r = e[i].name && e[i].value ? buf_addf(out, "%s%s=%s", i ? "&" : "", e[i].name, e[i].value) : -1;
    release_encoded(e, n);
    return r;
}

/* Lower-case name; value without white space around and with single spaces within. */
static struct encoded canonical_header(const struct sigv4_pair *h)
{
    struct encoded e = {xstrdup(h->name), xmalloc(strlen(h->value) + 1)};
    for (char *c = e.name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    char *to = e.value;
    for (const char *from = h->value; *from; from++)
        if (*from != ' ' && *from != '\t')
            *to++ = *from;
        else if (to > e.value && to[-1] != ' ')
            *to++ = ' ';
    while (to > e.value && to[-1] == ' ')
        to--;
    *to = '\0';
    return e;
}

/* Appends "name:value\n" lines to `lines` and "a;b" to `names`. */
static void canonical_headers(const struct sigv4_request *r, const char *date, struct buf *lines,
                              struct buf *names)
{
    struct encoded e[SIGV4_MAX_PAIRS + 2];
    size_t n = 0;
    if (r->n_headers > SIGV4_MAX_PAIRS)
        BUG("%zu headers", r->n_headers);
    for (size_t i = 0; i < r->n_headers; i++)
        e[n++] = canonical_header(&r->headers[i]);
    e[n++] = canonical_header(&(struct sigv4_pair){"host", r->host});
    e[n++] = canonical_header(&(struct sigv4_pair){"x-amz-date", date});
    qsort(e, n, sizeof e[0], compare_encoded);
    for (size_t i = 0; i < n; i++) {
        (void)buf_addf(lines, "%s:%s\n", e[i].name, e[i].value);
        (void)buf_addf(names, "%s%s", i ? ";" : "", e[i].name);
    }
    release_encoded(e, n);
}

static void derive_key(const struct sigv4_request *r, const char *day, uint8_t ret[static SHA256_LEN])
{
    _cleanup_free_ char *start = xasprintf("AWS4%s", r->secret_access_key);
    hmac_sha256(start, strlen(start), day, strlen(day), ret);
    hmac_sha256(ret, SHA256_LEN, r->region, strlen(r->region), ret);
    hmac_sha256(ret, SHA256_LEN, r->service, strlen(r->service), ret);
    hmac_sha256(ret, SHA256_LEN, "aws4_request", strlen("aws4_request"), ret);
    explicit_bzero(start, strlen(start));
}

int sigv4_sign(const struct sigv4_request *r, struct buf *out, char ret_date[static SIGV4_DATE_MAX],
               struct err *err)
{
    char date[SIGV4_DATE_MAX], day[9];
    sigv4_date(r->time_ms, date);
    memcpy(day, date, 8);
    day[8] = '\0';
    _cleanup_buf_ struct buf canonical = BUF_INIT(CANONICAL_MAX);
    _cleanup_buf_ struct buf names = BUF_INIT(CANONICAL_MAX);
    (void)buf_addf(&canonical, "%s\n%s\n", r->method, r->path);
    (void)sigv4_query(r->query, r->n_query, &canonical);
    (void)buf_addc(&canonical, '\n');
    canonical_headers(r, date, &canonical, &names);
    (void)buf_addf(&canonical, "\n%s\n%s", buf_str(&names), r->payload_sha256);
    if (buf_check(&canonical, "the request to sign", err) < 0)
        return -1;

    char digest[DIGEST_HEX];
    sha256_hex(buf_str(&canonical), canonical.len, digest);
    _cleanup_free_ char *scope = xasprintf("%s/%s/%s/aws4_request", day, r->region, r->service);
    _cleanup_free_ char *to_sign = xasprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest);
    uint8_t key[SHA256_LEN], signature[SHA256_LEN];
    char hex[DIGEST_HEX];
    derive_key(r, day, key);
    hmac_sha256(key, sizeof key, to_sign, strlen(to_sign), signature);
    explicit_bzero(key, sizeof key);
    hex_encode(signature, sizeof signature, hex);
    if (buf_addf(out, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s", r->access_key_id,
                 scope, buf_str(&names), hex) < 0)
        return buf_check(out, "the Authorization header", err);
    memcpy(ret_date, date, sizeof date);
    return 0;
}
