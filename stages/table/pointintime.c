/* Rewriting of windows on DuckDB's parse tree: see pointintime.h. */
#include "stages/table/pointintime.h"

#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/table/table-internal.h"

struct rewrite {
    struct table *table;
    const char *sql, *relation;
    const cJSON *tree;  /* of the text; what is around a sub-expression when its type is asked for */
    const cJSON *model; /* a window with the order and frame to give */
    size_t windows;
};

static int refuse(const struct rewrite *r, struct err *err, const char *what)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql", "SQL \"%.300s\" with pointInTime: %s", r->sql,
                    what);
}

static const char *string_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(v) ? v->valuestring : "";
}

static cJSON *select_list(const cJSON *tree)
{
    const cJSON *statement = cJSON_GetObjectItemCaseSensitive(tree, "statements")->child;
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(statement, "node"),
                                            "select_list");
}

/* "SELECT …" of a tree. */
static int to_text(struct table *t, const cJSON *tree, char **ret, struct err *err)
{
    _cleanup_free_ char *json = cJSON_PrintUnformatted(tree);
    return table_query_bound(t, "SELECT json_deserialize_sql(CAST($1 AS JSON))", json ? json : "", ret, err);
}

static int type_of(const struct rewrite *r, const cJSON *expression, char **ret, struct err *err)
{
    _cleanup_json_ cJSON *tree = cJSON_Duplicate(r->tree, true);
    _cleanup_free_ char *text = NULL;
    cJSON_ReplaceItemInArray(select_list(tree), 0, cJSON_Duplicate(expression, true));
    if (to_text(r->table, tree, &text, err) < 0)
        return -1;
    _cleanup_free_ char *relation = xasprintf("(%s FROM %s)", text, r->relation);
    _cleanup_json_ cJSON *described = NULL;
    if (table_describe(r->table, relation, &described, err) < 0)
        return -1;
    *ret = xstrdup(string_of(described->child, "type"));
    return 0;
}

static bool exact_type(const char *type)
{
    static const char *const types[] = {"BOOLEAN",  "TINYINT",   "SMALLINT", "INTEGER", "BIGINT",  "HUGEINT",
                                        "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (text_equal(types[i], type))
            return true;
    }
    return text_starts_with(type, "DECIMAL");
}

/* Places in the text are of no use any more, and "none" (2^64 − 1) does not survive as a double. */
static void clear_places(cJSON *node)
{
    if (cJSON_IsNumber(node) && text_equal(node->string, "query_location"))
        cJSON_SetNumberValue(node, 0);
    for (cJSON *child = node->child; child; child = child->next)
        clear_places(child);
}

static int check_window(const struct rewrite *r, const cJSON *w, struct err *err)
{
    static const char *const functions[] = {"count", "count_star", "sum",      "avg",
                                            "min",   "max",        "bool_and", "bool_or"};
    const char *name = string_of(w, "function_name");
    bool known = text_equal(string_of(w, "type"), "WINDOW_AGGREGATE"),
         summed = text_equal(name, "sum") || text_equal(name, "avg");
    for (size_t i = 0; known; i++) {
        if (i == ARRAY_SIZE(functions))
            known = false;
        else if (text_equal(functions[i], name))
            break;
    }
    if (!known)
        return refuse(r, err, "windows may compute count, sum, avg, min, max, bool_and and bool_or");
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(w, "orders")) > 0 ||
        cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(w, "arg_orders")) > 0 ||
        !text_equal(string_of(w, "start"), "UNBOUNDED_PRECEDING") ||
        !text_equal(string_of(w, "end"), "CURRENT_ROW_RANGE") ||
        !text_equal(string_of(w, "exclude_clause"), "NO_OTHER"))
        return refuse(
            r, err,
            "write OVER (PARTITION BY …) only: the order is that of the time column, the frame ends before the row");
    if (!summed)
        return 0;
    _cleanup_free_ char *type = NULL;
    if (type_of(r, cJSON_GetObjectItemCaseSensitive(w, "children")->child, &type, err) < 0)
        return -1;
    return exact_type(type)
               ? 0
               : refuse(
                     r, err,
                     "sum and avg need integers or DECIMAL, for sums of floating-point numbers depend on the order: cast the argument, such as CAST(x AS DECIMAL(18, 6))");
}

static void give_frame(const struct rewrite *r, cJSON *w)
{
    static const char *const parts[] = {"orders", "start", "end", "start_expr", "end_expr"};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        cJSON_ReplaceItemInObjectCaseSensitive(w, parts[i],
                                               cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(r->model,
                                                                                                parts[i]),
                                                               true));
}

static int walk(struct rewrite *r, cJSON *node, struct err *err)
{
    if (cJSON_IsNumber(node) && fabs(node->valuedouble) >= 9007199254740992.0 &&
        node->valuedouble == floor(node->valuedouble))
        return refuse(r, err, "integers beyond 2^53 cannot stand here: bring them as a column");
    if (cJSON_IsObject(node) && text_equal(string_of(node, "class"), "WINDOW")) {
        if (check_window(r, node, err) < 0)
            return -1;
        give_frame(r, node);
        r->windows++;
    }
    for (cJSON *child = node->child; child; child = child->next) {
        if (walk(r, child, err) < 0)
            return -1;
    }
    return 0;
}

static int check_time(const struct rewrite *r, const char *quoted, const char *time, struct err *err)
{
    _cleanup_free_ char *relation = xasprintf("(SELECT %s FROM %s)", quoted, r->relation);
    _cleanup_json_ cJSON *described = NULL;
    if (table_describe(r->table, relation, &described, err) < 0)
        return err_wrap(err, "pointInTime '%s'", time);
    if (text_starts_with(string_of(described->child, "type"), "TIMESTAMP"))
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "column",
                    "pointInTime: column '%s' is of type %s, expected a TIMESTAMP", time,
                    string_of(described->child, "type"));
}

int pointintime_rewrite(struct table *t, const char *sql, const char *relation, const char *time, char **ret,
                        struct err *err)
{
    _cleanup_json_ cJSON *tree = NULL, *changed = NULL, *frame = NULL;
    _cleanup_free_ char *quoted = table_quote_ident(time), *text = NULL;
    _cleanup_free_ char *model = xasprintf(
        "count(*) OVER (ORDER BY %s RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING)",
        quoted);
    if (table_check_windows(t, sql, &tree, err) < 0 || table_check_windows(t, model, &frame, err) < 0)
        return -1;
    struct rewrite r = {.table = t,
                        .sql = sql,
                        .relation = relation,
                        .tree = tree,
                        .model = select_list(frame)->child};
    if (check_time(&r, quoted, time, err) < 0)
        return -1;
    clear_places(tree);
    clear_places(frame);
    changed = cJSON_Duplicate(tree, true);
    if (walk(&r, changed, err) < 0)
        return -1;
    if (r.windows == 0)
        return refuse(&r, err, "there is no window: expected such as count(*) OVER (PARTITION BY user_id)");
    if (to_text(t, changed, &text, err) < 0)
        return err_wrap(err, "SQL \"%.300s\"", sql);
    if (!text_starts_with(text, "SELECT "))
        return err_set(err, ERR_TERMINAL, "the query engine wrote an expression as \"%.100s\"", text);
    *ret = xstrdup(text + strlen("SELECT "));
    return 0;
}
