/* Text → tree: a hand-written lexer and recursive descent. See expr.h for the language. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/expr-internal.h"

/* --- tokens ------------------------------------------------------------------------------------------------- */

enum token { T_END, T_NUMBER, T_STRING, T_WORD, T_SIGN };

struct parser {
    const char *text, *at; /* at: behind the current token */
    const char *start;     /* of the current token */
    enum token token;
    char *string; /* T_STRING's and T_WORD's text; owned */
    double number;
    char sign[3]; /* T_SIGN */
    int depth;
};

static int column_of(const struct parser *p, const char *place)
{
    int column = 1;
    for (const char *c = p->text; c < place; c++)
        column += ((unsigned char)*c & 0xc0) != 0x80;
    return column;
}

static int here(const struct parser *p)
{
    return column_of(p, p->start);
}

static bool word_start(char c)
{
    return isalpha((unsigned char)c) || c == '_';
}

static bool word_part(char c)
{
    return word_start(c) || isdigit((unsigned char)c);
}

static int lex_string(struct parser *p, struct err *err)
{
    char quote = *p->at++;
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_EXPR_BYTES);
    for (; *p->at != quote; p->at++) {
        if (!*p->at)
            return EXPR_FAIL(err, here(p), "the text that begins here has no closing %c", quote);
        if (*p->at != '\\') {
            (void)buf_addc(&text, *p->at);
            continue;
        }
        p->at++;
        const char *escapes = "\\'\"nt", *values = "\\'\"\n\t";
        const char *found = *p->at ? strchr(escapes, *p->at) : NULL;
        if (!found)
            return EXPR_FAIL(err, column_of(p, p->at - 1), "unknown escape; known are \\\\ \\' \\\" \\n \\t");
        (void)buf_addc(&text, values[found - escapes]);
    }
    p->at++;
    p->token = T_STRING;
    p->string = buf_take(&text);
    return 0;
}

static int lex_number(struct parser *p, struct err *err)
{
    const char *s = p->at;
    while (isdigit((unsigned char)*s))
        s++;
    if (*s == '.' && isdigit((unsigned char)s[1]))
        for (s++; isdigit((unsigned char)*s);)
            s++;
    if ((*s == 'e' || *s == 'E') &&
        (isdigit((unsigned char)s[1]) || ((s[1] == '-' || s[1] == '+') && isdigit((unsigned char)s[2]))))
        for (s += 2; isdigit((unsigned char)*s);)
            s++;
    _cleanup_free_ char *digits = xstrndup(p->at, (size_t)(s - p->at));
    struct err reason = ERR_INIT;
    if (word_part(*s) || text_parse_double(digits, &p->number, &reason) < 0)
        return EXPR_FAIL(err, here(p), "not a number: \"%.40s%.1s\"", digits, s);
    p->at = s;
    p->token = T_NUMBER;
    return 0;
}

static int lex_sign(struct parser *p, struct err *err)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-",
                                        "*",  "/",  "%",  "!",  "(",  ")",  "[", "]", ",", "."};
    for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
        if (text_starts_with(p->at, signs[i])) {
            memcpy(p->sign, signs[i], strlen(signs[i]) + 1);
            p->at += strlen(signs[i]);
            p->token = T_SIGN;
            return 0;
        }
    }
    if (*p->at == '=')
        return EXPR_FAIL(err, here(p), "a single =; equality is written ==");
    size_t n = 1;
    while (((unsigned char)p->at[n] & 0xc0) == 0x80)
        n++;
    return EXPR_FAIL(err, here(p), "unexpected character %.*s", (int)n, p->at);
}

static int next(struct parser *p, struct err *err)
{
    p->string = xfree(p->string);
    while (*p->at && strchr(" \t\r\n", *p->at))
        p->at++;
    p->start = p->at;
    if (!*p->at) {
        p->token = T_END;
        return 0;
    }
    if (*p->at == '\'' || *p->at == '"')
        return lex_string(p, err);
    if (isdigit((unsigned char)*p->at))
        return lex_number(p, err);
    if (!word_start(*p->at))
        return lex_sign(p, err);
    while (word_part(*p->at))
        p->at++;
    p->token = T_WORD;
    p->string = xstrndup(p->start, (size_t)(p->at - p->start));
    return 0;
}

static bool is_sign(const struct parser *p, const char *sign)
{
    return p->token == T_SIGN && strcmp(p->sign, sign) == 0;
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->token == T_WORD && strcmp(p->string, word) == 0;
}

static int unexpected(const struct parser *p, const char *expected, struct err *err)
{
    if (p->token == T_END)
        return EXPR_FAIL(err, here(p), "expected %s, found the end", expected);
    return EXPR_FAIL(err, here(p), "expected %s, found \"%.*s\"", expected,
                     (int)(p->at - p->start) < 40 ? (int)(p->at - p->start) : 40, p->start);
}

static int expect_sign(struct parser *p, const char *sign, struct err *err)
{
    char expected[8];
    (void)snprintf(expected, sizeof expected, "\"%s\"", sign);
    return is_sign(p, sign) ? next(p, err) : unexpected(p, expected, err);
}

/* --- tree ------------------------------------------------------------------------------------------------------ */

static struct expr *node(enum expr_op op, int column)
{
    struct expr *e = xcalloc(1, sizeof *e);
    e->op = op;
    e->column = column;
    return e;
}

struct expr *expr_free(struct expr *e)
{
    if (!e)
        return NULL;
    for (int i = 0; i < e->n_args; i++)
        expr_free(e->args[i]);
    expr_value_release(&e->literal);
    free(e->name);
    free(e);
    return NULL;
}

static int parse_or(struct parser *p, struct expr **ret, struct err *err);

/* A deeper level of nesting; the caller lowers depth again on success. */
static int descend(struct parser *p, struct err *err)
{
    if (++p->depth > LIMIT_EXPR_DEPTH)
        return EXPR_FAIL(err, here(p), "nested deeper than %d levels", LIMIT_EXPR_DEPTH);
    return 0;
}

static const struct function {
    const char *name;
    enum expr_op op;
    int min_args, max_args;
    const char *usage;
} functions[] = {
    {"has", EXPR_OP_HAS, 1, 1, "has(name)"},
    {"date", EXPR_OP_DATE, 2, 4, "date(time, format[, offset[, zone]])"},
    {"contains", EXPR_OP_CONTAINS, 2, 2, "contains(text, part)"},
    {"startsWith", EXPR_OP_STARTS_WITH, 2, 2, "startsWith(text, part)"},
    {"endsWith", EXPR_OP_ENDS_WITH, 2, 2, "endsWith(text, part)"},
    {"size", EXPR_OP_SIZE, 1, 1, "size(text or list)"},
};

static const struct function *find_function(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        if (strcmp(functions[i].name, name) == 0)
            return &functions[i];
    }
    return NULL;
}

static int unknown_function(const char *name, int column, struct err *err)
{
    const char *names[ARRAY_SIZE(functions) + 1] = {NULL};
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        names[i] = functions[i].name;
    const char *near = text_nearest(name, names);
    if (near)
        return EXPR_FAIL(err, column, "there is no function %.40s(); did you mean %s()?", name, near);
    return EXPR_FAIL(
        err, column,
        "there is no function %.40s(); known are has, date, contains, startsWith, endsWith, size", name);
}

/* Behind "(": arguments and ")". `receiver` (may be NULL) is the first argument and is taken. */
static int parse_call(struct parser *p, const char *name, int column, struct expr *receiver,
                      struct expr **ret, struct err *err)
{
    _cleanup_expr_ struct expr *first = receiver;
    const struct function *f = find_function(name);
    if (!f)
        return unknown_function(name, column, err);
    _cleanup_expr_ struct expr *call = node(f->op, column);
    if (first)
        call->args[call->n_args++] = steal_ptr(first);
    if (descend(p, err) < 0)
        return -1;
    while (!is_sign(p, ")")) {
        if (call->n_args >= f->max_args)
            return EXPR_FAIL(err, here(p), "too many arguments for %s", f->usage);
        int rc = parse_or(p, &call->args[call->n_args], err);
        call->n_args += call->args[call->n_args] != NULL;
        if (rc < 0)
            return -1;
        if (is_sign(p, ",")) {
            if (next(p, err) < 0)
                return -1;
        } else if (!is_sign(p, ")")) {
            return unexpected(p, "\",\" or \")\"", err);
        }
    }
    p->depth--;
    if (call->n_args < f->min_args)
        return EXPR_FAIL(err, column, "too few arguments for %s", f->usage);
    if (f->op == EXPR_OP_HAS && call->args[0]->op != EXPR_OP_NAME)
        return EXPR_FAIL(err, column, "has() takes a name, such as has(steps.train.values.steps)");
    *ret = steal_ptr(call);
    return next(p, err); /* the ")" */
}

/* ".word" and "['text']" behind a first word. Stops at "(": the last word was a function's. */
static int parse_name_rest(struct parser *p, struct buf *name, char **ret_last, struct err *err)
{
    while (is_sign(p, ".") || is_sign(p, "[")) {
        bool bracket = is_sign(p, "[");
        if (next(p, err) < 0)
            return -1;
        if (p->token != (bracket ? T_STRING : T_WORD))
            return unexpected(p, bracket ? "a quoted name, such as ['my-step']" : "a name", err);
        if (bracket && (!*p->string || strpbrk(p->string, ". ")))
            return EXPR_FAIL(err, here(p), "expected a step's name in quotes, found \"%.60s\"", p->string);
        _cleanup_free_ char *part = steal_ptr(p->string);
        if (next(p, err) < 0 || (bracket && expect_sign(p, "]", err) < 0))
            return -1;
        if (!bracket && is_sign(p, "(")) {
            *ret_last = steal_ptr(part);
            return 0;
        }
        (void)buf_addf(name, ".%s", part);
    }
    return 0;
}

static int parse_word(struct parser *p, struct expr **ret, struct err *err)
{
    int column = here(p);
    bool truth = is_word(p, "true");
    if (truth || is_word(p, "false")) {
        *ret = node(EXPR_OP_LITERAL, column);
        (*ret)->literal = (struct expr_value){.type = EXPR_BOOL, .boolean = truth};
        return next(p, err);
    }
    _cleanup_buf_ struct buf name = BUF_INIT(LIMIT_EXPR_BYTES);
    (void)buf_adds(&name, p->string);
    if (next(p, err) < 0)
        return -1;
    if (is_sign(p, "("))
        return next(p, err) < 0 ? -1 : parse_call(p, buf_str(&name), column, NULL, ret, err);
    _cleanup_free_ char *method = NULL;
    if (parse_name_rest(p, &name, &method, err) < 0)
        return -1;
    struct expr *e = node(EXPR_OP_NAME, column);
    e->name = buf_take(&name);
    *ret = e;
    if (!method)
        return 0;
    *ret = NULL; /* taken by the call */
    if (next(p, err) < 0) {
        expr_free(e);
        return -1;
    }
    return parse_call(p, method, column, e, ret, err);
}

static int parse_primary(struct parser *p, struct expr **ret, struct err *err)
{
    int column = here(p);
    if (p->token == T_WORD)
        return parse_word(p, ret, err);
    if (p->token == T_NUMBER || p->token == T_STRING) {
        *ret = node(EXPR_OP_LITERAL, column);
        if (p->token == T_NUMBER)
            (*ret)->literal = (struct expr_value){.type = EXPR_NUMBER, .number = p->number};
        else
            (*ret)->literal = (struct expr_value){.type = EXPR_STRING, .string = steal_ptr(p->string)};
        return next(p, err);
    }
    if (!is_sign(p, "("))
        return unexpected(p, "a value", err);
    if (descend(p, err) < 0 || next(p, err) < 0 || parse_or(p, ret, err) < 0)
        return -1;
    p->depth--;
    return expect_sign(p, ")", err);
}

/* primary { .method(…) } */
static int parse_postfix(struct parser *p, struct expr **ret, struct err *err)
{
    if (parse_primary(p, ret, err) < 0)
        return -1;
    while (is_sign(p, ".")) {
        if (next(p, err) < 0)
            return -1;
        if (p->token != T_WORD)
            return unexpected(p, "a function's name", err);
        int column = here(p);
        _cleanup_free_ char *method = steal_ptr(p->string);
        if (next(p, err) < 0 || expect_sign(p, "(", err) < 0)
            return -1;
        struct expr *receiver = steal_ptr(*ret);
        if (parse_call(p, method, column, receiver, ret, err) < 0)
            return -1;
    }
    return 0;
}

static int parse_unary_with(struct parser *p, enum expr_op op,
                            int (*operand)(struct parser *, struct expr **, struct err *), struct expr **ret,
                            struct err *err)
{
    int column = here(p);
    if (descend(p, err) < 0 || next(p, err) < 0)
        return -1;
    *ret = node(op, column);
    if (operand(p, &(*ret)->args[0], err) < 0) {
        (*ret)->n_args = (*ret)->args[0] != NULL;
        return -1;
    }
    (*ret)->n_args = 1;
    p->depth--;
    return 0;
}

static int parse_unary(struct parser *p, struct expr **ret, struct err *err)
{
    if (is_sign(p, "-"))
        return parse_unary_with(p, EXPR_OP_NEG, parse_unary, ret, err);
    if (is_sign(p, "!"))
        return parse_unary_with(p, EXPR_OP_NOT, parse_unary, ret, err);
    return parse_postfix(p, ret, err);
}

struct binary {
    const char *sign, *word; /* word may be NULL */
    enum expr_op op;
};

/* operand { op operand }, from the left; at most once if `single`. */
static int parse_binary(struct parser *p, const struct binary *table, bool single,
                        int (*operand)(struct parser *, struct expr **, struct err *), struct expr **ret,
                        struct err *err)
{
    if (operand(p, ret, err) < 0)
        return -1;
    for (int n = 0;; n++) {
        const struct binary *b = table;
        while (b->sign && !is_sign(p, b->sign) && !(b->word && is_word(p, b->word)))
            b++;
        if (!b->sign)
            return 0;
        if (single && n > 0)
            return EXPR_FAIL(err, here(p), "comparisons do not chain: write a < b and b < c");
        struct expr *e = node(b->op, here(p));
        e->args[0] = steal_ptr(*ret);
        e->n_args = 1;
        *ret = e;
        if (next(p, err) < 0 || operand(p, &e->args[1], err) < 0) {
            e->n_args += e->args[1] != NULL;
            return -1;
        }
        e->n_args = 2;
    }
}

static int parse_product(struct parser *p, struct expr **ret, struct err *err)
{
    static const struct binary table[] = {{"*", NULL, EXPR_OP_MUL},
                                          {"/", NULL, EXPR_OP_DIV},
                                          {"%", NULL, EXPR_OP_MOD},
                                          {NULL, NULL, 0}};
    return parse_binary(p, table, false, parse_unary, ret, err);
}

static int parse_sum(struct parser *p, struct expr **ret, struct err *err)
{
    static const struct binary table[] = {{"+", NULL, EXPR_OP_ADD},
                                          {"-", NULL, EXPR_OP_SUB},
                                          {NULL, NULL, 0}};
    return parse_binary(p, table, false, parse_product, ret, err);
}

static int parse_comparison(struct parser *p, struct expr **ret, struct err *err)
{
    static const struct binary table[] = {{"==", NULL, EXPR_OP_EQ}, {"!=", NULL, EXPR_OP_NE},
                                          {"<=", NULL, EXPR_OP_LE}, {">=", NULL, EXPR_OP_GE},
                                          {"<", NULL, EXPR_OP_LT},  {">", NULL, EXPR_OP_GT},
                                          {NULL, NULL, 0}};
    return parse_binary(p, table, true, parse_sum, ret, err);
}

static int parse_not(struct parser *p, struct expr **ret, struct err *err)
{
    if (is_word(p, "not"))
        return parse_unary_with(p, EXPR_OP_NOT, parse_not, ret, err);
    return parse_comparison(p, ret, err);
}

static int parse_and(struct parser *p, struct expr **ret, struct err *err)
{
    static const struct binary table[] = {{"&&", "and", EXPR_OP_AND}, {NULL, NULL, 0}};
    return parse_binary(p, table, false, parse_not, ret, err);
}

static int parse_or(struct parser *p, struct expr **ret, struct err *err)
{
    static const struct binary table[] = {{"||", "or", EXPR_OP_OR}, {NULL, NULL, 0}};
    return parse_binary(p, table, false, parse_and, ret, err);
}

int expr_parse(const char *text, struct expr **ret, struct err *err)
{
    if (strlen(text) > LIMIT_EXPR_BYTES)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "an expression of %zu bytes: larger than the maximum of %d", strlen(text),
                        LIMIT_EXPR_BYTES);
    struct parser p = {.text = text, .at = text, .start = text};
    _cleanup_expr_ struct expr *e = NULL;
    int rc = next(&p, err) < 0 ? -1 : parse_or(&p, &e, err);
    if (rc == 0 && p.token != T_END)
        rc = unexpected(&p, "an operator or the end", err);
    free(p.string);
    if (rc == 0)
        *ret = steal_ptr(e);
    return rc;
}

/* The ")" that ends a reference: quotes and inner parentheses are skipped. */
static const char *find_end(const char *text)
{
    int depth = 0;
    char quote = 0;
    for (const char *c = text; *c; c++) {
        if (quote) {
            if (*c == '\\' && c[1])
                c++;
            else if (*c == quote)
                quote = 0;
        } else if (*c == '\'' || *c == '"') {
            quote = *c;
        } else if (*c == '(') {
            depth++;
        } else if (*c == ')' && depth-- == 0) {
            return c;
        }
    }
    return NULL;
}

int expr_parse_enclosed(const char *text, size_t *ret_len, struct expr **ret, struct err *err)
{
    const char *end = find_end(text);
    if (!end)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "the reference \"$(%.60s\" has no closing \")\"", text);
    _cleanup_free_ char *inner = xstrndup(text, (size_t)(end - text));
    if (expr_parse(inner, ret, err) < 0)
        return err_wrap(err, "the reference \"$(%.60s)\"", inner);
    *ret_len = (size_t)(end - text);
    return 0;
}
