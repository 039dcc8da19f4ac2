/* Parameters of a run, and references in one text. See params.h. */
#include "operator/pipeline/params.h"

#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/params-internal.h"

/* --- typed text ------------------------------------------------------------------------------------------------- */

const char *param_type_name(enum param_type type)
{
    static const char *const names[] = {"string", "integer", "number", "boolean", "list"};
    return names[type];
}

static int wrong(const char *expected, const char *text, struct err *err)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "parameter", "expected %s, found \"%.120s\"", expected,
                    text);
}

static int typed_list(const char *text, cJSON **ret, struct err *err)
{
    static const char expected[] = "a JSON array of strings, such as [\"a\", \"b\"]";
    _cleanup_json_ cJSON *list = NULL;
    struct err ignored = ERR_INIT;
    if (json_parse(text, strlen(text), LIMIT_CONFIG_BYTES, &list, &ignored) < 0 || !cJSON_IsArray(list))
        return wrong(expected, text, err);
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return wrong(expected, text, err);
    }
    *ret = steal_ptr(list);
    return 0;
}

int params_typed(enum param_type type, const char *text, cJSON **ret, struct err *err)
{
    int64_t integer;
    double number;
    struct err ignored = ERR_INIT;
    switch (type) {
    case PARAM_STRING:
        *ret = cJSON_CreateString(text);
        return 0;
    case PARAM_INTEGER:
        if (text_parse_int(text, &integer, &ignored) < 0)
            return wrong("a whole number", text, err);
        if (integer > INT64_C(1) << 53 || integer < -(INT64_C(1) << 53))
            return wrong("a whole number of at most 2^53", text, err);
        *ret = cJSON_CreateNumber((double)integer);
        return 0;
    case PARAM_NUMBER:
        if (text_parse_double(text, &number, &ignored) < 0)
            return wrong("a number", text, err);
        *ret = cJSON_CreateNumber(number);
        return 0;
    case PARAM_BOOLEAN:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return wrong("true or false", text, err);
        *ret = cJSON_CreateBool(*text == 't');
        return 0;
    case PARAM_LIST:
        return typed_list(text, ret, err);
    }
    BUG("unknown parameter type %d", (int)type);
}

/* --- parameters of a run -------------------------------------------------------------------------------------------- */

static const struct run_param *given(const struct run_spec *run, const char *name)
{
    for (size_t i = 0; i < run->n_params; i++) {
        if (strcmp(run->params[i].name, name) == 0)
            return &run->params[i];
    }
    return NULL;
}

static int check_names(const struct pipeline *p, const struct run_spec *run, struct err *err)
{
    const char *names[LIMIT_PARAMETERS + 1] = {NULL};
    for (size_t i = 0; i < p->n_parameters && i < LIMIT_PARAMETERS; i++)
        names[i] = p->parameters[i].name;
    for (size_t i = 0; i < run->n_params; i++) {
        const char *name = run->params[i].name;
        bool known = false;
        for (size_t k = 0; names[k] && !known; k++)
            known = strcmp(names[k], name) == 0;
        if (known)
            continue;
        const char *near = text_nearest(name, names);
        if (near)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "parameter",
                            "the pipeline has no parameter \"%.80s\"; did you mean \"%s\"?", name, near);
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "parameter",
                        "the pipeline has no parameter \"%.80s\"%s", name,
                        names[0] ? "; its spec.parameters lists those it has" : ": it has none at all");
    }
    return 0;
}

static int resolve_one(const struct parameter *parameter, const struct run_spec *run, cJSON *values,
                       struct err *err)
{
    const struct run_param *value = given(run, parameter->name);
    _cleanup_free_ char *text = NULL;
    if (value) {
        text = xstrdup(value->value);
    } else if (!parameter->fallback) {
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "parameter",
                        "it has no default, so the run must give it: %s=…", parameter->name);
    } else {
        /* Only the run can be referred to. */
        const struct expr_scope scope = {.run_name = run->name,
                                         .run_uid = run->uid,
                                         .scheduled_ms = run->scheduled_ms};
        if (params_substitute(parameter->fallback, &scope, &text, err) < 0)
            return err_wrap(err, "its default");
    }
    cJSON *typed = NULL;
    if (params_typed(parameter->type, text, &typed, err) < 0)
        return -1;
    json_add(values, parameter->name, typed);
    return 0;
}

int params_resolve(const struct pipeline *p, const struct run_spec *run, cJSON **ret, struct err *err)
{
    if (check_names(p, run, err) < 0)
        return -1;
    _cleanup_json_ cJSON *values = json_object();
    for (size_t i = 0; i < p->n_parameters; i++) {
        if (resolve_one(&p->parameters[i], run, values, err) < 0)
            return err_wrap(err, "parameter \"%s\"", p->parameters[i].name);
    }
    *ret = steal_ptr(values);
    return 0;
}

/* --- inserting values into text ----------------------------------------------------------------------------------------- */

static void add_sql_text(struct buf *out, const char *s)
{
    (void)buf_addc(out, '\'');
    for (; *s; s++)
        (void)buf_adds(out, *s == '\'' ? "''" : (char[2]){*s, '\0'});
    (void)buf_addc(out, '\'');
}

static void add_number(struct buf *out, double n)
{
    char digits[32];
    json_format_double(n, digits);
    (void)buf_adds(out, digits);
}

static void add_sql_json(struct buf *out, const cJSON *v)
{
    if (cJSON_IsString(v))
        add_sql_text(out, v->valuestring);
    else if (cJSON_IsNumber(v))
        add_number(out, v->valuedouble);
    else
        (void)buf_adds(out, cJSON_IsTrue(v) ? "true" : "false");
}

/* "$(" → "$$(", for what Kubernetes will expand. */
static void add_escaped(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (s[0] == '$' && s[1] == '(')
            (void)buf_addc(out, '$');
        (void)buf_addc(out, *s);
    }
}

static int add_list(struct buf *out, const cJSON *list, enum reference_use use, struct err *err)
{
    if (use == REFERENCE_SQL) {
        (void)buf_addc(out, '(');
        for (const cJSON *item = list->child; item; item = item->next) {
            (void)buf_adds(out, item == list->child ? "" : ", ");
            add_sql_json(out, item);
        }
        (void)buf_addc(out, ')');
        return 0;
    }
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_CONFIG_BYTES);
    if (json_canonical(list, &text, err) < 0)
        return -1;
    if (use == REFERENCE_KUBERNETES)
        add_escaped(out, buf_str(&text));
    else
        (void)buf_adds(out, buf_str(&text));
    return 0;
}

static int add_value(struct buf *out, const struct expr_value *v, enum reference_use use, struct err *err)
{
    switch (v->type) {
    case EXPR_STRING:
        if (use == REFERENCE_SQL)
            add_sql_text(out, v->string);
        else if (use == REFERENCE_KUBERNETES)
            add_escaped(out, v->string);
        else
            (void)buf_adds(out, v->string);
        return 0;
    case EXPR_NUMBER:
        add_number(out, v->number);
        return 0;
    case EXPR_BOOL:
        (void)buf_adds(out, v->boolean ? "true" : "false");
        return 0;
    default:
        return add_list(out, v->list, use, err);
    }
}

/* Whether the SQL written so far ends within '…' or "…"; doubled quotes cancel out. */
static bool within_quotes(const char *sql)
{
    char quote = 0;
    for (; *sql; sql++) {
        if (quote)
            quote = *sql == quote ? 0 : quote;
        else if (*sql == '\'' || *sql == '"')
            quote = *sql;
    }
    return quote != 0;
}

static int add_piece(struct buf *out, const struct reference_piece *piece, enum reference_use use,
                     const struct expr_scope *scope, struct err *err)
{
    if (piece->kind == REFERENCE_TEXT) {
        (void)buf_add(out, piece->text, piece->len);
    } else if (piece->kind == REFERENCE_ESCAPE) {
        (void)buf_adds(out, use == REFERENCE_KUBERNETES ? "$$(" : "$(");
    } else if (use == REFERENCE_SQL && within_quotes(buf_str(out))) {
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "expression",
            "%.*s stands within quotes in SQL: remove the quotes, for the value is inserted as a literal with its own",
            (int)(piece->len < 80 ? piece->len : 80), piece->text);
    } else {
        _cleanup_expr_value_ struct expr_value v = {0};
        if (expr_eval(piece->expr, scope, &v, err) < 0 || add_value(out, &v, use, err) < 0)
            return err_wrap(err, "%.*s", (int)(piece->len < 80 ? piece->len : 80), piece->text);
    }
    return 0;
}

int params_insert(const char *text, enum reference_use use, const struct expr_scope *scope, char **ret,
                  struct err *err)
{
    _cleanup_buf_ struct buf out = BUF_INIT(LIMIT_CONFIG_BYTES);
    for (;;) {
        struct reference_piece piece;
        if (reference_next(&text, &piece, err) < 0)
            return -1;
        if (piece.kind == REFERENCE_END)
            break;
        int rc = add_piece(&out, &piece, use, scope, err);
        expr_free(piece.expr);
        if (rc < 0)
            return -1;
    }
    if (buf_check(&out, "a text with its references replaced", err) < 0)
        return -1;
    *ret = buf_take(&out);
    return 0;
}

int params_substitute(const char *text, const struct expr_scope *scope, char **ret, struct err *err)
{
    return params_insert(text, REFERENCE_PLAIN, scope, ret, err);
}
