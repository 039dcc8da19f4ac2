/* A step's body with its references replaced, and the items of a fan-out. See params.h. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "operator/pipeline/params-internal.h"
#include "operator/pipeline/schema.h"
#include "operator/pipeline/set.h"

/* --- references in text ------------------------------------------------------------------------------------------ */

struct resolver {
    const struct expr_scope *scope;
    bool container;
};

static const cJSON *child_schema(const cJSON *schema, const cJSON *child)
{
    if (!schema)
        return NULL;
    if (!child->string)
        return cJSON_GetObjectItemCaseSensitive(schema, "items");
    const cJSON *known =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(schema, "properties"),
                                         child->string);
    return known ? known : cJSON_GetObjectItemCaseSensitive(schema, "additionalProperties");
}

static int resolve_text(const struct resolver *r, const cJSON *schema, cJSON *value, enum reference_use use,
                        struct err *err)
{
    if (!strchr(value->valuestring, '$'))
        return 0;
    _cleanup_free_ char *text = NULL;
    if (params_insert(value->valuestring, use, r->scope, &text, err) < 0)
        return -1;
    bool whole_number =
        schema && strcmp(schema_type(schema), "int-or-string") == 0 && reference_any(value->valuestring);
    int64_t number;
    struct err not_a_number = ERR_INIT;
    if (whole_number && text_parse_int(text, &number, &not_a_number) == 0) {
        free(value->valuestring);
        value->valuestring = NULL;
        value->type = cJSON_Number;
        cJSON_SetNumberValue(value, (double)number);
        return 0;
    }
    free(value->valuestring);
    value->valuestring = steal_ptr(text);
    return 0;
}

static int resolve_tree(const struct resolver *r, const cJSON *schema, cJSON *value, enum reference_use use,
                        struct err *err)
{
    if (cJSON_IsString(value))
        return resolve_text(r, schema, value, use, err);
    size_t i = 0;
    for (cJSON *child = value->child; child; child = child->next, i++) {
        enum reference_use child_use =
            child->string && use == REFERENCE_PLAIN ? reference_use_of(r->container, child->string) : use;
        if (resolve_tree(r, child_schema(schema, child), child, child_use, err) < 0)
            return child->string ? err_wrap(err, "%s", child->string) : err_wrap(err, "[%zu]", i);
    }
    return 0;
}

/* --- the whole body ------------------------------------------------------------------------------------------------- */

static int apply_sets(const struct step *step, const struct expr_scope *scope, cJSON *body, struct err *err)
{
    const char *body_key = step_kind_body_key(step->kind);
    for (size_t i = 0; i < step->n_set; i++) {
        const struct step_set *set = &step->set[i];
        _cleanup_free_ char *text = NULL;
        cJSON *value = NULL;
        const cJSON *schema;
        if (params_substitute(set->value, scope, &text, err) < 0 ||
            set_find(body_key, set->field, &schema, err) < 0 || set_typed(schema, text, &value, err) < 0 ||
            set_place(body, set->field + strlen(body_key) + 1, value, err) < 0)
            return err_wrap(err, "set %s", set->field);
    }
    return 0;
}

static int check_body(const struct step *step, size_t index, cJSON *body, struct err *err)
{
    const char *body_key = step_kind_body_key(step->kind);
    const struct json_path spec = {.key = "spec"}, steps = {.parent = &spec, .key = "steps"},
                           item = {.parent = &steps, .index = index};
    const struct json_path path = {.parent = &item, .key = body_key};
    struct findings findings = {0};
    schema_check(schema_of_body(body_key), body, &path, NULL, &findings);
    int rc = findings_error(&findings, 0, NULL, err);
    findings_release(&findings);
    return rc;
}

int params_resolve_body(const struct pipeline *p, const struct step *step, const struct expr_scope *scope,
                        cJSON **ret, struct err *err)
{
    const struct resolver r = {.scope = scope, .container = step->kind == STEP_CONTAINER};
    const char *body_key = step_kind_body_key(step->kind);
    _cleanup_json_ cJSON *body = cJSON_Duplicate(step->body, true);
    if (resolve_tree(&r, schema_of_body(body_key), body, REFERENCE_PLAIN, err) < 0)
        return err_wrap(err, "step \"%s\": %s", step->name, body_key);
    if (apply_sets(step, scope, body, err) < 0 || check_body(step, (size_t)(step - p->steps), body, err) < 0)
        return err_wrap(err, "step \"%s\" with its references replaced", step->name);
    *ret = steal_ptr(body);
    return 0;
}

/* --- fan-out ------------------------------------------------------------------------------------------------------------ */

/* A list's elements as text; foreach.from may be written with or without $(…). */
static int evaluate_list(const char *from, const struct expr_scope *scope, cJSON **ret, struct err *err)
{
    _cleanup_expr_ struct expr *e = NULL;
    _cleanup_expr_value_ struct expr_value v = {0};
    if (reference_whole(from, &e, err) < 0 || (!e && expr_parse(from, &e, err) < 0) ||
        expr_eval(e, scope, &v, err) < 0)
        return err_wrap(err, "foreach.from");
    if (v.type != EXPR_LIST)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "foreach.from: \"%.80s\" is not a list", from);
    _cleanup_json_ cJSON *items = json_array();
    for (const cJSON *item = v.list->child; item; item = item->next) {
        char digits[32];
        if (cJSON_IsNumber(item))
            json_format_double(item->valuedouble, digits);
        json_append(items, cJSON_CreateString(cJSON_IsString(item)   ? item->valuestring
                                              : cJSON_IsNumber(item) ? digits
                                              : cJSON_IsTrue(item)   ? "true"
                                                                     : "false"));
    }
    *ret = steal_ptr(items);
    return 0;
}

static int axis_values(const struct step *step, size_t axis, const struct expr_scope *scope, cJSON **ret,
                       struct err *err)
{
    if (step->fanout.from)
        return evaluate_list(step->fanout.from, scope, ret, err);
    _cleanup_json_ cJSON *values = json_array();
    for (const cJSON *item = step->fanout.items[axis]->child; item; item = item->next) {
        _cleanup_free_ char *text = NULL;
        if (params_substitute(item->valuestring, scope, &text, err) < 0)
            return err_wrap(err, "%s", step->fanout.axes[axis]);
        json_append(values, cJSON_CreateString(text));
    }
    *ret = steal_ptr(values);
    return 0;
}

/* Every item so far, times the axis' values. */
static int multiply(cJSON **items, const char *axis, const cJSON *values, struct err *err)
{
    int64_t n = (int64_t)cJSON_GetArraySize(*items) * cJSON_GetArraySize(values);
    if (n > LIMIT_FANOUT_ITEMS)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "expression",
                        "a fan-out of %lld items: at most %d are possible", (long long)n, LIMIT_FANOUT_ITEMS);
    cJSON *product = json_array();
    for (const cJSON *item = (*items)->child; item; item = item->next) {
        for (const cJSON *value = values->child; value; value = value->next) {
            cJSON *copy = cJSON_Duplicate(item, true);
            json_add_string(copy, axis, value->valuestring);
            json_append(product, copy);
        }
    }
    cJSON_Delete(*items);
    *items = product;
    return 0;
}

int params_fanout_items(const struct step *step, const struct expr_scope *scope, cJSON **ret, struct err *err)
{
    _cleanup_json_ cJSON *items = json_array();
    json_append(items, json_object());
    for (size_t i = 0; i < step->fanout.n_axes; i++) {
        _cleanup_json_ cJSON *values = NULL;
        if (axis_values(step, i, scope, &values, err) < 0 ||
            multiply(&items, step->fanout.axes[i], values, err) < 0)
            return err_wrap(err, "step \"%s\"", step->name);
    }
    *ret = steal_ptr(items);
    return 0;
}
