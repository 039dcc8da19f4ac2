/* Types without values: see expr.h. */
#include <string.h>

#include "common/base/clock.h"
#include "operator/pipeline/date.h"
#include "operator/pipeline/expr-internal.h"

struct check {
    int (*lookup)(void *ctx, const char *name, enum expr_type *ret, struct err *err);
    void *ctx;
};

static int check(const struct check *c, const struct expr *e, enum expr_type *ret, struct err *err);

static bool may_be(enum expr_type found, enum expr_type wanted)
{
    return found == wanted || found == EXPR_ANY;
}

static int expect(const struct expr *e, enum expr_type found, enum expr_type wanted, struct err *err)
{
    if (may_be(found, wanted))
        return 0;
    return EXPR_FAIL(err, e->column, "%s needs a %s, found a %s", expr_op_name(e->op), expr_type_name(wanted),
                     expr_type_name(found));
}

static int check_comparison(const struct expr *e, enum expr_type a, enum expr_type b, struct err *err)
{
    if (a != b && a != EXPR_ANY && b != EXPR_ANY)
        return EXPR_FAIL(err, e->column, "a %s cannot be compared with a %s", expr_type_name(a),
                         expr_type_name(b));
    enum expr_type type = a == EXPR_ANY ? b : a;
    bool equality = e->op == EXPR_OP_EQ || e->op == EXPR_OP_NE;
    if (type == EXPR_LIST || (type == EXPR_BOOL && !equality))
        return EXPR_FAIL(err, e->column, "%s does not apply to a %s", expr_op_name(e->op),
                         expr_type_name(type));
    return 0;
}

static int check_sum(const struct expr *e, enum expr_type a, enum expr_type b, enum expr_type *ret,
                     struct err *err)
{
    if (e->op == EXPR_OP_ADD && (a == EXPR_STRING || b == EXPR_STRING)) {
        *ret = EXPR_STRING;
        if (!may_be(a, EXPR_STRING) || !may_be(b, EXPR_STRING))
            return EXPR_FAIL(err, e->column, "+ joins a %s and a %s: both must be strings or both numbers",
                             expr_type_name(a), expr_type_name(b));
        return 0;
    }
    *ret = e->op == EXPR_OP_ADD && a == EXPR_ANY && b == EXPR_ANY ? EXPR_ANY : EXPR_NUMBER;
    return expect(e, a, EXPR_NUMBER, err) < 0 ? -1 : expect(e, b, EXPR_NUMBER, err);
}

/* Arguments that stand there as text are checked as such. */
static int check_date(const struct expr *e, struct err *err)
{
    int64_t ms;
    struct err reason = ERR_INIT;
    int rc = 0;
    if (e->args[0]->op == EXPR_OP_LITERAL)
        rc = date_parse_time(e->args[0]->literal.string, &ms, &reason);
    if (rc == 0 && e->args[1]->op == EXPR_OP_LITERAL)
        rc = date_check_format(e->args[1]->literal.string, &reason);
    if (rc == 0 && e->n_args > 2 && e->args[2]->op == EXPR_OP_LITERAL)
        rc = clock_parse_duration(e->args[2]->literal.string, &ms, &reason);
    if (rc == 0 && e->n_args > 3 && e->args[3]->op == EXPR_OP_LITERAL)
        rc = date_parse_zone(e->args[3]->literal.string, &ms, &reason);
    return rc == 0 ? 0 : EXPR_FAIL(err, e->column, "date(): %s", reason.msg);
}

static int check_function(const struct expr *e, const enum expr_type *args, enum expr_type *ret,
                          struct err *err)
{
    *ret = e->op == EXPR_OP_DATE ? EXPR_STRING : e->op == EXPR_OP_SIZE ? EXPR_NUMBER : EXPR_BOOL;
    if ((e->op == EXPR_OP_SIZE || e->op == EXPR_OP_CONTAINS) && may_be(args[0], EXPR_LIST))
        return 0;
    for (int i = 0; i < e->n_args; i++) {
        if (expect(e, args[i], EXPR_STRING, err) < 0)
            return -1;
    }
    return e->op == EXPR_OP_DATE ? check_date(e, err) : 0;
}

static int check_operator(const struct expr *e, const enum expr_type *args, enum expr_type *ret,
                          struct err *err)
{
    switch (e->op) {
    case EXPR_OP_OR:
    case EXPR_OP_AND:
        *ret = EXPR_BOOL;
        return expect(e, args[0], EXPR_BOOL, err) < 0 ? -1 : expect(e, args[1], EXPR_BOOL, err);
    case EXPR_OP_NOT:
        *ret = EXPR_BOOL;
        return expect(e, args[0], EXPR_BOOL, err);
    case EXPR_OP_NEG:
        *ret = EXPR_NUMBER;
        return expect(e, args[0], EXPR_NUMBER, err);
    case EXPR_OP_ADD:
    case EXPR_OP_SUB:
    case EXPR_OP_MUL:
    case EXPR_OP_DIV:
    case EXPR_OP_MOD:
        return check_sum(e, args[0], args[1], ret, err);
    case EXPR_OP_DATE:
    case EXPR_OP_CONTAINS:
    case EXPR_OP_STARTS_WITH:
    case EXPR_OP_ENDS_WITH:
    case EXPR_OP_SIZE:
        return check_function(e, args, ret, err);
    default:
        *ret = EXPR_BOOL;
        return check_comparison(e, args[0], args[1], err);
    }
}

static int check(const struct check *c, const struct expr *e, enum expr_type *ret, struct err *err)
{
    if (e->op == EXPR_OP_LITERAL) {
        *ret = e->literal.type;
        return 0;
    }
    if (e->op == EXPR_OP_NAME || e->op == EXPR_OP_HAS) {
        const struct expr *name = e->op == EXPR_OP_HAS ? e->args[0] : e;
        if (c->lookup(c->ctx, name->name, ret, err) < 0)
            return err_wrap(err, "column %d", name->column);
        *ret = e->op == EXPR_OP_HAS ? EXPR_BOOL : *ret;
        return 0;
    }
    enum expr_type args[EXPR_MAX_ARGS] = {EXPR_ANY};
    for (int i = 0; i < e->n_args; i++) {
        if (check(c, e->args[i], &args[i], err) < 0)
            return -1;
    }
    return check_operator(e, args, ret, err);
}

int expr_check(const struct expr *e,
               int (*lookup)(void *ctx, const char *name, enum expr_type *ret, struct err *err), void *ctx,
               enum expr_type *ret_type, struct err *err)
{
    const struct check c = {.lookup = lookup, .ctx = ctx};
    return check(&c, e, ret_type, err);
}

int expr_names(const struct expr *e, int (*each)(void *ctx, const char *name, struct err *err), void *ctx,
               struct err *err)
{
    if (e->op == EXPR_OP_NAME)
        return each(ctx, e->name, err);
    for (int i = 0; i < e->n_args; i++) {
        if (expr_names(e->args[i], each, ctx, err) < 0)
            return -1;
    }
    return 0;
}
