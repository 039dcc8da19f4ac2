/* User SQL: what a text may be (contract section 7).
 *
 * DuckDB's own parser gives the tree (json_serialize_sql, which takes SELECT statements only); we walk it and allow
 * by shape. This comes before the locked configuration, not instead of it. */
#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/table/table-internal.h"

struct walk {
    const char *sql; /* for messages */
    struct map *volatile_functions, *aggregates;
    bool allow_aggregates, allow_select, allow_windows, refuse_volatile;
    unsigned depth;
};

static const char *string_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(v) ? v->valuestring : "";
}

static int refuse(const struct walk *w, struct err *err, const char *what, const char *name)
{
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql", "SQL \"%.300s\": %s%s%s", w->sql, what,
                    *name ? ": " : "", name);
}

static int check_function(const struct walk *w, const cJSON *node, struct err *err)
{
    /* The session and its settings are ours, not the data's. */
    static const char *const session[] = {"current_setting", "getvariable", "nextval",
                                          "currval",         "setseed",     "write_log",
                                          "query",           "query_table", NULL};
    const char *name = string_of(node, "function_name");
    const char *schema = string_of(node, "schema");
    if ((*schema && !text_equal(schema, "main")) || *string_of(node, "catalog"))
        return refuse(w, err, "functions are named without a schema", name);
    for (size_t i = 0; session[i]; i++) {
        if (text_equal(name, session[i]))
            return refuse(w, err, "this function is not allowed", name);
    }
    if (w->refuse_volatile && map_has(w->volatile_functions, name))
        return refuse(
            w, err,
            "its value changes from run to run, so equal data would not give equal results; use the data's own columns, or $(run.scheduledTime)",
            name);
    if (!w->allow_aggregates && map_has(w->aggregates, name))
        return refuse(w, err, "an aggregate where one row is looked at; write it under \"aggregate\"", name);
    return 0;
}

static int check_column(const struct walk *w, const cJSON *node, struct err *err)
{
    /* SQL's keywords for the clock parse as columns. */
    static const char *const clock[] = {"current_date", "current_time",   "current_timestamp",
                                        "localtime",    "localtimestamp", NULL};
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(node, "column_names");
    const cJSON *only = cJSON_GetArraySize(names) == 1 ? cJSON_GetArrayItem(names, 0) : NULL;
    if (!w->refuse_volatile || !cJSON_IsString(only))
        return 0;
    for (size_t i = 0; clock[i]; i++) {
        if (strcasecmp(only->valuestring, clock[i]) == 0)
            return refuse(
                w, err,
                "its value changes from run to run, so equal data would not give equal results; use $(run.scheduledTime)",
                only->valuestring);
    }
    return 0;
}

static int check_class(const struct walk *w, const cJSON *node, const char *class_, struct err *err)
{
    static const struct {
        const char *class_, *why;
    } refused[] = {
        {"PARAMETER", "parameters ($1, ?) are not bound here"},
        {"POSITIONAL_REFERENCE", "columns are named, not numbered (#1)"},
        {"DEFAULT", "DEFAULT has no meaning here"},
        {NULL, NULL},
    };
    for (size_t i = 0; refused[i].class_; i++) {
        if (text_equal(class_, refused[i].class_))
            return refuse(w, err, refused[i].why, "");
    }
    if (text_equal(class_, "FUNCTION"))
        return check_function(w, node, err);
    if (text_equal(class_, "COLUMN_REF"))
        return check_column(w, node, err);
    if (w->allow_select)
        return text_equal(class_, "WINDOW") ? check_function(w, node, err) : 0;
    if (text_equal(class_, "SUBQUERY"))
        return refuse(w, err, "a sub-select where one expression is expected", "");
    if (text_equal(class_, "WINDOW") && !w->allow_windows)
        return refuse(w, err, "a window (OVER) sees other rows; only this row is looked at", "");
    if (text_equal(class_, "STAR"))
        return refuse(w, err, "* and COLUMNS() stand for many expressions; one is expected", "");
    return 0;
}

static int check_table(const struct walk *w, const cJSON *node, const char *type, struct err *err)
{
    if (text_equal(type, "TABLE_FUNCTION")) {
        static const char *const allowed[] = {"unnest", "range", "generate_series", NULL};
        const char *name = string_of(cJSON_GetObjectItemCaseSensitive(node, "function"), "function_name");
        for (size_t i = 0; allowed[i]; i++) {
            if (text_equal(name, allowed[i]))
                return 0;
        }
        return refuse(w, err,
                      "this table function is not allowed; only unnest, range and generate_series are", name);
    }
    if (text_equal(type, "BASE_TABLE")) {
        const char *name = string_of(node, "table_name");
        const char *schema = string_of(node, "schema_name");
        if (strpbrk(name, "/.:*?") || (*schema && !text_equal(schema, "main")))
            return refuse(w, err, "only the step's own tables may be read, not files or other schemas", name);
    }
    return 0;
}

static int walk_tree(struct walk *w, const cJSON *node, struct err *err)
{
    if (w->depth > 900)
        return refuse(w, err, "nested too deeply; simplify it", "");
    if (cJSON_IsObject(node)) {
        const char *class_ = string_of(node, "class");
        const char *type = string_of(node, "type");
        if (*class_ ? check_class(w, node, class_, err) < 0 : check_table(w, node, type, err) < 0)
            return -1;
    }
    w->depth++;
    for (const cJSON *child = node->child; child; child = child->next) {
        if ((cJSON_IsObject(child) || cJSON_IsArray(child)) && walk_tree(w, child, err) < 0)
            return -1;
    }
    w->depth--;
    return 0;
}

static bool empty_or_null(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return !v || cJSON_IsNull(v) || ((cJSON_IsArray(v) || cJSON_IsObject(v)) && !v->child);
}

/* SELECT <one expression>, and nothing else: no FROM, no second column, no clause. */
static int check_only_expression(const struct walk *w, const cJSON *node, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(node, "select_list");
    const cJSON *from = cJSON_GetObjectItemCaseSensitive(node, "from_table");
    const cJSON *ctes =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(node, "cte_map"), "map");
    static const char *const clauses[] = {"modifiers",  "where_clause", "group_expressions",
                                          "group_sets", "having",       "sample",
                                          "qualify"};
    bool plain = text_equal(string_of(node, "type"), "SELECT_NODE") && cJSON_GetArraySize(list) == 1 &&
                 text_equal(string_of(from, "type"), "EMPTY") && cJSON_GetArraySize(ctes) == 0 &&
                 !*string_of(cJSON_GetArrayItem(list, 0), "alias");
    for (size_t i = 0; i < ARRAY_SIZE(clauses); i++)
        plain = plain && empty_or_null(node, clauses[i]);
    return plain ? 0
                 : refuse(w, err,
                          "exactly one expression is expected, without FROM, AS, commas or further clauses",
                          "");
}

/* The statement's one query node, owned by *ret_tree. */
static int parse(struct table *t, const struct walk *w, const char *statement, cJSON **ret_tree,
                 const cJSON **ret_node, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    if (table_query_bound(t, "SELECT CAST(json_serialize_sql(CAST($1 AS VARCHAR)) AS VARCHAR)", statement,
                          &text, err) < 0)
        return err_wrap(err, "SQL \"%.300s\"", w->sql);
    /* Not json_parse(): expressions nest deeper than documents may. cJSON has its own limit of 1000. */
    _cleanup_json_ cJSON *tree = cJSON_Parse(text);
    if (!tree)
        return refuse(w, err, "nested too deeply; simplify it", "");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tree, "error")))
        return refuse(w, err, "it does not parse", string_of(tree, "error_message"));
    const cJSON *statements = cJSON_GetObjectItemCaseSensitive(tree, "statements");
    if (cJSON_GetArraySize(statements) != 1)
        return refuse(w, err, "exactly one statement is expected", "");
    *ret_node = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(statements, 0), "node");
    if (!cJSON_IsObject(*ret_node))
        return refuse(w, err, "it is not a SELECT", "");
    *ret_tree = steal_ptr(tree);
    return 0;
}

static int begin(struct table *t, struct walk *w, struct err *err)
{
    size_t len = strlen(w->sql);
    if (len > LIMIT_SQL_BYTES)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql",
                        "SQL \"%.60s…\" has %zu bytes; at most %d are allowed", w->sql, len,
                        (int)LIMIT_SQL_BYTES);
    if (strspn(w->sql, " \t\r\n") == len)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql",
                        "empty SQL text where an expression is expected");
    return table_function_sets(t, &w->volatile_functions, &w->aggregates, err);
}

static int check_expression(struct table *t, struct walk *w, struct err *err)
{
    if (begin(t, w, err) < 0)
        return -1;
    /* Bare and in parentheses, as it will be pasted: what balances a parenthesis of ours fails the first. */
    for (int pasted = 0; pasted < 2; pasted++) {
        _cleanup_free_ char *statement =
            !pasted ? xasprintf("SELECT %s\n", w->sql) : xasprintf("SELECT (%s\n)", w->sql);
        _cleanup_json_ cJSON *tree = NULL;
        const cJSON *node;
        if (parse(t, w, statement, &tree, &node, err) < 0 || check_only_expression(w, node, err) < 0)
            return -1;
        w->depth = 0;
        if (walk_tree(w, cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(node, "select_list"), 0), err) <
            0)
            return -1;
    }
    return 0;
}

int table_check_expression(struct table *t, const char *sql, bool refuse_volatile, struct err *err)
{
    struct walk w = {.sql = sql, .refuse_volatile = refuse_volatile};
    return check_expression(t, &w, err);
}

/* What a window may compute is for the caller to check: see pointintime.c. */
int table_check_windows(struct table *t, const char *sql, cJSON **ret_tree, struct err *err)
{
    struct walk w = {.sql = sql, .refuse_volatile = true, .allow_windows = true};
    if (check_expression(t, &w, err) < 0)
        return -1;
    const cJSON *node;
    _cleanup_free_ char *statement = xasprintf("SELECT %s\n", sql);
    return parse(t, &w, statement, ret_tree, &node, err);
}

int table_check_aggregate(struct table *t, const char *sql, struct err *err)
{
    struct walk w = {.sql = sql, .refuse_volatile = true, .allow_aggregates = true};
    return check_expression(t, &w, err);
}

int table_check_select(struct table *t, const char *sql, struct err *err)
{
    struct walk w = {.sql = sql, .refuse_volatile = true, .allow_aggregates = true, .allow_select = true};
    _cleanup_json_ cJSON *tree = NULL;
    const cJSON *node;
    if (begin(t, &w, err) < 0 || parse(t, &w, sql, &tree, &node, err) < 0)
        return -1;
    return walk_tree(&w, node, err);
}
