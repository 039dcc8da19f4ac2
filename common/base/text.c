/* Small string work: see text.h. */
#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"

bool text_starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool text_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int text_parse_int(const char *s, int64_t *ret, struct err *err)
{
    /* strtoll takes leading white space and a plus sign, which we do not. */
    char *end = NULL;
    errno = 0;
    long long v = is_digit(s[0]) || (s[0] == '-' && is_digit(s[1])) ? strtoll(s, &end, 10) : 0;
    if (!end || *end)
        return err_set(err, ERR_INVALID, "expected a whole number, found \"%s\"", s);
    if (errno == ERANGE)
        return err_set(err, ERR_INVALID, "expected a whole number of at most 64 bits, found \"%s\"", s);
    *ret = v;
    return 0;
}

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale)
        BUG("no C locale");
}

int text_parse_double(const char *s, double *ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_c_locale);
    /* A digit comes first, or after a sign or point: this leaves out white space, hexadecimal, "inf" and "nan". */
    const char *digits = s + (*s == '-' || *s == '+');
    digits += *digits == '.';
    bool plain = is_digit(*digits) && !strpbrk(s, "xX");
    char *end = NULL;
    double v = plain ? strtod_l(s, &end, c_locale) : 0;
    if (!end || *end)
        return err_set(err, ERR_INVALID, "expected a number, found \"%s\"", s);
    if (!isfinite(v))
        return err_set(err, ERR_INVALID, "expected a number that fits a double, found \"%s\"", s);
    *ret = v;
    return 0;
}

struct suffix {
    const char *name;
    int base, exponent;
};
static const struct suffix suffixes[] = {
    {"", 10, 0},   {"m", 10, -3}, {"k", 10, 3},  {"M", 10, 6},  {"G", 10, 9},  {"T", 10, 12}, {"P", 10, 15},
    {"E", 10, 18}, {"Ki", 2, 10}, {"Mi", 2, 20}, {"Gi", 2, 30}, {"Ti", 2, 40}, {"Pi", 2, 50}, {"Ei", 2, 60},
};

/* "", a suffix of the table, or a decimal exponent such as e3. */
static int parse_suffix(const char *s, struct suffix *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        if (strcmp(s, suffixes[i].name) == 0) {
            *ret = suffixes[i];
            return 0;
        }
    }
    if (*s != 'e' && *s != 'E')
        return -1;
    s++;
    int sign = *s == '-' ? -1 : 1;
    s += *s == '-' || *s == '+';
    if (!is_digit(s[0]) || (s[1] && !(is_digit(s[1]) && !s[2])))
        return -1;
    int exponent = s[1] ? (s[0] - '0') * 10 + s[1] - '0' : s[0] - '0';
    *ret = (struct suffix){"", 10, sign * exponent};
    return 0;
}

/* Exact in integers: mantissa × base^exponent ÷ 10^decimals, rounded up as Kubernetes does. */
static int parse_quantity(const char *s, bool milli, int64_t *ret)
{
    __int128 value = 0;
    int decimals = 0;
    bool any = false, point = false;
    for (; is_digit(*s) || (*s == '.' && !point); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *s - '0', &value))
            return -1;
        decimals += point;
    }
    struct suffix suffix;
    if (!any || parse_suffix(s, &suffix) < 0)
        return -1;
    int ten = (suffix.base == 10 ? suffix.exponent : 0) - decimals + (milli ? 3 : 0);
    for (int i = 0; suffix.base == 2 && i < suffix.exponent; i++) {
        if (__builtin_mul_overflow(value, 2, &value))
            return -1;
    }
    for (; ten > 0; ten--) {
        if (__builtin_mul_overflow(value, 10, &value))
            return -1;
    }
    bool remainder = false;
    for (; ten < 0; ten++) {
        remainder |= value % 10 != 0;
        value /= 10;
    }
    value += remainder;
    if (value > INT64_MAX)
        return -1;
    *ret = (int64_t)value;
    return 0;
}

int text_parse_quantity(const char *s, bool milli, int64_t *ret, struct err *err)
{
    if (parse_quantity(s, milli, ret) < 0)
        return err_set(
            err, ERR_INVALID,
            "expected a quantity such as %s (suffixes m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei), found \"%s\"",
            milli ? "2, 1.5 or 250m" : "512Mi, 20Gi or 500M", s);
    return 0;
}

/* Length of the well-formed sequence at p (Unicode 15, table 3-7), 0 if there is none. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n < 2 || n > left)
        return n <= left ? n : 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f; /* no surrogates */
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    }
    return n;
}

size_t text_utf8_length(const char *s, size_t len)
{
    return len ? utf8_sequence((const unsigned char *)s, len) : 0;
}

bool text_valid_utf8(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = text_utf8_length(s + i, len - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

enum { NEAREST_MAX = 64 }; /* longer words are not compared */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance: insert, delete, replace, swap neighbours; letter case is free. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][NEAREST_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = min_size(last[j - 1] + (x != y), 1 + min_size(last[j], row[j - 1]));
            bool swapped = i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                           y == tolower((unsigned char)a[i - 2]);
            if (swapped)
                row[j] = min_size(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[m];
}

const char *text_nearest(const char *word, const char *const *candidates)
{
    size_t n = strlen(word);
    if (n == 0 || n > NEAREST_MAX)
        return NULL;
    const char *best = NULL;
    /* A third of the letters may be wrong: one in a word of up to five, two up to eight. */
    size_t best_distance = (n + 1) / 3 + 1;
    if (best_distance < 2)
        best_distance = 2;
    for (; *candidates; candidates++) {
        size_t m = strlen(*candidates);
        if (m == 0 || m > NEAREST_MAX)
            continue;
        size_t distance = edit_distance(word, n, *candidates, m);
        if (distance < best_distance && distance < n) {
            best_distance = distance;
            best = *candidates;
        }
    }
    return best;
}

bool text_next_part(const char **cursor, char separator, const char **ret_part, size_t *ret_len)
{
    if (!*cursor)
        return false;
    const char *end = strchr(*cursor, separator);
    *ret_part = *cursor;
    *ret_len = end ? (size_t)(end - *cursor) : strlen(*cursor);
    *cursor = end ? end + 1 : NULL;
    return true;
}
