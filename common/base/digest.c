/* Digests, hexadecimal, base64 and random bytes: see digest.h. SHA-256 and HMAC are OpenSSL's. */
#include "common/base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"

struct sha256 {
    EVP_MD_CTX *ctx;
};

/* Fetched once: in OpenSSL 3 a look-up by EVP_sha256() at each use costs more than a short digest. */
static EVP_MD *sha256_method;

static void fetch_sha256(void)
{
    sha256_method = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!sha256_method)
        BUG("OpenSSL has no SHA-256");
}

static const EVP_MD *sha256_md(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fetch_sha256);
    return sha256_method;
}

struct sha256 *sha256_new(void)
{
    struct sha256 *s = xmalloc(sizeof *s);
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, sha256_md(), NULL) != 1)
        BUG("cannot start a SHA-256");
    return s;
}

void sha256_update(struct sha256 *s, const void *data, size_t len)
{
    if (EVP_DigestUpdate(s->ctx, data, len) != 1)
        BUG("cannot update a SHA-256");
}

void sha256_final(struct sha256 *s, uint8_t ret[static SHA256_LEN])
{
    if (EVP_DigestFinal_ex(s->ctx, ret, NULL) != 1)
        BUG("cannot finish a SHA-256");
    sha256_free(s);
}

void sha256_free(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void sha256_bytes(const void *data, size_t len, uint8_t ret[static SHA256_LEN])
{
    if (EVP_Digest(data, len, ret, NULL, sha256_md(), NULL) != 1)
        BUG("cannot compute a SHA-256");
}

void sha256_hex(const void *data, size_t len, char ret[static DIGEST_HEX])
{
    uint8_t raw[SHA256_LEN];
    sha256_bytes(data, len, raw);
    hex_encode(raw, sizeof raw, ret);
}

int sha256_file(const char *path, char ret_hex[static DIGEST_HEX], int64_t *ret_size, struct err *err)
{
    enum { CHUNK = 256 * 1024 };
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(err, errno, "cannot open %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "cannot digest %s: expected a regular file", path);
    _cleanup_free_ void *chunk = xmalloc(CHUNK);
    struct sha256 *s = sha256_new();
    int64_t size = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int e = errno;
            sha256_free(s);
            return err_errno(err, e, "cannot read %s at byte %lld", path, (long long)size);
        }
        if (n == 0)
            break;
        sha256_update(s, chunk, (size_t)n);
        size += n;
    }
    uint8_t raw[SHA256_LEN];
    sha256_final(s, raw);
    hex_encode(raw, sizeof raw, ret_hex);
    if (ret_size)
        *ret_size = size;
    return 0;
}

void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                 uint8_t ret[static SHA256_LEN])
{
    /* A NULL key would mean "the key of the call before" to OpenSSL. */
    if (!HMAC(sha256_md(), key_len ? key : "", (int)key_len, data ? data : "", len, ret, NULL))
        BUG("cannot compute an HMAC");
}

void hex_encode(const void *data, size_t len, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[p[i] >> 4];
        ret[2 * i + 1] = digits[p[i] & 15];
    }
    ret[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode(const char *hex, void *ret, size_t len)
{
    uint8_t *out = ret;
    if (strlen(hex) != 2 * len)
        return -1;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return -1;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return 0;
}

bool digest_valid(const char *hex)
{
    return strlen(hex) == DIGEST_HEX - 1 && strspn(hex, "0123456789abcdef") == DIGEST_HEX - 1;
}

bool bytes_equal_ct(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void random_bytes(void *ret, size_t len)
{
    char *p = ret;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            BUG("the kernel gives no random bytes");
        p += n;
        len -= (size_t)n;
    }
}

void random_name(char *ret, size_t n)
{
    static const char letters[36] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < n;) {
        uint8_t raw[32];
        random_bytes(raw, sizeof raw);
        /* 252 is the largest multiple of 36 in a byte: the rest would favour the first letters. */
        for (size_t j = 0; j < sizeof raw && i < n; j++) {
            if (raw[j] < 252)
                ret[i++] = letters[raw[j] % 36];
        }
    }
    ret[n] = '\0';
}

static const char base64_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
    const uint8_t *p = data;
    char *text = xmalloc((len + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t group =
            (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);
        *out++ = base64_letters[group >> 18];
        *out++ = base64_letters[group >> 12 & 63];
        *out++ = n > 1 ? base64_letters[group >> 6 & 63] : '=';
        *out++ = n > 2 ? base64_letters[group & 63] : '=';
    }
    *out = '\0';
    return text;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, uint8_t **ret, size_t *ret_len, struct err *err)
{
    size_t len = strlen(text);
    size_t padding = len >= 2 && text[len - 1] == '=' ? 1 + (text[len - 2] == '=') : 0;
    if (len % 4)
        return err_set(err, ERR_INVALID, "expected base64 text of a multiple of 4 characters, found %zu",
                       len);
    size_t out_len = len / 4 * 3 - padding, n = 0;
    _cleanup_free_ uint8_t *out = xmalloc(len / 4 * 3 + 1);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            bool pad = i + j >= len - padding;
            int v = pad ? 0 : base64_value(text[i + j]);
            if (v < 0)
                return err_set(err, ERR_INVALID,
                               "expected base64 text, found a strange character at offset %zu", i + j);
            group = group << 6 | (uint32_t)v;
        }
        out[n++] = (uint8_t)(group >> 16);
        out[n++] = (uint8_t)(group >> 8);
        out[n++] = (uint8_t)group;
    }
    /* Bits behind the end must be 0, or two texts would mean the same bytes. */
    for (size_t i = out_len; i < n; i++) {
        if (out[i])
            return err_set(err, ERR_INVALID, "expected base64 text, found stray bits in its last character");
    }
    *ret = steal_ptr(out);
    *ret_len = out_len;
    return 0;
}
