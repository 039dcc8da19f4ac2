/* References and expressions: what they name exists and has the right type. See validate.h. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/params-internal.h"
#include "operator/pipeline/schema.h"
#include "operator/pipeline/set.h"
#include "operator/pipeline/validate-internal.h"

/* Where a name is looked up from. */
struct looker {
    struct decoder *d;
    size_t step;         /* SIZE_MAX: a parameter's default */
    bool uses_run_phase; /* seen */
};

static enum expr_type type_of_param(enum param_type type)
{
    static const enum expr_type types[] = {EXPR_STRING, EXPR_NUMBER, EXPR_NUMBER, EXPR_BOOL, EXPR_LIST};
    return types[type];
}

static int unknown(struct err *err, const char *what, const char *word, const char *const *candidates,
                   const char *otherwise)
{
    char hint[HINT_MAX];
    decoder_hint(word, candidates, hint);
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest", "there is no %s \"%.80s\"%s%s", what, word,
                    hint, *hint ? "" : otherwise);
}

static const struct parameter *find_parameter(const struct pipeline *p, const char *name)
{
    for (size_t i = 0; i < p->n_parameters; i++) {
        if (strcmp(p->parameters[i].name, name) == 0)
            return &p->parameters[i];
    }
    return NULL;
}

static int look_up_param(const struct looker *l, const char *name, enum expr_type *ret, struct err *err)
{
    const struct pipeline *p = l->d->p;
    if (l->step == SIZE_MAX)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
            "a parameter's default cannot use another parameter; only run.name, run.uid, run.scheduledTime and date(…)");
    const struct parameter *parameter = find_parameter(p, name);
    if (parameter) {
        *ret = type_of_param(parameter->type);
        return 0;
    }
    const char *names[LIMIT_PARAMETERS + 1] = {NULL};
    for (size_t i = 0; i < p->n_parameters && i < LIMIT_PARAMETERS; i++)
        names[i] = p->parameters[i].name;
    return unknown(err, "parameter", name, names, ": declare it in spec.parameters");
}

static int look_up_value(const struct step *producer, const char *value, enum expr_type *ret, struct err *err)
{
    const char *names[LIMIT_STEP_VALUES + 64] = {NULL};
    for (size_t i = 0; i < producer->n_values; i++) {
        if (strcmp(producer->values[i].name, value) == 0) {
            *ret = producer->fanout.n_axes ? EXPR_LIST : type_of_param(producer->values[i].type);
            return 0;
        }
        if (i < ARRAY_SIZE(names) - 1)
            names[i] = producer->values[i].name;
    }
    char what[96], known[300] = "; it has ";
    (void)snprintf(what, sizeof what, "value of the step \"%s\" called", producer->name);
    size_t n = strlen(known);
    for (size_t i = 0; names[i] && n < sizeof known - 70; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", names[i]);
    return unknown(err, what, value, names,
                   names[0]                           ? known
                   : producer->kind == STEP_CONTAINER ? ": declare it in container.values"
                                                      : "; it has none");
}

/* "s.values.v" or "s.phase". */
static int look_up_step(struct looker *l, const char *rest, enum expr_type *ret, struct err *err)
{
    const struct decoder *d = l->d;
    const char *dot = strchr(rest, '.');
    _cleanup_free_ char *name = dot ? xstrndup(rest, (size_t)(dot - rest)) : xstrdup(rest);
    size_t index = (size_t)(uintptr_t)map_get(d->step_index, name);
    if (l->step == SIZE_MAX)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "a parameter's default cannot use a step's values");
    if (!index)
        return unknown(err, "step", name, d->step_names, "; steps with hyphens are written steps['my-step']");
    const struct step *producer = &d->p->steps[index - 1];
    if (index - 1 == l->step)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest", "a step cannot use its own values");
    if (producer->finally && !d->p->steps[l->step].finally)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "\"%s\" is a finally step: only finally steps can use its values", name);
    decoder_add_after(l->d, l->step, index - 1);
    if (dot && strcmp(dot, ".phase") == 0) {
        *ret = EXPR_STRING;
        return 0;
    }
    if (!dot || !text_starts_with(dot, ".values.") || strchr(dot + strlen(".values."), '.'))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "steps.%.80s: expected steps.<name>.values.<value> or steps.<name>.phase", rest);
    return look_up_value(producer, dot + strlen(".values."), ret, err);
}

static int look_up_run(struct looker *l, const char *name, enum expr_type *ret, struct err *err)
{
    static const char *const names[] = {"name", "uid", "phase", "scheduledTime", NULL};
    *ret = EXPR_STRING;
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0) {
            l->uses_run_phase = l->uses_run_phase || strcmp(name, "phase") == 0;
            return 0;
        }
    }
    return unknown(err, "field of run called", name, names, "; it has name, uid, phase, scheduledTime");
}

static int look_up_axis(const struct looker *l, const char *axis, enum expr_type *ret, struct err *err)
{
    *ret = EXPR_STRING;
    const struct step *s = l->step == SIZE_MAX ? NULL : &l->d->p->steps[l->step];
    const cJSON *json = s ? decoder_step_json(l->d, l->step) : NULL;
    if (!axis) {
        if (field(json, "foreach"))
            return 0;
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "item has a value only in a step with foreach");
    }
    if (!s || !field(json, "matrix"))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "manifest",
                        "matrix.%.60s has a value only in a step with matrix", axis);
    const char *names[16] = {NULL};
    for (size_t i = 0; i < s->fanout.n_axes && i < ARRAY_SIZE(names) - 1; i++) {
        names[i] = s->fanout.axes[i];
        if (strcmp(names[i], axis) == 0)
            return 0;
    }
    return unknown(err, "axis of matrix called", axis, names, "");
}

static int look_up(void *ctx, const char *name, enum expr_type *ret, struct err *err)
{
    static const char *const roots[] = {"params", "steps", "run", "item", "matrix", NULL};
    struct looker *l = ctx;
    if (text_starts_with(name, "params."))
        return look_up_param(l, name + strlen("params."), ret, err);
    if (text_starts_with(name, "steps."))
        return look_up_step(l, name + strlen("steps."), ret, err);
    if (text_starts_with(name, "run."))
        return look_up_run(l, name + strlen("run."), ret, err);
    if (strcmp(name, "item") == 0)
        return look_up_axis(l, NULL, ret, err);
    if (text_starts_with(name, "matrix."))
        return look_up_axis(l, name + strlen("matrix."), ret, err);
    _cleanup_free_ char *root = xstrndup(name, strcspn(name, "."));
    return unknown(err, "name", root, roots, "; names begin with params., steps., run., matrix. or are item");
}

/* --- one text ------------------------------------------------------------------------------------------------------ */

static void report(const struct looker *l, const char *path, const cJSON *node, const struct err *err)
{
    decoder_finding(l->d, path, node, false, "%s", err->msg);
}

/* Checks every reference in the text. False after a finding. */
static bool check_text(struct looker *l, const char *path, const cJSON *node, const char *text)
{
    bool good = true;
    while (good) {
        struct reference_piece piece = {0};
        struct err err = ERR_INIT;
        good = reference_next(&text, &piece, &err) == 0;
        if (good && piece.kind == REFERENCE_END)
            return true;
        enum expr_type type;
        if (good && piece.expr && expr_check(piece.expr, look_up, l, &type, &err) < 0) {
            (void)err_wrap(&err, "%.*s", (int)(piece.len < 80 ? piece.len : 80), piece.text);
            good = false;
        }
        expr_free(piece.expr);
        if (!good)
            report(l, path, node, &err);
    }
    return false;
}

/* The type of a text that is one reference and nothing else; EXPR_NULL if it is not, EXPR_ANY if it cannot be known. */
static enum expr_type type_of_whole(struct looker *l, const char *text)
{
    _cleanup_expr_ struct expr *e = NULL;
    struct err ignored = ERR_INIT;
    enum expr_type type = EXPR_ANY;
    if (reference_whole(text, &e, &ignored) < 0)
        return EXPR_ANY;
    if (!e)
        return EXPR_NULL;
    if (expr_check(e, look_up, l, &type, &ignored) < 0)
        return EXPR_ANY;
    return type;
}

/* A reference standing for a value of the schema's type: false with a reason if it cannot. */
static bool fits(const char *schema_type_name, enum expr_type type, const char **ret_expected)
{
    *ret_expected = schema_type_name;
    if (type == EXPR_ANY || type == EXPR_NULL)
        return true;
    if (strcmp(schema_type_name, "integer") == 0 || strcmp(schema_type_name, "number") == 0)
        return type == EXPR_NUMBER;
    if (strcmp(schema_type_name, "boolean") == 0)
        return type == EXPR_BOOL;
    if (strcmp(schema_type_name, "array") == 0) {
        *ret_expected = "list";
        return type == EXPR_LIST;
    }
    return true;
}

/* --- bodies ----------------------------------------------------------------------------------------------------------- */

static const cJSON *child_schema(const cJSON *schema, const cJSON *child)
{
    if (!child->string)
        return field(schema, "items");
    const cJSON *known = field(field(schema, "properties"), child->string);
    return known ? known : field(schema, "additionalProperties");
}

/* A whole number given by reference must be one; what a fan-out's item is, only the run can say. */
static void check_whole_number(struct looker *l, const cJSON *schema, const cJSON *value, const char *path)
{
    const cJSON *pattern = schema ? field(schema, "pattern") : NULL;
    if (!pattern || strcmp(schema_type(schema), "int-or-string") != 0 ||
        !text_starts_with(pattern->valuestring, "^\\$"))
        return;
    enum expr_type type = type_of_whole(l, value->valuestring);
    bool per_item =
        strcmp(value->valuestring, "$(item)") == 0 || text_starts_with(value->valuestring, "$(matrix.");
    if (type == EXPR_STRING && !per_item)
        decoder_finding(l->d, path, value, false,
                        "expected a whole number, but %.80s is a string: give the parameter the type integer",
                        value->valuestring);
    else if (type == EXPR_BOOL || type == EXPR_LIST)
        decoder_finding(l->d, path, value, false, "expected a whole number, but %.80s is a %s",
                        value->valuestring, type == EXPR_BOOL ? "boolean" : "list");
}

static bool within_sql_quotes(const char *text, const char *at)
{
    char quote = 0;
    for (; text < at; text++) {
        if (quote)
            quote = *text == quote ? 0 : quote;
        else if (*text == '\'' || *text == '"')
            quote = *text;
    }
    return quote != 0;
}

static void check_sql(const struct looker *l, const cJSON *value, const char *path)
{
    const char *cursor = value->valuestring;
    for (;;) {
        struct reference_piece piece;
        struct err ignored = ERR_INIT;
        if (reference_next(&cursor, &piece, &ignored) < 0 || piece.kind == REFERENCE_END)
            return;
        expr_free(piece.expr);
        if (piece.kind == REFERENCE_VALUE && within_sql_quotes(value->valuestring, piece.text))
            decoder_finding(
                l->d, path, value, false,
                "%.*s stands within quotes: remove them, for the value is inserted as an SQL literal with its own",
                (int)(piece.len < 80 ? piece.len : 80), piece.text);
    }
}

static void check_tree(struct looker *l, const cJSON *schema, const cJSON *value,
                       const struct json_path *path, enum reference_use use)
{
    char where[JSON_PATH_MAX];
    if (cJSON_IsString(value)) {
        if (!reference_any(value->valuestring))
            return;
        json_path_format(path, where);
        if (!check_text(l, where, value, value->valuestring))
            return;
        check_whole_number(l, schema, value, where);
        if (use == REFERENCE_SQL)
            check_sql(l, value, where);
        return;
    }
    bool container = l->d->p->steps[l->step].kind == STEP_CONTAINER;
    size_t i = 0;
    for (const cJSON *child = value->child; child; child = child->next, i++) {
        struct json_path here = {.parent = path, .key = child->string, .index = i};
        enum reference_use child_use =
            child->string && use == REFERENCE_PLAIN ? reference_use_of(container, child->string) : use;
        check_tree(l, schema ? child_schema(schema, child) : NULL, child, &here, child_use);
    }
}

/* --- set ------------------------------------------------------------------------------------------------------------- */

/* A path through another alternative than the body's ("adamw" where the body has "sgd") would leave both. */
static void check_set_alternative(const struct looker *l, size_t k, const cJSON *node, const struct step *s)
{
    const cJSON *schema = schema_of_body(step_kind_body_key(s->kind)), *body = s->body;
    const char *cursor = s->set[k].field + strlen(step_kind_body_key(s->kind)) + 1, *part;
    size_t len;
    while (body && cJSON_IsObject(body) && text_next_part(&cursor, '.', &part, &len)) {
        _cleanup_free_ char *name = xstrndup(part, strcspn(part, ".["));
        const cJSON *alternatives = field(schema, "oneOf");
        bool is_alternative = false;
        const char *present = NULL;
        for (const cJSON *a = alternatives ? alternatives->child : NULL; a; a = a->next) {
            const char *word = field(a, "required")->child->valuestring;
            is_alternative = is_alternative || strcmp(word, name) == 0;
            present = field(body, word) && strcmp(word, name) != 0 ? word : present;
        }
        if (is_alternative && present && !field(body, name)) {
            char path[64];
            (void)snprintf(path, sizeof path, "set[%zu].field", k);
            decoder_step_finding(l->d, l->step, path, field(node, "field"), false,
                                 "the body has %s there, not %s: write the one you mean in the body", present,
                                 name);
            return;
        }
        if (part[strcspn(part, ".[")] == '[')
            return; /* elements of lists have no alternatives that `set` could add to */
        schema = field(field(schema, "properties"), name);
        body = field(body, name);
    }
}

static void check_set_value(struct looker *l, size_t k, const cJSON *node, const cJSON *schema,
                            const char *text)
{
    char path[JSON_PATH_MAX];
    (void)snprintf(path, sizeof path, "spec.steps[%zu].set[%zu].value", l->step, k);
    const cJSON *value_node = field(node, "value");
    if (!check_text(l, path, value_node, text))
        return;
    const char *expected;
    enum expr_type type = type_of_whole(l, text);
    bool per_item = strcmp(text, "$(item)") == 0 || text_starts_with(text, "$(matrix.");
    if (!per_item && !fits(schema_type(schema), type, &expected)) {
        static const char *const names[] = {"any", "string", "number", "boolean", "list"};
        decoder_finding(l->d, path, value_node, false,
                        "the field takes a value of type %s, but %.80s is a %s", expected, text, names[type]);
        return;
    }
    if (reference_any(text))
        return;
    cJSON *value = NULL;
    struct err err = ERR_INIT;
    if (set_typed(schema, text, &value, &err) < 0) {
        report(l, path, value_node, &err);
        return;
    }
    struct findings found = {0};
    schema_check(schema, value, NULL, NULL, &found);
    for (size_t i = 0; i < found.n; i++)
        decoder_finding(l->d, path, value_node, false, "%s", found.items[i].message);
    findings_release(&found);
    cJSON_Delete(value);
}

/* The elements that indexes in the path name must exist; tried on a copy of the body. */
static bool check_set_place(const struct looker *l, const struct step *s, size_t k, const char *path,
                            const cJSON *node)
{
    struct err err = ERR_INIT;
    _cleanup_json_ cJSON *copy = cJSON_Duplicate(s->body, true);
    if (set_place(copy, s->set[k].field + strlen(step_kind_body_key(s->kind)) + 1, cJSON_CreateNull(),
                  &err) == 0)
        return true;
    decoder_step_finding(l->d, l->step, path, field(node, "field"), false, "%s", err.msg);
    return false;
}

static void check_sets(struct looker *l, const struct step *s, const cJSON *set)
{
    const cJSON *node = set ? set->child : NULL;
    for (size_t k = 0; node && k < s->n_set; k++, node = node->next) {
        const cJSON *schema;
        struct err err = ERR_INIT;
        char path[64];
        (void)snprintf(path, sizeof path, "set[%zu].field", k);
        if (set_find(step_kind_body_key(s->kind), s->set[k].field, &schema, &err) < 0) {
            decoder_step_finding(l->d, l->step, path, field(node, "field"), false, "%s", err.msg);
            continue;
        }
        if (!check_set_place(l, s, k, path, node))
            continue;
        check_set_alternative(l, k, node, s);
        check_set_value(l, k, node, schema, s->set[k].value);
    }
}

/* --- when and foreach --------------------------------------------------------------------------------------------------- */

static void check_when(struct looker *l, const struct step *s, const cJSON *node)
{
    _cleanup_expr_ struct expr *e = NULL;
    struct err err = ERR_INIT;
    enum expr_type type = EXPR_ANY;
    if (!s->when)
        return;
    if (strstr(s->when, "$("))
        decoder_step_finding(l->d, l->step, "when", node, false,
                             "the condition is an expression already: write names without $(…)");
    else if (expr_parse(s->when, &e, &err) < 0 || expr_check(e, look_up, l, &type, &err) < 0)
        decoder_step_finding(l->d, l->step, "when", node, false, "%s", err.msg);
    else if (type != EXPR_BOOL && type != EXPR_ANY)
        decoder_step_finding(l->d, l->step, "when", node, false,
                             "expected a condition (true or false), found a %s",
                             type == EXPR_STRING   ? "string"
                             : type == EXPR_NUMBER ? "number"
                                                   : "list");
}

static void check_foreach_from(struct looker *l, const char *from, const cJSON *node)
{
    _cleanup_expr_ struct expr *e = NULL;
    struct err err = ERR_INIT;
    enum expr_type type = EXPR_ANY;
    if (reference_whole(from, &e, &err) < 0 || (!e && expr_parse(from, &e, &err) < 0) ||
        expr_check(e, look_up, l, &type, &err) < 0)
        decoder_step_finding(l->d, l->step, "foreach.from", node, false, "%s", err.msg);
    else if (type != EXPR_LIST && type != EXPR_ANY)
        decoder_step_finding(
            l->d, l->step, "foreach.from", node, false,
            "expected a list (a parameter of type list, or a value of a fan-out step), but \"%.80s\" is none",
            from);
}

static void check_axes(struct looker *l, const struct step *s, const cJSON *json)
{
    bool foreach = field(json, "foreach") != NULL;
    for (size_t a = 0; a < s->fanout.n_axes; a++) {
        size_t k = 0;
        for (const cJSON *item = s->fanout.items[a] ? s->fanout.items[a]->child : NULL; item;
             item = item->next, k++) {
            char path[JSON_PATH_MAX];
            (void)snprintf(path, sizeof path,
                           foreach ? "spec.steps[%zu].foreach.%ss[%zu]"
                                   : "spec.steps[%zu].matrix.axes.%s[%zu]",
                           l->step, s->fanout.axes[a], k);
            if (strstr(item->valuestring, "$(item)") || strstr(item->valuestring, "$(matrix."))
                decoder_finding(l->d, path, item, false, "an item cannot be made of items");
            else
                (void)check_text(l, path, item, item->valuestring);
        }
    }
    if (s->fanout.from)
        check_foreach_from(l, s->fanout.from, field(field(json, "foreach"), "from"));
}

void validate_references(struct decoder *d, size_t step)
{
    struct looker l = {.d = d, .step = step};
    const struct step *s = &d->p->steps[step];
    const cJSON *json = decoder_step_json(d, step);
    const struct json_path spec = {.key = "spec"}, steps = {.parent = &spec, .key = "steps"},
                           item = {.parent = &steps, .index = step};
    const struct json_path path = {.parent = &item, .key = step_kind_body_key(s->kind)};
    check_when(&l, s, field(json, "when"));
    check_axes(&l, s, json);
    check_tree(&l, schema_of_body(step_kind_body_key(s->kind)), s->body, &path, REFERENCE_PLAIN);
    check_sets(&l, s, field(json, "set"));
    if (l.uses_run_phase && !s->finally)
        decoder_step_finding(
            d, step, "", json, true,
            "run.phase is always Running before the end of a run: it is of use in finally steps only");
}

void validate_parameters(struct decoder *d)
{
    struct looker l = {.d = d, .step = SIZE_MAX};
    const cJSON *list = field(d->p->spec, "parameters");
    size_t i = 0;
    for (const cJSON *json = list ? list->child : NULL; json; json = json->next, i++) {
        const struct parameter *parameter = &d->p->parameters[i];
        const cJSON *node = field(json, "default");
        char path[JSON_PATH_MAX];
        (void)snprintf(path, sizeof path, "spec.parameters[%zu].default", i);
        if (!node || !check_text(&l, path, node, parameter->fallback) || reference_any(parameter->fallback))
            continue;
        cJSON *value = NULL;
        struct err err = ERR_INIT;
        if (params_typed(parameter->type, parameter->fallback, &value, &err) < 0)
            report(&l, path, node, &err);
        cJSON_Delete(value);
    }
}
