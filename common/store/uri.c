/* Store URLs: see uri.h. */
#include "common/store/uri.h"

#include <ctype.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/text.h"

static int fail(struct err *err, const char *text, const char *why)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "store-url",
                    "store URL \"%s\": %s; expected file:///absolute/path or s3://bucket[/prefix]", text,
                    why);
}

/* Bucket names as S3 defines them: 3 to 63 of a-z 0-9 . -, beginning and ending with a letter or digit. */
static bool bucket_valid(const char *name, size_t len)
{
    if (len < 3 || len > 63 || !isalnum((unsigned char)name[0]) || !isalnum((unsigned char)name[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return true;
}

static int parse_file(const char *text, struct uri *ret, struct err *err)
{
    const char *path = text + strlen("file://");
    if (path[0] != '/')
        return fail(err, text, "a file URL needs an absolute path after file://");
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    *ret = (struct uri){.local = true, .path = xstrndup(path, len)};
    return 0;
}

static int parse_s3(const char *text, struct uri *ret, struct err *err)
{
    const char *bucket = text + strlen("s3://");
    size_t bucket_len = strcspn(bucket, "/");
    if (!bucket_valid(bucket, bucket_len))
        return fail(err, text, "the bucket's name is not valid (3 to 63 of a-z, 0-9, '-' and '.')");
    const char *prefix = bucket + bucket_len;
    while (*prefix == '/')
        prefix++;
    size_t len = strlen(prefix);
    while (len > 0 && prefix[len - 1] == '/')
        len--;
    _cleanup_free_ char *copy = xstrndup(prefix, len);
    if (len > 0 && !fs_safe_relative(copy))
        return fail(err, text, "the prefix must be plain names separated by single slashes");
    *ret = (struct uri){.bucket = xstrndup(bucket, bucket_len), .prefix = steal_ptr(copy)};
    return 0;
}

int uri_parse(const char *text, struct uri *ret, struct err *err)
{
    if (text_starts_with(text, "file://"))
        return parse_file(text, ret, err);
    if (text_starts_with(text, "s3://"))
        return parse_s3(text, ret, err);
    return fail(err, text, "unknown scheme");
}

void uri_release(struct uri *u)
{
    u->path = xfree(u->path);
    u->bucket = xfree(u->bucket);
    u->prefix = xfree(u->prefix);
}

int uri_encode(struct buf *out, const char *s, bool keep_slash)
{
    static const char digits[] = "0123456789ABCDEF";
    int r = 0;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
        if (plain)
            r = buf_addc(out, (char)c);
        else
            r = buf_add(out, (char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
    }
    return r;
}
