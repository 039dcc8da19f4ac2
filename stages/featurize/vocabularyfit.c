/* Counting the values of several expressions in one scan, by GROUPING SETS: see vocabularyfit.h. */
#include "stages/featurize/vocabularyfit.h"

#include <inttypes.h>

#include "common/base/buf.h"

enum {
    TOGETHER = 16 /* expressions a scan: each keeps a hash table of its values */,
    STATEMENT_BYTES = 4 * 1024 * 1024
};

struct together {
    enum vocabularyfit_order order;
    struct vocabularyfit *fits;
    size_t n;
};

/* GROUPING() has a bit for each of its arguments, the first the highest, set where the argument is not grouped by. */
static int64_t set_mask(size_t i, size_t n)
{
    return (((int64_t)1 << n) - 1) & ~((int64_t)1 << (n - 1 - i));
}

static int statement(const char *relation, const struct together *t, struct buf *sql, struct err *err)
{
    (void)buf_adds(sql, "SELECT g");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, ", v%zu", i);
    (void)buf_adds(sql, " FROM (SELECT CAST(GROUPING(");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, "%sv%zu", i ? ", " : "", i);
    (void)buf_adds(sql, ") AS BIGINT) AS g, count(*) AS n");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, ", v%zu", i);
    (void)buf_adds(sql, " FROM (SELECT ");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, "%sCAST((%s\n) AS %s) AS v%zu", i ? ", " : "", t->fits[i].sql,
                       t->fits[i].type == COLUMN_I64 ? "BIGINT" : "VARCHAR", i);
    (void)buf_addf(sql, " FROM %s) GROUP BY GROUPING SETS (", relation);
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, "%s(v%zu)", i ? ", " : "", i);
    (void)buf_adds(sql, ")) WHERE CASE g");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, " WHEN %" PRId64 " THEN v%zu IS NOT NULL AND n >= %" PRId64, set_mask(i, t->n), i,
                       t->fits[i].min_count);
    (void)buf_addf(sql, " END ORDER BY g%s", t->order == VOCABULARYFIT_BY_COUNT ? ", n DESC" : "");
    for (size_t i = 0; i < t->n; i++)
        (void)buf_addf(sql, ", v%zu", i);
    return buf_check(sql, "SQL of the vocabularies", err);
}

static int take(void *ctx, const struct column_batch *b, struct err *err)
{
    (void)err;
    struct together *t = ctx;
    for (size_t row = 0; row < b->n_rows; row++) {
        size_t i = 0;
        while (i < t->n && set_mask(i, t->n) != b->columns[0].i64[row])
            i++;
        if (i == t->n || t->fits[i].size == t->fits[i].max_size)
            continue;
        const struct column *c = &b->columns[1 + i];
        t->fits[i].size++;
        if (c->type == COLUMN_I64)
            vocabulary_add_i64(t->fits[i].vocabulary, c->i64[row]);
        else
            vocabulary_add_text(t->fits[i].vocabulary, c->text + c->offsets[row],
                                c->offsets[row + 1] - c->offsets[row]);
    }
    return 0;
}

static int run_together(struct table *table, const char *relation, struct together *t, struct err *err)
{
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    enum column_type types[1 + TOGETHER] = {COLUMN_I64};
    for (size_t i = 0; i < t->n; i++) {
        types[1 + i] = t->fits[i].type;
        t->fits[i].size = 0;
    }
    if (statement(relation, t, &sql, err) < 0 ||
        table_stream(table, buf_str(&sql), types, 1 + t->n, take, t, err) < 0)
        return err_wrap(err, "counting values");
    for (size_t i = 0; i < t->n; i++) {
        if (vocabulary_finish(t->fits[i].vocabulary, err) < 0)
            return err_wrap(err, "'%s': vocabulary", t->fits[i].name);
    }
    return 0;
}

int vocabularyfit_run(struct table *t, const char *relation, enum vocabularyfit_order order,
                      struct vocabularyfit *fits, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i += TOGETHER) {
        struct together part = {.order = order, .fits = fits + i, .n = n - i < TOGETHER ? n - i : TOGETHER};
        if (run_together(t, relation, &part, err) < 0)
            return -1;
    }
    return 0;
}
