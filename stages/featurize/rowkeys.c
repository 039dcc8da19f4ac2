/* Row keys are unique, or made so: keys are hashed to 64 bits, spread over buckets and compared there, which is far cheaper than a
 * grouping of all rows by the engine; only where two hashes are equal does the engine look at the keys themselves. */
#include <inttypes.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "stages/featurize/source-internal.h"
#include "stages/featurize/spill.h"

enum { BUCKET_BYTES = 128 * 1024 };

static int add_keys(void *ctx, const struct column_batch *b, struct err *err)
{
    struct spill *s = ctx;
    for (size_t i = 0; i < b->n_rows; i++) {
        int64_t key = b->columns[0].i64[i];
        if (spill_add(s, spill_bucket_of((uint64_t)key, spill_buckets(s)), &key, err) < 0)
            return -1;
    }
    return 0;
}

/* How many keys occur again, by an open-addressed set over the bits that the bucket does not share. 0 stands for an empty slot. */
static size_t repeated(const int64_t *keys, size_t n, int64_t *set, size_t mask)
{
    size_t again = 0, zeros = 0;
    memset(set, 0, (mask + 1) * sizeof *set);
    for (size_t i = 0; i < n; i++) {
        if (keys[i] == 0) {
            again += zeros++ > 0;
            continue;
        }
        size_t at = (size_t)keys[i] & mask;
        while (set[at] && set[at] != keys[i])
            at = (at + 1) & mask;
        again += set[at] == keys[i];
        set[at] = keys[i];
    }
    return again;
}

static int count_repeated(const struct spill *s, size_t *ret, struct err *err)
{
    size_t largest = 0, slots = 64, total = 0;
    for (size_t b = 0; b < spill_buckets(s); b++)
        largest = spill_count(s, b) > largest ? spill_count(s, b) : largest;
    while (slots < 2 * largest)
        slots *= 2;
    _cleanup_free_ int64_t *keys = xcalloc(largest + 1, sizeof *keys), *set = xcalloc(slots, sizeof *set);
    for (size_t b = 0; b < spill_buckets(s); b++) {
        if (spill_read(s, b, keys, err) < 0)
            return -1;
        total += repeated(keys, spill_count(s, b), set, slots - 1);
    }
    *ret = total;
    return 0;
}

static int any_repeated(struct source *s, int64_t memory_bytes, bool *ret, struct err *err)
{
    _cleanup_spill_ struct spill *keys = NULL;
    size_t again = 0, buckets = spill_choose_buckets(s->rows, sizeof(int64_t), BUCKET_BYTES);
    if (spill_new(s->scratch, sizeof(int64_t), buckets, memory_bytes, &keys, err) < 0)
        return -1;
    static const enum column_type type = COLUMN_I64;
    _cleanup_free_ char *sql = xasprintf("SELECT %s FROM " SOURCE_FILTERED, s->row_key_sql);
    if (table_stream(s->table, sql, &type, 1, add_keys, keys, err) < 0 ||
        count_repeated(keys, &again, err) < 0)
        return -1;
    *ret = again > 0;
    return 0;
}

static int refuse_duplicates(struct source *s, struct err *err)
{
    int64_t keys = 0;
    if (table_query_int(
            s->table, &keys, NULL, err,
            "SELECT count(*) FROM (SELECT 1 FROM " SOURCE_FILTERED
            " WHERE %s IN (SELECT trainyard_rk FROM trainyard_suspects) GROUP BY %s HAVING count(*) > 1)",
            s->row_key_sql, s->row_order) < 0)
        return -1;
    if (keys ==
        0) /* the hashes of different keys were equal: a row_key need not be unique for what it is used for */
        return 0;
    _cleanup_free_ char *example = NULL;
    if (table_query_string(
            s->table, &example, err,
            "SELECT '(' || concat_ws(', ', %s) || ') in ' || count(*) || ' rows' FROM " SOURCE_FILTERED
            " WHERE %s IN (SELECT trainyard_rk FROM trainyard_suspects) GROUP BY %s HAVING count(*) > 1 ORDER BY count(*) DESC, %s LIMIT 1",
            s->row_order, s->row_key_sql, s->row_order, s->row_order) < 0)
        return -1;
    return err_fail(
        err, ERR_INVALID, EXITCODE_DATA, "duplicate-keys",
        "rowKey (%s) is not unique: %" PRId64
        " keys occur more than once, for example %s, expected once: add dedupe, or a column to rowKey",
        s->row_order, keys, example);
}

/* Of rows with equal keys the first (or last) by orderBy, then by place in the snapshot, stays. */
static int drop_duplicates(struct source *s, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    const char *direction = c->keep_last ? "DESC" : "ASC";
    _cleanup_buf_ struct buf order = BUF_INIT(LIMIT_SQL_BYTES);
    for (size_t i = 0; i < c->dedupe_order.n; i++) {
        _cleanup_free_ char *quoted = table_quote_ident(c->dedupe_order.items[i]);
        (void)buf_addf(&order, "%s %s, ", quoted, direction);
    }
    (void)buf_addf(&order, "trainyard_file %s, file_row_number %s", direction, direction);
    if (buf_check(&order, "dedupe.orderBy", err) < 0)
        return -1;
    if (table_exec(
            s->table, err,
            "CREATE TEMP TABLE trainyard_kept AS SELECT * EXCLUDE (trainyard_file, file_row_number, trainyard_n) FROM "
            "(SELECT *, row_number() OVER (PARTITION BY %s ORDER BY %s) AS trainyard_n FROM " SOURCE_POSITIONED
            " WHERE %s IN (SELECT trainyard_rk FROM trainyard_suspects)) WHERE trainyard_n = 1",
            s->row_order, buf_str(&order), s->row_key_sql) < 0)
        return -1;
    if (table_exec(s->table, err,
                   "CREATE TEMP VIEW " SOURCE_ALL " AS SELECT * FROM " SOURCE_FILTERED
                   " WHERE %s NOT IN (SELECT trainyard_rk FROM trainyard_suspects) "
                   "UNION ALL BY NAME SELECT * FROM trainyard_kept",
                   s->row_key_sql) < 0)
        return -1;
    return table_query_int(s->table, &s->rows, NULL, err, "SELECT count(*) FROM " SOURCE_ALL);
}

int rowkeys_settle(struct source *s, int64_t memory_bytes, struct err *err)
{
    bool repeats = false;
    s->rows_before_dedupe = s->rows;
    if (any_repeated(s, memory_bytes, &repeats, err) < 0)
        return err_wrap(err, "checking that rowKey is unique");
    if (repeats) {
        if (table_exec(
                s->table, err,
                "CREATE TEMP TABLE trainyard_suspects AS SELECT %s AS trainyard_rk FROM " SOURCE_FILTERED
                " GROUP BY 1 HAVING count(*) > 1",
                s->row_key_sql) < 0)
            return err_wrap(err, "checking that rowKey is unique");
        if (s->config->dedupe)
            return drop_duplicates(s, err) < 0 ? err_wrap(err, "dropping duplicate rows") : 0;
        if (refuse_duplicates(s, err) < 0)
            return -1;
    }
    return table_exec(s->table, err, "CREATE TEMP VIEW " SOURCE_ALL " AS SELECT * FROM " SOURCE_FILTERED);
}
