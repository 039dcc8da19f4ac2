/* report.html: what is wrong first, then what was seen. */
#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/text.h"
#include "stages/data-validate/output.h"
#include "stages/report/report.h"

enum { HISTOGRAM_BINS = 40, FINDINGS_MAX = 200 };

static size_t column_index(const struct judge *j, const char *name)
{
    for (size_t i = 0; name && j->d->schema && i < j->d->schema->n; i++) {
        if (text_equal(j->d->schema->columns[i].name, name))
            return i;
    }
    return SIZE_MAX;
}

/* --- plots ------------------------------------------------------------------------------------------------ */

/* One value a partition, from the oldest that was looked at. */
static void plot_partitions(struct report *r, const struct judge *j, const char *title, const char *y_label,
                            double threshold,
                            double (*value)(const struct judge *j, size_t partition, size_t column),
                            size_t column)
{
    size_t n = j->d->newest - j->first + 1;
    const char **labels = xcalloc(n, sizeof *labels);
    double *y = xcalloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++) {
        labels[i] = j->d->source->partitions[j->first + i].name;
        y[i] = value(j, j->first + i, column);
    }
    report_bars(r, REPORT_PLOT(.title = title, .y_label = y_label, .threshold = threshold), labels,
                &(struct report_series){.y = y, .n = n}, 1);
    free(labels);
    free(y);
}

static double rows_of(const struct judge *j, size_t partition, size_t column)
{
    (void)column;
    return (double)dataset_rows(j->d, partition);
}

static double null_share(const struct judge *j, size_t partition, size_t column)
{
    const struct stats *s = &j->by_partition[partition][column];
    return s->rows ? (double)s->nulls / (double)s->rows : NAN;
}

static void plot_drift(struct report *r, const struct judge *j, const struct judged_drift *d)
{
    const char *labels[DRIFT_BINS_MAX];
    double base[DRIFT_BINS_MAX], now[DRIFT_BINS_MAX], base_sum = 0, now_sum = 0;
    for (size_t i = 0; i < d->drift.n; i++) {
        base_sum += d->drift.base[i];
        now_sum += d->drift.now[i];
    }
    for (size_t i = 0; i < d->drift.n; i++) {
        labels[i] = d->drift.label[i];
        base[i] = d->drift.base[i] / base_sum;
        now[i] = d->drift.now[i] / now_sum;
    }
    const struct report_series series[] = {{.name = d->serving ? "serving" : "baseline",
                                            .y = base,
                                            .n = d->drift.n},
                                           {.name = "newest", .y = now, .n = d->drift.n}};
    report_bars(r, REPORT_PLOT(.title = j->d->schema->columns[d->column].name, .y_label = "share of rows"),
                labels, series, 2);
}

/* The log-histogram redrawn over equal widths between two quantiles, so that a long tail does not flatten it. */
static void plot_histogram(struct report *r, const char *name, const struct stats *s)
{
    double lo = stats_quantile(s, 0.001), hi = stats_quantile(s, 0.999), edges[HISTOGRAM_BINS + 1],
           counts[HISTOGRAM_BINS] = {0};
    int bins = HISTOGRAM_BINS;
    if (s->kind != STAT_INTEGER && s->kind != STAT_NUMBER)
        return;
    if (!(hi > lo))
        return;
    if (s->kind == STAT_INTEGER && hi - lo < HISTOGRAM_BINS) { /* a bin for each of few integers */
        bins = (int)(hi - lo) + 1;
        lo -= 0.5;
        hi = lo + bins;
    }
    for (int i = 0; i <= bins; i++)
        edges[i] = lo + (hi - lo) * i / bins;
    for (size_t i = 0; i < s->histogram.n; i++) {
        double mid =
            (histogram_edge(s->histogram.bucket[i]) + histogram_far_edge(s->histogram.bucket[i])) / 2;
        if (s->kind == STAT_INTEGER)
            mid = ceil(histogram_edge(s->histogram.bucket[i]));
        int k = (int)floor((mid - lo) / (hi - lo) * bins);
        counts[k < 0 ? 0 : k >= bins ? bins - 1 : k] += (double)s->histogram.count[i];
    }
    report_histogram(r, REPORT_PLOT(.title = name, .width = 420, .height = 180), edges,
                     &(struct report_series){.y = counts, .n = (size_t)bins}, 1);
}

/* --- findings ------------------------------------------------------------------------------------------------ */

static void show_samples(struct report *r, const cJSON *samples)
{
    if (cJSON_GetArraySize(samples) == 0)
        return;
    report_details_begin(r, "%d of the rows", cJSON_GetArraySize(samples));
    report_table_begin(r, (const char *[]){"file", "row", "value", NULL});
    const cJSON *s;
    cJSON_ArrayForEach(s, samples)
    {
        const cJSON *file = cJSON_GetObjectItemCaseSensitive(s, "file"),
                    *row = cJSON_GetObjectItemCaseSensitive(s, "row"),
                    *value = cJSON_GetObjectItemCaseSensitive(s, "value");
        report_row(r, REPORT_PLAIN);
        report_cell(r, "%s", file->valuestring);
        report_integer(r, (int64_t)row->valuedouble);
        report_cell(r, "%s", cJSON_IsString(value) ? value->valuestring : "");
    }
    report_table_end(r);
    report_details_end(r);
}

static void show_finding(struct report *r, const struct judge *j, const struct finding *f)
{
    report_section(r, f->level == LEVEL_ERROR ? REPORT_BAD : REPORT_WARN, "%s%s%s",
                   finding_kind_names[f->kind], f->column ? ": " : "", f->column ? f->column : "");
    report_text(r, "%s.", f->message);
    size_t column = column_index(j, f->column);
    const struct column_rule *rule = f->column ? config_column(j->config, f->column) : NULL;
    if (f->kind == FINDING_NULLS && column != SIZE_MAX)
        plot_partitions(r, j, "Null share by partition", "share", rule ? rule->max_null_fraction : NAN,
                        null_share, column);
    if (f->kind == FINDING_VOLUME && j->by_partition)
        plot_partitions(r, j, "Rows by partition", "rows", j->volume_baseline, rows_of, 0);
    for (size_t i = 0; i < j->n_drifts; i++) {
        bool serving = f->kind == FINDING_SERVING;
        if ((serving || f->kind == FINDING_DRIFT) && j->drifts[i].column == column &&
            j->drifts[i].serving == serving)
            plot_drift(r, j, &j->drifts[i]);
    }
    show_samples(r, f->samples);
}

/* --- what was seen ------------------------------------------------------------------------------------------- */

static void show_range(struct report *r, struct stats *s)
{
    char min[CLOCK_RFC3339_MAX] = "–", max[CLOCK_RFC3339_MAX] = "–";
    if (s->any && s->kind == STAT_TIME) {
        clock_format_rfc3339(s->int_min / 1000, min);
        clock_format_rfc3339(s->int_max / 1000, max);
    } else if (s->any && s->kind == STAT_INTEGER) {
        (void)snprintf(min, sizeof min, "%" PRId64, s->int_min);
        (void)snprintf(max, sizeof max, "%" PRId64, s->int_max);
    } else if (s->any) {
        (void)snprintf(min, sizeof min, "%.6g", s->min);
        (void)snprintf(max, sizeof max, "%.6g", s->max);
    }
    report_cell(r, "%s", min);
    report_cell(r, "%s", max);
}

static void show_columns(struct report *r, const struct judge *j)
{
    struct stats *total = judge_window_stats(j);
    report_section(r, REPORT_PLAIN, "Columns");
    report_table_begin(r, (const char *[]){"column", "type", "null", "distinct ≈", "min", "max", "mean",
                                           "median", NULL});
    for (size_t i = 0; i < j->d->schema->n; i++) {
        struct stats *s = &total[i];
        report_row(r, REPORT_PLAIN);
        report_cell(r, "%s", j->d->schema->columns[i].name);
        report_cell(r, "%s", j->d->schema->columns[i].type);
        report_percent(r, s->rows ? (double)s->nulls / (double)s->rows : NAN);
        if (s->kind == STAT_OTHER)
            report_cell(r, "–");
        else
            report_integer(r, stats_distinct(s));
        show_range(r, s);
        report_number(r, stats_mean(s));
        report_number(r, s->kind == STAT_INTEGER || s->kind == STAT_NUMBER ? stats_quantile(s, 0.5) : NAN);
    }
    report_table_end(r);
    report_details_begin(r, "Distributions in the window (0.1 %% to 99.9 %%)");
    for (size_t i = 0; i < j->d->schema->n; i++)
        plot_histogram(r, j->d->schema->columns[i].name, &total[i]);
    report_details_end(r);
    report_details_begin(r, "Most frequent values");
    report_table_begin(r, (const char *[]){"column", "value", "rows", NULL});
    for (size_t i = 0; i < j->d->schema->n; i++) {
        const struct tally_entry *top[5];
        size_t n = total[i].kind == STAT_TEXT ? stats_top(&total[i], 5, top) : 0;
        for (size_t k = 0; k < n; k++) {
            const char *key = total[i].tally.arena + top[k]->offset;
            if (!text_valid_utf8(key, top[k]->length))
                continue;
            report_row(r, REPORT_PLAIN);
            report_cell(r, "%s", k ? "" : j->d->schema->columns[i].name);
            report_cell(r, "%.*s", (int)top[k]->length, key);
            report_integer(r, top[k]->count);
        }
    }
    report_table_end(r);
    report_details_end(r);
    dataset_stats_free(j->d, total);
}

static void show_comparisons(struct report *r, const struct judge *j)
{
    if (j->n_drifts) {
        report_section(r, REPORT_PLAIN, "Distributions against the baseline");
        report_table_begin(r, (const char *[]){"column", "baseline", "measure", "value", "allowed",
                                               "chance explains", NULL});
        for (size_t i = 0; i < j->n_drifts; i++) {
            const struct judged_drift *d = &j->drifts[i];
            bool over = d->drift.value > d->max && d->drift.value > d->drift.noise;
            report_row(r, over ? REPORT_BAD : REPORT_GOOD);
            report_cell(r, "%s", j->d->schema->columns[d->column].name);
            report_cell(r, "%s", d->baseline);
            report_cell(r, "%s", drift_method_names[d->method]);
            report_number(r, d->drift.value);
            report_number(r, d->max);
            report_number(r, d->drift.noise);
        }
        report_table_end(r);
        report_details_begin(r, "Plots");
        for (size_t i = 0; i < j->n_drifts; i++)
            plot_drift(r, j, &j->drifts[i]);
        report_details_end(r);
    }
    if (!j->n_leaks)
        return;
    report_section(r, REPORT_PLAIN, "How well each column alone predicts %s", j->config->leakage_label);
    report_table_begin(r, (const char *[]){"column", "AUC", "allowed", NULL});
    for (size_t i = 0; i < j->n_leaks; i++) {
        report_row(r, j->leaks[i].auc > j->config->leakage_max_auc ? REPORT_BAD : REPORT_PLAIN);
        report_cell(r, "%s", j->d->schema->columns[j->leaks[i].column].name);
        report_number(r, j->leaks[i].auc);
        report_number(r, j->config->leakage_max_auc);
    }
    report_table_end(r);
}

static void show_partitions(struct report *r, const struct judge *j)
{
    report_section(r, REPORT_PLAIN, "Partitions");
    plot_partitions(r, j, "Rows by partition", "rows", NAN, rows_of, 0);
    int64_t newest;
    if (judge_newest_time(j, &newest)) {
        char text[CLOCK_RFC3339_MAX];
        clock_format_rfc3339(newest, text);
        report_text(r, "Newest %s: %s.", j->config->freshness_column, text);
    }
}

/* Without counts: the columns as the newest partition has them. */
static void show_schema(struct report *r, const struct judge *j)
{
    const struct part *newest = &j->d->parts[j->d->n_parts - 1];
    report_section(r, REPORT_PLAIN, "Columns of partition %s", dataset_partition(j->d, newest)->name);
    report_table_begin(r, (const char *[]){"column", "found", "expected", NULL});
    for (size_t i = 0; i < newest->found->n; i++) {
        const struct column_rule *rule = config_column(j->config, newest->found->columns[i].name);
        report_row(r, REPORT_PLAIN);
        report_cell(r, "%s", newest->found->columns[i].name);
        report_cell(r, "%s", newest->found->columns[i].type);
        report_cell(r, "%s", rule && rule->type ? rule->type : "any");
    }
    for (size_t i = 0; i < j->config->n_columns; i++) {
        if (schema_find(newest->found, j->config->columns[i].name))
            continue;
        report_row(r, REPORT_BAD);
        report_cell(r, "%s", j->config->columns[i].name);
        report_cell(r, "–");
        report_cell(r, "%s", j->config->columns[i].type ? j->config->columns[i].type : "any");
    }
    report_table_end(r);
}

static void show_summary(struct report *r, const struct judge *j, size_t errors, size_t warnings)
{
    if (errors)
        report_verdict(r, REPORT_BAD, "Failed: %zu %s broken, %zu %s", errors,
                       errors == 1 ? "rule is" : "rules are", warnings,
                       warnings == 1 ? "warning" : "warnings");
    else
        report_verdict(r, warnings ? REPORT_WARN : REPORT_GOOD, "Passed%s",
                       warnings ? ", with warnings" : "");
    if (!j->by_partition)
        return;
    report_figures_begin(r);
    report_figure(r, REPORT_PLAIN, "rows", "%" PRId64, dataset_rows(j->d, SIZE_MAX));
    report_figure(r, REPORT_PLAIN, "partitions", "%zu", j->d->newest - j->d->first_window + 1);
    report_figure(r, REPORT_PLAIN, "columns", "%zu", j->d->schema->n);
    report_figure(r, errors ? REPORT_BAD : REPORT_GOOD, "broken rules", "%zu", errors);
    report_figure(r, warnings ? REPORT_WARN : REPORT_GOOD, "warnings", "%zu", warnings);
    if (!isnan(j->max_drift))
        report_figure(r, REPORT_PLAIN, "largest drift", "%.4g", j->max_drift);
    report_figures_end(r);
}

int output_report(const struct judge *j, struct err *err)
{
    const struct dataset *d = j->d;
    size_t errors = findings_count(&j->findings, LEVEL_ERROR),
           warnings = findings_count(&j->findings, LEVEL_WARN);
    _cleanup_free_ char *subtitle =
        xasprintf("Partitions %s to %s", d->source->partitions[d->first_window].name,
                  d->source->partitions[d->newest].name);
    _cleanup_report_ struct report *r = report_new("Data validation", subtitle);
    show_summary(r, j, errors, warnings);
    for (size_t i = 0; i < j->findings.n && i < FINDINGS_MAX; i++)
        show_finding(r, j, &j->findings.items[i]);
    if (j->findings.n > FINDINGS_MAX)
        report_text(r, "%zu more findings are in violations.json.", j->findings.n - FINDINGS_MAX);
    if (j->by_partition) {
        show_partitions(r, j);
        show_comparisons(r, j);
        show_columns(r, j);
    } else {
        show_schema(r, j);
    }
    _cleanup_buf_ struct buf html = BUF_INIT(LIMIT_REPORT_BYTES);
    if (report_finish(r, &html, err) < 0)
        return -1;
    const char *dir = stage_output(d->run, "report");
    _cleanup_free_ char *path = fs_join(dir, "report.html");
    if (fs_write_atomic(path, html.data, html.len, err) < 0)
        return -1;
    return output_violations(j, dir, err);
}
