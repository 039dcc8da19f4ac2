/* The tree of an expression: what parser, checker and evaluator share. */
#pragma once

#include "operator/pipeline/expr.h"

enum expr_op {
    EXPR_OP_LITERAL,
    EXPR_OP_NAME,
    EXPR_OP_OR,
    EXPR_OP_AND,
    EXPR_OP_NOT,
    EXPR_OP_EQ,
    EXPR_OP_NE,
    EXPR_OP_LT,
    EXPR_OP_LE,
    EXPR_OP_GT,
    EXPR_OP_GE,
    EXPR_OP_ADD,
    EXPR_OP_SUB,
    EXPR_OP_MUL,
    EXPR_OP_DIV,
    EXPR_OP_MOD,
    EXPR_OP_NEG,
    EXPR_OP_HAS,
    EXPR_OP_DATE,
    EXPR_OP_CONTAINS,
    EXPR_OP_STARTS_WITH,
    EXPR_OP_ENDS_WITH,
    EXPR_OP_SIZE,
};
const char *expr_op_name(enum expr_op op);

enum { EXPR_MAX_ARGS = 4 };
struct expr {
    enum expr_op op;
    int column; /* 1-based, in characters */
    struct expr *args[EXPR_MAX_ARGS];
    int n_args;
    struct expr_value literal;
    char *name; /* dotted */
};

const char *expr_type_name(enum expr_type type);

/* An error at a place of the text. */
#define EXPR_FAIL(err, column, fmt, ...) \
    err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression", "column %d: " fmt, (column), ##__VA_ARGS__)

/* Parses one expression that ends before the unmatched ")" at or after `text`; *ret_len is its length. For references. */
int expr_parse_enclosed(const char *text, size_t *ret_len, struct expr **ret, struct err *err);
