/* References: $(params.x), $(steps.s.values.v), $(run.…), $(item), $(matrix.k), $(date(…)) in the text of a step's body, and the
 * step's `set` list. Pure: everything comes from the scope.
 *
 * Only these beginnings are ours: any other "$(" passes unchanged, and "$$(" before one of ours is that text itself. Inserted
 * text is that of the value: numbers in shortest form, lists as JSON. Two kinds of text are special:
 * - command, args and env of containers: Kubernetes expands "$(" there, so inserted text gets it written "$$(".
 * - SQL (sql, aggregate, where, weight): a value is inserted as an SQL literal ('it''s', 1.5, true, ('a', 'b')), so that it
 *   can never become SQL; within quotes a reference is an error. */
#pragma once

#include <cjson/cJSON.h>
#include <stdint.h>

#include "operator/pipeline/expr.h"
#include "operator/pipeline/pipeline.h"

/* The parameters of a run: given values over defaults, typed and checked. Object name → string, number, bool or array. Unknown names and
 * wrong types are errors with a suggestion. Defaults may use $(date(run.scheduledTime, …)). */
int params_resolve(const struct pipeline *p, const struct run_spec *run, cJSON **ret, struct err *err);

/* The step's body with every reference replaced, `set` applied and re-checked against the schema: what the stage gets as its config.
 * For fan-out steps scope->item / scope->matrix are set. Container bodies: substituted text gets "$(" written "$$(" in command, args, env. */
int params_resolve_body(const struct pipeline *p, const struct step *step, const struct expr_scope *scope,
                        cJSON **ret, struct err *err);
/* One text that is neither special kind. */
int params_substitute(const char *text, const struct expr_scope *scope, char **ret, struct err *err);
/* The items of a fan-out: array of objects axis → string; one {} when there is none. foreach.from is evaluated in scope;
 * references in written items are replaced. A list of foreach.from may be empty, then so is the array. */
int params_fanout_items(const struct step *step, const struct expr_scope *scope, cJSON **ret,
                        struct err *err);
