/* Rules on rows: counted in the pass; here they become sentences. */
#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "stages/data-validate/judge.h"

enum { ROWS_WHOLE = 10, ROW_TEXT = 600 };

cJSON *judge_sample(const struct part *p, int64_t row, const char *value)
{
    cJSON *o = json_object();
    json_add_string(o, "file", p->file->key);
    json_add_int(o, "row", row);
    if (value && *value)
        json_add_string(o, "value", value);
    return o;
}

/* Over the window's parts, in order. */
static int64_t sum_hits(const struct judge *j, size_t rule, cJSON *samples, const struct part **ret_first)
{
    int64_t n = 0;
    for (size_t i = 0; i < j->d->n_parts; i++) {
        const struct part *p = &j->d->parts[i];
        if (!p->in_window)
            continue;
        const struct rule_hits *h = &p->scan->hits[rule];
        if (h->count && !*ret_first)
            *ret_first = p;
        n += h->count;
        for (size_t k = 0; k < h->n_samples && cJSON_GetArraySize(samples) < SAMPLE_ROWS; k++)
            json_append(samples, judge_sample(p, h->samples[k].row, h->samples[k].value));
    }
    return n;
}

static void describe_range(const struct column_rule *c, char *ret, size_t size)
{
    char min[32] = "", max[32] = "";
    if (!isnan(c->min))
        json_format_double(c->min, min);
    if (!isnan(c->max))
        json_format_double(c->max, max);
    (void)snprintf(ret, size, "%s%s%s%s%s", *min ? "min " : "", min, *min && *max ? " and " : "",
                   *max ? "max " : "", max);
}

static void describe_values(const struct column_rule *c, char *ret, size_t size)
{
    size_t used = 0;
    int n = 0;
    const cJSON *v;
    ret[0] = '\0';
    cJSON_ArrayForEach(v, c->values)
    {
        size_t len = strlen(v->valuestring);
        if (used + len + 8 > size || n == 8) {
            (void)snprintf(ret + used, size - used, ", …");
            return;
        }
        used += (size_t)snprintf(ret + used, size - used, "%s%s", n++ ? ", " : "", v->valuestring);
    }
}

static void add_row_finding(struct judge *j, const struct row_rule *r, int64_t n, int64_t rows,
                            const struct part *first, cJSON *samples)
{
    struct finding *f = NULL;
    double share = rows ? (double)n / (double)rows : 0;
    const char *where = dataset_partition(j->d, first)->name;
    const cJSON *s = cJSON_GetArrayItem(samples, 0);
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(s, "value"),
                *row = cJSON_GetObjectItemCaseSensitive(s, "row");
    const char *example = cJSON_IsString(value) ? value->valuestring : "";
    int64_t at = cJSON_IsNumber(row) ? (int64_t)row->valuedouble : 0;
    char text[512];
    switch (r->kind) {
    case RULE_NULL:
        f = findings_add(&j->findings, FINDING_NULLS, r->column->level, r->column->name, share,
                         "column %s is null in %" PRId64 " of %" PRId64
                         " rows: expected none (nullable: false), found the first in %s row %" PRId64
                         " of partition %s; fill the values at their producer, or allow nulls",
                         r->column->name, n, rows, first->file->key, at, where);
        break;
    case RULE_RANGE:
        describe_range(r->column, text, sizeof text);
        f = findings_add(&j->findings, FINDING_RANGE, r->column->level, r->column->name, share,
                         "column %s is out of range in %" PRId64 " of %" PRId64
                         " rows: expected %s, found %s in %s row %" PRId64
                         "; repair the rows, or widen the range",
                         r->column->name, n, rows, text, example, first->file->key, at);
        break;
    case RULE_VALUES:
        describe_values(r->column, text, sizeof text);
        f = findings_add(&j->findings, FINDING_VALUES, r->column->level, r->column->name, share,
                         "column %s has unknown values in %" PRId64 " of %" PRId64
                         " rows: expected one of values [%s], found \"%s\" in %s row %" PRId64
                         "; repair the rows, or add the value",
                         r->column->name, n, rows, text, example, first->file->key, at);
        break;
    case RULE_PATTERN:
        f = findings_add(&j->findings, FINDING_PATTERN, r->column->level, r->column->name, share,
                         "column %s does not match its pattern in %" PRId64 " of %" PRId64
                         " rows: expected %s, found \"%s\" in %s row %" PRId64
                         "; repair the rows, or change the pattern",
                         r->column->name, n, rows, r->column->pattern, example, first->file->key, at);
        break;
    case RULE_SQL:
        if (!r->check)
            BUG("a row rule without its check");
        f = findings_add(&j->findings, FINDING_CHECK, r->check->level, r->check->name, share,
                         "check %s fails in %" PRId64 " of %" PRId64
                         " rows: expected at most maxViolations %" PRId64
                         " where not (%.200s), found the first in %s row %" PRId64
                         "; repair the rows, or change the check",
                         r->check->name, n, rows, r->check->max_violations, r->check->sql, first->file->key,
                         at);
        break;
    }
    f->samples = samples;
}

static void judge_null_shares(struct judge *j)
{
    const struct stats *newest = j->by_partition[j->d->newest];
    for (size_t c = 0; c < j->d->schema->n; c++) {
        const struct column_rule *rule = config_column(j->config, j->d->schema->columns[c].name);
        const struct stats *s = &newest[c];
        if (!rule || isnan(rule->max_null_fraction) || s->rows == 0)
            continue;
        double share = (double)s->nulls / (double)s->rows;
        if (share > rule->max_null_fraction)
            (void)findings_add(
                &j->findings, FINDING_NULLS, rule->level, rule->name, share,
                "column %s is null in %.4g %% of the rows of partition %s: expected at most maxNullFraction %.6g, found %.6g (%" PRId64
                " of %" PRId64 "); fill the values at their producer, or raise the bound",
                rule->name, 100 * share, j->d->source->partitions[j->d->newest].name, rule->max_null_fraction,
                share, s->nulls, s->rows);
    }
}

void judge_rows(struct judge *j)
{
    int64_t rows = dataset_rows(j->d, SIZE_MAX);
    for (size_t i = 0; i < j->d->plan->n_rules; i++) {
        const struct row_rule *r = &j->d->plan->rules[i];
        const struct part *first = NULL;
        cJSON *samples = json_array();
        int64_t n = sum_hits(j, i, samples, &first);
        if (first && n > (r->check ? r->check->max_violations : 0))
            add_row_finding(j, r, n, rows, first, samples);
        else
            cJSON_Delete(samples);
    }
    judge_null_shares(j);
}

static const struct part *part_by_key(const struct judge *j, const char *key)
{
    for (size_t i = 0; i < j->d->n_parts; i++) {
        if (j->d->parts[i].in_window && strcmp(j->d->parts[i].file->key, key) == 0)
            return &j->d->parts[i];
    }
    return NULL;
}

/* A rule in SQL may look at any column, so its first rows are shown whole. */
static int show_row(struct judge *j, cJSON *sample, struct err *err)
{
    const cJSON *file = cJSON_GetObjectItemCaseSensitive(sample, "file"),
                *row = cJSON_GetObjectItemCaseSensitive(sample, "row");
    const struct part *p = part_by_key(j, file->valuestring);
    if (!p)
        return 0;
    _cleanup_free_ char *path = table_quote_string(p->path);
    _cleanup_free_ char *text = NULL;
    if (table_query_string(
            j->d->tables[0], &text, err,
            "SELECT CAST(to_json(r) AS VARCHAR) FROM (SELECT * EXCLUDE (file_row_number) FROM read_parquet(%s, "
            "hive_partitioning = false, file_row_number = true) WHERE file_row_number = %" PRId64 ") AS r",
            path, (int64_t)row->valuedouble - 1) < 0)
        return -1;
    size_t n = strlen(text);
    if (n > ROW_TEXT) {
        n = ROW_TEXT;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        text[n] = '\0';
    }
    json_add_string(sample, "value", text);
    return 0;
}

int judge_show_rows(struct judge *j, struct err *err)
{
    for (size_t i = 0; i < j->findings.n; i++) {
        const struct finding *f = &j->findings.items[i];
        cJSON *sample = f->kind == FINDING_CHECK && f->samples ? f->samples->child : NULL;
        for (int n = 0; sample && n < ROWS_WHOLE; n++, sample = sample->next) {
            if (show_row(j, sample, err) < 0)
                return err_wrap(err, "check %s", f->column);
        }
    }
    return 0;
}

int judge_aggregates(struct judge *j, struct err *err)
{
    /* One thread: a sum of doubles must not depend on how many there are. */
    struct table *t = j->d->tables[0];
    _cleanup_free_ char *relation = dataset_relation(j->d, true, "");
    const char *partition = j->d->source->partitions[j->d->newest].name;
    for (size_t i = 0; i < j->config->n_checks; i++) {
        const struct check_rule *c = &j->config->checks[i];
        if (!c->aggregate)
            continue;
        double v;
        bool null;
        if (table_query_double(t, &v, &null, err, "SELECT CAST((%s\n) AS DOUBLE) FROM %s", c->aggregate,
                               relation) < 0)
            return err_wrap(err, "check %s", c->name);
        char bounds[80], min[32] = "", max[32] = "";
        if (!isnan(c->min))
            json_format_double(c->min, min);
        if (!isnan(c->max))
            json_format_double(c->max, max);
        (void)snprintf(bounds, sizeof bounds, "%s%s%s%s%s", *min ? "min " : "", min,
                       *min && *max ? " and " : "", *max ? "max " : "", max);
        if (null || isnan(v))
            (void)findings_add(&j->findings, FINDING_CHECK, c->level, c->name, 1,
                               "check %s: %.200s is undefined on partition %s: expected %s, found NULL",
                               c->name, c->aggregate, partition, bounds);
        else if (v < c->min || v > c->max)
            (void)findings_add(
                &j->findings, FINDING_CHECK, c->level, c->name, 1,
                "check %s: %.200s on partition %s: expected %s, found %.10g; see why the partition differs, or change the bounds",
                c->name, c->aggregate, partition, bounds, v);
    }
    return 0;
}
