/* A validating scanner for JSON text: see json_scan.h. It builds nothing but the keys of open objects. */
#include "common/base/json_scan.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/limits.h"
#include "common/base/text.h"

enum { NUMBER_MAX = 63 }; /* cJSON copies a number into 64 bytes */

struct key {
    char *text; /* unescaped */
    size_t offset;
};

struct scan {
    const char *start, *p, *end;
    struct key *keys; /* of all open objects, innermost last */
    size_t n_keys, capacity;
    struct err *err;
};

static int fail_at(struct scan *s, const char *where, const char *expected)
{
    size_t offset = (size_t)(where - s->start);
    if (where >= s->end)
        return err_fail(s->err, ERR_INVALID, 0, "invalid-json",
                        "invalid JSON at byte %zu: expected %s, found the end", offset, expected);
    unsigned char c = (unsigned char)*where;
    if (c > ' ' && c < 0x7f)
        return err_fail(s->err, ERR_INVALID, 0, "invalid-json",
                        "invalid JSON at byte %zu: expected %s, found '%c'", offset, expected, c);
    return err_fail(s->err, ERR_INVALID, 0, "invalid-json",
                    "invalid JSON at byte %zu: expected %s, found byte 0x%02x", offset, expected, c);
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool at(const struct scan *s, char c)
{
    return s->p < s->end && *s->p == c;
}

static bool at_digit(const struct scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static int scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return fail_at(s, s->p, "a value");
    s->p += n;
    return 0;
}

static int scan_digits(struct scan *s)
{
    if (!at_digit(s))
        return fail_at(s, s->p, "a digit");
    while (at_digit(s))
        s->p++;
    return 0;
}

static int scan_number(struct scan *s)
{
    const char *begin = s->p;
    s->p += at(s, '-');
    if (at(s, '0')) {
        s->p++;
        if (at_digit(s))
            return fail_at(s, s->p, "no digit after a leading 0");
    } else if (scan_digits(s) < 0) {
        return -1;
    }
    if (at(s, '.')) {
        s->p++;
        if (scan_digits(s) < 0)
            return -1;
    }
    if (at(s, 'e') || at(s, 'E')) {
        s->p++;
        s->p += at(s, '+') || at(s, '-');
        if (scan_digits(s) < 0)
            return -1;
    }
    char copy[NUMBER_MAX + 1];
    size_t n = (size_t)(s->p - begin);
    if (n > NUMBER_MAX)
        return fail_at(s, begin, "a number of at most 63 characters");
    memcpy(copy, begin, n);
    copy[n] = '\0';
    double v;
    struct err range = ERR_INIT;
    if (text_parse_double(copy, &v, &range) < 0)
        return fail_at(s, begin, "a number that fits a double");
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX. */
static int scan_unit(struct scan *s, uint32_t *ret)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int digit = s->p < s->end ? hex_digit(*s->p) : -1;
        if (digit < 0)
            return fail_at(s, s->p, "four hexadecimal digits");
        v = v << 4 | (uint32_t)digit;
    }
    *ret = v;
    return 0;
}

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        (void)buf_addc(out, (char)c);
    } else if (c < 0x800) {
        (void)buf_addc(out, (char)(0xc0 | c >> 6));
        (void)buf_addc(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        (void)buf_addc(out, (char)(0xe0 | c >> 12));
        (void)buf_addc(out, (char)(0x80 | (c >> 6 & 63)));
        (void)buf_addc(out, (char)(0x80 | (c & 63)));
    } else {
        (void)buf_addc(out, (char)(0xf0 | c >> 18));
        (void)buf_addc(out, (char)(0x80 | (c >> 12 & 63)));
        (void)buf_addc(out, (char)(0x80 | (c >> 6 & 63)));
        (void)buf_addc(out, (char)(0x80 | (c & 63)));
    }
}

/* Behind the backslash. `out` may be NULL. */
static int scan_escape(struct scan *s, struct buf *out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *begin = s->p - 1;
    const char *letter = s->p < s->end && *s->p ? strchr(letters, *s->p) : NULL;
    if (letter) {
        s->p++;
        if (out)
            (void)buf_addc(out, meanings[letter - letters]);
        return 0;
    }
    if (!at(s, 'u'))
        return fail_at(s, s->p, "an escape such as \\n or \\u00e4");
    s->p++;
    uint32_t c = 0, low = 0;
    if (scan_unit(s, &c) < 0)
        return -1;
    if (c >= 0xd800 && c < 0xdc00) {
        if (!(s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u'))
            return fail_at(s, begin, "a pair of surrogates");
        s->p += 2;
        if (scan_unit(s, &low) < 0)
            return -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail_at(s, begin, "a pair of surrogates");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return fail_at(s, begin, "a pair of surrogates");
    }
    if (c == 0)
        return fail_at(s, begin, "a text without NUL characters");
    if (out)
        add_utf8(out, c);
    return 0;
}

/* From the opening quote to behind the closing one; the unescaped text goes to `out` unless NULL. */
static int scan_string(struct scan *s, struct buf *out)
{
    if (!at(s, '"'))
        return fail_at(s, s->p, "a quoted text");
    s->p++;
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\') {
            s->p++;
            if (scan_escape(s, out) < 0)
                return -1;
            continue;
        }
        if ((unsigned char)*s->p < 0x20)
            return fail_at(s, s->p, "no unescaped control character in a text");
        size_t n = text_utf8_length(s->p, (size_t)(s->end - s->p));
        if (!n)
            return fail_at(s, s->p, "valid UTF-8");
        if (out)
            (void)buf_add(out, s->p, n);
        s->p += n;
    }
    if (s->p == s->end)
        return fail_at(s, s->p, "a closing quote");
    s->p++;
    return 0;
}

static int by_text(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int c = strcmp(x->text, y->text);
    return c ? c : (x->offset > y->offset) - (x->offset < y->offset);
}

/* The object whose keys begin at `first` is complete. */
static int close_object(struct scan *s, size_t first)
{
    size_t n = s->n_keys - first;
    if (n == 0)
        return 0;
    struct key *keys = s->keys + first;
    qsort(keys, n, sizeof *keys, by_text);
    int r = 0;
    for (size_t i = 1; i < n && r == 0; i++) {
        if (strcmp(keys[i - 1].text, keys[i].text) == 0)
            r = err_fail(s->err, ERR_INVALID, 0, "invalid-json",
                         "invalid JSON at byte %zu: duplicate key \"%s\"", keys[i].offset, keys[i].text);
    }
    while (s->n_keys > first)
        free(s->keys[--s->n_keys].text);
    return r;
}

static int scan_value(struct scan *s, int depth);

static int scan_key(struct scan *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT((size_t)(s->end - s->start));
    size_t offset = (size_t)(s->p - s->start);
    if (scan_string(s, &text) < 0)
        return -1;
    s->keys = grow_array(s->keys, &s->capacity, s->n_keys, sizeof *s->keys);
    s->keys[s->n_keys++] = (struct key){buf_take(&text), offset};
    skip_space(s);
    if (!at(s, ':'))
        return fail_at(s, s->p, "':'");
    s->p++;
    return 0;
}

/* Elements of an array or members of an object, from behind the opening bracket to behind the closing one. */
static int scan_members(struct scan *s, char close, int depth)
{
    skip_space(s);
    if (at(s, close)) {
        s->p++;
        return 0;
    }
    for (;;) {
        skip_space(s);
        if (close == '}' && scan_key(s) < 0)
            return -1;
        skip_space(s);
        if (scan_value(s, depth) < 0)
            return -1;
        skip_space(s);
        if (at(s, close)) {
            s->p++;
            return 0;
        }
        if (!at(s, ','))
            return fail_at(s, s->p, close == '}' ? "',' or '}'" : "',' or ']'");
        s->p++;
    }
}

static int scan_container(struct scan *s, int depth)
{
    if (depth >= LIMIT_JSON_DEPTH)
        return err_fail(s->err, ERR_INVALID, 0, "invalid-json",
                        "invalid JSON at byte %zu: nested deeper than %d levels", (size_t)(s->p - s->start),
                        LIMIT_JSON_DEPTH);
    char open = *s->p++;
    if (open == '[')
        return scan_members(s, ']', depth + 1);
    size_t first = s->n_keys;
    if (scan_members(s, '}', depth + 1) < 0)
        return -1;
    return close_object(s, first);
}

static int scan_value(struct scan *s, int depth)
{
    if (s->p == s->end)
        return fail_at(s, s->p, "a value");
    switch (*s->p) {
    case '{':
    case '[':
        return scan_container(s, depth);
    case '"':
        return scan_string(s, NULL);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return at_digit(s) || at(s, '-') ? scan_number(s) : fail_at(s, s->p, "a value");
    }
}

int json_scan(const char *text, size_t len, struct err *err)
{
    struct scan s = {.start = text, .p = text, .end = text + len, .err = err};
    skip_space(&s);
    int r = scan_value(&s, 0);
    if (r == 0) {
        skip_space(&s);
        if (s.p != s.end)
            r = fail_at(&s, s.p, "nothing after the document");
    }
    while (s.n_keys)
        free(s.keys[--s.n_keys].text);
    free(s.keys);
    return r;
}
