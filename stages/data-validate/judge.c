/* What is left: leakage, serving logs, freshness; and the judge's own life. */
#include "stages/data-validate/judge.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

void judge_init(struct judge *j, struct dataset *d, size_t first)
{
    *j =
        (struct judge){.d = d, .config = d->config, .first = first, .max_drift = NAN, .volume_baseline = NAN};
    if (!d->schema)
        return; /* the schema failed: nothing was counted */
    j->by_partition = xcalloc(d->newest + 1, sizeof *j->by_partition);
    j->accepted = xcalloc(d->newest + 1, sizeof *j->accepted);
    for (size_t p = first; p <= d->newest; p++)
        j->by_partition[p] = dataset_take_stats(d, p);
}

void judge_release(struct judge *j)
{
    for (size_t p = j->first; j->by_partition && p <= j->d->newest; p++)
        dataset_stats_free(j->d, j->by_partition[p]);
    for (size_t i = 0; i < j->n_drifts; i++)
        free(j->drifts[i].baseline);
    free(j->by_partition);
    free(j->accepted);
    free(j->drifts);
    free(j->leaks);
    table_free(j->checker);
    findings_release(&j->findings);
    *j = (struct judge){0};
}

struct stats *judge_window_stats(const struct judge *j)
{
    struct stats *total = dataset_empty_stats(j->d);
    for (size_t p = j->d->first_window; p <= j->d->newest; p++) {
        for (size_t c = 0; c < j->d->schema->n; c++)
            stats_merge(&total[c], &j->by_partition[p][c]);
    }
    return total;
}

int judge_leakage(struct judge *j, struct err *err)
{
    const struct config *c = j->config;
    if (!c->leakage_label)
        return 0;
    const struct leak_rows **rows = xcalloc(j->d->n_parts, sizeof *rows);
    size_t n = 0;
    int64_t bad = 0;
    for (size_t i = 0; i < j->d->n_parts; i++) {
        if (!j->d->parts[i].newest)
            continue;
        rows[n++] = &j->d->parts[i].scan->leak;
        bad += j->d->parts[i].scan->leak.bad_labels;
    }
    if (bad) {
        free(rows);
        return err_fail(err, ERR_INVALID, EXITCODE_DATA, "leakage",
                        "leakage.label %s: expected 0 or 1, found %" PRId64
                        " other values in the newest partition",
                        c->leakage_label, bad);
    }
    leakage_measure(j->d->plan, rows, n, j->by_partition[j->d->newest], &j->leaks, &j->n_leaks);
    free(rows);
    for (size_t i = 0; i < j->n_leaks && j->leaks[i].auc > c->leakage_max_auc; i++) {
        const char *name = j->d->schema->columns[j->leaks[i].column].name;
        (void)findings_add(
            &j->findings, FINDING_LEAKAGE, c->leakage_level, name, j->leaks[i].auc,
            "column %s predicts the label %s too well in partition %s: expected an AUC of at most maxAuc %.6g by itself, found %.4f; it may be known only after the label: remove it from the source or the features",
            name, c->leakage_label, j->d->source->partitions[j->d->newest].name, c->leakage_max_auc,
            j->leaks[i].auc);
    }
    return 0;
}

/* --- serving logs --------------------------------------------------------------------------------------------- */

static void compare_serving(struct judge *j, const struct dataset *logs, struct stats *served)
{
    const struct config *c = j->config;
    for (size_t i = 0; i < j->d->schema->n; i++) {
        const char *name = j->d->schema->columns[i].name;
        size_t k = 0;
        while (k < logs->schema->n && strcmp(logs->schema->columns[k].name, name) != 0)
            k++;
        struct drift d;
        bool wanted = !c->serving_columns || config_lists(c->serving_columns, name);
        if (!wanted || k == logs->schema->n || j->by_partition[j->d->newest][i].kind == STAT_TIME ||
            !drift_compare(c->serving_method, &served[k], &j->by_partition[j->d->newest][i], &d))
            continue;
        j->drifts = grow_array(j->drifts, &j->drift_capacity, j->n_drifts, sizeof *j->drifts);
        j->drifts[j->n_drifts++] = (struct judged_drift){.column = i,
                                                         .drift = d,
                                                         .baseline = xstrdup("the serving logs"),
                                                         .method = c->serving_method,
                                                         .max = c->serving_max,
                                                         .serving = true};
        if (d.value > c->serving_max && d.value > d.noise)
            (void)findings_add(
                &j->findings, FINDING_SERVING, c->serving_level, name, d.value,
                "column %s differs between training and serving: expected %s at most max %.6g against the serving logs, found %.4g (chance explains up to %.2g); see that both compute it alike",
                name, drift_method_names[c->serving_method], c->serving_max, d.value, d.noise);
    }
}

int judge_serving(struct judge *j, struct err *err)
{
    if (!j->serving)
        return 0;
    static const struct config no_rules;
    const struct source *source = j->serving;
    _cleanup_dataset_ struct dataset *logs = NULL;
    struct findings ignored = {0};
    size_t newest = source->n_partitions - 1;
    int r = dataset_open(j->d->run, "serving", &no_rules, source, newest, newest + 1, &logs, err);
    if (r == 0)
        r = dataset_stage(logs, err);
    if (r == 0)
        r = dataset_check_schema(logs, &ignored, err);
    if (r == 0 && !logs->schema)
        r = err_fail(err, ERR_INVALID, EXITCODE_DATA, "schema", "%s", ignored.items[0].message);
    if (r == 0)
        r = dataset_scan(logs, err);
    findings_release(&ignored);
    if (r < 0)
        return err_wrap(err, "servingLogs");
    struct stats *served = dataset_take_stats(logs, newest);
    compare_serving(j, logs, served);
    dataset_stats_free(logs, served);
    return 0;
}

/* --- freshness ------------------------------------------------------------------------------------------------ */

bool judge_newest_time(const struct judge *j, int64_t *ret_ms)
{
    for (size_t i = 0; j->config->freshness_column && i < j->d->schema->n; i++) {
        const struct stats *s = &j->by_partition[j->d->newest][i];
        if (strcmp(j->d->schema->columns[i].name, j->config->freshness_column) != 0 || s->kind != STAT_TIME ||
            !s->any)
            continue;
        *ret_ms = s->int_max / 1000;
        return true;
    }
    return false;
}

void judge_freshness(struct findings *f, const struct config *c, const char *partition, bool known,
                     int64_t newest_ms, int64_t scheduled_ms)
{
    if (!c->freshness_column)
        return;
    if (!known) {
        (void)findings_add(
            f, FINDING_FRESHNESS, c->freshness_level, c->freshness_column, 1,
            "column %s has no time in partition %s: expected one not older than maxAge %s, found none",
            c->freshness_column, partition, c->freshness_text);
        return;
    }
    int64_t age = scheduled_ms - newest_ms;
    if (age <= c->freshness_ms)
        return;
    char newest[CLOCK_RFC3339_MAX], scheduled[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(newest_ms, newest);
    clock_format_rfc3339(scheduled_ms, scheduled);
    (void)findings_add(
        f, FINDING_FRESHNESS, c->freshness_level, c->freshness_column, (double)age,
        "partition %s is stale: expected the newest %s at most maxAge %s before the scheduled time %s, found %s (%" PRId64
        "h before); see whether its producer runs",
        partition, c->freshness_column, c->freshness_text, scheduled, newest, age / 3600000);
}
