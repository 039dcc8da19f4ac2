/* Opening the snapshot: views, expressions, and checks of what a row must have. Row keys are in rowkeys.c, splits in split.c. */
#include "stages/featurize/source.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/featurize/source-internal.h"
#include "stages/table/pointintime.h"

enum { STATEMENT_BYTES = 4 * 1024 * 1024, QUERY_DEADLINE_MS = 6 * 3600 * 1000, CLASSES_MAX = 10000 };

/* --- small queries --------------------------------------------------------------------------------------- */

struct numbers {
    int64_t *values;
    size_t n;
    bool any;
};

static int take_numbers(void *ctx, const struct column_batch *b, struct err *err)
{
    (void)err;
    struct numbers *out = ctx;
    for (size_t i = 0; i < out->n && b->n_rows; i++)
        out->values[i] = b->columns[i].valid && !b->columns[i].valid[0] ? INT64_MIN : b->columns[i].i64[0];
    out->any |= b->n_rows > 0;
    return 0;
}

int source_numbers(struct source *s, const char *sql, int64_t *ret, size_t n, struct err *err)
{
    _cleanup_free_ enum column_type *types = xcalloc(n, sizeof *types);
    for (size_t i = 0; i < n; i++)
        types[i] = COLUMN_I64;
    struct numbers out = {.values = ret, .n = n};
    if (table_stream(s->table, sql, types, n, take_numbers, &out, err) < 0)
        return -1;
    return out.any ? 0 : err_set(err, ERR_TERMINAL, "a query of counts gave no row: %.200s", sql);
}

/* --- columns and expressions -------------------------------------------------------------------------------- */

enum column_type source_categorical_type(const char *duckdb_type)
{
    static const char *const integers[] = {"TINYINT",  "SMALLINT",  "INTEGER",  "BIGINT",
                                           "UTINYINT", "USMALLINT", "UINTEGER", "BOOLEAN"};
    for (size_t i = 0; i < ARRAY_SIZE(integers); i++) {
        if (strcmp(integers[i], duckdb_type) == 0)
            return COLUMN_I64;
    }
    return COLUMN_STR;
}

const char *source_column_type(const struct source *s, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, s->columns)
    {
        if (strcmp(cJSON_GetObjectItem(item, "name")->valuestring, name) == 0)
            return cJSON_GetObjectItem(item, "type")->valuestring;
    }
    return NULL;
}

int source_expression(struct source *s, const char *what, const char *column_or_sql, char **ret,
                      struct err *err)
{
    if (source_column_type(s, column_or_sql)) {
        *ret = table_quote_ident(column_or_sql);
        return 0;
    }
    if (table_check_expression(s->table, column_or_sql, true, err) < 0)
        return err_wrap(err, "%s", what);
    *ret = xasprintf("(%s\n)", column_or_sql);
    return 0;
}

/* A column that must exist; suggests the nearest. */
static int expect_column(const struct source *s, const char *what, const char *name, struct err *err)
{
    if (source_column_type(s, name))
        return 0;
    size_t n = (size_t)cJSON_GetArraySize(s->columns), i = 0;
    const char **names = xcalloc(n + 1, sizeof *names);
    const cJSON *item;
    cJSON_ArrayForEach(item, s->columns) names[i++] = cJSON_GetObjectItem(item, "name")->valuestring;
    const char *near = text_nearest(name, names);
    int r = err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "column", "%s: the snapshot has no column '%s'%s%s%s",
                     what, name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(names);
    return r;
}

/* DuckDB's type of an expression over the filtered rows. */
static int expression_type(struct source *s, const char *what, const char *sql, char **ret, struct err *err)
{
    _cleanup_free_ char *relation = xasprintf("(SELECT %s AS e FROM " SOURCE_FILTERED ")", sql);
    _cleanup_json_ cJSON *described = NULL;
    if (table_describe(s->table, relation, &described, err) < 0)
        return err_wrap(err, "%s", what);
    *ret = xstrdup(cJSON_GetObjectItem(described->child, "type")->valuestring);
    return 0;
}

/* BIGINT of an integer, else the hash of its text; with `seed` the hash of both. */
static char *hash_sql(const char *expression, const char *type, const char *seed)
{
    if (source_categorical_type(type) == COLUMN_I64)
        return xasprintf("trainyard_xxh64(CAST(%s AS BIGINT), %s)", expression, seed);
    return xasprintf("trainyard_xxh64_text(CAST(%s AS VARCHAR), %s)", expression, seed);
}

static int make_key(struct source *s, struct err *err)
{
    const struct config_names *key = &s->config->row_key;
    _cleanup_buf_ struct buf order = BUF_INIT(STATEMENT_BYTES);
    char *hash = xstrdup("0");
    for (size_t i = 0; i < key->n; i++) {
        if (expect_column(s, "featurize.rowKey", key->items[i], err) < 0) {
            free(hash);
            return -1;
        }
        _cleanup_free_ char *quoted = table_quote_ident(key->items[i]);
        char *next = hash_sql(quoted, source_column_type(s, key->items[i]), hash);
        free(hash);
        hash = next;
        (void)buf_addf(&order, "%s%s", i ? ", " : "", quoted);
    }
    s->row_key_sql = hash;
    s->row_order = buf_take(&order);
    return 0;
}

static int make_time(struct source *s, struct err *err)
{
    _cleanup_free_ char *expression = NULL, *type = NULL;
    if (!s->config->time)
        return 0;
    if (source_expression(s, "featurize.time", s->config->time, &expression, err) < 0 ||
        expression_type(s, "featurize.time", expression, &type, err) < 0)
        return -1;
    /* Compared as it is, a column's statistics spare the engine files and row groups on the other side of a boundary. */
    bool zoned = text_starts_with(type, "TIMESTAMP WITH"), plain = strcmp(type, "TIMESTAMP") == 0;
    if (zoned)
        s->time_sql = xasprintf("epoch_us(%s)", expression);
    else if (text_starts_with(type, "TIMESTAMP") || strcmp(type, "DATE") == 0)
        s->time_sql = xasprintf("epoch_us(CAST(%s AS TIMESTAMP))", expression);
    else
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "column",
            "featurize.time: '%s' is of type %s, expected a timestamp or date: write an expression, such as \"CAST(%s AS TIMESTAMP)\" or "
            "\"make_timestamp(%s * 1000000)\" for seconds since 1970",
            s->config->time, type, s->config->time, s->config->time);
    s->instant_sql = xstrdup(zoned || plain ? expression : s->time_sql);
    s->instant_of = zoned ? "make_timestamptz" : plain ? "make_timestamp" : "";
    return 0;
}

static int make_expressions(struct source *s, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    if (make_key(s, err) < 0 || make_time(s, err) < 0)
        return -1;
    if (c->label_column && expect_column(s, "featurize.label", c->label_column, err) < 0)
        return -1;
    _cleanup_free_ char *label = NULL, *weight = NULL, *group = NULL, *type = NULL;
    if (c->label_type != LABEL_NONE) {
        if (source_expression(s, "featurize.label", c->label_column ? c->label_column : c->label_sql, &label,
                              err) < 0)
            return -1;
        s->label_sql = xasprintf("CAST(%s AS DOUBLE)", label);
    }
    if (c->weight) {
        if (source_expression(s, "featurize.weight", c->weight, &weight, err) < 0)
            return -1;
        s->weight_sql = xasprintf("CAST(%s AS DOUBLE)", weight);
    }
    if (c->group) {
        if (source_expression(s, "featurize.group", c->group, &group, err) < 0 ||
            expression_type(s, "featurize.group", group, &type, err) < 0)
            return -1;
        s->group_sql = source_categorical_type(type) == COLUMN_I64 ? xasprintf("CAST(%s AS BIGINT)", group)
                                                                   : hash_sql(group, type, "0");
    }
    for (size_t i = 0; i < c->carry.n; i++) {
        if (expect_column(s, "featurize.carry", c->carry.items[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < c->dedupe_order.n; i++) {
        if (expect_column(s, "featurize.dedupe.orderBy", c->dedupe_order.items[i], err) < 0)
            return -1;
    }
    return c->split.by == SPLIT_COLUMN ? expect_column(s, "featurize.split.column", c->split.column, err) : 0;
}

/* --- views ------------------------------------------------------------------------------------------------- */

static int list_files(const char *snapshot, struct buf *ret, struct err *err)
{
    _cleanup_free_ char *data = fs_join(snapshot, "data");
    struct fs_list files = {0};
    if (!fs_exists(data))
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "snapshot-empty",
                        "%s: no such directory; expected a snapshot with data/*.parquet", data);
    if (fs_list_inputs(data, &files, err) < 0)
        return err_wrap(err, "the snapshot's data");
    size_t n = 0;
    for (size_t i = 0; i < files.n; i++) {
        if (!text_ends_with(files.names[i], ".parquet"))
            continue;
        _cleanup_free_ char *path = fs_join(data, files.names[i]), *quoted = table_quote_string(path);
        (void)buf_addf(ret, "%s%s", n++ ? ", " : "", quoted);
    }
    fs_list_release(&files);
    if (n == 0)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "snapshot-empty",
                        "%s: expected data/*.parquet, found none", data);
    return buf_check(ret, "list of files", err);
}

/* SELECT *, derived… FROM the files WHERE …; user texts were checked. */
static int create_view(struct source *s, const char *name, const char *files, const char *options,
                       bool filter, bool table, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    (void)buf_adds(&sql, "SELECT *");
    for (size_t i = 0; i < c->n_derive; i++) {
        _cleanup_free_ char *quoted = table_quote_ident(c->derive[i].name);
        (void)buf_addf(&sql, ", (%s\n) AS %s", s->derive_sql[i], quoted);
    }
    (void)buf_addf(&sql, " FROM read_parquet([%s], hive_partitioning = false%s)", files, options);
    if (buf_check(&sql, "SQL of the source", err) < 0)
        return -1;
    return table_exec(s->table, err, "CREATE TEMP %s %s AS SELECT * FROM (%s) WHERE %s%s%s",
                      table ? "TABLE" : "VIEW", name, buf_str(&sql), filter && c->where ? "(" : "true",
                      filter && c->where ? c->where : "", filter && c->where ? "\n)" : "");
}

static int check_texts(struct source *s, const char *files, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    _cleanup_free_ char *relation = xasprintf("read_parquet([%s], hive_partitioning = false)", files);
    s->derive_sql = xcalloc(c->n_derive + 1, sizeof *s->derive_sql);
    for (size_t i = 0; i < c->n_derive; i++) {
        const struct config_derive *d = &c->derive[i];
        if (d->point_in_time ? pointintime_rewrite(s->table, d->sql, relation, d->point_in_time,
                                                   &s->derive_sql[i], err) < 0
                             : table_check_expression(s->table, d->sql, true, err) < 0)
            return err_wrap(err, "featurize.derive[%zu]", i);
        if (!d->point_in_time)
            s->derive_sql[i] = xstrdup(d->sql);
    }
    if (c->where && table_check_expression(s->table, c->where, true, err) < 0)
        return err_wrap(err, "featurize.where");
    return 0;
}

/* Windows are computed once, not again by each of the queries to come. */
static bool has_windows(const struct featurizeconfig *c)
{
    for (size_t i = 0; i < c->n_derive; i++) {
        if (c->derive[i].point_in_time)
            return true;
    }
    return false;
}

static int check_names(const struct source *s, struct err *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, s->columns)
    {
        const char *name = cJSON_GetObjectItem(item, "name")->valuestring;
        if (strcasecmp(name, "row_key") == 0 || strncasecmp(name, "trainyard_", 10) == 0)
            return err_fail(
                err, ERR_INVALID, EXITCODE_CONFIG, "column",
                "the snapshot has a column '%s'; row_key and trainyard_… are the names of columns that featurize adds to heldout rows: rename it",
                name);
    }
    return 0;
}

/* A derived column may not take the name of another: which of the two a text meant could not be told. */
static int check_derived(struct source *s, const char *files, struct err *err)
{
    if (s->config->n_derive == 0)
        return 0;
    _cleanup_free_ char *relation = xasprintf("read_parquet([%s], hive_partitioning = false)", files);
    if (table_describe(s->table, relation, &s->columns, err) < 0)
        return -1;
    for (size_t i = 0; i < s->config->n_derive; i++) {
        const char *name = s->config->derive[i].name;
        bool twice = source_column_type(s, name) != NULL;
        for (size_t k = 0; k < i && !twice; k++)
            twice = strcasecmp(s->config->derive[k].name, name) == 0;
        if (twice)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "column",
                            "featurize.derive[%zu]: there is a column '%s' already: choose another name", i,
                            name);
    }
    cJSON_Delete(s->columns);
    s->columns = NULL;
    return 0;
}

static int make_views(struct source *s, const char *snapshot, struct err *err)
{
    _cleanup_buf_ struct buf files = BUF_INIT(STATEMENT_BYTES / 4);
    if (list_files(snapshot, &files, err) < 0 || check_texts(s, buf_str(&files), err) < 0 ||
        check_derived(s, buf_str(&files), err) < 0 ||
        create_view(s, "trainyard_columns", buf_str(&files), "", false, false, err) < 0 ||
        table_describe(s->table, "trainyard_columns", &s->columns, err) < 0 || check_names(s, err) < 0)
        return -1;
    if (create_view(s, SOURCE_FILTERED, buf_str(&files), "", true, has_windows(s->config), err) < 0)
        return err_wrap(err, "featurize.where");
    return create_view(s, SOURCE_POSITIONED, buf_str(&files),
                       ", filename = 'trainyard_file', file_row_number = true", true, false, err);
}

/* --- what each row must have ---------------------------------------------------------------------------------- */

struct requirement {
    const char *what, *name;
    const char *value; /* expression that must not be NULL */
    const char *bad;   /* further condition that no row may meet; NULL: none */
    const char *rule;
};

static int report_bad(struct source *s, const struct requirement *r, int64_t nulls, int64_t bad,
                      struct err *err)
{
    if (nulls)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "null",
                        "%s '%s' is NULL in %" PRId64 " of %" PRId64
                        " rows, expected none: leave them out with where",
                        r->what, r->name, nulls, s->rows);
    _cleanup_free_ char *example = NULL;
    if (table_query_string(s->table, &example, err,
                           "SELECT CAST(min(%s) AS VARCHAR) FROM " SOURCE_FILTERED " WHERE %s", r->value,
                           r->bad) < 0)
        return -1;
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "value",
                    "%s '%s' breaks the rule \"%s\" in %" PRId64 " of %" PRId64 " rows, for example %s",
                    r->what, r->name, r->rule, bad, s->rows, example);
}

static int check_requirements(struct source *s, const struct requirement *list, size_t n, struct err *err)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    (void)buf_adds(&sql, "SELECT count(*)");
    for (size_t i = 0; i < n; i++)
        (void)buf_addf(&sql, ", count(*) - count(%s), %s%s%s", list[i].value,
                       list[i].bad ? "count(*) FILTER (WHERE " : "0", list[i].bad ? list[i].bad : "",
                       list[i].bad ? ")" : "");
    (void)buf_adds(&sql, " FROM " SOURCE_FILTERED);
    if (buf_check(&sql, "SQL of the checks", err) < 0)
        return -1;
    _cleanup_free_ int64_t *counts = xcalloc(1 + 2 * n, sizeof *counts);
    if (source_numbers(s, buf_str(&sql), counts, 1 + 2 * n, err) < 0)
        return err_wrap(err, "checking the rows of the snapshot");
    s->rows = counts[0];
    if (s->rows == 0)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "no-rows",
                        "no row of the snapshot is left%s%s: nothing to train on",
                        s->config->where ? " after where " : "", s->config->where ? s->config->where : "");
    for (size_t i = 0; i < n; i++) {
        if (counts[1 + 2 * i] || counts[2 + 2 * i])
            return report_bad(s, &list[i], counts[1 + 2 * i], counts[2 + 2 * i], err);
    }
    return 0;
}

static int check_rows(struct source *s, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    struct requirement *list = xcalloc(c->row_key.n + 4, sizeof *list);
    char **owned = xcalloc(c->row_key.n + 4, sizeof *owned);
    size_t n = 0, n_owned = 0;
    for (size_t i = 0; i < c->row_key.n; i++) {
        owned[n_owned] = table_quote_ident(c->row_key.items[i]);
        list[n++] = (struct requirement){.what = "rowKey column",
                                         .name = c->row_key.items[i],
                                         .value = owned[n_owned++]};
    }
    if (s->label_sql) {
        static const char *const rules[] = {[LABEL_BINARY] = "0 or 1",
                                            [LABEL_CLASS] = "an integer from 0 to 9999",
                                            [LABEL_NUMBER] = "a finite number",
                                            [LABEL_RELEVANCE] = "a finite number ≥ 0"};
        const char *l = s->label_sql;
        owned[n_owned] = c->label_type == LABEL_BINARY ? xasprintf("%s NOT IN (0, 1)", l)
                         : c->label_type == LABEL_CLASS
                             ? xasprintf("NOT (%s = floor(%s) AND %s BETWEEN 0 AND 9999)", l, l, l)
                         : c->label_type == LABEL_NUMBER ? xasprintf("NOT isfinite(%s)", l)
                                                         : xasprintf("NOT (isfinite(%s) AND %s >= 0)", l, l);
        list[n++] = (struct requirement){.what = "label",
                                         .name = c->label_column ? c->label_column : c->label_sql,
                                         .value = l,
                                         .bad = owned[n_owned++],
                                         .rule = rules[c->label_type]};
    }
    if (s->weight_sql) {
        owned[n_owned] = xasprintf("NOT (isfinite(%s) AND %s >= 0)", s->weight_sql, s->weight_sql);
        list[n++] = (struct requirement){.what = "weight",
                                         .name = c->weight,
                                         .value = s->weight_sql,
                                         .bad = owned[n_owned++],
                                         .rule = "a finite number ≥ 0"};
    }
    if (s->group_sql)
        list[n++] = (struct requirement){.what = "group", .name = c->group, .value = s->group_sql};
    if (s->time_sql)
        list[n++] = (struct requirement){.what = "time", .name = c->time, .value = s->time_sql};
    int r = check_requirements(s, list, n, err);
    for (size_t i = 0; i < n_owned; i++)
        free(owned[i]);
    free(owned);
    free(list);
    if (r == 0 && c->label_type == LABEL_CLASS) {
        r = table_query_int(s->table, &s->classes, NULL, err,
                            "SELECT CAST(max(%s) AS BIGINT) + 1 FROM " SOURCE_FILTERED, s->label_sql);
        if (r == 0 && s->classes > CLASSES_MAX)
            r = err_set(err, ERR_INVALID, "label has %" PRId64 " classes, at most %d", s->classes,
                        CLASSES_MAX);
    }
    return r;
}

/* --- open ---------------------------------------------------------------------------------------------------- */

int source_open(const struct source_config *config, struct source **ret, struct err *err)
{
    _cleanup_source_ struct source *s = xcalloc(1, sizeof *s);
    s->config = config->features;
    s->scratch = config->scratch;
    /* The engine gets two thirds; batches, buckets and shards the rest. */
    const char *const readable[] = {config->snapshot, config->output, NULL};
    const struct table_config tc = {.scratch = config->scratch,
                                    .readable = readable,
                                    .memory_bytes = config->memory_bytes / 3 * 2,
                                    .threads = config->threads,
                                    .deadline_ms = QUERY_DEADLINE_MS,
                                    .stop = config->stop,
                                    .stop_ctx = config->stop_ctx};
    if (table_open(&tc, &s->table, err) < 0 || table_lock(s->table, err) < 0 ||
        make_views(s, config->snapshot, err) < 0 || make_expressions(s, err) < 0 || check_rows(s, err) < 0 ||
        rowkeys_settle(s, config->memory_bytes / 8, err) < 0 || split_make(s, err) < 0)
        return -1;
    *ret = steal_ptr(s);
    return 0;
}

struct source *source_free(struct source *s)
{
    if (!s)
        return NULL;
    table_free(s->table);
    cJSON_Delete(s->columns);
    for (size_t i = 0; s->derive_sql && i < s->config->n_derive; i++)
        free(s->derive_sql[i]);
    free(s->derive_sql);
    free(s->row_key_sql);
    free(s->row_order);
    free(s->label_sql);
    free(s->weight_sql);
    free(s->group_sql);
    free(s->time_sql);
    free(s->instant_sql);
    free(s);
    return NULL;
}
