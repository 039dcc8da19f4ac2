/* What a schema cannot say about the pipeline as a whole; the rest is in validate_*.c. See validate.h. */
#include "operator/pipeline/validate.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "operator/pipeline/dag.h"
#include "operator/pipeline/schedule.h"
#include "operator/pipeline/validate-internal.h"

/* A cycle is printed as a path: a → b → a. */
static void check_cycles(const struct decoder *d)
{
    struct err err = ERR_INIT;
    _cleanup_dag_ struct dag dag = {0};
    size_t at = 0;
    if (dag_init(&dag, d->p, &at, &err) < 0)
        decoder_step_finding(d, at, "", NULL, false, "%s", err.msg);
}

/* The zone's rules are for whoever runs the schedule; the fields mean the same in each. */
static void check_cron(const struct decoder *d, const cJSON *cron)
{
    struct schedule schedule;
    int64_t next_ms;
    struct err err = ERR_INIT;
    if (schedule_parse(cron->valuestring, NULL, &schedule, &err) < 0 ||
        schedule_next(&schedule, 0, &next_ms, &err) < 0)
        decoder_finding(d, "spec.schedule.cron", cron, false, "%s", err.msg);
}

static void check_schedule(const struct decoder *d)
{
    const cJSON *run_on = field(d->p->spec, "runOn"), *schedule = field(d->p->spec, "schedule");
    bool wanted = false;
    for (const cJSON *word = run_on ? run_on->child : NULL; word; word = word->next)
        wanted = wanted || text_equal(word->valuestring, "Schedule");
    if (wanted && !schedule)
        decoder_finding(d, "spec.schedule", run_on, false, "required field is missing: runOn names Schedule");
    if (schedule)
        check_cron(d, field(schedule, "cron"));
    if (!wanted && schedule)
        decoder_finding(d, "spec.schedule", schedule, true, "has no effect: add Schedule to runOn");
}

static void check_known_step(const struct decoder *d, const char *path, const cJSON *node)
{
    char hint[HINT_MAX];
    if (map_has(d->step_index, node->valuestring))
        return;
    decoder_hint(node->valuestring, d->step_names, hint);
    decoder_finding(d, path, node, false, "there is no step \"%.80s\"%s", node->valuestring, hint);
}

static void check_control(const struct decoder *d)
{
    const cJSON *control = field(d->p->spec, "control");
    const cJSON *from = field(field(control, "restart"), "from"), *approvals = field(control, "approvals");
    char path[96];
    size_t k = 0;
    for (const cJSON *name = from ? from->child : NULL; name; name = name->next, k++) {
        (void)snprintf(path, sizeof path, "spec.control.restart.from[%zu]", k);
        check_known_step(d, path, name);
    }
    k = 0;
    for (const cJSON *approval = approvals ? approvals->child : NULL; approval;
         approval = approval->next, k++) {
        (void)snprintf(path, sizeof path, "spec.control.approvals[%zu].step", k);
        check_known_step(d, path, field(approval, "step"));
    }
}

static void check_body(struct decoder *d, size_t step)
{
    switch (d->p->steps[step].kind) {
    case STEP_DATA_VALIDATE:
        validate_data_validate(d, step);
        break;
    case STEP_FEATURIZE:
        validate_featurize(d, step);
        break;
    case STEP_TRAIN_DDP:
        validate_train_ddp(d, step);
        break;
    case STEP_EVALUATE:
        validate_evaluate(d, step);
        break;
    default:
        break; /* the schema says it all */
    }
}

void validate(struct decoder *d)
{
    validate_parameters(d);
    check_schedule(d);
    check_control(d);
    for (size_t i = 0; i < d->p->n_steps; i++) {
        validate_references(d, i);
        validate_step(d, i);
        check_body(d, i);
    }
    check_cycles(d); /* last, for references add to what steps wait for */
}
