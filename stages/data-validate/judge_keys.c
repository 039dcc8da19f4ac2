/* Unique keys and references to other tables. */
#include <inttypes.h>
#include <stdatomic.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "stages/data-validate/judge.h"

enum { SQL_MAX = 16 << 20, KEYS_SHOWN = 10 };

static bool is_stopping(void *ctx)
{
    return stage_stopping(ctx);
}

int judge_checker(struct judge *j, struct table **ret, struct err *err)
{
    if (!j->checker) {
        const char *const readable[] = {stage_output(j->d->run, "snapshot"), NULL};
        const struct table_config config = {.scratch = stage_scratch(j->d->run),
                                            .readable = readable,
                                            .memory_bytes = stage_memory_max(j->d->run) / 2,
                                            .threads = stage_threads(j->d->run),
                                            .deadline_ms = 3600 * 1000,
                                            .stop = is_stopping,
                                            .stop_ctx = j->d->run};
        if (table_open(&config, &j->checker, err) < 0 || table_lock(j->checker, err) < 0)
            return -1;
    }
    *ret = j->checker;
    return 0;
}

const struct part *judge_part_by_path(const struct judge *j, const char *path)
{
    for (size_t i = 0; i < j->d->n_parts; i++) {
        if (text_equal(j->d->parts[i].path, path))
            return &j->d->parts[i];
    }
    return NULL;
}

/* Rows as {file, row, value} from a query of (filename, file_row_number, text). */
struct collect {
    const struct judge *judge;
    cJSON *samples;
};

static int add_sample(void *ctx, const struct column_batch *b, struct err *err)
{
    (void)err;
    struct collect *c = ctx;
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct column *file = &b->columns[0], *text = &b->columns[2];
        _cleanup_free_ char *path =
            xstrndup(file->text + file->offsets[i], file->offsets[i + 1] - file->offsets[i]);
        _cleanup_free_ char *value =
            xstrndup(text->text + text->offsets[i], text->offsets[i + 1] - text->offsets[i]);
        const struct part *p = judge_part_by_path(c->judge, path);
        if (p && cJSON_GetArraySize(c->samples) < SAMPLE_ROWS)
            json_append(c->samples, judge_sample(p, b->columns[1].i64[i] + 1, value));
    }
    return 0;
}

/* "a", "b" and "a" IS NOT NULL AND …; both from one list of names. */
static void name_lists(const cJSON *names, struct buf *idents, struct buf *present, struct buf *shown)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, names)
    {
        _cleanup_free_ char *ident = table_quote_ident(name->valuestring);
        (void)buf_addf(idents, "%s%s", idents->len ? ", " : "", ident);
        (void)buf_addf(present, "%s%s IS NOT NULL", present->len ? " AND " : "", ident);
        (void)buf_addf(shown, "%s%s", shown->len ? ", " : "", name->valuestring);
    }
}

/* One set's search for a hash that occurs twice, by top byte. */
struct search {
    const struct dataset *d;
    size_t set;
    _Atomic bool repeats;
};

/* All parts' keys with one top byte, in an open-addressing table. A hash of 0 would be an empty slot: it becomes 1, which at
 * worst makes two keys look equal; DuckDB looks closer then. */
static int search_bucket(void *ctx, struct table *t, size_t bucket, struct err *err)
{
    (void)t;
    (void)err;
    struct search *s = ctx;
    size_t n = 0, size = 64;
    for (size_t i = 0; i < s->d->n_parts; i++) {
        const struct scan_result *r = s->d->parts[i].scan;
        if (s->d->parts[i].in_window)
            n += r->unique_from[s->set][bucket + 1] - r->unique_from[s->set][bucket];
    }
    while (size < 2 * n)
        size *= 2;
    if (atomic_load(&s->repeats))
        return 0;
    uint64_t *slots = xcalloc(size, sizeof *slots);
    bool repeats = false;
    for (size_t i = 0; i < s->d->n_parts && !repeats; i++) {
        const struct scan_result *r = s->d->parts[i].scan;
        if (!s->d->parts[i].in_window)
            continue;
        const size_t *from = r->unique_from[s->set];
        for (size_t k = from[bucket]; k < from[bucket + 1] && !repeats; k++) {
            uint64_t key = r->unique[s->set][k] ? r->unique[s->set][k] : 1;
            size_t at = key & (size - 1);
            while (slots[at] && slots[at] != key)
                at = (at + 1) & (size - 1);
            repeats = slots[at] == key;
            slots[at] = key;
        }
    }
    free(slots);
    if (repeats)
        atomic_store(&s->repeats, true);
    return 0;
}

/* *ret: some hash occurs twice, so keys may be equal; that none does is certain. */
static int hashes_repeat(const struct judge *j, size_t set, bool *ret, struct err *err)
{
    struct search s = {.d = j->d, .set = set};
    for (size_t i = 0; i < j->d->n_parts; i++) {
        if (j->d->parts[i].in_window && j->d->parts[i].scan->unique_dropped)
            atomic_store(&s.repeats, true);
    }
    if (!atomic_load(&s.repeats) && dataset_each(j->d, KEY_BUCKETS, search_bucket, &s, err) < 0)
        return -1;
    *ret = atomic_load(&s.repeats);
    return 0;
}

static int judge_set(struct judge *j, const cJSON *set, struct err *err)
{
    _cleanup_buf_ struct buf idents = BUF_INIT(SQL_MAX), present = BUF_INIT(SQL_MAX),
                             shown = BUF_INIT(SQL_MAX);
    name_lists(set, &idents, &present, &shown);
    struct table *t;
    int64_t keys, surplus;
    _cleanup_free_ char *plain = dataset_relation(j->d, false, "");
    if (judge_checker(j, &t, err) < 0 ||
        table_query_int(t, &keys, NULL, err,
                        "SELECT count(*) FROM (SELECT 1 FROM %s WHERE %s GROUP BY %s HAVING count(*) > 1)",
                        plain, buf_str(&present), buf_str(&idents)) < 0)
        return -1;
    if (keys == 0)
        return 0;
    if (table_query_int(
            t, &surplus, NULL, err,
            "SELECT CAST(sum(n - 1) AS BIGINT) FROM (SELECT count(*) AS n FROM %s WHERE %s GROUP BY %s HAVING count(*) > 1)",
            plain, buf_str(&present), buf_str(&idents)) < 0)
        return -1;
    _cleanup_free_ char *numbered = dataset_relation(j->d, false, "filename = true, file_row_number = true");
    _cleanup_free_ char *sql = xasprintf(
        "SELECT filename, file_row_number, concat_ws(', ', %s) FROM (SELECT * FROM %s WHERE %s) JOIN (SELECT %s FROM %s WHERE %s GROUP BY %s HAVING count(*) > 1 ORDER BY %s LIMIT %d) "
        "USING (%s) ORDER BY %s, filename, file_row_number",
        buf_str(&idents), numbered, buf_str(&present), buf_str(&idents), plain, buf_str(&present),
        buf_str(&idents), buf_str(&idents), KEYS_SHOWN, buf_str(&idents), buf_str(&idents));
    static const enum column_type types[] = {COLUMN_STR, COLUMN_I64, COLUMN_STR};
    struct collect c = {j, json_array()};
    if (table_stream(t, sql, types, ARRAY_SIZE(types), add_sample, &c, err) < 0) {
        cJSON_Delete(c.samples);
        return -1;
    }
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(c.samples, 0), "value");
    struct finding *f =
        findings_add(&j->findings, FINDING_UNIQUE, LEVEL_ERROR, buf_str(&shown), (double)surplus,
                     "unique [%s] does not hold: expected every key once in the window, found %" PRId64
                     " keys more than once (%" PRId64
                     " rows too many), for example (%s); remove the repeated rows, or widen the key",
                     buf_str(&shown), keys, surplus, cJSON_IsString(first) ? first->valuestring : "");
    f->samples = c.samples;
    return 0;
}

int judge_unique(struct judge *j, struct err *err)
{
    const cJSON *set;
    size_t i = 0;
    cJSON_ArrayForEach(set, j->config->unique)
    {
        bool repeats;
        if (hashes_repeat(j, i++, &repeats, err) < 0 || (repeats && judge_set(j, set, err) < 0))
            return err_wrap(err, "unique");
    }
    return 0;
}

/* --- references ------------------------------------------------------------------------------------------------ */

/* Brings the other table here; its relation as UNION of its files. Caller frees. */
static int stage_reference(struct judge *j, size_t index, char **ret, struct err *err)
{
    const struct source *s = j->references[index];
    _cleanup_buf_ struct buf b = BUF_INIT(SQL_MAX);
    for (size_t i = 0; i < s->n_files; i++) {
        const char *slash = strrchr(s->files[i].key, '/'),
                   *dot = strchr(slash ? slash : s->files[i].key, '.');
        _cleanup_free_ char *path =
            xasprintf("%s/reference-%zu-%zu%s", stage_scratch(j->d->run), index, i, dot ? dot : "");
        if (source_stage(s, &s->files[i], path, err) < 0)
            return -1;
        _cleanup_free_ char *reader = schema_reader(s->files[i].format, path, NULL);
        (void)buf_addf(&b, "%sSELECT * FROM %s", i ? " UNION ALL BY NAME " : "(", reader);
    }
    (void)buf_addc(&b, ')');
    if (buf_check(&b, "SQL of a reference", err) < 0)
        return -1;
    *ret = buf_take(&b);
    return 0;
}

static int judge_reference(struct judge *j, size_t index, struct err *err)
{
    const struct reference_rule *r = &j->config->references[index];
    _cleanup_free_ char *other = NULL;
    struct table *t;
    if (judge_checker(j, &t, err) < 0 || stage_reference(j, index, &other, err) < 0)
        return -1;
    _cleanup_buf_ struct buf idents = BUF_INIT(SQL_MAX), present = BUF_INIT(SQL_MAX),
                             shown = BUF_INIT(SQL_MAX), equal = BUF_INIT(SQL_MAX);
    name_lists(r->columns, &idents, &present, &shown);
    int n = cJSON_GetArraySize(r->columns);
    for (int i = 0; i < n; i++) {
        _cleanup_free_ char *mine = table_quote_ident(cJSON_GetArrayItem(r->columns, i)->valuestring);
        _cleanup_free_ char *theirs = table_quote_ident(
            cJSON_GetArrayItem(r->other_columns ? r->other_columns : r->columns, i)->valuestring);
        (void)buf_addf(&equal, "%ss.%s = o.%s", i ? " AND " : "", mine, theirs);
    }
    _cleanup_free_ char *numbered = dataset_relation(j->d, false, "filename = true, file_row_number = true");
    _cleanup_free_ char *orphans = xasprintf("(SELECT * FROM %s WHERE %s) AS s ANTI JOIN %s AS o ON %s",
                                             numbered, buf_str(&present), other, buf_str(&equal));
    int64_t count;
    if (table_query_int(t, &count, NULL, err, "SELECT count(*) FROM %s", orphans) < 0)
        return -1;
    if (count <= r->max_violations)
        return 0;
    _cleanup_free_ char *sql = xasprintf(
        "SELECT filename, file_row_number, concat_ws(', ', %s) FROM %s ORDER BY filename, file_row_number LIMIT %d",
        buf_str(&idents), orphans, SAMPLE_ROWS);
    static const enum column_type types[] = {COLUMN_STR, COLUMN_I64, COLUMN_STR};
    struct collect c = {j, json_array()};
    if (table_stream(t, sql, types, ARRAY_SIZE(types), add_sample, &c, err) < 0) {
        cJSON_Delete(c.samples);
        return -1;
    }
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(c.samples, 0), "value");
    struct finding *f =
        findings_add(&j->findings, FINDING_REFERENCE, r->level, r->name, (double)count,
                     "reference %s: %" PRId64
                     " rows have [%s] that is not in %s: expected at most maxViolations %" PRId64
                     ", found for example (%s); add the missing rows there, or repair these",
                     r->name, count, buf_str(&shown), r->uri, r->max_violations,
                     cJSON_IsString(first) ? first->valuestring : "");
    f->samples = c.samples;
    return 0;
}

int judge_references(struct judge *j, struct err *err)
{
    for (size_t i = 0; i < j->config->n_references; i++) {
        if (judge_reference(j, i, err) < 0)
            return err_wrap(err, "reference %s", j->config->references[i].name);
    }
    return 0;
}
