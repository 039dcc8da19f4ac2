/* A saved spec applied to new rows: see transform.h. */
#include "stages/featurize/transform.h"

#include <errno.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/featurize/shardwriter.h"
#include "stages/table/rawcolumns.h"
#include "stages/table/table.h"

enum { LINE_BYTES = 16 * 1024 * 1024, STATEMENT_BYTES = 1024 * 1024 };

struct transform {
    const struct featurespec *spec;
    struct featurebatch features;
    struct shardwriter *shards; /* one of these two */
    FILE *lines;
    int64_t rows;
};

/* The table function that reads a file, by the name it was given (which may be a link to another). */
static int reader_of(const char *name, const char *path, char **ret, struct err *err)
{
    static const struct {
        const char *suffix, *call;
    } readers[] = {
        {".parquet", "read_parquet(%s)"},
        {".csv", "read_csv(%s)"},
        {".tsv", "read_csv(%s, delim = '\t')"},
        {".json", "read_json(%s)"},
        {".jsonl", "read_json(%s, format = 'newline_delimited')"},
        {".ndjson", "read_json(%s, format = 'newline_delimited')"},
    };
    static const char *const packed[] = {"", ".gz", ".zst"};
    for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
        for (size_t k = 0; k < (i == 0 ? 1 : ARRAY_SIZE(packed)); k++) {
            _cleanup_free_ char *suffix = xasprintf("%s%s", readers[i].suffix, packed[k]);
            if (!text_ends_with(name, suffix))
                continue;
            _cleanup_free_ char *quoted = table_quote_string(path);
            const char *place = strstr(readers[i].call, "%s");
            *ret = xasprintf("%.*s%s%s", (int)(place - readers[i].call), readers[i].call, quoted, place + 2);
            return 0;
        }
    }
    return err_fail(
        err, ERR_INVALID, EXITCODE_USAGE, "usage",
        "--in '%s': expected a name that ends in .parquet, .csv, .tsv, .json, .jsonl or .ndjson (the text forms also with .gz or .zst)",
        name);
}

static int check_texts(struct table *t, const struct featurespec *spec, struct err *err)
{
    size_t n;
    const struct featurespec_raw *raw = featurespec_raw(spec, &n);
    for (size_t i = 0; i < n; i++) {
        if (table_check_expression(t, raw[i].sql, true, err) < 0 ||
            (raw[i].serving_sql && table_check_expression(t, raw[i].serving_sql, true, err) < 0))
            return err_wrap(err, "feature-spec.json: raw column '%s'", raw[i].name);
    }
    return 0;
}

/* The file, with the spec's derived columns. */
static int relation_of(struct table *t, const struct featurespec *spec, const char *given, const char *path,
                       char **ret, struct err *err)
{
    _cleanup_free_ char *reader = NULL;
    _cleanup_buf_ struct buf sql = BUF_INIT(STATEMENT_BYTES);
    if (reader_of(given, path, &reader, err) < 0)
        return -1;
    (void)buf_adds(&sql, "(SELECT *");
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(featurespec_document(spec), "derive"))
    {
        if (cJSON_HasObjectItem(item, "pointInTime"))
            continue;
        struct json_path at = {.key = "derive"};
        const char *name, *text;
        if (json_get_string(item, &at, "name", &name, err) < 0 ||
            json_get_string(item, &at, "sql", &text, err) < 0 ||
            table_check_expression(t, text, true, err) < 0)
            return -1;
        _cleanup_free_ char *quoted = table_quote_ident(name);
        (void)buf_addf(&sql, ", (%s\n) AS %s", text, quoted);
    }
    (void)buf_addf(&sql, " FROM %s)", reader);
    if (buf_check(&sql, "SQL of the rows", err) < 0)
        return -1;
    *ret = buf_take(&sql);
    return 0;
}

static int write_line(struct transform *t, size_t row, struct err *err)
{
    const struct featurebatch *f = &t->features;
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_BYTES);
    char number[32];
    (void)buf_adds(&line, "{\"dense\":[");
    for (size_t k = 0; k < f->dense_width; k++) {
        json_format_double((double)f->dense[row * f->dense_width + k], number);
        (void)buf_addf(&line, "%s%s", k ? "," : "", number);
    }
    (void)buf_adds(&line, "],\"cat\":[");
    for (size_t k = 0; k < f->cat_width; k++)
        (void)buf_addf(&line, "%s%d", k ? "," : "", f->cat[row * f->cat_width + k]);
    (void)buf_adds(&line, "]}\n");
    if (buf_check(&line, "a row as JSON", err) < 0)
        return -1;
    if (fwrite(line.data, 1, line.len, t->lines) != line.len)
        return err_errno(err, errno, "writing rows");
    return 0;
}

static int each_batch(void *ctx, const struct column_batch *b, struct err *err)
{
    struct transform *t = ctx;
    if (featurespec_apply(t->spec, b, &t->features, err) < 0)
        return -1;
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct shardwriter_row row = {.dense = t->features.dense + i * t->features.dense_width,
                                            .cat = t->features.cat + i * t->features.cat_width};
        if (t->lines ? write_line(t, i, err) < 0 : shardwriter_add(t->shards, &row, err) < 0)
            return -1;
    }
    t->rows += (int64_t)b->n_rows;
    return 0;
}

static int open_out(struct transform *t, const char *out, struct err *err)
{
    if (strcmp(out, "-") == 0) {
        t->lines = stdout;
        return 0;
    }
    if (text_ends_with(out, ".jsonl")) {
        t->lines = fopen(out, "we");
        return t->lines ? 0 : err_errno(err, errno, "creating '%s'", out);
    }
    const struct shardwriter_config c = {.directory = out,
                                         .rows = SHARD_ROWS,
                                         .dense_width = featurespec_dense_width(t->spec),
                                         .cat_width = featurespec_cat_width(t->spec)};
    return shardwriter_new(&c, &t->shards, err);
}

static int close_out(struct transform *t, int r, struct err *err)
{
    if (t->shards) {
        if (r == 0)
            r = shardwriter_finish(t->shards, err);
        shardwriter_free(t->shards);
    }
    if (t->lines) {
        bool failed = t->lines == stdout ? fflush(stdout) != 0 : fclose(t->lines) != 0;
        if (r == 0 && failed)
            r = err_errno(err, errno, "writing rows");
    }
    featurebatch_release(&t->features);
    return r;
}

int transform_run(const struct transform_config *config, int64_t *ret_rows, struct err *err)
{
    _cleanup_featurespec_ struct featurespec *spec = NULL;
    _cleanup_table_ struct table *table = NULL;
    _cleanup_free_ char *relation = NULL, *path = realpath(config->in, NULL);
    if (!path)
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "input-missing", "--in '%s': no such file",
                        config->in);
    _cleanup_free_ char *directory = xstrndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    const char *const readable[] = {directory, NULL};
    const struct table_config tc = {.scratch = config->scratch,
                                    .readable = readable,
                                    .memory_bytes = config->memory_bytes,
                                    .threads = config->threads};
    if (featurespec_load(config->spec, &spec, err) < 0 || table_open(&tc, &table, err) < 0 ||
        table_lock(table, err) < 0 || check_texts(table, spec, err) < 0 ||
        relation_of(table, spec, config->in, path, &relation, err) < 0)
        return -1;
    struct transform t = {.spec = spec};
    int r = open_out(&t, config->out, err);
    if (r == 0)
        r = rawcolumns_stream(table, spec, config->serving, relation, NULL, NULL, 0, each_batch, &t, err);
    r = close_out(&t, r, err);
    if (r < 0)
        return err_wrap(err, "transforming '%s'", config->in);
    *ret_rows = t.rows;
    return 0;
}
