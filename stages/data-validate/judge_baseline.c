/* The newest partition against its baseline.
 *
 * Stateless: what a baseline is follows from the source alone, so a retry never compares a partition with itself. A
 * partition that fails its own error-level comparisons (null shares, volume, drift) is no baseline for later ones; each is judged
 * in order, from the oldest that is looked at, by the same rules as the newest. */
#include <inttypes.h>
#include <math.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/store/artifact.h"
#include "stages/data-validate/judge.h"

enum { PROFILE_MAX = 64 << 20 };

/* Statistics to compare with: of one partition (borrowed), of several (owned), or of a pinned profile (owned). */
struct reference_point {
    struct stats *columns; /* per schema column; kind STAT_OTHER where unknown */
    bool owned;
    double rows;
    char text[160]; /* "partition day=2026-01-30" */
};

static void release_point(const struct judge *j, struct reference_point *p)
{
    if (p->owned)
        dataset_stats_free(j->d, p->columns);
    *p = (struct reference_point){0};
}

static bool weekday_partition(const struct source *s, size_t partition, size_t *ret)
{
    int64_t day, other;
    if (!source_partition_day(s->partitions[partition].name, &day))
        return false;
    for (size_t i = partition; i-- > 0;) {
        if (source_partition_day(s->partitions[i].name, &other) && other == day - 7) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static size_t back(size_t newest, size_t n)
{
    return newest > n ? newest - n : 0;
}

static size_t first_for(const struct baseline *b, const struct source *s, size_t first)
{
    size_t newest = s->n_partitions - 1, wanted = first, weekday;
    if (b->kind == BASELINE_PREVIOUS)
        wanted = back(newest, 1);
    else if (b->kind == BASELINE_TRAILING)
        wanted = back(newest, (size_t)b->trailing);
    else if (b->kind == BASELINE_WEEKDAY && weekday_partition(s, newest, &weekday))
        wanted = weekday;
    return wanted < first ? wanted : first;
}

size_t judge_first_partition(const struct config *c, const struct source *s, size_t first_window)
{
    size_t first = first_window;
    if (c->volume)
        first = first_for(&c->volume_baseline, s, first);
    if (c->drift)
        first = first_for(&c->drift_baseline, s, first);
    return first;
}

/* --- pinned profiles ------------------------------------------------------------------------------------------ */

/* "s3://models/profile.json" or a folder with a profile artifact; the digest is of the file, or of the artifact. */
static int read_pinned(struct judge *j, const struct baseline *b, cJSON **ret, struct err *err)
{
    const char *slash = strrchr(b->uri, '/');
    if (!slash)
        return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "baseline", "baseline %s: expected a URI",
                        b->text);
    bool file = text_ends_with(b->uri, ".json");
    _cleanup_free_ char *parent = file ? xstrndup(b->uri, (size_t)(slash - b->uri)) : xstrdup(b->uri);
    _cleanup_free_ char *root = strstr(parent, "://") ? xstrdup(parent) : xasprintf("file://%s", parent);
    struct store *s;
    _cleanup_free_ char *text = NULL;
    size_t len;
    if (stage_open_store(j->d->run, root, &s, err) < 0)
        return -1;
    const char *key = file ? slash + 1 : "profile.json", *expect = b->digest;
    char digest[DIGEST_HEX], of_file[DIGEST_HEX];
    if (!file) {
        _cleanup_free_ char *manifest = NULL;
        if (store_get(s, "manifest.json", PROFILE_MAX, &manifest, &len, NULL, err) < 0)
            return err_wrap(err, "baseline %s", b->text);
        sha256_hex(manifest, len, digest);
        if (!text_equal(digest, b->digest))
            return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "baseline",
                            "baseline %s: the artifact there has the digest %s", b->text, digest);
        _cleanup_json_ cJSON *o = NULL;
        if (json_parse(manifest, len, PROFILE_MAX, &o, err) < 0)
            return -1;
        of_file[0] = '\0';
        const cJSON *f;
        cJSON_ArrayForEach(f, cJSON_GetObjectItemCaseSensitive(o, "files"))
        {
            const cJSON *name = cJSON_GetObjectItemCaseSensitive(f, "name"),
                        *sha = cJSON_GetObjectItemCaseSensitive(f, "sha256");
            if (cJSON_IsString(name) && text_equal(name->valuestring, key) && cJSON_IsString(sha))
                (void)snprintf(of_file, sizeof of_file, "%s", sha->valuestring);
        }
        expect = of_file;
    }
    if (store_get(s, key, PROFILE_MAX, &text, &len, NULL, err) < 0)
        return err_wrap(err, "baseline %s", b->text);
    sha256_hex(text, len, digest);
    if (!text_equal(digest, expect))
        return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "baseline",
                        "baseline %s: %s there has the digest %s, expected %s", b->text, key, digest, expect);
    return json_parse(text, len, PROFILE_MAX, ret, err);
}

static int pinned_point(struct judge *j, const struct baseline *b, struct reference_point *ret,
                        struct err *err)
{
    _cleanup_json_ cJSON *profile = NULL;
    if (read_pinned(j, b, &profile, err) < 0)
        return -1;
    const cJSON *newest = cJSON_GetObjectItemCaseSensitive(profile, "newest");
    const cJSON *columns = cJSON_GetObjectItemCaseSensitive(newest, "columns");
    int64_t rows;
    struct json_path path = {.key = "newest"};
    if (json_get_int(newest, &path, "rows", &rows, err) < 0)
        return err_wrap(err, "baseline %s is no profile", b->text);
    *ret = (struct reference_point){.owned = true, .rows = (double)rows};
    (void)snprintf(ret->text, sizeof ret->text, "%.150s", b->text);
    ret->columns = xcalloc(j->d->schema->n ? j->d->schema->n : 1, sizeof *ret->columns);
    for (size_t c = 0; c < j->d->schema->n; c++) {
        const cJSON *o = cJSON_GetObjectItemCaseSensitive(columns, j->d->schema->columns[c].name);
        if (!o)
            stats_init(&ret->columns[c], STAT_OTHER);
        else if (stats_from_json(o, &ret->columns[c], err) < 0)
            return err_wrap(err, "baseline %s", b->text);
    }
    return 0;
}

/* --- baselines from the source ---------------------------------------------------------------------------------- */

static void point_at(const struct judge *j, size_t partition, struct reference_point *ret)
{
    *ret = (struct reference_point){.columns = j->by_partition[partition],
                                    .rows = (double)dataset_rows(j->d, partition)};
    (void)snprintf(ret->text, sizeof ret->text, "partition %.140s", j->d->source->partitions[partition].name);
}

static bool trailing_point(const struct judge *j, size_t partition, int n, struct reference_point *ret)
{
    int found = 0;
    struct stats *sum = xcalloc(j->d->schema->n ? j->d->schema->n : 1, sizeof *sum);
    for (size_t c = 0; c < j->d->schema->n; c++)
        stats_init(&sum[c], schema_kind(j->d->schema->columns[c].type));
    double rows = 0;
    for (size_t p = partition; p-- > j->first && found < n;) {
        if (!j->accepted[p])
            continue;
        for (size_t c = 0; c < j->d->schema->n; c++)
            stats_merge(&sum[c], &j->by_partition[p][c]);
        rows += (double)dataset_rows(j->d, p);
        found++;
    }
    if (!found) {
        dataset_stats_free(j->d, sum);
        return false;
    }
    *ret = (struct reference_point){.columns = sum, .owned = true, .rows = rows / found};
    (void)snprintf(ret->text, sizeof ret->text, "the mean of %d partitions before", found);
    return true;
}

/* *ret_found false: there is none. */
static int find_point(struct judge *j, const struct baseline *b, size_t partition,
                      struct reference_point *ret, bool *ret_found, struct err *err)
{
    *ret_found = false;
    size_t weekday;
    switch (b->kind) {
    case BASELINE_PINNED:
        *ret_found = true;
        return pinned_point(j, b, ret, err);
    case BASELINE_PREVIOUS:
        for (size_t p = partition; p-- > j->first;) {
            if (j->accepted[p]) {
                point_at(j, p, ret);
                *ret_found = true;
                return 0;
            }
        }
        return 0;
    case BASELINE_WEEKDAY:
        if (weekday_partition(j->d->source, partition, &weekday) && weekday >= j->first &&
            j->accepted[weekday]) {
            point_at(j, weekday, ret);
            *ret_found = true;
        }
        return 0;
    case BASELINE_TRAILING:
        *ret_found = trailing_point(j, partition, b->trailing, ret);
        return 0;
    }
    return 0;
}

/* --- comparisons ---------------------------------------------------------------------------------------------- */

static bool drift_applies(const struct judge *j, size_t column)
{
    const char *name = j->d->schema->columns[column].name;
    if (j->config->drift_columns)
        return config_lists(j->config->drift_columns, name);
    return config_column(j->config, name) != NULL && j->by_partition[j->d->newest][column].kind != STAT_TIME;
}

static bool exceeds(const struct drift *d, double max)
{
    return d->value > max && d->value > d->noise;
}

static void keep_drift(struct judge *j, size_t column, const struct drift *d, const char *baseline)
{
    j->drifts = grow_array(j->drifts, &j->drift_capacity, j->n_drifts, sizeof *j->drifts);
    j->drifts[j->n_drifts++] = (struct judged_drift){.column = column,
                                                     .drift = *d,
                                                     .baseline = xstrdup(baseline),
                                                     .method = j->config->drift_method,
                                                     .max = j->config->drift_max};
    if (isnan(j->max_drift) || d->value > j->max_drift)
        j->max_drift = d->value;
}

/* Findings only for the newest; for the others, whether an error-level comparison fails. */
static bool compare_drift(struct judge *j, size_t partition, const struct reference_point *base)
{
    const struct config *c = j->config;
    bool fails = false, newest = partition == j->d->newest;
    for (size_t i = 0; i < j->d->schema->n; i++) {
        struct drift d;
        if (!drift_applies(j, i) ||
            !drift_compare(c->drift_method, &base->columns[i], &j->by_partition[partition][i], &d))
            continue;
        bool over = exceeds(&d, c->drift_max);
        fails = fails || over;
        if (!newest)
            continue;
        keep_drift(j, i, &d, base->text);
        if (over)
            (void)findings_add(
                &j->findings, FINDING_DRIFT, c->drift_level, j->d->schema->columns[i].name, d.value,
                "column %s drifted in partition %s: expected %s at most max %.6g against %s, found %.4g (chance explains up to %.2g); see its distribution in the report, repair the partition or raise max",
                j->d->schema->columns[i].name, j->d->source->partitions[partition].name,
                drift_method_names[c->drift_method], c->drift_max, base->text, d.value, d.noise);
    }
    return fails;
}

static bool compare_volume(struct judge *j, size_t partition, const struct reference_point *base)
{
    double rows = (double)dataset_rows(j->d, partition), tolerance = j->config->volume_tolerance;
    double change = base->rows > 0 ? (rows - base->rows) / base->rows : rows > 0 ? INFINITY : 0;
    bool fails = fabs(change) > tolerance;
    if (partition != j->d->newest)
        return fails;
    j->volume_baseline = base->rows;
    if (fails)
        (void)findings_add(
            &j->findings, FINDING_VOLUME, j->config->volume_level, NULL, fabs(change),
            "volume of partition %s: expected %.0f rows ± tolerance %.6g as in %s, found %.0f rows (%+.1f %%); see whether its producer has finished, or raise the tolerance",
            j->d->source->partitions[partition].name, base->rows, tolerance, base->text, rows, 100 * change);
    return fails;
}

static bool nulls_fail(const struct judge *j, size_t partition)
{
    for (size_t i = 0; i < j->d->schema->n; i++) {
        const struct column_rule *r = config_column(j->config, j->d->schema->columns[i].name);
        const struct stats *s = &j->by_partition[partition][i];
        if (r && r->level == LEVEL_ERROR && s->rows > 0 &&
            (double)s->nulls > r->max_null_fraction * (double)s->rows)
            return true;
    }
    return false;
}

static void no_baseline(struct judge *j, enum finding_kind kind, const struct baseline *b)
{
    (void)findings_add(&j->findings, kind, LEVEL_WARN, NULL, 0,
                       "%s is not checked: there is no baseline (%s) for partition %s yet",
                       finding_kind_names[kind], b->text, j->d->source->partitions[j->d->newest].name);
}

static int judge_partition(struct judge *j, size_t partition, struct err *err)
{
    const struct config *c = j->config;
    bool newest = partition == j->d->newest, fails = nulls_fail(j, partition);
    struct reference_point base = {0};
    bool found;
    if (c->volume && (newest || c->volume_level == LEVEL_ERROR)) {
        if (find_point(j, &c->volume_baseline, partition, &base, &found, err) < 0)
            return -1;
        if (found)
            fails |= compare_volume(j, partition, &base);
        else if (newest)
            no_baseline(j, FINDING_VOLUME, &c->volume_baseline);
        release_point(j, &base);
    }
    if (c->drift && (newest || c->drift_level == LEVEL_ERROR)) {
        if (find_point(j, &c->drift_baseline, partition, &base, &found, err) < 0)
            return -1;
        if (found)
            fails |= compare_drift(j, partition, &base);
        else if (newest)
            no_baseline(j, FINDING_DRIFT, &c->drift_baseline);
        release_point(j, &base);
    }
    j->accepted[partition] = !fails;
    return 0;
}

int judge_baselines(struct judge *j, struct err *err)
{
    for (size_t i = 0; j->config->drift_columns && i < (size_t)cJSON_GetArraySize(j->config->drift_columns);
         i++) {
        const char *name = cJSON_GetArrayItem(j->config->drift_columns, (int)i)->valuestring;
        if (!schema_find(j->d->schema, name))
            return err_fail(err, ERR_INVALID, EXITCODE_DATA, "schema",
                            "drift.columns: the source has no column \"%s\"", name);
    }
    bool only_newest = (!j->config->volume || j->config->volume_baseline.kind == BASELINE_PINNED) &&
                       (!j->config->drift || j->config->drift_baseline.kind == BASELINE_PINNED);
    for (size_t p = only_newest ? j->d->newest : j->first; p <= j->d->newest; p++) {
        if (judge_partition(j, p, err) < 0)
            return -1;
    }
    return 0;
}
