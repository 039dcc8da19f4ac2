/* Listings: ListObjectsV2, page by page. */
#include "common/store/s3_list.h"
#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/store/s3-internal.h"
#include "common/store/xml.h"

static int fail_field(struct err *err, const char *field, const char *value)
{
    err_clear(err);
    return err_set(err, ERR_INVALID, "listing: unusable %s \"%s\"", field, value);
}

/* Text within <Contents>. */
static int take_field(const struct xml *x, const char *value, struct store_object *o, struct err *err)
{
    if (xml_at(x, "Contents/Key")) {
        if (o->key)
            return fail_field(err, "second Key", value);
        o->key = xstrdup(value);
        return 0;
    }
    if (xml_at(x, "Contents/Size"))
        return text_parse_int(value, &o->size, err) < 0 || o->size < 0 ? fail_field(err, "Size", value) : 0;
    if (xml_at(x, "Contents/LastModified"))
        return clock_parse_rfc3339(value, &o->mtime_ms, err) < 0 ? fail_field(err, "LastModified", value) : 0;
    if (xml_at(x, "Contents/ETag")) {
        if (strlen(value) >= STORE_ETAG_MAX)
            return fail_field(err, "ETag", value);
        memcpy(o->etag, value, strlen(value) + 1);
    }
    return 0;
}

int s3_list_page(const char *text, size_t len,
                 int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
                 struct s3_page *ret, struct err *err)
{
    _cleanup_xml_ struct xml x;
    xml_init(&x, text, len);
    struct store_object o = {0};
    struct s3_page page = {0};
    enum xml_event event = XML_START;
    int r = 0;
    while (r == 0 && event != XML_DONE) {
        r = xml_next(&x, &event, err);
        if (r < 0)
            break;
        const char *value = buf_str(&x.value);
        if (event == XML_TEXT && x.value.len && memchr(value, '\0', x.value.len)) {
            r = fail_field(err, "text with NUL", value);
        } else if (event == XML_TEXT && xml_at(&x, "ListBucketResult/IsTruncated")) {
            page.truncated = text_equal(value, "true");
        } else if (event == XML_TEXT && xml_at(&x, "ListBucketResult/NextContinuationToken")) {
            free(page.next);
            page.next = xstrdup(value);
        } else if (event == XML_TEXT) {
            r = take_field(&x, value, &o, err);
        } else if (event == XML_END && xml_at(&x, "ListBucketResult/Contents")) {
            r = o.key ? each(ctx, &o, err) : fail_field(err, "Contents without", "Key");
            store_object_release(&o);
            o = (struct store_object){0};
        }
    }
    store_object_release(&o);
    if (r == 0 && page.truncated && !page.next)
        r = err_set(err, ERR_INVALID, "listing: truncated, but without a NextContinuationToken");
    if (r < 0) {
        free(page.next);
        return -1;
    }
    *ret = page;
    return 0;
}

struct listing {
    const struct s3_store *store;
    int (*each)(void *ctx, const struct store_object *object, struct err *err);
    void *ctx;
};

/* Keys of the bucket → keys of the store. */
static int on_object(void *ctx, const struct store_object *object, struct err *err)
{
    const struct listing *l = ctx;
    size_t skip = *l->store->prefix ? strlen(l->store->prefix) + 1 : 0;
    if (strlen(object->key) <= skip || text_ends_with(object->key, "/")) /* a console's folder marker */
        return 0;
    struct store_object o = *object;
    o.key += skip;
    return text_starts_with(o.key, STORE_INTERNAL "/") ? 0 : l->each(l->ctx, &o, err);
}

int s3_list(struct store *s, const char *prefix,
            int (*each)(void *ctx, const struct store_object *object, struct err *err), void *ctx,
            struct err *err)
{
    struct s3_store *s3 = s3_store_of(s);
    struct listing listing = {.store = s3, .each = each, .ctx = ctx};
    _cleanup_free_ char *full = xasprintf("%s%s%s", s3->prefix, *s3->prefix ? "/" : "", prefix);
    _cleanup_free_ char *token = NULL;
    do {
        struct s3_request r = {.method = "GET", .max_body = LIMIT_S3_XML_BYTES};
        s3_add_query(&r, "list-type", "2");
        s3_add_query(&r, "prefix", full);
        if (token)
            s3_add_query(&r, "continuation-token", token);
        _cleanup_http_response_ struct http_response response;
        struct s3_page page;
        if (s3_perform(s3, &r, &response, err) < 0)
            return -1;
        if (s3_list_page(buf_str(&response.body), response.body.len, on_object, &listing, &page, err) < 0)
            return -1;
        free(token);
        token = page.next;
        if (!page.truncated)
            break;
    } while (token);
    return 0;
}
