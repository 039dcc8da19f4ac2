/* The small typed language of `when` and of $(…). Pure; parsing is separate from evaluating so that lint checks types and
 * references without values. Bounded by LIMIT_EXPR_BYTES and LIMIT_EXPR_DEPTH. Errors name the column (in characters).
 *
 *   or  ||     and  &&     not                         logic; the right side is looked at only if it counts
 *   ==  !=  <  <=  >  >=                               numbers with numbers, strings with strings; == also on booleans
 *   +  -  *  /  %   -x   !x                            numbers; + joins strings too
 *   'text'  "text"  1.5  true  false  (…)              in text, \\ \' \" \n \t
 *   params.x  steps.s.values.v  steps['my-step'].phase  run.name  run.uid  run.phase  run.scheduledTime  item  matrix.k
 *   has(name)                                          whether a name has a value (that of a skipped step's values is false)
 *   date(time, format[, offset[, zone]])               see date.h
 *   contains(s, part)  startsWith(s, part)  endsWith(s, part)  size(s), also written s.contains(part); contains and size on lists too
 *
 * Types: string, number, boolean, list. Nothing is converted; a mixed comparison, an absent name, a division by zero or a number
 * beyond a double's range is an error. run.scheduledTime is text in RFC 3339. */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

struct expr; /* opaque, parsed */

enum expr_type { EXPR_ANY, EXPR_STRING, EXPR_NUMBER, EXPR_BOOL, EXPR_LIST, EXPR_NULL };
struct expr_value {
    enum expr_type type;
    char *string; /* owned */
    double number;
    bool boolean;
    cJSON *list; /* owned array of strings, numbers or booleans */
};
void expr_value_release(struct expr_value *v);

/* What names mean. Borrowed for the call. */
struct expr_scope {
    const cJSON *params; /* object from params_resolve; may be NULL */
    const cJSON *
        steps; /* object: step name → {"values": {…}, "phase": "…"}; a fan-out step's values are lists in item order */
    const char *run_name, *run_uid, *run_phase;
    int64_t scheduled_ms;
    const char *item;    /* NULL: none */
    const cJSON *matrix; /* object axis → string; NULL: none */
};

int expr_parse(const char *text, struct expr **ret, struct err *err);
struct expr *expr_free(struct expr *e);
int expr_eval(const struct expr *e, const struct expr_scope *scope, struct expr_value *ret, struct err *err);
/* `when`: must be boolean; any error is ERR_INVALID (the run fails as user error, never counts as false). */
int expr_eval_bool(const char *text, const struct expr_scope *scope, bool *ret, struct err *err);

/* Static check: `lookup` says the type of a dotted name ("steps.x.values.y", "params.p") or fails with a suggestion. */
int expr_check(const struct expr *e,
               int (*lookup)(void *ctx, const char *name, enum expr_type *ret, struct err *err), void *ctx,
               enum expr_type *ret_type, struct err *err);
/* Calls `each` for every name used, in dotted form: steps['my-step'].values.v is "steps.my-step.values.v". */
int expr_names(const struct expr *e, int (*each)(void *ctx, const char *name, struct err *err), void *ctx,
               struct err *err);

static inline void expr_value_cleanup_func(struct expr_value *v)
{
    expr_value_release(v);
}
#define _cleanup_expr_value_ CLEANUP(expr_value_cleanup_func)

DEFINE_CLEANUP(struct expr *, expr_free);
#define _cleanup_expr_ CLEANUP(expr_free_cleanup)
