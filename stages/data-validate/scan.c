/* The pass over a part. */
#include "stages/data-validate/scan.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/text.h"

enum { SHORT_LIST = 16, SELECT_MAX = 4 << 20, SCRATCH = 2 * STAT_BUCKETS + 1, LEAK_ROWS_MAX = 2000000 };

/* --- the plan ------------------------------------------------------------------------------------------- */

static size_t index_of(const struct schema *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (text_equal(s->columns[i].name, name))
            return i;
    }
    return SIZE_MAX;
}

static int unknown_column(const char *where, const char *name, const struct schema *s, struct err *err)
{
    const char **names = xcalloc(s->n + 1, sizeof *names);
    for (size_t i = 0; i < s->n; i++)
        names[i] = s->columns[i].name;
    const char *near = text_nearest(name, names);
    free(names);
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "schema", "%s: the source has no column \"%s\"%s%s%s",
                    where, name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static struct row_rule *add_rule(struct scan_plan *p, enum row_rule_kind kind, size_t index)
{
    struct row_rule *r = &p->rules[p->n_rules++];
    *r = (struct row_rule){.kind = kind, .schema_index = index, .stream_index = SIZE_MAX};
    return r;
}

static void add_stream(struct scan_plan *p, struct buf *sql, enum column_type type, const char *expression)
{
    (void)buf_addf(sql, "%s%s", p->n_stream ? ", " : "SELECT ", expression);
    p->types[p->n_stream++] = type;
}

static void add_values_rule(struct scan_plan *p, struct buf *sql, const struct column_rule *c,
                            const char *ident)
{
    _cleanup_buf_ struct buf b = BUF_INIT(SELECT_MAX);
    (void)buf_addf(&b, "CAST(%s AS VARCHAR) IN (", ident);
    const cJSON *v;
    bool first = true;
    cJSON_ArrayForEach(v, c->values)
    {
        _cleanup_free_ char *text = table_quote_string(v->valuestring);
        (void)buf_addf(&b, "%s%s", first ? "" : ", ", text);
        first = false;
    }
    (void)buf_addc(&b, ')');
    add_stream(p, sql, COLUMN_I64, buf_str(&b));
}

/* Cheaper here than DuckDB's join with the list. */
static void short_list(struct row_rule *r, const cJSON *values)
{
    r->values = xcalloc(SHORT_LIST, sizeof *r->values);
    r->lengths = xcalloc(SHORT_LIST, sizeof *r->lengths);
    const cJSON *v;
    cJSON_ArrayForEach(v, values)
    {
        r->values[r->n_values] = v->valuestring;
        r->lengths[r->n_values++] = strlen(v->valuestring);
    }
}

static int add_column_rules(struct scan_plan *p, struct buf *sql, const struct column_rule *c,
                            struct err *err)
{
    size_t index = index_of(p->schema, c->name);
    /* Missing or of a wrong type, and only warned about: told already, and its rules cannot be looked at. */
    if (index == SIZE_MAX ||
        (c->type && schema_fit(p->schema->columns[index].type, c->type, false) == TYPE_WRONG))
        return 0;
    _cleanup_free_ char *ident = table_quote_ident(c->name);
    enum stat_kind kind = schema_kind(p->schema->columns[index].type);
    if (!c->nullable)
        add_rule(p, RULE_NULL, index)->column = c;
    if (!isnan(c->min) || !isnan(c->max)) {
        if (kind != STAT_INTEGER && kind != STAT_NUMBER)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "config",
                            "column %s: min and max are for numbers, but it is %s; use a check in SQL",
                            c->name, p->schema->columns[index].type);
        add_rule(p, RULE_RANGE, index)->column = c;
    }
    if (c->values) {
        struct row_rule *r = add_rule(p, RULE_VALUES, index);
        r->column = c;
        if (text_equal(p->schema->columns[index].type, "VARCHAR") &&
            cJSON_GetArraySize(c->values) <= SHORT_LIST) {
            short_list(r, c->values);
        } else {
            r->stream_index = p->n_stream;
            add_values_rule(p, sql, c, ident);
        }
    }
    if (c->pattern) {
        _cleanup_free_ char *pattern = table_quote_string(c->pattern);
        _cleanup_free_ char *text = xasprintf("regexp_full_match(CAST(%s AS VARCHAR), %s)", ident, pattern);
        struct row_rule *r = add_rule(p, RULE_PATTERN, index);
        r->column = c;
        r->stream_index = p->n_stream;
        add_stream(p, sql, COLUMN_I64, text);
    }
    return 0;
}

static int try_text(struct table *t, const char *what, const char *name, const char *expression,
                    const char *relation, struct err *err)
{
    struct err why = ERR_INIT;
    if (table_exec(t, &why, "SELECT %s FROM %s LIMIT 0", expression, relation) == 0)
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql", "%s %s: %s", what, name, why.msg);
}

static int add_check(struct scan_plan *p, struct table *t, struct buf *sql, const struct check_rule *c,
                     const char *relation, struct err *err)
{
    if (c->aggregate) {
        if (table_check_aggregate(t, c->aggregate, err) < 0)
            return err_wrap(err, "check %s", c->name);
        _cleanup_free_ char *text = xasprintf("CAST((%s\n) AS DOUBLE)", c->aggregate);
        return try_text(t, "check", c->name, text, relation, err);
    }
    if (table_check_expression(t, c->sql, true, err) < 0)
        return err_wrap(err, "check %s", c->name);
    _cleanup_free_ char *text = xasprintf("CAST((%s\n) AS BOOLEAN)", c->sql);
    if (try_text(t, "check", c->name, text, relation, err) < 0)
        return -1;
    struct row_rule *r = add_rule(p, RULE_SQL, SIZE_MAX);
    r->check = c;
    r->stream_index = p->n_stream;
    add_stream(p, sql, COLUMN_I64, text);
    return 0;
}

static int plan_unique(struct scan_plan *p, struct err *err)
{
    p->n_unique = (size_t)cJSON_GetArraySize(p->config->unique);
    p->unique_columns = xcalloc(p->n_unique ? p->n_unique : 1, sizeof *p->unique_columns);
    const cJSON *set, *name;
    size_t i = 0;
    cJSON_ArrayForEach(set, p->config->unique)
    {
        size_t n = (size_t)cJSON_GetArraySize(set), k = 0;
        size_t *columns = p->unique_columns[i++] = xcalloc(n + 1, sizeof *columns);
        cJSON_ArrayForEach(name, set)
        {
            columns[k] = index_of(p->schema, name->valuestring);
            if (columns[k] == SIZE_MAX)
                return unknown_column("unique", name->valuestring, p->schema, err);
            k++;
        }
        columns[k] = SIZE_MAX;
    }
    return 0;
}

/* Types in the stream by kind. */
static enum column_type stream_type(enum stat_kind kind)
{
    return kind == STAT_NUMBER ? COLUMN_F64 : kind == STAT_TEXT ? COLUMN_STR : COLUMN_I64;
}

int scan_plan_new(struct table *t, const struct config *config, const struct schema *schema,
                  const char *relation, int64_t memory, struct scan_plan **ret, struct err *err)
{
    _cleanup_scan_plan_ struct scan_plan *p = xcalloc(1, sizeof *p);
    p->config = config;
    p->schema = schema;
    p->rules = xcalloc(4 * config->n_columns + config->n_checks + 1, sizeof *p->rules);
    p->types = xcalloc(schema->n + 4 * config->n_columns + config->n_checks + 1, sizeof *p->types);
    p->label_index = SIZE_MAX;
    p->unique_max = memory / 4 / (int64_t)sizeof(uint64_t);
    _cleanup_buf_ struct buf sql = BUF_INIT(SELECT_MAX);
    for (size_t i = 0; i < schema->n; i++) {
        _cleanup_free_ char *expression = schema_counting_expression(&schema->columns[i]);
        add_stream(p, &sql, stream_type(schema_kind(schema->columns[i].type)), expression);
    }
    for (size_t i = 0; i < config->n_columns; i++) {
        if (add_column_rules(p, &sql, &config->columns[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < config->n_checks; i++) {
        if (add_check(p, t, &sql, &config->checks[i], relation, err) < 0)
            return -1;
    }
    if (plan_unique(p, err) < 0)
        return -1;
    if (config->leakage_label) {
        p->label_index = index_of(schema, config->leakage_label);
        if (p->label_index == SIZE_MAX)
            return unknown_column("leakage.label", config->leakage_label, schema, err);
        size_t fits = (size_t)(memory / 8) / (8 * schema->n + 1);
        p->leak_rows_max = fits < LEAK_ROWS_MAX ? fits : LEAK_ROWS_MAX;
    }
    if (config->freshness_column && index_of(schema, config->freshness_column) == SIZE_MAX)
        return unknown_column("freshness.column", config->freshness_column, schema, err);
    if (buf_check(&sql, "SQL of the rules", err) < 0)
        return -1;
    p->select = buf_take(&sql);
    /* Now that it is whole: a wrong pattern or value list shows here, not in the middle of the data. */
    struct err why = ERR_INIT;
    if (table_exec(t, &why, "%s FROM %s LIMIT 0", p->select, relation) < 0)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "sql", "the columns' rules: %s", why.msg);
    *ret = steal_ptr(p);
    return 0;
}

struct scan_plan *scan_plan_free(struct scan_plan *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; p->unique_columns && i < p->n_unique; i++)
        free(p->unique_columns[i]);
    for (size_t i = 0; i < p->n_rules; i++) {
        free(p->rules[i].values);
        free(p->rules[i].lengths);
    }
    free(p->unique_columns);
    free(p->rules);
    free(p->types);
    free(p->select);
    free(p);
    return NULL;
}

/* --- the pass ------------------------------------------------------------------------------------------- */

struct pass {
    struct scan_plan *plan;
    struct scan_result *result;
    int64_t **scratch; /* per column: dense histogram; NULL: not numeric */
    uint64_t *keys;    /* hashes of one batch */
    uint8_t *complete;
    bool newest;
};

static void format_value(const struct column *c, enum stat_kind kind, size_t row,
                         char ret[static SAMPLE_TEXT])
{
    ret[0] = '\0';
    if (c->valid && !c->valid[row]) {
        (void)snprintf(ret, SAMPLE_TEXT, "NULL");
    } else if (c->type == COLUMN_F64) {
        char number[32];
        json_format_double(isfinite(c->f64[row]) ? c->f64[row] : 0, number);
        (void)snprintf(ret, SAMPLE_TEXT, "%s",
                       isfinite(c->f64[row]) ? number
                       : isnan(c->f64[row])  ? "NaN"
                                             : "infinite");
    } else if (c->type == COLUMN_I64 && kind == STAT_TIME) {
        char time[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(c->i64[row] / 1000, time);
        (void)snprintf(ret, SAMPLE_TEXT, "%s", time);
    } else if (c->type == COLUMN_I64) {
        (void)snprintf(ret, SAMPLE_TEXT, "%" PRId64, c->i64[row]);
    } else {
        size_t len = c->offsets[row + 1] - c->offsets[row], n = len < SAMPLE_TEXT - 4 ? len : SAMPLE_TEXT - 4;
        const char *text = c->text + c->offsets[row];
        while (n > 0 && n < len && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        (void)snprintf(ret, SAMPLE_TEXT, "%.*s%s", (int)n, text, n < len ? "…" : "");
    }
}

static void hit(struct pass *p, size_t rule, const struct column_batch *b, size_t row)
{
    struct rule_hits *h = &p->result->hits[rule];
    const struct row_rule *r = &p->plan->rules[rule];
    h->count++;
    if (h->n_samples == SAMPLE_ROWS)
        return;
    struct sample *s = &h->samples[h->n_samples++];
    s->row = p->result->rows + (int64_t)row + 1;
    s->value[0] = '\0';
    if (r->schema_index != SIZE_MAX)
        format_value(&b->columns[r->schema_index], p->result->columns[r->schema_index].kind, row, s->value);
}

/* NaN is outside every range; the comparisons with an absent bound (NaN) are false. */
static void apply_range(struct pass *p, size_t rule, const struct column_batch *b)
{
    const struct row_rule *r = &p->plan->rules[rule];
    const struct column *c = &b->columns[r->schema_index];
    double min = r->column->min, max = r->column->max;
    for (size_t i = 0; i < b->n_rows; i++) {
        double v = c->type == COLUMN_I64 ? (double)c->i64[i] : c->f64[i];
        if ((v < min || v > max || isnan(v)) && (!c->valid || c->valid[i]))
            hit(p, rule, b, i);
    }
}

static bool is_listed(const struct row_rule *r, const char *text, size_t len)
{
    for (size_t k = 0; k < r->n_values; k++) {
        if (r->lengths[k] == len && memcmp(r->values[k], text, len) == 0)
            return true;
    }
    return false;
}

static void apply_list(struct pass *p, size_t rule, const struct column_batch *b)
{
    const struct row_rule *r = &p->plan->rules[rule];
    const struct column *c = &b->columns[r->schema_index];
    for (size_t i = 0; i < b->n_rows; i++) {
        if ((!c->valid || c->valid[i]) &&
            !is_listed(r, c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]))
            hit(p, rule, b, i);
    }
}

static void apply_rule(struct pass *p, size_t rule, const struct column_batch *b)
{
    const struct row_rule *r = &p->plan->rules[rule];
    if (r->kind == RULE_RANGE) {
        apply_range(p, rule, b);
        return;
    }
    if (r->kind == RULE_NULL) {
        const uint8_t *valid = b->columns[r->schema_index].valid;
        for (size_t i = 0; valid && i < b->n_rows; i++) {
            if (!valid[i])
                hit(p, rule, b, i);
        }
        return;
    }
    if (r->values) {
        apply_list(p, rule, b);
        return;
    }
    const struct column *c = &b->columns[r->stream_index];
    for (size_t i = 0; i < b->n_rows; i++) {
        if (c->i64[i] == 0 && (!c->valid || c->valid[i]))
            hit(p, rule, b, i);
    }
}

static uint64_t hash_cell(const struct column *c, size_t i)
{
    switch (c->type) {
    case COLUMN_I64:
        return stats_hash_integer(c->i64[i]);
    case COLUMN_F64:
        return stats_hash_number(c->f64[i]);
    default:
        return stats_hash_text(c->text + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
    }
}

static void collect_keys(struct pass *p, size_t set, const struct column_batch *b)
{
    struct scan_result *r = p->result;
    memset(p->keys, 0, b->n_rows * sizeof *p->keys);
    memset(p->complete, 1, b->n_rows);
    for (const size_t *at = p->plan->unique_columns[set]; *at != SIZE_MAX; at++) {
        const struct column *c = &b->columns[*at];
        for (size_t i = 0; i < b->n_rows; i++) {
            if (c->valid && !c->valid[i])
                p->complete[i] = 0; /* as in SQL: a key with a NULL equals no other */
            else
                p->keys[i] = stats_hash_integer((int64_t)(p->keys[i] * 31 + hash_cell(c, i)));
        }
    }
    /* Room for the whole batch, so that the loop has none to ask for. */
    r->unique[set] = grow_array(r->unique[set], &r->unique_capacity[set], r->n_unique[set] + b->n_rows,
                                sizeof **r->unique);
    uint64_t *keys = r->unique[set];
    size_t n = r->n_unique[set];
    for (size_t i = 0; i < b->n_rows; i++) {
        keys[n] = p->keys[i];
        n += p->complete[i];
    }
    r->n_unique[set] = n;
}

/* Equal keys have equal top bytes: later each byte's keys are looked at together, while they fit into the cache. */
static void bucket_keys(struct scan_result *r)
{
    for (size_t set = 0; set < r->n_sets && !r->unique_dropped; set++) {
        size_t *from = r->unique_from[set], at[KEY_BUCKETS], n = r->n_unique[set];
        for (size_t i = 0; i < n; i++)
            from[(r->unique[set][i] >> 56) + 1]++;
        for (size_t b = 0; b < KEY_BUCKETS; b++) {
            from[b + 1] += from[b];
            at[b] = from[b];
        }
        uint64_t *sorted = xcalloc(n ? n : 1, sizeof *sorted);
        for (size_t i = 0; i < n; i++)
            sorted[at[r->unique[set][i] >> 56]++] = r->unique[set][i];
        free(r->unique[set]);
        r->unique[set] = sorted;
        r->unique_capacity[set] = n;
    }
}

static void drop_keys(struct scan_result *r)
{
    r->unique_dropped = true;
    for (size_t i = 0; i < r->n_sets; i++) {
        r->unique[i] = xfree(r->unique[i]);
        r->n_unique[i] = r->unique_capacity[i] = 0;
    }
}

/* What a column's value is ranked by: NULL below everything. Texts are grouped by hash. */
static uint64_t leak_value(const struct column *c, enum stat_kind kind, size_t i)
{
    bool null = c->valid && !c->valid[i];
    if (kind == STAT_TEXT)
        return null ? 0 : hash_cell(c, i);
    double v = null                    ? -INFINITY
               : c->type == COLUMN_I64 ? (double)c->i64[i]
               : isnan(c->f64[i])      ? INFINITY
                                       : c->f64[i];
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void collect_leak(struct pass *p, const struct column_batch *b)
{
    struct leak_rows *l = &p->result->leak;
    const struct column *label = &b->columns[p->plan->label_index];
    for (size_t i = 0; i < b->n_rows && l->n < l->max; i++) {
        if (label->valid && !label->valid[i])
            continue;
        double y = label->type == COLUMN_I64   ? (double)label->i64[i]
                   : label->type == COLUMN_F64 ? label->f64[i]
                                               : NAN;
        if (y != 0 && y != 1) {
            l->bad_labels++;
            continue;
        }
        if (l->n == l->capacity) {
            l->capacity = l->capacity ? l->capacity * 2 : TABLE_BATCH_ROWS;
            l->capacity = l->capacity > l->max ? l->max : l->capacity;
            l->label = xreallocarray(l->label, l->capacity, 1);
            for (size_t k = 0; k < p->plan->schema->n; k++) {
                if (k != p->plan->label_index && p->result->columns[k].kind != STAT_OTHER)
                    l->values[k] = xreallocarray(l->values[k], l->capacity, sizeof **l->values);
            }
        }
        l->label[l->n] = y == 1;
        for (size_t k = 0; k < p->plan->schema->n; k++) {
            if (l->values[k])
                l->values[k][l->n] = leak_value(&b->columns[k], p->result->columns[k].kind, i);
        }
        l->n++;
    }
}

static int take_batch(void *ctx, const struct column_batch *b, struct err *err)
{
    (void)err;
    struct pass *p = ctx;
    struct scan_result *r = p->result;
    for (size_t i = 0; i < r->n_columns; i++)
        stats_add_batch(&r->columns[i], &b->columns[i], b->n_rows, p->scratch[i]);
    for (size_t i = 0; i < p->plan->n_rules; i++)
        apply_rule(p, i, b);
    if (r->n_sets && !r->unique_dropped) {
        int64_t kept = atomic_fetch_add(&p->plan->unique_kept, (int64_t)(b->n_rows * r->n_sets));
        if (kept > p->plan->unique_max)
            drop_keys(r);
        for (size_t i = 0; i < r->n_sets && !r->unique_dropped; i++)
            collect_keys(p, i, b);
    }
    if (p->newest && p->plan->label_index != SIZE_MAX)
        collect_leak(p, b);
    r->rows += (int64_t)b->n_rows;
    return 0;
}

static struct scan_result *result_new(const struct scan_plan *plan)
{
    struct scan_result *r = xcalloc(1, sizeof *r);
    r->n_columns = plan->schema->n;
    r->columns = xcalloc(r->n_columns, sizeof *r->columns);
    for (size_t i = 0; i < r->n_columns; i++)
        stats_init(&r->columns[i], schema_kind(plan->schema->columns[i].type));
    r->hits = xcalloc(plan->n_rules ? plan->n_rules : 1, sizeof *r->hits);
    r->n_sets = plan->n_unique;
    r->unique = xcalloc(plan->n_unique ? plan->n_unique : 1, sizeof *r->unique);
    r->unique_from = xcalloc(plan->n_unique ? plan->n_unique : 1, sizeof *r->unique_from);
    r->n_unique = xcalloc(plan->n_unique ? plan->n_unique : 1, sizeof *r->n_unique);
    r->unique_capacity = xcalloc(plan->n_unique ? plan->n_unique : 1, sizeof *r->unique_capacity);
    r->leak.max = plan->leak_rows_max;
    r->leak.values = xcalloc(r->n_columns ? r->n_columns : 1, sizeof *r->leak.values);
    return r;
}

int scan_run(struct scan_plan *plan, struct table *t, const char *relation, bool newest,
             struct scan_result **ret, struct err *err)
{
    _cleanup_scan_result_ struct scan_result *r = result_new(plan);
    struct pass p = {.plan = plan, .result = r, .newest = newest};
    p.scratch = xcalloc(r->n_columns ? r->n_columns : 1, sizeof *p.scratch);
    for (size_t i = 0; i < r->n_columns; i++) {
        if (r->columns[i].kind != STAT_TEXT && r->columns[i].kind != STAT_OTHER)
            p.scratch[i] = xcalloc(SCRATCH, sizeof **p.scratch);
    }
    p.keys = xcalloc(TABLE_BATCH_ROWS, sizeof *p.keys);
    p.complete = xcalloc(TABLE_BATCH_ROWS, 1);
    _cleanup_free_ char *sql = xasprintf("%s FROM %s", plan->select, relation);
    int rc = table_stream(t, sql, plan->types, plan->n_stream, take_batch, &p, err);
    for (size_t i = 0; i < r->n_columns; i++) {
        if (p.scratch[i])
            stats_collect(&r->columns[i], p.scratch[i]);
        free(p.scratch[i]);
    }
    free(p.scratch);
    free(p.keys);
    free(p.complete);
    if (rc < 0)
        return rc;
    bucket_keys(r);
    *ret = steal_ptr(r);
    return 0;
}

struct scan_result *scan_result_free(struct scan_result *r)
{
    if (!r)
        return NULL;
    for (size_t i = 0; i < r->n_columns; i++)
        stats_release(&r->columns[i]);
    for (size_t i = 0; i < r->n_sets; i++)
        free(r->unique[i]);
    for (size_t i = 0; r->leak.values && i < r->n_columns; i++)
        free(r->leak.values[i]);
    free(r->leak.values);
    free(r->leak.label);
    free(r->columns);
    free(r->hits);
    free(r->unique);
    free(r->unique_from);
    free(r->n_unique);
    free(r->unique_capacity);
    free(r);
    return NULL;
}
