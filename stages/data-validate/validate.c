/* The order of the work: resolve → memo → stage → schema → count → judge → write. */
#include "stages/data-validate/validate.h"

#include <math.h>

#include "common/base/alloc.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "stages/data-validate/output.h"

enum { SUMMARY_MAX = 900 };

/* Everything outside that the step looks at. */
struct sight {
    struct source *source, *serving;
    struct source **references;
    size_t n_references;
    size_t first, first_window; /* partitions */
};

static void sight_release(struct sight *s)
{
    source_free(s->source);
    source_free(s->serving);
    for (size_t i = 0; i < s->n_references; i++)
        source_free(s->references[i]);
    free(s->references);
}

static int resolve(struct stage_run *run, const struct config *c, struct sight *s, struct err *err)
{
    if (source_resolve(run, c->uri, c->format, c->partition, &s->source, err) < 0)
        return -1;
    size_t n = s->source->n_partitions;
    s->first_window = c->window && (size_t)c->window < n ? n - (size_t)c->window : 0;
    s->first = judge_first_partition(c, s->source, s->first_window);
    s->references = xcalloc(c->n_references ? c->n_references : 1, sizeof(struct source *));
    for (; s->n_references < c->n_references; s->n_references++) {
        const struct reference_rule *r = &c->references[s->n_references];
        if (source_resolve(run, r->uri, r->format, NULL, &s->references[s->n_references], err) < 0)
            return err_wrap(err, "reference %s", r->name);
    }
    if (c->serving_uri && source_resolve(run, c->serving_uri, c->serving_format, NULL, &s->serving, err) < 0)
        return err_wrap(err, "servingLogs");
    return 0;
}

static cJSON *resolved_json(const struct sight *s)
{
    cJSON *o = json_object();
    json_add(o, "source", source_listing(s->source, s->first));
    cJSON *references = json_array();
    for (size_t i = 0; i < s->n_references; i++)
        json_append(references, source_listing(s->references[i], 0));
    json_add(o, "references", references);
    if (s->serving)
        json_add(o, "serving", source_listing(s->serving, s->serving->n_partitions - 1));
    return o;
}

/* --- the clock ------------------------------------------------------------------------------------------- */

/* Ages are in no artifact: whether the data is fresh is looked at after everything else, on a memo hit as well. */
static int judge_clock(struct stage_run *run, const struct config *c, const char *partition, bool known,
                       int64_t newest_ms, int64_t warnings, struct err *err)
{
    struct findings f = {0};
    judge_freshness(&f, c, partition, known, newest_ms, stage_scheduled_ms(run));
    int r = 0;
    if (f.n && c->freshness_level == LEVEL_ERROR)
        r = err_fail(err, ERR_INVALID, EXITCODE_DATA, "validation", "%s", f.items[0].message);
    else if (f.n)
        log_warn("validation", "finding", f.items[0].message, NULL);
    stage_value_int(run, "warnings", warnings + (int64_t)(r == 0 ? f.n : 0));
    if (c->freshness_column && c->freshness_level == LEVEL_WARN)
        stage_value_bool(run, "stale", f.n > 0);
    findings_release(&f);
    return r;
}

static int finish_hit(struct stage_run *run, const struct config *c, const struct sight *s, struct err *err)
{
    const cJSON *values = stage_values(run);
    const cJSON *warnings = cJSON_GetObjectItemCaseSensitive(values, "warnings"),
                *stale = cJSON_GetObjectItemCaseSensitive(values, "stale");
    const cJSON *newest = cJSON_GetObjectItemCaseSensitive(values, "newest_time");
    int64_t newest_ms = 0, n = cJSON_IsNumber(warnings) ? (int64_t)warnings->valuedouble : 0;
    bool known = cJSON_IsString(newest);
    if (known && clock_parse_rfc3339(newest->valuestring, &newest_ms, err) < 0)
        return -1;
    return judge_clock(run, c, s->source->partitions[s->source->n_partitions - 1].name, known, newest_ms,
                       n - cJSON_IsTrue(stale), err);
}

/* --- the verdict ------------------------------------------------------------------------------------------- */

static int fail_validation(struct judge *j, struct err *err)
{
    /* What failed is no snapshot; the report is kept where people look for it. */
    struct err ignored = ERR_INIT;
    (void)fs_remove_tree(stage_output(j->d->run, "snapshot"), &ignored);
    stage_keep_on_failure(j->d->run, "report");
    if (output_report(j, err) < 0)
        return -1;
    char summary[SUMMARY_MAX];
    findings_summary(&j->findings, summary, sizeof summary);
    return err_fail(err, ERR_INVALID, EXITCODE_DATA, "validation", "%s", summary);
}

static void set_values(const struct judge *j, int64_t newest_ms, bool known)
{
    struct stage_run *run = j->d->run;
    stage_value_int(run, "rows", dataset_rows(j->d, SIZE_MAX));
    stage_value_int(run, "partitions", (int64_t)(j->d->newest - j->d->first_window + 1));
    stage_value_string(run, "newest_partition", j->d->source->partitions[j->d->newest].name);
    if (!isnan(j->max_drift))
        stage_value_double(run, "max_drift", j->max_drift);
    char text[CLOCK_RFC3339_MAX];
    clock_format_rfc3339(newest_ms, text);
    if (known)
        stage_value_string(run, "newest_time", text);
}

static int judge_all(struct judge *j, struct err *err)
{
    judge_rows(j);
    if (judge_show_rows(j, err) < 0 || judge_aggregates(j, err) < 0 || judge_unique(j, err) < 0 ||
        judge_references(j, err) < 0 || judge_baselines(j, err) < 0 || judge_leakage(j, err) < 0 ||
        judge_serving(j, err) < 0)
        return -1;
    return 0;
}

static int conclude(struct judge *j, struct err *err)
{
    const struct config *c = j->config;
    const char *partition = j->d->source->partitions[j->d->newest].name;
    int64_t newest_ms = 0;
    bool known = judge_newest_time(j, &newest_ms);
    if (c->freshness_level == LEVEL_ERROR)
        judge_freshness(&j->findings, c, partition, known, newest_ms, stage_scheduled_ms(j->d->run));
    findings_sort(&j->findings);
    for (size_t i = 0; i < j->findings.n; i++) {
        if (j->findings.items[i].level == LEVEL_WARN)
            log_warn("validation", "finding", j->findings.items[i].message, NULL);
    }
    if (findings_count(&j->findings, LEVEL_ERROR))
        return fail_validation(j, err);
    log_info("every rule holds", "rows", LOG_INT(dataset_rows(j->d, SIZE_MAX)), "partitions",
             LOG_INT(j->d->newest - j->d->first_window + 1), NULL);
    set_values(j, newest_ms, known);
    if (output_profile(j, err) < 0 || output_report(j, err) < 0)
        return -1;
    return judge_clock(j->d->run, c, partition, known, newest_ms,
                       (int64_t)findings_count(&j->findings, LEVEL_WARN), err);
}

static int validate(struct stage_run *run, const struct config *c, const struct sight *s, struct err *err)
{
    _cleanup_dataset_ struct dataset *d = NULL;
    if (dataset_open(run, "source", c, s->source, s->first, s->first_window, &d, err) < 0 ||
        dataset_stage(d, err) < 0)
        return -1;
    log_info("source staged", "files", LOG_INT(d->n_parts), "newest", s->source->partitions[d->newest].name,
             NULL);
    struct findings schema = {0};
    if (dataset_check_schema(d, &schema, err) < 0 || (d->schema && dataset_scan(d, err) < 0)) {
        findings_release(&schema);
        return -1;
    }
    struct judge j;
    judge_init(&j, d, s->first);
    j.findings = schema;
    j.references = (const struct source *const *)s->references;
    j.serving = s->serving;
    int r = d->schema ? judge_all(&j, err) : 0;
    if (r == 0 && d->schema) {
        r = conclude(&j, err);
    } else if (r == 0) {
        findings_sort(&j.findings);
        r = fail_validation(&j, err);
    }
    judge_release(&j);
    return r;
}

int validate_work(struct stage_run *run, struct err *err)
{
    _cleanup_config_ struct config *c = NULL;
    struct sight s = {0};
    bool hit = false;
    int r = config_decode(stage_config(run), &c, err);
    if (r == 0)
        r = resolve(run, c, &s, err);
    if (r == 0) {
        _cleanup_json_ cJSON *resolved = resolved_json(&s);
        r = stage_memo_lookup(run, resolved, &hit, err);
    }
    if (r == 0)
        r = hit ? finish_hit(run, c, &s, err) : validate(run, c, &s, err);
    sight_release(&s);
    return r;
}
