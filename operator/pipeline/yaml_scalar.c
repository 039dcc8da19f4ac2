/* Plain scalars: which JSON value they are, or why they are refused. See yaml.h.
 *
 * YAML 1.1: yaml.org/type (bool, int, float, null, timestamp, merge, value). YAML 1.2: the core schema, section 10.3. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/text.h"
#include "operator/pipeline/yaml.h"

static const double largest_exact = 9007199254740992.0; /* 2^53 */

static bool is_one_of(const char *s, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(s, *words) == 0)
            return true;
    }
    return false;
}

/* The length of the run of characters of `set`. */
static size_t run(const char *s, const char *set)
{
    return strspn(s, set);
}

static const char digits[] = "0123456789";

/* [-+]?[0-9]+ */
static bool is_decimal(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t n = run(s, digits);
    return n > 0 && !s[n];
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_float(const char *s, bool *ret_point, bool *ret_exponent, bool *ret_signed_exponent)
{
    s += *s == '-' || *s == '+';
    size_t whole = run(s, digits);
    s += whole;
    *ret_point = *s == '.';
    size_t fraction = 0;
    if (*ret_point) {
        fraction = run(++s, digits);
        s += fraction;
    }
    if (whole + fraction == 0)
        return false;
    *ret_exponent = *s == 'e' || *s == 'E';
    if (!*ret_exponent)
        return !*s;
    s++;
    *ret_signed_exponent = *s == '-' || *s == '+';
    s += *ret_signed_exponent;
    size_t n = run(s, digits);
    return n > 0 && !s[n];
}

/* 0x1F, 0o17, 0b101, 1_000: some reader's integer, another's text. */
static bool is_odd_integer(const char *s)
{
    s += *s == '-' || *s == '+';
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'o' || s[1] == 'b')) {
        const char *set = s[1] == 'x' ? "0123456789abcdefABCDEF_" : s[1] == 'o' ? "01234567_" : "01_";
        size_t n = run(s + 2, set);
        return n > 0 && !s[2 + n];
    }
    size_t n = run(s, "0123456789_");
    if (n == 0 || s[0] == '_' || !memchr(s, '_', n))
        return false;
    s += n;
    s += *s == '.';
    return !s[run(s, "0123456789_")];
}

/* 1:30, 12:30:45.5: base 60 in YAML 1.1. */
static bool is_sexagesimal(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t n = run(s, "0123456789_");
    if (n == 0 || s[n] != ':')
        return false;
    while (s[n] == ':') {
        s += n + 1;
        n = run(s, digits);
        if (n == 0 || n > 2)
            return false;
    }
    s += n;
    s += *s == '.';
    return !s[run(s, "0123456789_")];
}

/* 2026-01-31, 2026-01-31T02:00:00Z, 2026-1-3 2:00:00 +1: a timestamp in YAML 1.1. */
static bool is_timestamp(const char *s)
{
    size_t year = run(s, digits);
    if (year != 4 || s[4] != '-')
        return false;
    size_t month = run(s + 5, digits);
    if (month < 1 || month > 2 || s[5 + month] != '-')
        return false;
    const char *day = s + 6 + month;
    size_t n = run(day, digits);
    if (n < 1 || n > 2)
        return false;
    return !day[n] || ((strchr("Tt \t", day[n]) != NULL) &&
                       run(day + n + 1, "0123456789:.+-Zz \t") == strlen(day + n + 1));
}

static enum yaml_kind refuse(char *advice, const char *plain, const char *why, const char *instead)
{
    (void)snprintf(advice, YAML_ADVICE_MAX, "%.40s %s: write %s", plain, why, instead);
    return YAML_KIND_REFUSED;
}

static enum yaml_kind quote(char *advice, const char *plain, const char *why)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof quoted, "\"%.40s\"", plain);
    return refuse(advice, plain, why, quoted);
}

static enum yaml_kind number(const char *plain, bool whole, double *ret, char *advice)
{
    struct err ignored = ERR_INIT;
    if (text_parse_double(*plain == '+' ? plain + 1 : plain, ret, &ignored) < 0)
        return quote(advice, plain, "is beyond the range of a number");
    if (whole && fabs(*ret) > largest_exact)
        return quote(advice, plain, "is beyond 2^53, where readers of JSON lose digits");
    return YAML_KIND_NUMBER;
}

static enum yaml_kind classify_float(const char *plain, bool point, bool exponent, bool signed_exponent,
                                     double *ret, char *advice)
{
    if (!exponent || (point && signed_exponent))
        return number(plain, false, ret, advice);
    /* YAML 1.1 wants a point and a signed exponent; without them it reads text. */
    const char *e = strpbrk(plain, "eE");
    char instead[96];
    (void)snprintf(instead, sizeof instead, "%.*s%se%s%s", (int)(e - plain) < 40 ? (int)(e - plain) : 40,
                   plain, point ? "" : ".0", signed_exponent ? "" : "+", strlen(e + 1) < 20 ? e + 1 : "…");
    return refuse(advice, plain, "is a number in YAML 1.2 and text in YAML 1.1", instead);
}

enum yaml_kind yaml_classify(const char *plain, double *ret_number, char advice[static YAML_ADVICE_MAX])
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const yeses[] = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const noes[] = {"n", "N", "no", "No", "NO", "off", "Off", "OFF", NULL};
    static const char *const infinite[] = {".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                           "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL};
    if (is_one_of(plain, nulls))
        return YAML_KIND_NULL;
    if (is_one_of(plain, trues))
        return YAML_KIND_TRUE;
    if (is_one_of(plain, falses))
        return YAML_KIND_FALSE;
    if (is_one_of(plain, yeses) || is_one_of(plain, noes)) {
        char instead[64];
        (void)snprintf(instead, sizeof instead, "%s, or \"%s\" for the text",
                       is_one_of(plain, yeses) ? "true" : "false", plain);
        return refuse(advice, plain, "is a truth value in YAML 1.1 and text in YAML 1.2", instead);
    }
    if (is_one_of(plain, infinite))
        return quote(advice, plain, "is no number that JSON can hold");
    if (strcmp(plain, "<<") == 0 || strcmp(plain, "=") == 0)
        return quote(advice, plain, "has a meaning of its own in YAML 1.1 only");
    if (!strchr("+-.0123456789", *plain))
        return YAML_KIND_STRING;
    const char *unsigned_part = plain + (*plain == '-' || *plain == '+');
    if (is_decimal(plain)) {
        if (unsigned_part[0] == '0' && unsigned_part[1])
            return quote(advice, plain, "is octal in YAML 1.1 and decimal in YAML 1.2");
        return number(plain, true, ret_number, advice);
    }
    bool point = false, exponent = false, signed_exponent = false;
    if (is_float(plain, &point, &exponent, &signed_exponent))
        return classify_float(plain, point, exponent, signed_exponent, ret_number, advice);
    if (is_odd_integer(plain))
        return refuse(advice, plain, "is a number to some readers of YAML and text to others",
                      "the decimal number, or quotes");
    if (is_sexagesimal(plain))
        return quote(advice, plain, "is a number to base 60 in YAML 1.1 and text in YAML 1.2");
    if (is_timestamp(plain))
        return quote(advice, plain, "is a time in YAML 1.1 and text in YAML 1.2");
    return YAML_KIND_STRING;
}
