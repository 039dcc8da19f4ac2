/* Printing JSON: canonical (RFC 8785), pretty, and its parts (quoted texts, ECMAScript numbers); see json.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

int json_quote(struct buf *out, const char *s, size_t len)
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    (void)buf_addc(out, '"');
    for (size_t i = 0; i < len;) {
        size_t n = text_utf8_length(s + i, len - i);
        char c = s[i];
        const char *short_form = c ? strchr(meanings, c) : NULL;
        if (!n)
            (void)buf_adds(out, "\xef\xbf\xbd"); /* U+FFFD for a byte that is no text */
        else if (c == '"' || c == '\\')
            (void)buf_addf(out, "\\%c", c);
        else if (short_form)
            (void)buf_addf(out, "\\%c", letters[short_form - meanings]);
        else if (n == 1 && (unsigned char)c < 0x20)
            (void)buf_addf(out, "\\u%04x", (unsigned)c);
        else
            (void)buf_add(out, s + i, n);
        i += n ? n : 1;
    }
    return buf_addc(out, '"');
}

/* --- numbers --------------------------------------------------------------------------------------- */

/* A positive finite number as 0.d₁d₂…dₖ × 10^point. */
struct decimal {
    char digits[18];
    int n, point;
};

/* The correctly rounded decimal of n digits. */
static void round_to(double value, int n, struct decimal *ret)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.*e", n - 1, value);
    ret->n = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') /* whatever the locale's decimal point is */
            ret->digits[ret->n++] = *p;
    }
    ret->point = (int)strtol(p + 1, NULL, 10) + 1;
}

static bool round_trips(const struct decimal *d, double value)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.*se%d", d->n, d->digits, d->point - d->n);
    double back;
    struct err ignored = ERR_INIT;
    return text_parse_double(text, &back, &ignored) == 0 && back == value;
}

/* The next larger decimal of as many digits. */
static void increment(struct decimal *d)
{
    int i = d->n - 1;
    while (i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (i >= 0) {
        d->digits[i]++;
        return;
    }
    d->digits[0] = '1'; /* 99…9 became 100…0 */
    d->point++;
}

/* Fewest digits that read back as `value`, the nearest of several. The nearest decimal may fall just
 * below the interval of a power of two, which is narrower on that side, while its successor lies inside. */
static void shortest(double value, struct decimal *ret)
{
    /* Up to 15 digits every normal number's decimals are told apart, so shorter forms only lose zeros. */
    int first = value < 2.2250738585072014e-308 ? 1 : 15;
    for (int n = first; n <= 17; n++) {
        round_to(value, n, ret);
        if (round_trips(ret, value))
            break;
        struct decimal above = *ret;
        increment(&above);
        if (n < 17 && round_trips(&above, value)) {
            *ret = above;
            break;
        }
    }
    while (ret->n > 1 && ret->digits[ret->n - 1] == '0')
        ret->n--;
}

/* Number::toString of ECMA-262. Its n is our point, its k our n. */
void json_format_double(double value, char ret[static 32])
{
    enum { SIZE = 32 };
    if (!isfinite(value)) {
        (void)snprintf(ret, SIZE, "null");
        return;
    }
    if (value == 0) {
        (void)snprintf(ret, SIZE, "0"); /* also for -0 */
        return;
    }
    if (fabs(value) < 9007199254740992.0 && value == floor(value)) {
        (void)snprintf(ret, SIZE, "%lld", (long long)value);
        return;
    }
    const char *sign = value < 0 ? "-" : "";
    struct decimal d = {.n = 0};
    shortest(fabs(value), &d);
    if (d.point > 21 || d.point < -5) {
        char exponent_sign = d.point > 0 ? '+' : '-';
        (void)snprintf(ret, SIZE, "%s%c%s%.*se%c%d", sign, d.digits[0], d.n > 1 ? "." : "", d.n - 1,
                       d.digits + 1, exponent_sign, abs(d.point - 1));
    } else if (d.point >= d.n) {
        (void)snprintf(ret, SIZE, "%s%.*s%.*s", sign, d.n, d.digits, d.point - d.n, "0000000000000000000000");
    } else if (d.point > 0) {
        (void)snprintf(ret, SIZE, "%s%.*s.%.*s", sign, d.point, d.digits, d.n - d.point, d.digits + d.point);
    } else {
        (void)snprintf(ret, SIZE, "%s0.%.*s%.*s", sign, -d.point, "000000", d.n, d.digits);
    }
}

/* --- canonical ------------------------------------------------------------------------------------- */

/* Order of UTF-16 code units. It differs from that of UTF-8 bytes in one place only: characters beyond
 * U+FFFF (lead byte from 0xf0) are surrogates in UTF-16 and come before U+E000 (lead byte 0xee). */
static int compare_utf16(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    int x = (unsigned char)*a, y = (unsigned char)*b;
    if (x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0))
        return x >= 0xf0 ? -1 : 1;
    return x - y;
}

static int by_key(const void *a, const void *b)
{
    return compare_utf16((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static int canonical(const cJSON *v, struct buf *out, int depth, struct err *err);

static int canonical_text(const char *s, struct buf *out, struct err *err)
{
    size_t len = strlen(s);
    if (!text_valid_utf8(s, len))
        return err_set(err, ERR_INVALID, "canonical JSON: expected valid UTF-8 in every text");
    (void)json_quote(out, s, len);
    return 0;
}

static int canonical_object(const cJSON *o, struct buf *out, int depth, struct err *err)
{
    size_t n = 0;
    for (const cJSON *c = o->child; c; c = c->next)
        n++;
    _cleanup_free_ const cJSON **members = xcalloc(n, sizeof *members);
    n = 0;
    for (const cJSON *c = o->child; c; c = c->next)
        members[n++] = c;
    qsort(members, n, sizeof *members, by_key);
    (void)buf_addc(out, '{');
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(members[i - 1]->string, members[i]->string) == 0)
            return err_set(err, ERR_INVALID, "canonical JSON: duplicate key \"%s\"", members[i]->string);
        if (i)
            (void)buf_addc(out, ',');
        if (canonical_text(members[i]->string, out, err) < 0)
            return -1;
        (void)buf_addc(out, ':');
        if (canonical(members[i], out, depth + 1, err) < 0)
            return -1;
    }
    (void)buf_addc(out, '}');
    return 0;
}

static int canonical_array(const cJSON *a, struct buf *out, int depth, struct err *err)
{
    (void)buf_addc(out, '[');
    for (const cJSON *c = a->child; c; c = c->next) {
        if (c != a->child)
            (void)buf_addc(out, ',');
        if (canonical(c, out, depth + 1, err) < 0)
            return -1;
    }
    (void)buf_addc(out, ']');
    return 0;
}

static int canonical(const cJSON *v, struct buf *out, int depth, struct err *err)
{
    if (depth > LIMIT_JSON_DEPTH)
        return err_set(err, ERR_INVALID, "canonical JSON: nested deeper than %d levels", LIMIT_JSON_DEPTH);
    char number[32];
    switch (v->type & 0xff) {
    case cJSON_NULL:
        (void)buf_adds(out, "null");
        return 0;
    case cJSON_True:
    case cJSON_False:
        (void)buf_adds(out, cJSON_IsTrue(v) ? "true" : "false");
        return 0;
    case cJSON_Number:
        if (!isfinite(v->valuedouble))
            return err_set(err, ERR_INVALID, "canonical JSON: a number is not finite");
        json_format_double(v->valuedouble, number);
        (void)buf_adds(out, number);
        return 0;
    case cJSON_String:
        return canonical_text(v->valuestring, out, err);
    case cJSON_Array:
        return canonical_array(v, out, depth, err);
    case cJSON_Object:
        return canonical_object(v, out, depth, err);
    default:
        BUG("canonical JSON: value of type %d", v->type);
    }
}

int json_canonical(const cJSON *value, struct buf *out, struct err *err)
{
    if (canonical(value, out, 0, err) < 0)
        return -1;
    return buf_check(out, "canonical JSON", err);
}

int json_digest(const cJSON *value, char ret_hex[static 65], struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_ARTIFACT_MANIFEST_BYTES);
    if (json_canonical(value, &text, err) < 0)
        return -1;
    sha256_hex(buf_str(&text), text.len, ret_hex);
    return 0;
}

/* --- pretty ---------------------------------------------------------------------------------------- */

static void pretty(const cJSON *v, struct buf *out, int depth)
{
    char number[32];
    if (cJSON_IsNumber(v)) {
        json_format_double(v->valuedouble, number);
        (void)buf_adds(out, number);
    } else if (cJSON_IsString(v)) {
        (void)json_quote(out, v->valuestring, strlen(v->valuestring));
    } else if (cJSON_IsBool(v)) {
        (void)buf_adds(out, cJSON_IsTrue(v) ? "true" : "false");
    } else if ((cJSON_IsObject(v) || cJSON_IsArray(v)) && v->child) {
        bool object = cJSON_IsObject(v);
        (void)buf_adds(out, object ? "{\n" : "[\n");
        for (const cJSON *c = v->child; c; c = c->next) {
            (void)buf_addf(out, "%*s", 2 * (depth + 1), "");
            if (object) {
                (void)json_quote(out, c->string, strlen(c->string));
                (void)buf_adds(out, ": ");
            }
            pretty(c, out, depth + 1);
            (void)buf_adds(out, c->next ? ",\n" : "\n");
        }
        (void)buf_addf(out, "%*s%c", 2 * depth, "", object ? '}' : ']');
    } else {
        (void)buf_adds(out, cJSON_IsObject(v) ? "{}" : cJSON_IsArray(v) ? "[]" : "null");
    }
}

int json_pretty(const cJSON *value, struct buf *out)
{
    pretty(value, out, 0);
    return buf_addc(out, '\n');
}
