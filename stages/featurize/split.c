/* Which rows are for training, validation and test.
 *
 * by time: the newest rows are the test rows, those before them the validation rows; with boundary: day (hour) both are whole local days
 * (hours) of timeZone, the newest row's included, a started one counting as one. A group (a ranking query) lies in one split: that of its newest row, so that no
 * training row is newer than the first boundary. by hash: a share of the groups, or of the rows without group, by the hash of group or row key
 * under a seed of its own. by folds: of that hash's range, one part in `folds` validates with its lower half and tests with its upper. by column:
 * as its values say. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "stages/featurize/source-internal.h"
#include "stages/tensor/featurehash.h"

enum { SPLIT_SEED = 1 /* of the config's seed: its first derived one */ };

/* Conditions on a row, by itself; its group may decide otherwise. */
struct split {
    char *number;                 /* 0 train, 1 validation, 2 test */
    char *train, *heldout, *test; /* true or false; test NULL where there is none */
};

static void split_release(struct split *p)
{
    free(p->number);
    free(p->train);
    free(p->heldout);
    free(p->test);
}
#define _cleanup_split_ CLEANUP(split_release)

/* The beginning of the newest row's local day or hour, `back` such units earlier. */
static int unit_begin(struct source *s, int64_t newest, int64_t back, int64_t *ret, struct err *err)
{
    bool day = s->config->split.boundary == BOUNDARY_DAY;
    _cleanup_free_ char *zone = table_quote_string(s->config->split.time_zone);
    if (table_query_int(s->table, ret, NULL, err,
                        "SELECT epoch_us(timezone(%s, date_trunc('%s', timezone(%s, make_timestamptz(%" PRId64
                        "))) - %s(%" PRId64 ")))",
                        zone, day ? "day" : "hour", zone, newest, day ? "to_days" : "to_hours", back) < 0) {
        err->exit_code = EXITCODE_CONFIG;
        return err_wrap(err, "featurize.split.timeZone '%s'", s->config->split.time_zone);
    }
    return 0;
}

static int time_boundaries(struct source *s, struct err *err)
{
    int64_t newest;
    if (table_query_int(s->table, &newest, NULL, err, "SELECT max(%s) FROM " SOURCE_ALL, s->time_sql) < 0)
        return -1;
    int64_t test = s->config->split.test_ms, validation = s->config->split.validation_ms;
    if (s->config->split.boundary != BOUNDARY_EXACT) {
        int64_t unit = s->config->split.boundary == BOUNDARY_DAY ? 86400000 : 3600000;
        int64_t test_units = (test + unit - 1) / unit,
                all_units = test_units + (validation + unit - 1) / unit;
        if (unit_begin(s, newest, test_units - 1, &s->test_from, err) < 0 ||
            unit_begin(s, newest, all_units - 1, &s->validation_from, err) < 0)
            return -1;
    } else {
        s->test_from = newest + 1 - test * 1000;
        s->validation_from = newest + 1 - (test + validation) * 1000;
    }
    if (test == 0)
        s->test_from = INT64_MAX;
    return 0;
}

/* A share of 2^64 as the bound of an unsigned comparison, done in SQL on signed numbers with the top bit turned. */
static int64_t share_bound(double share)
{
    uint64_t bound = (uint64_t)ldexp(share, 64);
    return (int64_t)(bound ^ (1ULL << 63));
}

/* The last hash below a share; all of them below 1. */
static int64_t share_last(double share)
{
    return share >= 1 ? INT64_MAX : share_bound(share) - 1;
}

static char *by_hash(const struct source *s)
{
    const struct featurizeconfig *c = s->config;
    int64_t seed = (int64_t)featurehash_i64(SPLIT_SEED, (uint64_t)c->seed);
    _cleanup_free_ char *hash = xasprintf("xor(trainyard_xxh64(%s, CAST('%" PRId64
                                          "' AS BIGINT)), CAST('-9223372036854775808' AS BIGINT))",
                                          s->group_sql ? s->group_sql : s->row_key_sql, seed);
    double from = 0, middle = c->split.validation, to = middle + c->split.test;
    if (c->split.by == SPLIT_FOLDS) {
        from = (double)c->split.fold / (double)c->split.folds;
        middle = ((double)c->split.fold + 0.5) / (double)c->split.folds;
        to = ((double)c->split.fold + 1) / (double)c->split.folds;
    }
    return xasprintf("CASE WHEN %s < CAST('%" PRId64 "' AS BIGINT) OR %s > CAST('%" PRId64
                     "' AS BIGINT) THEN 0 WHEN %s < CAST('%" PRId64 "' AS BIGINT) THEN 1 ELSE 2 END",
                     hash, share_bound(from), hash, share_last(to), hash, share_bound(middle));
}

static int by_column(struct source *s, char **ret, struct err *err)
{
    _cleanup_free_ char *column = table_quote_ident(s->config->split.column), *bad = NULL;
    int64_t n;
    *ret = xasprintf(
        "CASE CAST(%s AS VARCHAR) WHEN 'train' THEN 0 WHEN 'validation' THEN 1 WHEN 'test' THEN 2 END",
        column);
    if (table_query_int(s->table, &n, NULL, err, "SELECT count(*) FROM " SOURCE_ALL " WHERE %s IS NULL",
                        *ret) < 0)
        return -1;
    if (n == 0)
        return 0;
    if (table_query_string(s->table, &bad, err,
                           "SELECT coalesce(min(CAST(%s AS VARCHAR)), 'NULL') FROM " SOURCE_ALL
                           " WHERE %s IS NULL",
                           column, *ret) < 0)
        return -1;
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "split",
                    "featurize.split.column '%s': %" PRId64 " of %" PRId64
                    " rows hold neither train, validation nor test, for example %s",
                    s->config->split.column, n, s->rows, bad);
}

static void by_time(const struct source *s, struct split *ret)
{
    const char *x = s->instant_sql;
    _cleanup_free_ char *validation =
        xasprintf("%s(CAST('%" PRId64 "' AS BIGINT))", s->instant_of, s->validation_from);
    _cleanup_free_ char *test = xasprintf("%s(CAST('%" PRId64 "' AS BIGINT))", s->instant_of, s->test_from);
    bool has_test = s->test_from != INT64_MAX;
    ret->train = xasprintf("%s < %s", x, validation);
    ret->heldout = xasprintf("%s >= %s", x, validation);
    ret->test = has_test ? xasprintf("%s >= %s", x, test) : NULL;
    ret->number = xasprintf("CASE WHEN %s THEN 0 WHEN %s THEN 2 ELSE 1 END", ret->train,
                            has_test ? ret->test : "false");
}

/* Groups that lie on both sides of a boundary, with the split of their newest rows, in trainyard_straddlers. */
static int find_straddlers(struct source *s, const struct split *p, int64_t *ret, struct err *err)
{
    const char *g = s->group_sql, *split = p->number;
    *ret = 0;
    if (!g || s->config->split.by == SPLIT_HASH || s->config->split.by == SPLIT_FOLDS)
        return 0;
    /* By time from the smaller, newer side: groups' ids are often as old as they, which spares most of the scan. */
    int r =
        s->config->split.by == SPLIT_COLUMN
            ? table_exec(
                  s->table, err,
                  "CREATE TEMP TABLE trainyard_both AS SELECT g FROM (SELECT %s AS g, %s AS split FROM " SOURCE_ALL
                  ") GROUP BY g HAVING min(split) <> max(split)",
                  g, split)
            : table_exec(s->table, err,
                         "CREATE TEMP TABLE trainyard_both AS SELECT DISTINCT %s AS g FROM " SOURCE_ALL
                         " WHERE %s AND %s IN (SELECT %s FROM " SOURCE_ALL
                         " WHERE %s) UNION SELECT DISTINCT %s FROM " SOURCE_ALL
                         " WHERE %s AND NOT (%s) AND %s IN (SELECT %s FROM " SOURCE_ALL " WHERE %s)",
                         g, p->train, g, g, p->heldout, g, p->heldout, p->test ? p->test : "true", g, g,
                         p->test ? p->test : "false");
    if (r < 0 || table_query_int(s->table, ret, NULL, err, "SELECT count(*) FROM trainyard_both") < 0)
        return -1;
    if (*ret == 0)
        return 0;
    if (s->config->split.by == SPLIT_COLUMN)
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "split",
                        "featurize.split.column '%s' tears %" PRId64
                        " groups of '%s' apart: a group must lie in one split",
                        s->config->split.column, *ret, s->config->group);
    return table_exec(
        s->table, err,
        "CREATE TEMP TABLE trainyard_straddlers AS SELECT %s AS g, max(%s) AS split FROM " SOURCE_ALL
        " WHERE %s IN (SELECT g FROM trainyard_both) GROUP BY 1",
        g, split, g);
}

/* A group's own split goes before that of its rows. */
static char *with_straddlers(const struct source *s, const char *split, int64_t straddlers)
{
    if (straddlers == 0)
        return xstrdup(split);
    return xasprintf("CASE WHEN %s IN (SELECT g FROM trainyard_straddlers WHERE split = 2) THEN 2 "
                     "WHEN %s IN (SELECT g FROM trainyard_straddlers WHERE split = 1) THEN 1 ELSE %s END",
                     s->group_sql, s->group_sql, split);
}

static int create_views(struct source *s, const struct split *p, const char *number, int64_t straddlers,
                        struct err *err)
{
    _cleanup_free_ char *heldout = xasprintf(
        "SELECT *, CASE %s WHEN 1 THEN 'validation' ELSE 'test' END AS trainyard_split FROM " SOURCE_ALL,
        number);
    if (straddlers == 0)
        return table_exec(s->table, err,
                          "CREATE TEMP VIEW " SOURCE_TRAIN " AS SELECT * FROM " SOURCE_ALL " WHERE %s",
                          p->train) < 0 ||
                       table_exec(s->table, err, "CREATE TEMP VIEW " SOURCE_HELDOUT " AS %s WHERE %s",
                                  heldout, p->heldout) < 0
                   ? -1
                   : 0;
    const char *g = s->group_sql;
    if (table_exec(s->table, err,
                   "CREATE TEMP VIEW " SOURCE_TRAIN " AS SELECT * FROM " SOURCE_ALL
                   " WHERE %s AND %s NOT IN (SELECT g FROM trainyard_straddlers)",
                   p->train, g) < 0)
        return -1;
    return table_exec(s->table, err,
                      "CREATE TEMP VIEW " SOURCE_HELDOUT
                      " AS %s WHERE %s UNION ALL %s WHERE %s AND %s IN (SELECT g FROM trainyard_straddlers)",
                      heldout, p->heldout, heldout, p->train, g);
}

static int count_rows(struct source *s, const char *split, struct err *err)
{
    int64_t n[4];
    _cleanup_free_ char *sql = xasprintf(
        "SELECT count(*) FILTER (split = 0), count(*) FILTER (split = 1), count(*) FILTER (split = 2), "
        "max(t) FILTER (split = 0) FROM (SELECT %s AS split, %s AS t FROM " SOURCE_ALL ")",
        split, s->time_sql ? s->time_sql : "CAST(NULL AS BIGINT)");
    if (source_numbers(s, sql, n, 4, err) < 0)
        return err_wrap(err, "counting the rows of the splits");
    s->train_rows = n[0];
    s->validation_rows = n[1];
    s->test_rows = n[2];
    s->has_newest_train_time = s->time_sql && n[0] > 0;
    s->newest_train_time = n[3];
    return 0;
}

static int expect_rows(const struct source *s, struct err *err)
{
    const struct featurizeconfig *c = s->config;
    bool wants_test = c->split.by == SPLIT_TIME
                          ? c->split.test_ms > 0
                          : c->split.by == SPLIT_FOLDS || (c->split.by == SPLIT_HASH && c->split.test > 0);
    const char *empty = s->train_rows == 0                ? "training"
                        : s->validation_rows == 0         ? "validation"
                        : wants_test && s->test_rows == 0 ? "test"
                                                          : NULL;
    if (!empty)
        return 0;
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "split",
                    "the split leaves no rows for %s: of %" PRId64 " rows %" PRId64 " train, %" PRId64
                    " validate, %" PRId64 " test; use a longer window or other shares",
                    empty, s->rows, s->train_rows, s->validation_rows, s->test_rows);
}

int split_make(struct source *s, struct err *err)
{
    _cleanup_split_ struct split p = {0};
    int64_t straddlers;
    switch (s->config->split.by) {
    case SPLIT_TIME:
        if (time_boundaries(s, err) < 0)
            return -1;
        by_time(s, &p);
        break;
    case SPLIT_HASH:
    case SPLIT_FOLDS:
        p.number = by_hash(s);
        break;
    case SPLIT_COLUMN:
        if (by_column(s, &p.number, err) < 0)
            return -1;
        break;
    }
    if (!p.train) {
        p.train = xasprintf("%s = 0", p.number);
        p.heldout = xasprintf("%s > 0", p.number);
    }
    if (find_straddlers(s, &p, &straddlers, err) < 0)
        return err_wrap(err, "splitting the rows");
    _cleanup_free_ char *number = with_straddlers(s, p.number, straddlers);
    if (create_views(s, &p, number, straddlers, err) < 0 || count_rows(s, number, err) < 0)
        return err_wrap(err, "splitting the rows");
    return expect_rows(s, err);
}
