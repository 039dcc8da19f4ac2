/* Staging, conversion and counting of the source's files. */
#include "stages/data-validate/dataset.h"

#include <inttypes.h>
#include <pthread.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/fs.h"
#include "common/base/text.h"
#include "stages/data-validate/snapshot.h"

enum { RELATION_MAX = 16 << 20, MEMORY_MIN = 64 << 20 };

/* --- opening --------------------------------------------------------------------------------------------- */

static bool stopping(void *ctx)
{
    return stage_stopping(ctx);
}

static int open_tables(struct dataset *d, const char *snapshot_dir, struct err *err)
{
    size_t n = (size_t)stage_threads(d->run);
    n = n > d->n_parts ? d->n_parts : n;
    n = n ? n : 1;
    d->tables = xcalloc(n, sizeof *d->tables);
    int64_t memory = stage_memory_max(d->run) / 2 / (int64_t)n;
    const char *const readable[] = {snapshot_dir, NULL};
    for (size_t i = 0; i < n; i++) {
        const struct table_config config = {.scratch = stage_scratch(d->run),
                                            .readable = readable,
                                            .memory_bytes = memory > MEMORY_MIN ? memory : MEMORY_MIN,
                                            .threads = 1,
                                            .deadline_ms = 3600 * 1000,
                                            .stop = stopping,
                                            .stop_ctx = d->run};
        if (table_open(&config, &d->tables[d->n_tables], err) < 0)
            return -1;
        d->n_tables++;
        if (table_lock(d->tables[i], err) < 0)
            return -1;
    }
    return 0;
}

static char *safe_name(const char *partition)
{
    char *name = xstrndup(partition, 120);
    for (char *p = name; *p; p++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=._-", *p))
            *p = '_';
    }
    return name;
}

static char *part_name(const struct partition *p, size_t partition, size_t file)
{
    _cleanup_free_ char *name = safe_name(p->name);
    return p->n == 1 ? xasprintf(SNAPSHOT_DATA "/%05zu-%s.parquet", partition, name)
                     : xasprintf(SNAPSHOT_DATA "/%05zu-%s.%04zu.parquet", partition, name, file);
}

static const char *extension(const char *key)
{
    const char *slash = strrchr(key, '/'), *dot = strchr(slash ? slash : key, '.');
    return dot ? dot : "";
}

int dataset_open(struct stage_run *run, const char *tag, const struct config *config,
                 const struct source *source, size_t first, size_t first_window, struct dataset **ret,
                 struct err *err)
{
    _cleanup_dataset_ struct dataset *d = xcalloc(1, sizeof *d);
    d->run = run;
    d->config = config;
    d->source = source;
    d->first_window = first_window;
    d->newest = source->n_partitions - 1;
    const char *snapshot = stage_output(run, "snapshot");
    int64_t bytes = 0;
    size_t n = 0;
    for (size_t p = first; p < source->n_partitions; p++) {
        bytes += source->partitions[p].bytes;
        n += source->partitions[p].n;
    }
    if (bytes > stage_scratch_max(run))
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "scratch",
                        "the window has %" PRId64 " MiB of files, the step's scratch %" PRId64
                        " MiB: raise scratch.size, or read a smaller window",
                        bytes >> 20, stage_scratch_max(run) >> 20);
    d->parts = xcalloc(n ? n : 1, sizeof *d->parts);
    for (size_t p = first; p < source->n_partitions; p++) {
        const struct partition *partition = &source->partitions[p];
        for (size_t i = 0; i < partition->n; i++) {
            struct part *part = &d->parts[d->n_parts];
            *part = (struct part){.source = source,
                                  .file = &source->files[partition->first + i],
                                  .partition = p,
                                  .in_window = p >= first_window,
                                  .newest = p == d->newest};
            part->staged =
                xasprintf("%s/%s-%zu%s", stage_scratch(run), tag, d->n_parts, extension(part->file->key));
            part->name = part->in_window ? part_name(partition, p - first_window, i) : NULL;
            part->path = part->in_window
                             ? fs_join(snapshot, part->name)
                             : xasprintf("%s/%s-%zu-counted.parquet", stage_scratch(run), tag, d->n_parts);
            d->n_parts++;
        }
    }
    _cleanup_free_ char *data = fs_join(snapshot, SNAPSHOT_DATA);
    if (fs_mkdir_p(data, err) < 0 || open_tables(d, snapshot, err) < 0)
        return -1;
    *ret = steal_ptr(d);
    return 0;
}

struct dataset *dataset_free(struct dataset *d)
{
    if (!d)
        return NULL;
    for (size_t i = 0; i < d->n_parts; i++) {
        struct part *p = &d->parts[i];
        free(p->staged);
        free(p->path);
        free(p->name);
        schema_free(p->found);
        scan_result_free(p->scan);
    }
    for (size_t i = 0; i < d->n_tables; i++)
        table_free(d->tables[i]);
    scan_plan_free(d->plan);
    schema_free(d->schema);
    free(d->tables);
    free(d->parts);
    free(d);
    return NULL;
}

const struct partition *dataset_partition(const struct dataset *d, const struct part *p)
{
    return &d->source->partitions[p->partition];
}

/* --- working on many files ----------------------------------------------------------------------------------- */

struct crew {
    struct dataset *dataset;
    size_t n, next;
    int (*do_item)(void *ctx, struct table *t, size_t i, struct err *err);
    void *ctx;
    pthread_mutex_t mutex;
    struct err err; /* of the lowest item that failed, so that the message is the same each time */
    size_t failed;
};

struct worker {
    struct crew *crew;
    struct table *table;
    pthread_t thread;
    bool started;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct crew *c = w->crew;
    for (;;) {
        (void)pthread_mutex_lock(&c->mutex);
        size_t i = c->next < c->n && c->failed == SIZE_MAX ? c->next++ : SIZE_MAX;
        (void)pthread_mutex_unlock(&c->mutex);
        if (i == SIZE_MAX)
            return NULL;
        struct err err = ERR_INIT;
        int r = stage_stopping(c->dataset->run) ? stage_stopped(c->dataset->run, &err)
                                                : c->do_item(c->ctx, w->table, i, &err);
        if (r == 0)
            continue;
        (void)pthread_mutex_lock(&c->mutex);
        if (i < c->failed) {
            c->failed = i;
            c->err = err;
        }
        (void)pthread_mutex_unlock(&c->mutex);
    }
}

int dataset_each(struct dataset *d, size_t n,
                 int (*do_item)(void *ctx, struct table *t, size_t i, struct err *err), void *ctx,
                 struct err *err)
{
    struct crew crew =
        {.dataset = d, .n = n, .do_item = do_item, .ctx = ctx, .failed = SIZE_MAX, .err = ERR_INIT};
    (void)pthread_mutex_init(&crew.mutex, NULL);
    struct worker *workers = xcalloc(d->n_tables, sizeof *workers);
    for (size_t i = 0; i < d->n_tables; i++) {
        workers[i] = (struct worker){.crew = &crew, .table = d->tables[i]};
        /* The caller's thread is the first worker; without threads it does everything. */
        if (i > 0)
            workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
    }
    (void)work(&workers[0]);
    for (size_t i = 1; i < d->n_tables; i++) {
        if (workers[i].started)
            (void)pthread_join(workers[i].thread, NULL);
    }
    free(workers);
    (void)pthread_mutex_destroy(&crew.mutex);
    if (crew.failed == SIZE_MAX)
        return 0;
    *err = crew.err;
    return -1;
}

/* --- staging ---------------------------------------------------------------------------------------------------- */

static int part_failed(const struct part *p, struct err *err)
{
    _cleanup_free_ char *url = source_url(p->source, p->file);
    return err_wrap(err, "%s", url);
}

static int stage_part(void *ctx, struct table *t, size_t i, struct err *err)
{
    struct dataset *d = ctx;
    struct part *p = &d->parts[i];
    /* Parquet is most often taken as it is: it is brought to where it would lie. */
    if (p->file->format == FORMAT_PARQUET) {
        free(p->staged);
        p->staged = xstrdup(p->path);
    }
    if (source_stage(p->source, p->file, p->staged, err) < 0)
        return -1;
    if (p->file->size == 0) {
        (void)err_fail(err, ERR_INVALID, EXITCODE_DATA, "unreadable",
                       "the file is empty: expected data; has its writer finished?");
        return part_failed(p, err);
    }
    _cleanup_free_ char *reader = schema_reader(p->file->format, p->staged, NULL);
    if (schema_read(t, reader, &p->found, err) < 0) {
        if (err->class_ == ERR_INVALID)
            (void)snprintf(err->reason, sizeof err->reason, "unreadable");
        return part_failed(p, err);
    }
    stage_progress(d->run, 0.3 * (double)(i + 1) / (double)d->n_parts, "reading the source", NULL);
    return 0;
}

int dataset_stage(struct dataset *d, struct err *err)
{
    return dataset_each(d, d->n_parts, stage_part, d, err);
}

/* --- conversion and counting ------------------------------------------------------------------------------------ */

/* The value of "name=" in the key's folders; caller frees. */
static char *folder_value(const char *key, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = key; p && strchr(p, '/'); p = strchr(p, '/') + 1) {
        if (strncmp(p, name, n) == 0 && p[n] == '=')
            return xstrndup(p + n + 1, strcspn(p + n + 1, "/"));
    }
    return NULL;
}

static void add_column(struct buf *sql, const struct part *p, const struct schema_column *c, bool first)
{
    _cleanup_free_ char *ident = table_quote_ident(c->name);
    _cleanup_free_ char *value = schema_find(p->found, c->name) ? NULL : folder_value(p->file->key, c->name);
    _cleanup_free_ char *literal = value ? table_quote_string(value) : NULL;
    const char *expression = schema_find(p->found, c->name) ? ident : literal ? literal : "NULL";
    (void)buf_addf(sql, "%sCAST(%s AS %s) AS %s", first ? "" : ", ", expression, c->type, ident);
}

/* Types of the snapshot for those columns that the text file has. */
static struct schema *text_types(const struct dataset *d, const struct part *p)
{
    struct schema *types = schema_copy(p->found);
    for (size_t i = 0; i < types->n; i++) {
        const struct schema_column *c = schema_find(d->schema, types->columns[i].name);
        if (c)
            schema_set_type(types, c->name, c->type);
    }
    return types;
}

static int convert(struct dataset *d, struct part *p, struct table *t, struct err *err)
{
    bool text = p->file->format != FORMAT_PARQUET;
    if (!text && schema_equal(p->found, d->schema))
        return 0;
    if (!text) { /* it lies where the result goes */
        char *aside = xasprintf("%s.source", p->staged);
        int r = rename(p->staged, aside);
        free(p->staged);
        p->staged = aside;
        if (r < 0)
            return err_fail(err, ERR_TERMINAL, EXITCODE_IO, NULL, "cannot rename to %s", aside);
    }
    _cleanup_schema_ struct schema *types = text ? text_types(d, p) : NULL;
    _cleanup_free_ char *reader = schema_reader(p->file->format, p->staged, types);
    _cleanup_free_ char *target = table_quote_string(p->path);
    _cleanup_buf_ struct buf sql = BUF_INIT(RELATION_MAX);
    for (size_t i = 0; i < d->schema->n; i++)
        add_column(&sql, p, &d->schema->columns[i], i == 0);
    if (buf_check(&sql, "SQL of the snapshot", err) < 0)
        return -1;
    if (table_exec(t, err,
                   "COPY (SELECT %s FROM %s) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)",
                   buf_str(&sql), reader, target) < 0) {
        if (err->class_ == ERR_INVALID)
            (void)snprintf(err->reason, sizeof err->reason, "type");
        return -1;
    }
    return fs_remove_tree(p->staged, err);
}

static int scan_part(void *ctx, struct table *t, size_t i, struct err *err)
{
    struct dataset *d = ctx;
    struct part *p = &d->parts[i];
    _cleanup_free_ char *relation = schema_reader(FORMAT_PARQUET, p->path, NULL);
    if (scan_run(d->plan, t, relation, p->newest, &p->scan, err) < 0)
        return part_failed(p, err);
    stage_progress(d->run, 0.4 + 0.5 * (double)(i + 1) / (double)d->n_parts, "checking rows", NULL);
    return 0;
}

static int convert_part(void *ctx, struct table *t, size_t i, struct err *err)
{
    struct dataset *d = ctx;
    return convert(d, &d->parts[i], t, err) < 0 ? part_failed(&d->parts[i], err) : 0;
}

int dataset_scan(struct dataset *d, struct err *err)
{
    if (dataset_each(d, d->n_parts, convert_part, d, err) < 0)
        return -1;
    _cleanup_free_ char *any = schema_reader(FORMAT_PARQUET, d->parts[d->n_parts - 1].path, NULL);
    if (scan_plan_new(d->tables[0], d->config, d->schema, any, stage_memory_max(d->run), &d->plan, err) < 0)
        return -1;
    /* The rows kept for the leakage test are shared out among the newest partition's files. */
    d->plan->leak_rows_max /= dataset_partition(d, &d->parts[d->n_parts - 1])->n;
    return dataset_each(d, d->n_parts, scan_part, d, err);
}

struct stats *dataset_empty_stats(const struct dataset *d)
{
    struct stats *s = xcalloc(d->schema->n ? d->schema->n : 1, sizeof *s);
    for (size_t c = 0; c < d->schema->n; c++)
        stats_init(&s[c], schema_kind(d->schema->columns[c].type));
    return s;
}

struct stats *dataset_take_stats(struct dataset *d, size_t partition)
{
    struct stats *s = dataset_empty_stats(d);
    for (size_t i = 0; i < d->n_parts; i++) {
        struct part *p = &d->parts[i];
        if (p->partition != partition)
            continue;
        /* Two sets of tallies for each of many partitions would be much memory. */
        for (size_t c = 0; c < d->schema->n; c++) {
            stats_merge(&s[c], &p->scan->columns[c]);
            stats_release(&p->scan->columns[c]);
        }
    }
    return s;
}

void dataset_stats_free(const struct dataset *d, struct stats *s)
{
    for (size_t c = 0; s && c < d->schema->n; c++)
        stats_release(&s[c]);
    free(s);
}

int64_t dataset_rows(const struct dataset *d, size_t partition)
{
    int64_t rows = 0;
    for (size_t i = 0; i < d->n_parts; i++) {
        if (partition == SIZE_MAX ? d->parts[i].in_window : d->parts[i].partition == partition)
            rows += d->parts[i].scan->rows;
    }
    return rows;
}

char *dataset_relation(const struct dataset *d, bool newest_only, const char *options)
{
    _cleanup_buf_ struct buf b = BUF_INIT(RELATION_MAX);
    (void)buf_adds(&b, "read_parquet([");
    bool first = true;
    for (size_t i = 0; i < d->n_parts; i++) {
        const struct part *p = &d->parts[i];
        if (!p->in_window || (newest_only && !p->newest))
            continue;
        _cleanup_free_ char *path = table_quote_string(p->path);
        (void)buf_addf(&b, "%s%s", first ? "" : ", ", path);
        first = false;
    }
    (void)buf_addf(&b, "], hive_partitioning = false%s%s)", *options ? ", " : "", options);
    return buf_failed(&b) ? xstrdup("read_parquet([])") : buf_take(&b);
}
