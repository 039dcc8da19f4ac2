/* Jobs and pods → attempts; see observing.h. */
#include "operator/controller/observing.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/pipeline/jobspec.h"

static size_t count_items(const struct run_status *status)
{
    size_t n = 0;
    for (size_t s = 0; s < status->n_steps; s++)
        n += status->steps[s].n_items;
    return n;
}

static const struct item_status *item_of(const struct run_status *status, size_t step, int64_t item)
{
    const struct step_status *s = step < status->n_steps ? &status->steps[step] : NULL;
    return s && item >= 0 && (size_t)item < s->n_items ? &s->items[item] : NULL;
}

/* What the step last said; the status keeps it meanwhile, so that not every post is a write. */
static void add_progress(const struct observing_source *source, const char *step,
                         const struct item_status *item, struct observed_attempt *a)
{
    if (item && item->attempt == a->attempt)
        a->progress = item->progress;
    if (source->progress)
        (void)source->progress(source->ctx, step, a->item, a->attempt, &a->progress, &a->checkpoint_step);
}

/* Its kubelet should have ended it long ago. */
static void find_lost(struct observing *o, const struct observing_source *source, const struct seen_pod *pod,
                      struct observed_pod *view)
{
    if (pod->kill_ms == 0 || view->phase == POD_SUCCEEDED || view->phase == POD_FAILED)
        return;
    int64_t due = pod->kill_ms + OBSERVING_LOST_MS;
    if (source->now_ms < due) {
        if (o->look_again_ms == 0 || due < o->look_again_ms)
            o->look_again_ms = due;
        return;
    }
    view->phase = POD_FAILED;
    view->reason = "NodeLost";
    if (!view->detail)
        view->detail = "it was told to end, and its node has not said that it did";
}

static struct observed_pod *add_pods(struct observing *o, const struct observing_source *source,
                                     const char *job_uid, struct observed_pod *to)
{
    for (size_t i = 0; i < source->n_pods; i++) {
        if (!text_equal(source->pods[i]->job_uid, job_uid))
            continue;
        *to = source->pods[i]->view;
        find_lost(o, source, source->pods[i], to++);
    }
    return to;
}

static bool has_job(const struct observing_source *source, const char *step, int64_t item, int attempt)
{
    for (size_t i = 0; i < source->n_jobs; i++) {
        const struct seen_job *j = source->jobs[i];
        if (j->attempt == attempt && j->item == item && text_equal(j->step, step))
            return true;
    }
    return false;
}

/* An attempt of the status that no Job stands for. True if it is to be reported. */
static bool without_job(const struct observing_source *source, const struct step_status *step, bool fanout,
                        size_t item, struct observed_attempt *ret, struct observed_pod *pod)
{
    const struct item_status *i = &step->items[item];
    if (i->attempt == 0 || i->attempt_over || has_job(source, step->name, (int64_t)item, i->attempt))
        return false;
    _cleanup_free_ char *name =
        plan_job_name(source->run_name, step->name, fanout, (int64_t)item, i->attempt);
    const char *why = source->refused ? source->refused(source->ctx, name) : NULL;
    if (why) {
        *pod = OBSERVED_POD_INIT;
        pod->phase = POD_FAILED;
        pod->exit_code = EXITCODE_CONFIG;
        pod->detail = why;
        ret->pods = pod;
        ret->n_pods = 1;
    } else if (i->state != STATE_RUNNING || i->stop_at_ms || source->was_seen(source->ctx, name)) {
        ret->gone = true;
    } else {
        return false;
    }
    ret->item = (int64_t)item;
    ret->restart = i->restart;
    ret->attempt = i->attempt;
    return true;
}

void observing_init(struct observing *o, const struct observing_source *source, const struct pipeline *p,
                    const struct run_status *status)
{
    size_t items = count_items(status), n = 0;
    *o = (struct observing){.attempts = xcalloc(source->n_jobs + items + 1, sizeof *o->attempts),
                            .pods = xcalloc(source->n_pods + items + 1, sizeof *o->pods)};
    struct observed_pod *pods = o->pods;
    for (size_t i = 0; i < source->n_jobs; i++) {
        const struct seen_job *j = source->jobs[i];
        long step = j->step ? pipeline_find_step(p, j->step) : -1;
        if (step < 0 || j->attempt < 1)
            continue;
        struct observed_attempt *a = &o->attempts[n++];
        *a = OBSERVED_ATTEMPT_INIT;
        a->step = (size_t)step;
        a->item = j->item;
        a->restart = j->restart;
        a->attempt = j->attempt;
        a->deleting = j->meta.deleting;
        a->suspended = j->suspended;
        a->job_condition = j->condition;
        a->failed_rule = j->failed_rule;
        a->created_ms = j->meta.created_ms;
        a->completed_ms = text_equal(j->condition, "Complete") ? j->condition_ms : 0;
        a->pods = pods;
        pods = add_pods(o, source, j->meta.uid, pods);
        a->n_pods = (size_t)(pods - a->pods);
        add_progress(source, j->step, item_of(status, a->step, a->item), a);
    }
    for (size_t s = 0; s < status->n_steps; s++) {
        for (size_t i = 0; i < status->steps[s].n_items; i++) {
            struct observed_attempt a = OBSERVED_ATTEMPT_INIT;
            a.step = s;
            if (!without_job(source, &status->steps[s], p->steps[s].fanout.n_axes > 0, i, &a, pods))
                continue;
            pods += a.n_pods;
            o->attempts[n++] = a;
        }
    }
    o->observed = (struct observed){.attempts = o->attempts, .n = n};
}

void observing_release(struct observing *o)
{
    free(o->attempts);
    free(o->pods);
    *o = (struct observing){.attempts = NULL};
}

bool observing_disagrees(const struct seen_job *job, const struct pipeline *p,
                         const struct run_status *status)
{
    long step = job->step ? pipeline_find_step(p, job->step) : -1;
    const struct item_status *item = step < 0 ? NULL : item_of(status, (size_t)step, job->item);
    return item && item->state == STATE_SUCCEEDED && item->attempt == job->attempt && job->condition &&
           !text_equal(job->condition, "Complete");
}
