/* See run_metrics.h. */
#include "operator/controller/run_metrics.h"

#include <string.h>

#include "operator/controller/metrics.h"

static const struct item_status *item_of(const struct run_status *status, size_t s, size_t i)
{
    return s < status->n_steps && i < status->steps[s].n_items ? &status->steps[s].items[i] : NULL;
}

/* Age of the newest data that a validation which has just ended names; -1. */
static int64_t data_age(const struct item_status *before, const struct item_status *after, int64_t now_ms)
{
    const cJSON *newest =
        after->values ? cJSON_GetObjectItemCaseSensitive(after->values, "newest_time") : NULL;
    struct err ignored = ERR_INIT;
    int64_t ms;
    if (!step_state_done(after->state) || (before && before->finished_ms == after->finished_ms) ||
        after->from_run || !newest || !cJSON_IsString(newest) ||
        clock_parse_rfc3339(newest->valuestring, &ms, &ignored) < 0)
        return -1;
    return now_ms > ms ? now_ms - ms : 0;
}

void run_news_find(const struct pipeline *p, const struct run_status *before, const struct run_status *after,
                   int64_t now_ms, struct run_news *ret)
{
    bool failed_now = after->phase == PHASE_FAILED && before->phase != PHASE_FAILED;
    *ret = (struct run_news){.data_age_ms = -1};
    for (size_t s = 0; s < after->n_steps && s < p->n_steps; s++) {
        if (p->steps[s].kind != STEP_DATA_VALIDATE)
            continue;
        if (failed_now && after->steps[s].state == STATE_FAILED)
            ret->validation_failed = true;
        for (size_t i = 0; i < after->steps[s].n_items; i++) {
            int64_t age = data_age(item_of(before, s, i), &after->steps[s].items[i], now_ms);
            if (age >= 0 && (ret->data_age_ms < 0 || age < ret->data_age_ms))
                ret->data_age_ms = age;
        }
    }
}

static void count_item(struct metrics *m, const struct item_status *old, const struct item_status *now)
{
    double used = now->gpu_seconds_used - (old ? old->gpu_seconds_used : 0);
    double wasted = now->gpu_seconds_wasted - (old ? old->gpu_seconds_wasted : 0);
    if (now->fail != FAIL_NONE && now->attempt_ended_ms &&
        (!old || old->attempt_ended_ms != now->attempt_ended_ms))
        metrics_add(m, METRIC_FAILURES, (const char *const[3]){fail_class_name(now->fail)}, 1);
    if (used > 0)
        metrics_add(m, METRIC_GPU_SECONDS, (const char *const[3]){"used"}, used);
    if (wasted > 0)
        metrics_add(m, METRIC_GPU_SECONDS, (const char *const[3]){"wasted"}, wasted);
}

void run_metrics_written(struct controller *c, const char *ns, const char *pipeline,
                         const struct run_status *before, const struct run_status *after,
                         const struct run_news *news)
{
    const char *const labels[3] = {ns, pipeline};
    if (!c->metrics)
        return;
    for (size_t s = 0; s < after->n_steps; s++)
        for (size_t i = 0; i < after->steps[s].n_items; i++)
            count_item(c->metrics, item_of(before, s, i), &after->steps[s].items[i]);
    if (news->validation_failed)
        metrics_add(c->metrics, METRIC_VALIDATION_FAILURES, labels, 1);
    if (news->data_age_ms >= 0)
        metrics_set(c->metrics, METRIC_DATA_AGE, labels, (double)news->data_age_ms / 1000);
    if (after->phase == PHASE_SUCCEEDED && before->phase != PHASE_SUCCEEDED && after->started_ms)
        metrics_set(c->metrics, METRIC_TIME_TO_TRAIN, labels,
                    (double)(after->finished_ms - after->started_ms) / 1000);
}

void run_metrics_count_steps(const struct run_status *status, uint16_t ret[static RUN_METRICS_STATES])
{
    memset(ret, 0, RUN_METRICS_STATES * sizeof *ret);
    for (size_t s = 0; !run_phase_finished(status->phase) && s < status->n_steps; s++)
        ret[status->steps[s].state]++;
}
