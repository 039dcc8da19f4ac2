/* Evaluating: see expr.h. */
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/date.h"
#include "operator/pipeline/expr-internal.h"

void expr_value_release(struct expr_value *v)
{
    free(v->string);
    cJSON_Delete(v->list);
    *v = (struct expr_value){0};
}

const char *expr_type_name(enum expr_type type)
{
    static const char *const names[] = {"any", "string", "number", "boolean", "list", "nothing"};
    return names[type];
}

const char *expr_op_name(enum expr_op op)
{
    static const char *const names[] = {"",   "",    "or",   "and",      "not",        "==",       "!=",  "<",
                                        "<=", ">",   ">=",   "+",        "-",          "*",        "/",   "%",
                                        "-",  "has", "date", "contains", "startsWith", "endsWith", "size"};
    return names[op];
}

static struct expr_value from_string(const char *s)
{
    return (struct expr_value){.type = EXPR_STRING, .string = xstrdup(s)};
}

static struct expr_value from_number(double n)
{
    return (struct expr_value){.type = EXPR_NUMBER, .number = n};
}

static struct expr_value from_bool(bool b)
{
    return (struct expr_value){.type = EXPR_BOOL, .boolean = b};
}

static struct expr_value from_json(const cJSON *v)
{
    if (cJSON_IsString(v))
        return from_string(v->valuestring);
    if (cJSON_IsNumber(v))
        return from_number(v->valuedouble);
    if (cJSON_IsBool(v))
        return from_bool(cJSON_IsTrue(v));
    if (cJSON_IsArray(v))
        return (struct expr_value){.type = EXPR_LIST, .list = cJSON_Duplicate(v, true)};
    return (struct expr_value){.type = EXPR_NULL};
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static struct expr_value text_or_null(const char *s)
{
    return s ? from_string(s) : (struct expr_value){.type = EXPR_NULL};
}

static struct expr_value look_up_run(const char *field, const struct expr_scope *scope)
{
    if (strcmp(field, "name") == 0)
        return text_or_null(scope->run_name);
    if (strcmp(field, "uid") == 0)
        return text_or_null(scope->run_uid);
    if (strcmp(field, "phase") == 0)
        return text_or_null(scope->run_phase);
    if (strcmp(field, "scheduledTime") == 0) {
        char text[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(scope->scheduled_ms, text);
        return from_string(text);
    }
    return (struct expr_value){.type = EXPR_NULL};
}

/* "s.values.v" or "s.phase". */
static struct expr_value look_up_step(const char *rest, const struct expr_scope *scope)
{
    const char *dot = strchr(rest, '.');
    if (!dot)
        return (struct expr_value){.type = EXPR_NULL};
    _cleanup_free_ char *name = xstrndup(rest, (size_t)(dot - rest));
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(scope->steps, name);
    if (strcmp(dot, ".phase") == 0)
        return from_json(cJSON_GetObjectItemCaseSensitive(step, "phase"));
    if (!text_starts_with(dot, ".values."))
        return (struct expr_value){.type = EXPR_NULL};
    return from_json(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(step, "values"),
                                                      dot + strlen(".values.")));
}

/* EXPR_NULL: absent. */
static struct expr_value look_up(const char *name, const struct expr_scope *scope)
{
    if (text_starts_with(name, "params."))
        return from_json(cJSON_GetObjectItemCaseSensitive(scope->params, name + strlen("params.")));
    if (text_starts_with(name, "steps."))
        return look_up_step(name + strlen("steps."), scope);
    if (text_starts_with(name, "run."))
        return look_up_run(name + strlen("run."), scope);
    if (strcmp(name, "item") == 0)
        return text_or_null(scope->item);
    if (text_starts_with(name, "matrix."))
        return from_json(cJSON_GetObjectItemCaseSensitive(scope->matrix, name + strlen("matrix.")));
    return (struct expr_value){.type = EXPR_NULL};
}

static int eval_name(const struct expr *e, const struct expr_scope *scope, struct expr_value *ret,
                     struct err *err)
{
    *ret = look_up(e->name, scope);
    if (ret->type == EXPR_NULL)
        return EXPR_FAIL(err, e->column, "%.120s has no value (test it with has(…) first)", e->name);
    return 0;
}

/* --- operators ----------------------------------------------------------------------------------------------------- */

static int expect(const struct expr *e, const struct expr_value *v, enum expr_type type, struct err *err)
{
    if (v->type == type)
        return 0;
    return EXPR_FAIL(err, e->column, "%s needs a %s, found a %s", expr_op_name(e->op), expr_type_name(type),
                     expr_type_name(v->type));
}

static int eval_logic(const struct expr *e, const struct expr_scope *scope, struct expr_value *ret,
                      struct err *err)
{
    bool decisive = e->op == EXPR_OP_OR;
    for (int i = 0; i < 2; i++) {
        _cleanup_expr_value_ struct expr_value v = {0};
        if (expr_eval(e->args[i], scope, &v, err) < 0 || expect(e, &v, EXPR_BOOL, err) < 0)
            return -1;
        *ret = v;
        if (v.boolean == decisive)
            return 0;
    }
    return 0;
}

static int eval_comparison(const struct expr *e, const struct expr_value *a, const struct expr_value *b,
                           struct expr_value *ret, struct err *err)
{
    if (a->type != b->type)
        return EXPR_FAIL(err, e->column, "a %s cannot be compared with a %s", expr_type_name(a->type),
                         expr_type_name(b->type));
    bool equality = e->op == EXPR_OP_EQ || e->op == EXPR_OP_NE;
    if (a->type == EXPR_LIST || (a->type == EXPR_BOOL && !equality))
        return EXPR_FAIL(err, e->column, "%s does not apply to a %s", expr_op_name(e->op),
                         expr_type_name(a->type));
    int order;
    if (a->type == EXPR_NUMBER)
        order = (a->number > b->number) - (a->number < b->number);
    else if (a->type == EXPR_STRING)
        order = strcmp(a->string, b->string);
    else
        order = a->boolean - b->boolean;
    *ret = from_bool(e->op == EXPR_OP_EQ   ? order == 0
                     : e->op == EXPR_OP_NE ? order != 0
                     : e->op == EXPR_OP_LT ? order < 0
                     : e->op == EXPR_OP_LE ? order <= 0
                     : e->op == EXPR_OP_GT ? order > 0
                                           : order >= 0);
    return 0;
}

static int eval_arithmetic(const struct expr *e, const struct expr_value *a, const struct expr_value *b,
                           struct expr_value *ret, struct err *err)
{
    if (e->op == EXPR_OP_ADD && a->type == EXPR_STRING && b->type == EXPR_STRING) {
        if (strlen(a->string) + strlen(b->string) > LIMIT_CONFIG_BYTES)
            return EXPR_FAIL(err, e->column, "+ gives more than %d bytes", LIMIT_CONFIG_BYTES);
        *ret = (struct expr_value){.type = EXPR_STRING, .string = xasprintf("%s%s", a->string, b->string)};
        return 0;
    }
    if (expect(e, a, EXPR_NUMBER, err) < 0 || expect(e, b, EXPR_NUMBER, err) < 0)
        return -1;
    if ((e->op == EXPR_OP_DIV || e->op == EXPR_OP_MOD) && b->number == 0)
        return EXPR_FAIL(err, e->column, "division by zero");
    double n = e->op == EXPR_OP_ADD   ? a->number + b->number
               : e->op == EXPR_OP_SUB ? a->number - b->number
               : e->op == EXPR_OP_MUL ? a->number * b->number
               : e->op == EXPR_OP_DIV ? a->number / b->number
                                      : fmod(a->number, b->number);
    if (!isfinite(n))
        return EXPR_FAIL(err, e->column, "%s gives a number out of range", expr_op_name(e->op));
    *ret = from_number(n);
    return 0;
}

static int eval_contains(const struct expr *e, const struct expr_value *a, const struct expr_value *b,
                         struct expr_value *ret, struct err *err)
{
    if (a->type == EXPR_LIST) {
        bool found = false;
        for (const cJSON *item = a->list->child; item && !found; item = item->next) {
            found = (b->type == EXPR_STRING && cJSON_IsString(item) &&
                     strcmp(item->valuestring, b->string) == 0) ||
                    (b->type == EXPR_NUMBER && cJSON_IsNumber(item) && item->valuedouble == b->number) ||
                    (b->type == EXPR_BOOL && cJSON_IsBool(item) && cJSON_IsTrue(item) == b->boolean);
        }
        *ret = from_bool(found);
        return 0;
    }
    if (expect(e, a, EXPR_STRING, err) < 0 || expect(e, b, EXPR_STRING, err) < 0)
        return -1;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): a value of type STRING has a string */
    *ret = from_bool(strstr(a->string, b->string) != NULL);
    return 0;
}

static int eval_ends(const struct expr *e, const struct expr_value *a, const struct expr_value *b,
                     struct expr_value *ret, struct err *err)
{
    if (expect(e, a, EXPR_STRING, err) < 0 || expect(e, b, EXPR_STRING, err) < 0)
        return -1;
    *ret = from_bool(e->op == EXPR_OP_STARTS_WITH ? text_starts_with(a->string, b->string)
                                                  : text_ends_with(a->string, b->string));
    return 0;
}

static int eval_size(const struct expr *e, const struct expr_value *a, struct expr_value *ret,
                     struct err *err)
{
    if (a->type == EXPR_LIST) {
        *ret = from_number(cJSON_GetArraySize(a->list));
        return 0;
    }
    if (expect(e, a, EXPR_STRING, err) < 0)
        return -1;
    size_t n = 0;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a value of type STRING has a string */
    for (const char *c = a->string; *c; c++)
        n += ((unsigned char)*c & 0xc0) != 0x80;
    *ret = from_number((double)n);
    return 0;
}

static int eval_date(const struct expr *e, const struct expr_value *args, struct expr_value *ret,
                     struct err *err)
{
    int64_t time_ms, offset_ms = 0;
    char text[DATE_TEXT_MAX];
    for (int i = 0; i < e->n_args; i++) {
        if (expect(e, &args[i], EXPR_STRING, err) < 0)
            return -1;
    }
    if (date_parse_time(args[0].string, &time_ms, err) < 0 ||
        (e->n_args > 2 && clock_parse_duration(args[2].string, &offset_ms, err) < 0) ||
        date_format(time_ms, args[1].string, offset_ms, e->n_args > 3 ? args[3].string : "UTC", text, err) <
            0) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "column %d: date()", e->column);
    }
    *ret = from_string(text);
    return 0;
}

static int apply(const struct expr *e, const struct expr_value *args, struct expr_value *ret, struct err *err)
{
    switch (e->op) {
    case EXPR_OP_NOT:
        if (expect(e, &args[0], EXPR_BOOL, err) < 0)
            return -1;
        *ret = from_bool(!args[0].boolean);
        return 0;
    case EXPR_OP_NEG:
        if (expect(e, &args[0], EXPR_NUMBER, err) < 0)
            return -1;
        *ret = from_number(-args[0].number);
        return 0;
    case EXPR_OP_ADD:
    case EXPR_OP_SUB:
    case EXPR_OP_MUL:
    case EXPR_OP_DIV:
    case EXPR_OP_MOD:
        return eval_arithmetic(e, &args[0], &args[1], ret, err);
    case EXPR_OP_DATE:
        return eval_date(e, args, ret, err);
    case EXPR_OP_CONTAINS:
        return eval_contains(e, &args[0], &args[1], ret, err);
    case EXPR_OP_STARTS_WITH:
    case EXPR_OP_ENDS_WITH:
        return eval_ends(e, &args[0], &args[1], ret, err);
    case EXPR_OP_SIZE:
        return eval_size(e, &args[0], ret, err);
    default:
        return eval_comparison(e, &args[0], &args[1], ret, err);
    }
}

int expr_eval(const struct expr *e, const struct expr_scope *scope, struct expr_value *ret, struct err *err)
{
    if (e->op == EXPR_OP_LITERAL) {
        *ret = e->literal;
        ret->string = e->literal.string ? xstrdup(e->literal.string) : NULL;
        return 0;
    }
    if (e->op == EXPR_OP_NAME)
        return eval_name(e, scope, ret, err);
    if (e->op == EXPR_OP_OR || e->op == EXPR_OP_AND)
        return eval_logic(e, scope, ret, err);
    if (e->op == EXPR_OP_HAS) {
        _cleanup_expr_value_ struct expr_value v = look_up(e->args[0]->name, scope);
        *ret = from_bool(v.type != EXPR_NULL);
        return 0;
    }
    struct expr_value args[EXPR_MAX_ARGS] = {{0}};
    int rc = 0;
    for (int i = 0; i < e->n_args && rc == 0; i++)
        rc = expr_eval(e->args[i], scope, &args[i], err);
    if (rc == 0)
        rc = apply(e, args, ret, err);
    for (int i = 0; i < e->n_args; i++)
        expr_value_release(&args[i]);
    return rc;
}

int expr_eval_bool(const char *text, const struct expr_scope *scope, bool *ret, struct err *err)
{
    _cleanup_expr_ struct expr *e = NULL;
    _cleanup_expr_value_ struct expr_value v = {0};
    if (expr_parse(text, &e, err) < 0 || expr_eval(e, scope, &v, err) < 0)
        return -1;
    if (v.type != EXPR_BOOL)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "expected true or false, found a %s: \"%.120s\"", expr_type_name(v.type), text);
    *ret = v.boolean;
    return 0;
}
