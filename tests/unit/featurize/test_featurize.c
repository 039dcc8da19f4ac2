/* The stage as a whole over small snapshots: what lands where, against queries of the test's own; equal bytes at any number of
 * threads; one row equal to the batch; and what it says to data it cannot use. */
#include "tests/unit/unit.h"

#include <math.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "stages/featurize/featurize.h"
#include "stages/featurize/transform.h"
#include "stages/table/rawcolumns.h"
#include "stages/table/table.h"
#include "stages/tensor/featurehash.h"
#include "stages/tensor/featurespec.h"
#include "stages/tensor/shard.h"

static char *root;

/* 24,000 rows over 8 days in sessions of 8; some sessions pass midnight; 40 duplicated rows, later in time; NULL prices; words with quotes. */
static const char rows_sql[] =
    "SELECT n // 8 AS session_id, (n * 7919) % 331 AS item_id, "
    "  CASE WHEN n % 17 = 0 THEN NULL ELSE ((n * 104729) % 10007) / 100.0 END AS price, "
    "  CASE (n * 31) % 7 WHEN 0 THEN NULL WHEN 1 THEN 'it''s' ELSE 'w' || ((n * n) % 23) END AS word, "
    "  (ARRAY['de', 'fr', 'us'])[1 + (n // 8) % 3] AS country, n % 8 + 1 AS position, "
    "  TIMESTAMP '2026-02-28 23:58:20' + to_seconds((n * 8 * 86400) // 24000) AS time, CAST((n * 131) % 5 = 0 AS INTEGER) AS clicked FROM (SELECT range AS n FROM range(24000))";

static const char config_text[] =
    "{\"seed\":5,\"rowKey\":[\"session_id\",\"position\"],\"dedupe\":{\"keep\":\"first\",\"orderBy\":[\"time\"]},\"where\":\"position < 8\","
    "\"label\":{\"column\":\"clicked\",\"type\":\"binary\"},\"group\":\"session_id\",\"time\":\"time\",\"carry\":[\"country\",\"word\"],"
    "\"split\":{\"by\":\"time\",\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"},\"features\":["
    "{\"name\":\"price\",\"sql\":\"ln(1 + price)\",\"numeric\":{\"impute\":\"median\",\"missingFlag\":true,\"clip\":[0.01,0.99],\"scale\":\"standard\"}},"
    "{\"name\":\"item\",\"column\":\"item_id\",\"categorical\":{\"vocabulary\":{\"minCount\":40,\"maxSize\":200,\"oovBuckets\":8}}},"
    "{\"name\":\"word\",\"column\":\"word\",\"categorical\":{\"vocabulary\":{\"maxSize\":16}}},"
    "{\"name\":\"hour\",\"sql\":\"extract(hour from time)\",\"categorical\":{\"values\":{\"from\":0,\"to\":23}}},"
    "{\"name\":\"place\",\"column\":\"country\",\"categorical\":{\"values\":{\"list\":[\"us\",\"de\"]}}},"
    "{\"name\":\"position\",\"column\":\"position\",\"categorical\":{\"values\":{\"from\":1,\"to\":10}},\"servingValue\":1},"
    "{\"name\":\"wc\",\"cross\":[\"word\",\"place\"],\"categorical\":{\"hash\":{\"function\":\"xxh64\",\"seed\":2,\"buckets\":97}}}],"
    "\"shards\":{\"rows\":5000,\"order\":\"hashed\"}}";

static struct table *open_table(void)
{
    struct err err = ERR_INIT;
    struct table *t = NULL;
    assert_ok(table_open(&(struct table_config){.scratch = root, .memory_bytes = 512 << 20, .threads = 2}, &t,
                         &err),
              &err);
    return t;
}

/* <root>/<name>/data/part-1 and part-2.parquet */
static void make_snapshot(const char *name, const char *sql, const char *extra)
{
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table();
    _cleanup_free_ char *dir = xasprintf("%s/%s/data", root, name);
    assert_ok(fs_mkdir_p(dir, &err), &err);
    assert_ok(table_exec(t, &err, "COPY (%s) TO '%s/part-1.parquet' (FORMAT parquet)", sql, dir), &err);
    if (extra)
        assert_ok(table_exec(t, &err, "COPY (%s) TO '%s/part-2.parquet' (FORMAT parquet)", extra, dir), &err);
}

static int setup(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    if (fs_make_temp_dir("/tmp", "test-featurize", &root, &err) < 0)
        return -1;
    _cleanup_free_ char *duplicates = xasprintf(
        "SELECT * REPLACE (time + INTERVAL 1 HOUR AS time, 0.5 AS price) FROM (%s) WHERE session_id %% 75 = 3 AND position = 2",
        rows_sql);
    make_snapshot("snap", rows_sql, duplicates);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    int r = fs_remove_tree(root, &err);
    free(root);
    return r;
}

static int run(const char *config, const char *snapshot, const char *out, int threads,
               struct featurize_counts *ret, struct err *err)
{
    _cleanup_json_ cJSON *tree = NULL;
    _cleanup_free_ char *in = fs_join(root, snapshot), *output = fs_join(root, out),
                        *scratch = fs_join(root, "scratch");
    if (json_parse(config, strlen(config), 1 << 20, &tree, err) < 0 || fs_mkdir_p(output, err) < 0 ||
        fs_mkdir_p(scratch, err) < 0)
        return -1;
    const struct featurize_job job = {.config = tree,
                                      .snapshot = in,
                                      .output = output,
                                      .scratch = scratch,
                                      .memory_bytes = 384 << 20,
                                      .threads = threads};
    return featurize_run(&job, ret, err);
}

/* --- what lands where --------------------------------------------------------------------------------------- */

#define TIME_SPLIT \
    "CASE WHEN max(time) OVER (PARTITION BY session_id) < TIMESTAMP '2026-03-06' THEN 'train' WHEN max(time) OVER (PARTITION BY session_id) < TIMESTAMP '2026-03-07' THEN 'validation' ELSE 'test' END"

/* What the stage should have made of the snapshot, by a query of the test's own. */
static void make_expected(struct table *t)
{
    struct err err = ERR_INIT;
    assert_ok(
        table_exec(
            t, &err,
            "CREATE TABLE expected AS SELECT *, " TIME_SPLIT
            " AS split, trainyard_xxh64(CAST(position AS BIGINT), trainyard_xxh64(CAST(session_id AS BIGINT), 0)) AS k FROM "
            "(SELECT * FROM read_parquet('%s/snap/data/*.parquet') WHERE position < 8 QUALIFY row_number() OVER (PARTITION BY session_id, position ORDER BY time) = 1)",
            root),
        &err);
}

static int64_t count(struct table *t, const char *what)
{
    struct err err = ERR_INIT;
    int64_t n = 0;
    assert_ok(table_query_int(t, &n, NULL, &err, "%s", what), &err);
    return n;
}

static void rows_land_in_their_splits(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct featurize_counts n;
    assert_ok(run(config_text, "snap", "out", 2, &n, &err), &err);
    _cleanup_table_ struct table *t = open_table();
    make_expected(t);
    assert_int_equal(n.train_rows, count(t, "SELECT count(*) FROM expected WHERE split = 'train'"));
    assert_int_equal(n.validation_rows, count(t, "SELECT count(*) FROM expected WHERE split = 'validation'"));
    assert_int_equal(n.test_rows, count(t, "SELECT count(*) FROM expected WHERE split = 'test'"));
    assert_int_equal(n.duplicates_dropped, 40);
    /* The data holds sessions on both sides of a boundary, or this test shows little. */
    assert_true(
        count(
            t,
            "SELECT count(*) FROM (SELECT 1 FROM expected GROUP BY session_id HAVING min(time) < TIMESTAMP '2026-03-06' AND max(time) >= TIMESTAMP '2026-03-06')") >
        0);

    assert_ok(table_exec(t, &err,
                         "CREATE VIEW held AS SELECT * FROM read_parquet('%s/out/heldout/00000.parquet')",
                         root),
              &err);
    assert_int_equal(
        count(
            t,
            "SELECT count(*) FROM held h JOIN expected e ON h.row_key = e.k AND h.trainyard_split = e.split AND h.time = e.time AND h.price IS NOT DISTINCT FROM e.price"),
        n.validation_rows + n.test_rows);
    int64_t out_of_order;
    assert_ok(
        table_query_int(
            t, &out_of_order, NULL, &err,
            "SELECT count(*) FROM (SELECT lag(session_id) OVER w AS ps, lag(position) OVER w AS pp, session_id, position FROM read_parquet('%s/out/heldout/00000.parquet', file_row_number = true) WINDOW w AS (ORDER BY file_row_number)) WHERE ps IS NOT NULL AND (ps, pp) >= (session_id, position)",
            root),
        &err);
    assert_int_equal(out_of_order, 0);
}

/* Every row of train/ and validation/ against one-row application of the spec to what a query says about the row. */
struct lookup {
    const struct featurespec *spec;
    const struct shard *shard; /* the rows by key, all shards in one */
    const int64_t *sorted;     /* indices of rows by key */
    const int64_t *keys;
    const float *dense, *label;
    const int32_t *cat, *carry;
    const int64_t *group;
    size_t n, dense_width, cat_width, found;
};

static struct column slice(const struct column *c, size_t row)
{
    struct column s = *c;
    s.f64 = c->f64 ? c->f64 + row : NULL;
    s.i64 = c->i64 ? c->i64 + row : NULL;
    s.offsets = c->offsets ? c->offsets + row : NULL;
    s.valid = c->valid ? c->valid + row : NULL;
    return s;
}

static int check_rows(void *ctx, const struct column_batch *b, struct err *err)
{
    struct lookup *l = ctx;
    struct featurebatch one = {0};
    size_t n_raw;
    (void)featurespec_raw(l->spec, &n_raw);
    for (size_t row = 0; row < b->n_rows; row++) {
        struct column columns[16];
        for (size_t k = 0; k < n_raw; k++)
            columns[k] = slice(&b->columns[k], row);
        if (featurespec_apply(l->spec, &(struct column_batch){columns, n_raw, 1}, &one, err) < 0)
            return -1;
        for (size_t i = 0; i < l->n; i++) {
            if (l->keys[i] != b->columns[n_raw].i64[row])
                continue;
            l->found++;
            assert_memory_equal(one.dense, l->dense + i * l->dense_width, l->dense_width * sizeof(float));
            assert_memory_equal(one.cat, l->cat + i * l->cat_width, l->cat_width * sizeof(int32_t));
            assert_true(l->label[i] == (float)b->columns[n_raw + 1].i64[row]);
            assert_int_equal(l->group[i], b->columns[n_raw + 2].i64[row]);
            assert_int_equal(l->carry[i], b->columns[n_raw + 3].i64[row]);
        }
    }
    featurebatch_release(&one);
    return 0;
}

static void check_shard(struct table *t, const struct featurespec *spec, const char *path, const char *split)
{
    struct err err = ERR_INIT;
    _cleanup_shard_ struct shard *s = NULL;
    assert_ok(shard_open(path, &s, &err), &err);
    struct lookup l = {.spec = spec,
                       .keys = s->row_key,
                       .dense = s->dense,
                       .cat = s->cat,
                       .label = s->label,
                       .group = s->group,
                       .carry = s->carry[0].codes,
                       .n = s->n < 300 ? s->n : 300,
                       .dense_width = s->dense_width,
                       .cat_width = s->cat_width};
    assert_string_equal(s->carry[0].name, "country");
    _cleanup_buf_ struct buf keys = BUF_INIT(1 << 20);
    for (size_t i = 0; i < l.n; i++)
        (void)buf_addf(&keys, "%s%lld", i ? "," : "", (long long)l.keys[i]);
    _cleanup_free_ char *relation =
        xasprintf("(SELECT * FROM expected WHERE split = '%s' AND k IN (%s))", split, buf_str(&keys));
    static const struct rawcolumns_extra extra[] =
        {{"k", "k", COLUMN_I64},
         {"l", "clicked", COLUMN_I64},
         {"g", "session_id", COLUMN_I64},
         {"c", "CASE country WHEN 'de' THEN 1 WHEN 'fr' THEN 2 ELSE 3 END", COLUMN_I64}};
    assert_ok(rawcolumns_stream(t, spec, false, relation, NULL, extra, 4, check_rows, &l, &err), &err);
    assert_int_equal(l.found, l.n);
}

static void shards_hold_the_transformed_rows(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *out = fs_join(root, "out"), *train = fs_join(out, "train"),
                        *validation = fs_join(out, "validation");
    _cleanup_table_ struct table *t = open_table();
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    _cleanup_shard_list_ struct shard_list trains = {0}, validations = {0};
    make_expected(t);
    assert_ok(featurespec_load(out, &spec, &err), &err);
    assert_ok(shard_list_open(train, &trains, &err), &err);
    assert_ok(shard_list_open(validation, &validations, &err), &err);
    assert_int_equal(trains.rows[0], 5000);
    uint64_t last = 0;
    for (size_t i = 0; i < trains.n; i++) {
        check_shard(t, spec, trains.paths[i], "train");
        _cleanup_shard_ struct shard *s = NULL;
        assert_ok(shard_open(trains.paths[i], &s, &err), &err);
        for (size_t k = 0; k < s->n; k++) {
            uint64_t place = featurehash_i64(s->row_key[k], 5);
            assert_true(place >= last);
            last = place;
        }
    }
    for (size_t i = 0; i < validations.n; i++)
        check_shard(t, spec, validations.paths[i], "validation");
}

static void statistics_come_from_the_training_rows_only(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *out = fs_join(root, "out");
    _cleanup_table_ struct table *t = open_table();
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    make_expected(t);
    assert_ok(featurespec_load(out, &spec, &err), &err);
    const cJSON *doc = featurespec_document(spec),
                *numeric = cJSON_GetObjectItem(cJSON_GetObjectItem(doc, "features")->child, "numeric");
    double median, low;
    assert_ok(
        table_query_double(t, &median, NULL, &err,
                           "SELECT quantile_cont(ln(1 + price), 0.5) FROM expected WHERE split = 'train'"),
        &err);
    assert_ok(
        table_query_double(t, &low, NULL, &err,
                           "SELECT quantile_cont(ln(1 + price), 0.01) FROM expected WHERE split = 'train'"),
        &err);
    double fill = cJSON_GetObjectItem(numeric, "fill")->valuedouble,
           lowest = cJSON_GetObjectItem(numeric, "clip")->child->valuedouble;
    if (fabs(fill - median) > 1e-12 || fabs(lowest - low) > 1e-12)
        fail_msg("median: expected %.17g, found %.17g; low clip: expected %.17g, found %.17g", median, fill,
                 low, lowest);
    /* Count descending, then value ascending, no rarer than minCount, at most maxSize. */
    int64_t known = count(
        t,
        "SELECT least(200, count(*)) FROM (SELECT 1 FROM expected WHERE split = 'train' GROUP BY item_id HAVING count(*) >= 40)");
    assert_true(known > 10);
    assert_int_equal(featurespec_cardinality(spec, 0), 1 + 8 + known);
    int64_t first = count(
        t, "SELECT item_id FROM expected WHERE split = 'train' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1");
    const int64_t zero = 0;
    const double price = 1;
    const uint32_t offsets[] = {0, 0};
    const struct column columns[] = {{.type = COLUMN_F64, .f64 = &price},
                                     {.type = COLUMN_I64, .i64 = &first},
                                     {.type = COLUMN_STR, .text = "", .offsets = offsets},
                                     {.type = COLUMN_I64, .i64 = &zero},
                                     {.type = COLUMN_STR, .text = "", .offsets = offsets},
                                     {.type = COLUMN_I64, .i64 = &zero}};
    struct featurebatch one = {0};
    assert_ok(featurespec_apply(spec, &(struct column_batch){columns, 6, 1}, &one, &err), &err);
    assert_int_equal(one.cat[0], 9);
    featurebatch_release(&one);

    char newest[32];
    (void)snprintf(newest, sizeof newest, "%lld",
                   (long long)count(t, "SELECT max(epoch_us(time)) FROM expected WHERE split = 'train'"));
    assert_string_equal(cJSON_GetObjectItem(doc, "newestTrainTime")->valuestring, newest);
    size_t n_raw;
    assert_string_equal(featurespec_raw(spec, &n_raw)[5].serving_sql, "1");
}

static void golden_rows_reproduce(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_free_ char *path = xasprintf("%s/out/golden.json", root);
    _cleanup_json_ cJSON *doc = NULL;
    assert_ok(json_parse_file(path, 1 << 24, &doc, &err), &err);
    const cJSON *rows = cJSON_GetObjectItem(doc, "rows"), *row = rows->child;
    assert_int_equal(cJSON_GetArraySize(rows), 32);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(row, "source")), 8);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(row, "raw")), 6);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(row, "dense")), 2);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(row, "cat")), 6);
}

/* --- equal bytes --------------------------------------------------------------------------------------------- */

static void assert_same_trees(const char *a, const char *b)
{
    struct err err = ERR_INIT;
    struct fs_list x = {0}, y = {0};
    _cleanup_free_ char *da = fs_join(root, a), *db = fs_join(root, b);
    assert_ok(fs_list_tree(da, &x, &err), &err);
    assert_ok(fs_list_tree(db, &y, &err), &err);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        _cleanup_free_ char *pa = fs_join(da, x.names[i]), *pb = fs_join(db, y.names[i]);
        char ha[DIGEST_HEX], hb[DIGEST_HEX];
        int64_t size;
        assert_string_equal(x.names[i], y.names[i]);
        assert_ok(sha256_file(pa, ha, &size, &err), &err);
        assert_ok(sha256_file(pb, hb, &size, &err), &err);
        if (strcmp(ha, hb) != 0)
            fail_msg("%s and %s differ", pa, pb);
    }
    fs_list_release(&x);
    fs_list_release(&y);
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct featurize_counts n;
    assert_ok(run(config_text, "snap", "t1", 1, &n, &err), &err);
    assert_ok(run(config_text, "snap", "t5", 5, &n, &err), &err);
    assert_same_trees("out", "t1");
    assert_same_trees("out", "t5");
}

static void a_saved_spec_gives_the_shards_again(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    _cleanup_table_ struct table *t = open_table();
    _cleanup_free_ char *out = fs_join(root, "out"), *csv = fs_join(root, "rows.csv"),
                        *shards = fs_join(root, "again"), *lines = fs_join(root, "again.jsonl");
    assert_ok(
        table_exec(
            t, &err,
            "COPY (SELECT * EXCLUDE (row_key, trainyard_split) FROM read_parquet('%s/heldout/00000.parquet') WHERE trainyard_split = 'validation') TO '%s' (HEADER)",
            out, csv),
        &err);
    struct transform_config c =
        {.spec = out, .in = csv, .out = shards, .scratch = root, .memory_bytes = 256 << 20, .threads = 2};
    int64_t rows;
    assert_ok(transform_run(&c, &rows, &err), &err);
    _cleanup_free_ char *first = fs_join(shards, "00000.safetensors"),
                        *validation = fs_join(out, "validation/00000.safetensors");
    _cleanup_shard_ struct shard *a = NULL, *b = NULL;
    assert_ok(shard_open(first, &a, &err), &err);
    assert_ok(shard_open(validation, &b, &err), &err);
    assert_int_equal(a->n, b->n);
    assert_int_equal(rows, b->n);
    assert_memory_equal(a->dense, b->dense, a->n * a->dense_width * sizeof(float));
    assert_memory_equal(a->cat, b->cat, a->n * a->cat_width * sizeof(int32_t));

    c.out = lines;
    c.serving = true;
    assert_ok(transform_run(&c, &rows, &err), &err);
    _cleanup_free_ char *text = NULL;
    size_t len;
    assert_ok(fs_read_file(lines, 1 << 24, &text, &len, &err), &err);
    _cleanup_json_ cJSON *line = NULL;
    assert_ok(json_parse(text, (size_t)(strchr(text, '\n') - text), 1 << 20, &line, &err), &err);
    /* position is unknown at serving: the id of its value 1, after missing and unknown */
    assert_true(cJSON_GetArrayItem(cJSON_GetObjectItem(line, "cat"), 4)->valuedouble == 2);

    c.in = "/nowhere/rows.csv";
    assert_fails(transform_run(&c, &rows, &err), &err, ERR_NOTFOUND, "no such file");
    c.in = lines + 0;
    c.spec = root;
    assert_fails(transform_run(&c, &rows, &err), &err, ERR_NOTFOUND, "feature-spec.json");
}

/* --- other configurations, and refusals ------------------------------------------------------------------------ */

static char *changed(const char *from, const char *to)
{
    const char *at = strstr(config_text, from);
    assert_non_null(at);
    return xasprintf("%.*s%s%s", (int)(at - config_text), config_text, to, at + strlen(from));
}

static void other_splits_and_sampling(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct featurize_counts n, folds;
    _cleanup_free_ char *hash =
        changed("\"by\":\"time\",\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"",
                "\"by\":\"hash\",\"validation\":\"0.1\",\"test\":0.2");
    assert_ok(run(hash, "snap", "hash", 2, &n, &err), &err);
    int64_t all = n.train_rows + n.validation_rows + n.test_rows;
    assert_int_equal(all, 21000);
    assert_in_range(n.validation_rows, all / 14, all / 7);
    assert_in_range(n.test_rows, all / 6, all / 4);

    _cleanup_free_ char *fold =
        changed("\"by\":\"time\",\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"",
                "\"by\":\"folds\",\"folds\":5,\"fold\":4");
    assert_ok(run(fold, "snap", "folds", 2, &folds, &err), &err);
    assert_in_range(folds.train_rows, all * 3 / 4, all * 17 / 20);

    /* exact: the newest 36 hours, to the microsecond */
    _cleanup_free_ char *exact = changed("\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"",
                                         "\"validation\":\"12h\",\"test\":\"36h\",\"boundary\":\"exact\"");
    assert_ok(run(exact, "snap", "exact", 2, &n, &err), &err);
    assert_true(n.test_rows > n.validation_rows * 2);

    /* Half of the negatives, each with weight 2; all positives. */
    _cleanup_free_ char *half = changed("\"shards\"", "\"trainSampling\":{\"negatives\":0.5},\"shards\"");
    assert_ok(run(half, "snap", "half", 2, &n, &err), &err);
    _cleanup_free_ char *dir = fs_join(root, "half/train");
    _cleanup_shard_list_ struct shard_list list = {0};
    assert_ok(shard_list_open(dir, &list, &err), &err);
    double positives = 0, negatives = 0;
    for (size_t i = 0; i < list.n; i++) {
        _cleanup_shard_ struct shard *s = NULL;
        assert_ok(shard_open(list.paths[i], &s, &err), &err);
        for (size_t k = 0; k < s->n; k++) {
            assert_true(s->weight[k] == (s->label[k] > 0 ? 1.0F : 2.0F));
            *(s->label[k] > 0 ? &positives : &negatives) += 1;
        }
    }
    assert_true(negatives / positives > 1.8 && negatives / positives < 2.2); /* four to one in the data */

    /* The order of rowKey instead of the hash's; derived columns; a class label; no group. */
    _cleanup_free_ char *plain = xstrdup(
        "{\"rowKey\":[\"session_id\",\"position\"],\"dedupe\":{},\"label\":{\"sql\":\"item_id % 4\",\"type\":\"class\"},\"weight\":\"1 + position\","
        "\"derive\":[{\"name\":\"double_price\",\"sql\":\"price * 2\"}],\"split\":{\"by\":\"hash\",\"validation\":0.1},"
        "\"features\":[{\"name\":\"dp\",\"column\":\"double_price\",\"numeric\":{\"transform\":\"log1p\",\"scale\":\"minmax\"}}],\"shards\":{\"order\":\"rowKey\"}}");
    assert_ok(run(plain, "snap", "plain", 2, &n, &err), &err);
    assert_int_equal(n.test_rows, 0);
    _cleanup_free_ char *train = fs_join(root, "plain/train/00000.safetensors");
    _cleanup_shard_ struct shard *s = NULL;
    assert_ok(shard_open(train, &s, &err), &err);
    assert_null(s->group);
    assert_null(s->cat);
    for (size_t i = 0; i < s->n; i++) {
        assert_true(s->dense[i] >= 0 && s->dense[i] <= 1);
        assert_true(s->weight[i] >= 2 && s->label[i] <= 3);
    }
    const int64_t first_key = (int64_t)featurehash_i64(1, featurehash_i64(0, 0));
    assert_true(s->row_key[0] == first_key ||
                s->row_key[0] == (int64_t)featurehash_i64(2, featurehash_i64(0, 0)));
    assert_ok(run(plain, "snap", "plain5", 5, &n, &err), &err);
    assert_same_trees("plain", "plain5");
}

static void derived_windows_see_earlier_rows_only(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct featurize_counts n;
    _cleanup_free_ char *config = changed(
        "\"group\"",
        "\"derive\":[{\"name\":\"seen\",\"sql\":\"count(*) OVER (PARTITION BY item_id)\",\"pointInTime\":\"time\"},"
        "{\"name\":\"ctr\",\"sql\":\"avg(clicked) OVER (PARTITION BY country)\",\"pointInTime\":\"time\"}],\"group\"");
    assert_ok(run(config, "snap", "pit", 1, &n, &err), &err);
    assert_ok(run(config, "snap", "pit5", 5, &n, &err), &err);
    assert_same_trees("pit", "pit5");
    _cleanup_table_ struct table *t = open_table();
    assert_ok(table_exec(t, &err, "CREATE TABLE s AS SELECT * FROM read_parquet('%s/snap/data/*.parquet')",
                         root),
              &err);
    assert_ok(table_exec(t, &err,
                         "CREATE TABLE h AS SELECT * FROM read_parquet('%s/pit/heldout/00000.parquet')",
                         root),
              &err);
    assert_int_equal(count(t, "SELECT count(*) FROM h WHERE seen > 0"), n.validation_rows + n.test_rows);
    /* All rows of the snapshot count, those that where leaves out and duplicates too. */
    assert_int_equal(
        count(
            t,
            "SELECT count(*) FROM (SELECT h.row_key, any_value(h.seen) AS seen, count(s.item_id) AS n FROM h LEFT JOIN s ON s.item_id = h.item_id AND s.time < h.time "
            "GROUP BY h.row_key) WHERE seen <> n"),
        0);
    _cleanup_free_ char *bad = changed(
        "\"group\"",
        "\"derive\":[{\"name\":\"next\",\"sql\":\"lead(clicked) OVER (PARTITION BY item_id)\",\"pointInTime\":\"time\"}],\"group\"");
    assert_fails(run(bad, "snap", "refused", 1, &n, &err), &err, ERR_INVALID, "featurize.derive[0]");
}

static void unusable_data_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *change; /* of the rows */
        const char *from, *to;     /* of the config */
        const char *message;
        int exit;
    } cases[] = {
        {"bad1", NULL, "\"dedupe\":{\"keep\":\"first\",\"orderBy\":[\"time\"]},", "",
         "is not unique: 40 keys occur more than once, for example (3, 2) in 2 rows", 65},
        {"bad2", "SELECT * REPLACE (CASE WHEN position = 3 THEN NULL ELSE clicked END AS clicked)",
         "\"seed\":5", "\"seed\":5", "label 'clicked' is NULL in 3000 of", 65},
        {"bad3", "SELECT * REPLACE (clicked + 1 AS clicked)", "\"seed\":5", "\"seed\":5",
         "label 'clicked' breaks the rule \"0 or 1\"", 65},
        {"bad4", "SELECT * EXCLUDE (price)", "\"seed\":5", "\"seed\":5", "price", 65},
        {"bad5", NULL, "\"column\":\"clicked\"", "\"column\":\"cliked\"",
         "has no column 'cliked'; did you mean 'clicked'?", 78},
        {"bad6", NULL, "ln(1 + price)", "(SELECT 1)", "feature 'price'", 78},
        {"bad7", NULL, "\"where\":\"position < 8\"", "\"where\":\"position < 0\"",
         "no row of the snapshot is left", 65},
        {"bad8", NULL, "\"test\":\"2d\"", "\"test\":\"20d\"", "leaves no rows for training", 65},
        {"bad9", NULL, "\"time\":\"time\"", "\"time\":\"word\"",
         "is of type VARCHAR, expected a timestamp or date", 78},
        {"bad10", NULL, "\"boundary\":\"day\"", "\"boundary\":\"day\",\"timeZone\":\"Mars/North\"",
         "Mars/North", 78},
        {"bad11", NULL, "\"impute\":\"median\"", "\"impute\":\"none\"", "and its impute is none", 65},
        {"bad12", NULL, "{\"from\":0,\"to\":23}", "{\"from\":5,\"to\":2}", "ascending range", 78},
        {"bad13", NULL, "\"column\":\"item_id\"", "\"column\":\"item\"", "no column 'item'", 78},
        {"bad14", NULL, "\"by\":\"time\",\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"",
         "\"by\":\"column\",\"column\":\"country\"",
         "hold neither train, validation nor test, for example de", 65},
        {"bad15", "SELECT *, 1 AS row_key", "\"seed\":5", "\"seed\":5", "has a column 'row_key'", 78},
        {"bad18", NULL, "\"group\":\"session_id\"",
         "\"group\":\"session_id\",\"derive\":[{\"name\":\"price\",\"sql\":\"1\"}]",
         "featurize.derive[0]: there is a column 'price' already", 78},
        {"bad19", "SELECT * REPLACE (0 AS clicked)", "\"shards\"",
         "\"trainSampling\":{\"negatives\":1e-9},\"shards\"", "trainSampling leaves none of", 65},
        {"bad16", NULL, "\"where\":\"position < 8\"", "\"where\":\"random() < 0.5\"", "featurize.where", 78},
        {"bad17",
         "SELECT *, CASE position WHEN 1 THEN 'test' WHEN 2 THEN 'validation' ELSE 'train' END AS part",
         "\"by\":\"time\",\"validation\":\"1d\",\"test\":\"2d\",\"boundary\":\"day\"",
         "\"by\":\"column\",\"column\":\"part\"", "tears 3000 groups of 'session_id' apart", 65},
    };
    make_snapshot("none", "SELECT 1 AS x", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct featurize_counts n;
        _cleanup_free_ char *config = changed(cases[i].from, cases[i].to);
        if (cases[i].change) {
            _cleanup_free_ char *sql = xasprintf("%s FROM (%s)", cases[i].change, rows_sql);
            make_snapshot(cases[i].name, sql, NULL);
        }
        if (run(config, cases[i].change ? cases[i].name : "snap", "refused", 2, &n, &err) == 0)
            fail_msg("%s: accepted", cases[i].name);
        if (!strstr(err.msg, cases[i].message) || err_exit_code(&err) != cases[i].exit)
            fail_msg("%s\n  expected exit %d and: %s\n  found    exit %d and: %s", cases[i].name,
                     cases[i].exit, cases[i].message, err_exit_code(&err), err.msg);
    }
    struct err err = ERR_INIT;
    struct featurize_counts n;
    _cleanup_free_ char *empty = fs_join(root, "empty/data");
    assert_ok(fs_mkdir_p(empty, &err), &err);
    assert_fails(run(config_text, "empty", "refused", 1, &n, &err), &err, ERR_NOTFOUND,
                 "expected data/*.parquet, found none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_land_in_their_splits),
        cmocka_unit_test(shards_hold_the_transformed_rows),
        cmocka_unit_test(statistics_come_from_the_training_rows_only),
        cmocka_unit_test(golden_rows_reproduce),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(a_saved_spec_gives_the_shards_again),
        cmocka_unit_test(other_splits_and_sampling),
        cmocka_unit_test(derived_windows_see_earlier_rows_only),
        cmocka_unit_test(unusable_data_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
