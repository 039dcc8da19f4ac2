/* Types and readers. */
#include "stages/data-validate/schema.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"

struct type_info {
    const char *declared, *duckdb;
    int bits; /* integers; 0: none */
    bool is_signed;
};

static const struct type_info known[] = {
    {"boolean", "BOOLEAN", 0, false},     {"int8", "TINYINT", 8, true},
    {"int16", "SMALLINT", 16, true},      {"int32", "INTEGER", 32, true},
    {"int64", "BIGINT", 64, true},        {"uint8", "UTINYINT", 8, false},
    {"uint16", "USMALLINT", 16, false},   {"uint32", "UINTEGER", 32, false},
    {"uint64", "UBIGINT", 64, false},     {"float", "FLOAT", 0, false},
    {"double", "DOUBLE", 0, false},       {"decimal", "DECIMAL", 0, false},
    {"string", "VARCHAR", 0, false},      {"binary", "BLOB", 0, false},
    {"date", "DATE", 0, false},           {"time", "TIME", 0, false},
    {"timestamp", "TIMESTAMP", 0, false},
};

static const struct type_info *by_duckdb(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (text_equal(known[i].duckdb, type))
            return &known[i];
    }
    return NULL;
}

static const struct type_info *by_declared(const char *declared)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (text_equal(known[i].declared, declared))
            return &known[i];
    }
    return NULL;
}

static int integer_bits(const char *type)
{
    const struct type_info *i = by_duckdb(type);
    return i ? i->bits : 0;
}

static bool is_timestamp(const char *type)
{
    return text_starts_with(type, "TIMESTAMP");
}

static bool is_decimal(const char *type)
{
    return text_starts_with(type, "DECIMAL");
}

static bool is_numeric(const char *type)
{
    return integer_bits(type) || is_decimal(type) || text_equal(type, "FLOAT") ||
           text_equal(type, "DOUBLE") || text_equal(type, "HUGEINT") || text_equal(type, "UHUGEINT");
}

const char *schema_duckdb_type(const char *declared)
{
    return by_declared(declared)->duckdb;
}

static bool integer_holds(const struct type_info *wide, const struct type_info *narrow)
{
    if (!wide->bits || !narrow->bits)
        return false;
    if (wide->is_signed == narrow->is_signed)
        return narrow->bits <= wide->bits;
    return wide->is_signed && narrow->bits < wide->bits;
}

enum type_fit schema_fit(const char *found, const char *declared, bool text_format)
{
    const struct type_info *want = by_declared(declared), *have = by_duckdb(found);
    if (text_equal(found, want->duckdb))
        return TYPE_EXACT;
    if (text_equal(declared, "timestamp") && is_timestamp(found))
        return TYPE_EXACT;
    if (text_equal(declared, "decimal") && is_decimal(found))
        return TYPE_EXACT;
    if (text_format) {
        if (text_equal(declared, "string") || (want->bits && integer_bits(found)))
            return TYPE_WIDENS;
        if ((text_equal(declared, "double") || text_equal(declared, "float") ||
             text_equal(declared, "decimal")) &&
            is_numeric(found))
            return TYPE_WIDENS;
    }
    if (have && integer_holds(want, have))
        return TYPE_WIDENS;
    int bits = integer_bits(found);
    if (text_equal(declared, "double") && (text_equal(found, "FLOAT") || (bits && bits <= 32)))
        return TYPE_WIDENS;
    if (text_equal(declared, "float") && bits && bits <= 16)
        return TYPE_WIDENS;
    if (text_equal(declared, "decimal") && bits && bits <= 64)
        return TYPE_WIDENS;
    if (text_equal(declared, "timestamp") && text_equal(found, "DATE"))
        return TYPE_WIDENS;
    if (text_equal(declared, "string") && (text_starts_with(found, "ENUM") || text_equal(found, "UUID")))
        return TYPE_WIDENS;
    return TYPE_WRONG;
}

const char *schema_unify(const char *a, const char *b)
{
    if (text_equal(a, b))
        return a;
    const struct type_info *x = by_duckdb(a), *y = by_duckdb(b);
    if (x && y && x->bits && y->bits) {
        if (integer_holds(x, y))
            return x->duckdb;
        if (integer_holds(y, x))
            return y->duckdb;
        return x->bits < 64 && y->bits < 64 ? "BIGINT" : NULL;
    }
    bool small = (is_numeric(a) && !is_decimal(a)) && (is_numeric(b) && !is_decimal(b));
    if (small && integer_bits(a) <= 32 && integer_bits(b) <= 32)
        return "DOUBLE";
    if (is_timestamp(a) && is_timestamp(b))
        return text_equal(a, "TIMESTAMP WITH TIME ZONE") == text_equal(b, "TIMESTAMP WITH TIME ZONE")
                   ? "TIMESTAMP"
                   : NULL;
    return NULL;
}

enum stat_kind schema_kind(const char *type)
{
    if (text_equal(type, "BOOLEAN") || (integer_bits(type) && !text_equal(type, "UBIGINT")))
        return STAT_INTEGER;
    if (is_numeric(type))
        return STAT_NUMBER;
    if (text_equal(type, "DATE") || is_timestamp(type))
        return STAT_TIME;
    if (text_equal(type, "VARCHAR") || text_starts_with(type, "ENUM") || text_equal(type, "UUID") ||
        text_equal(type, "TIME") || text_equal(type, "INTERVAL"))
        return STAT_TEXT;
    return STAT_OTHER;
}

char *schema_counting_expression(const struct schema_column *c)
{
    _cleanup_free_ char *name = table_quote_ident(c->name);
    switch (schema_kind(c->type)) {
    case STAT_TIME:
        return xasprintf("epoch_us(CAST(%s AS TIMESTAMP))", name);
    case STAT_OTHER:
        return xasprintf("CASE WHEN %s IS NULL THEN NULL ELSE 1 END", name);
    default:
        return steal_ptr(name);
    }
}

/* --- schemas --------------------------------------------------------------------------------------------- */

int schema_read(struct table *t, const char *relation, struct schema **ret, struct err *err)
{
    _cleanup_json_ cJSON *described = NULL;
    if (table_describe(t, relation, &described, err) < 0)
        return -1;
    int n = cJSON_GetArraySize(described);
    if (n > LIMIT_COLUMNS)
        return err_set(err, ERR_INVALID, "%d columns: at most %d are allowed", n, (int)LIMIT_COLUMNS);
    struct schema *s = xcalloc(1, sizeof *s);
    s->columns = xcalloc(n ? (size_t)n : 1, sizeof *s->columns);
    const cJSON *item;
    cJSON_ArrayForEach(item, described)
    {
        s->columns[s->n++] =
            (struct schema_column){.name =
                                       xstrdup(cJSON_GetObjectItemCaseSensitive(item, "name")->valuestring),
                                   .type =
                                       xstrdup(cJSON_GetObjectItemCaseSensitive(item, "type")->valuestring)};
    }
    *ret = s;
    return 0;
}

struct schema *schema_free(struct schema *s)
{
    if (!s)
        return NULL;
    for (size_t i = 0; i < s->n; i++) {
        free(s->columns[i].name);
        free(s->columns[i].type);
    }
    free(s->columns);
    free(s);
    return NULL;
}

struct schema *schema_copy(const struct schema *s)
{
    struct schema *copy = xcalloc(1, sizeof *copy);
    copy->columns = xcalloc(s->n ? s->n : 1, sizeof *copy->columns);
    for (copy->n = 0; copy->n < s->n; copy->n++)
        copy->columns[copy->n] =
            (struct schema_column){xstrdup(s->columns[copy->n].name), xstrdup(s->columns[copy->n].type)};
    return copy;
}

const struct schema_column *schema_find(const struct schema *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (text_equal(s->columns[i].name, name))
            return &s->columns[i];
    }
    return NULL;
}

bool schema_equal(const struct schema *a, const struct schema *b)
{
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++)
        equal = text_equal(a->columns[i].name, b->columns[i].name) &&
                text_equal(a->columns[i].type, b->columns[i].type);
    return equal;
}

void schema_set_type(struct schema *s, const char *name, const char *type)
{
    for (size_t i = 0; i < s->n; i++) {
        if (text_equal(s->columns[i].name, name) && !text_equal(s->columns[i].type, type)) {
            char *copy = xstrdup(type);
            free(s->columns[i].type);
            s->columns[i].type = copy;
        }
    }
}

/* --- readers --------------------------------------------------------------------------------------------- */

char *schema_reader(enum format format, const char *path, const struct schema *types)
{
    _cleanup_free_ char *quoted = table_quote_string(path);
    if (format == FORMAT_PARQUET)
        return xasprintf("read_parquet(%s, hive_partitioning = false)", quoted);
    _cleanup_buf_ struct buf b = BUF_INIT(4 << 20);
    (void)buf_addf(
        &b,
        format == FORMAT_CSV
            ? "read_csv(%s, hive_partitioning = false"
            : "read_json(%s, hive_partitioning = false, format = 'newline_delimited', records = true",
        quoted);
    if (types) {
        (void)buf_adds(&b, format == FORMAT_CSV ? ", types = {" : ", columns = {");
        for (size_t i = 0; i < types->n; i++) {
            _cleanup_free_ char *name = table_quote_string(types->columns[i].name);
            _cleanup_free_ char *type = table_quote_string(types->columns[i].type);
            (void)buf_addf(&b, "%s%s: %s", i ? ", " : "", name, type);
        }
        (void)buf_adds(&b, "}");
    }
    (void)buf_adds(&b, ")");
    return buf_take(&b);
}
