/* libFuzzer: any bytes as an expression and as a text with references. What has a checked type must evaluate to that type or fail
 * with an error, twice alike. */
#include <stdint.h>
#include <string.h>

#include "common/base/alloc.h"
#include "operator/pipeline/params-internal.h"

static const char params_text[] =
    "{\"s\": \"it's $(HOME)\", \"lr\": 0.1, \"b\": false, \"l\": [\"a'b\", \"c\"]}";
static const char steps_text[] =
    "{\"evaluate\": {\"phase\": \"Succeeded\", \"values\": {\"gate_passed\": true}}, \"my-step\": {\"values\": {\"x\": 3}}}";

/* The types of the scope below; other names may be anything. */
static int lookup(void *ctx, const char *name, enum expr_type *ret, struct err *err)
{
    (void)ctx;
    (void)err;
    *ret = strncmp(name, "run.", 4) == 0                 ? EXPR_STRING
           : strcmp(name, "params.s") == 0               ? EXPR_STRING
           : strcmp(name, "params.lr") == 0              ? EXPR_NUMBER
           : strcmp(name, "params.b") == 0               ? EXPR_BOOL
           : strcmp(name, "params.l") == 0               ? EXPR_LIST
           : strcmp(name, "steps.my-step.values.x") == 0 ? EXPR_NUMBER
                                                         : EXPR_ANY;
    return 0;
}

static void evaluate(const char *text, const struct expr_scope *scope)
{
    _cleanup_expr_ struct expr *e = NULL;
    struct err err = ERR_INIT, check_err = ERR_INIT, eval_err = ERR_INIT;
    if (expr_parse(text, &e, &err) < 0) {
        if (e || err.class_ != ERR_INVALID)
            __builtin_trap();
        return;
    }
    enum expr_type type = EXPR_ANY;
    int checked = expr_check(e, lookup, NULL, &type, &check_err);
    _cleanup_expr_value_ struct expr_value v = {0};
    if (expr_eval(e, scope, &v, &eval_err) < 0) {
        if (eval_err.class_ != ERR_INVALID)
            __builtin_trap();
        return;
    }
    if (checked == 0 && type != EXPR_ANY && type != v.type)
        __builtin_trap();
}

static void insert(const char *text, const struct expr_scope *scope)
{
    static const enum reference_use uses[] = {REFERENCE_PLAIN, REFERENCE_KUBERNETES, REFERENCE_SQL};
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        struct err err = ERR_INIT;
        _cleanup_free_ char *out = NULL;
        if (params_insert(text, uses[i], scope, &out, &err) < 0 ? (out != NULL || err.class_ != ERR_INVALID)
                                                                : out == NULL)
            __builtin_trap();
        if (out && !strchr(text, '$') && strcmp(out, text) != 0)
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static cJSON *params, *steps;
    if (!params) {
        params = cJSON_Parse(params_text);
        steps = cJSON_Parse(steps_text);
    }
    const struct expr_scope scope = {.params = params,
                                     .steps = steps,
                                     .run_name = "r",
                                     .run_uid = "u",
                                     .run_phase = "Running",
                                     .item = "i",
                                     .scheduled_ms = INT64_C(1769824800000)};
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    evaluate(text, &scope);
    insert(text, &scope);
    return 0;
}
