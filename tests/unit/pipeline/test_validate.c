/* What a schema cannot say: each sample changes one thing in the documented manifest. */
#include "tests/unit/pipeline/manifest.h"

struct sample {
    const char *name, *from, *to;
    const char *expected; /* in "line: path: message" of the findings */
    bool accepted;        /* only a warning, or nothing at all with "" expected */
};

static void check(const char *file, const struct sample *samples, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct sample *s = &samples[i];
        char *text = manifest_with(file, s->from, s->to);
        struct findings findings = {0};
        struct err err = ERR_INIT;
        struct pipeline *p = NULL;
        int rc = pipeline_decode_yaml(text, strlen(text), "p.yaml", &p, &findings, &err);
        char *found = findings_text(&findings);
        if ((rc == 0) != s->accepted)
            fail_msg("%s: %s:\n%s", s->name, rc == 0 ? "accepted" : err.msg, found);
        if (rc < 0 && err_exit_code(&err) != EXITCODE_CONFIG)
            fail_msg("%s: exit code %d", s->name, err_exit_code(&err));
        if (*s->expected ? !strstr(found, s->expected) : *found)
            fail_msg("%s: expected \"%s\" in:\n%s", s->name, s->expected, found);
        for (size_t k = 0; k < findings.n; k++) {
            if (findings.items[k].line == 0)
                fail_msg("%s: no line: %s: %s", s->name, findings.items[k].path, findings.items[k].message);
        }
        free(found);
        free(text);
        pipeline_free(p);
        findings_release(&findings);
    }
}

static void test_references_between_steps(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"an unknown producer", "from: validate.snapshot", "from: validat.snapshot",
         "41: spec.steps[1].inputs[0].from: there is no step \"validat\"; did you mean \"validate\"?", false},
        {"an unknown output", "from: validate.snapshot", "from: validate.snapshots",
         "spec.steps[1].inputs[0].from: the step \"validate\" has no output \"snapshots\", only: snapshot, profile, report; did you mean \"snapshot\"?",
         false},
        {"its own output", "from: validate.snapshot", "from: features.features",
         "spec.steps[1].inputs[0].from: a step cannot take its own output", false},
        {"a container without outputs", "from: validate.snapshot", "from: notify.table",
         "the step \"notify\" declares no outputs: add container.outputs: [table]", false},
        {"after an unknown step", "- name: register\n", "- name: register\n      after: [evaluat]\n",
         "spec.steps[4].after[0]: there is no step \"evaluat\"; did you mean \"evaluate\"?", false},
        {"after itself", "- name: register\n", "- name: register\n      after: [register]\n",
         "spec.steps[4].after[0]: a step cannot wait for itself", false},
        {"a circle by after", "- name: validate\n", "- name: validate\n      after: [train]\n",
         "25: spec.steps[0]: the steps wait for each other in a circle: validate → features → train → validate; remove one of these inputs, after or references",
         false},
        {"a circle by a value", "- name: validate\n",
         "- name: validate\n      when: steps.register.values.created\n",
         "the steps wait for each other in a circle: validate → features → train → register → validate",
         false},
        {"a circle of two", "- name: notify\n      finally: true",
         "- name: other\n      after: [notify]\n      approval: {message: x}\n    - name: notify\n      after: [other]",
         "in a circle: other → notify → other", false},
        {"from a finally step", "- name: register\n", "- name: register\n      after: [notify]\n",
         "spec.steps[4].after: \"notify\" is a finally step: only finally steps can wait for it", false},
        {"an unknown step to restart", "# control: {run: click-ranker-7, suspend: true}",
         "control: {run: r, restart: {id: a, from: [trian]}}",
         "23: spec.control.restart.from[0]: there is no step \"trian\"; did you mean \"train\"?", false},
        {"an unknown step to approve", "# control: {run: click-ranker-7, suspend: true}",
         "control: {run: r, approvals: [{step: ask, by: ann}]}",
         "spec.control.approvals[0].step: there is no step \"ask\"", false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_conditions_and_references(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"a value that does not exist", "values.gate_passed", "values.gate_pased",
         "spec.steps[4].when: column 1: there is no value of the step \"evaluate\" called \"gate_pased\"; did you mean \"gate_passed\"?",
         false},
        {"a condition that is a number", "values.gate_passed", "values.auc",
         "spec.steps[4].when: expected a condition (true or false), found a number", false},
        {"a condition of mixed types", "values.gate_passed", "values.auc > '1'",
         "spec.steps[4].when: column 27: a number cannot be compared with a string", false},
        {"a condition that does not parse", "values.gate_passed", "values.auc >",
         "expected a value, found the end", false},
        {"a condition in brackets", "\"steps.evaluate.values.gate_passed\"",
         "\"$(steps.evaluate.values.gate_passed)\"",
         "the condition is an expression already: write names without $(…)", false},
        {"a metric's value", "values.gate_passed", "values.ndcg_at_10 > 0.5", "", true},
        {"a difference from the baseline", "values.gate_passed", "values.delta_auc > 0", "", true},
        {"an unknown root", "steps.evaluate.values.gate_passed", "step.evaluate.ok",
         "there is no name \"step\"; did you mean \"steps\"?", false},
        {"a step that does not exist", "steps.evaluate.values", "steps.evaluates.values",
         "there is no step \"evaluates\"; did you mean \"evaluate\"?", false},
        {"a field of run that does not exist", "$(run.phase)", "$(run.state)",
         "spec.steps[5].container.args[1]: $(run.state): column 1: there is no field of run called \"state\"",
         false},
        {"the run's phase before its end", "steps.evaluate.values.gate_passed", "run.phase == 'Running'",
         "warning: run.phase is always Running before the end of a run", true},
        {"a parameter that does not exist", "$(params.epochs)", "$(params.epoch)",
         "spec.steps[2].trainDdp.epochs: $(params.epoch): column 1: there is no parameter \"epoch\"; did you mean \"epochs\"?",
         false},
        {"text for a whole number", "epochs: $(params.epochs)", "epochs: $(params.day)",
         "spec.steps[2].trainDdp.epochs: expected a whole number, but $(params.day) is a string: give the parameter the type integer",
         false},
        {"arithmetic in a reference", "$(params.epochs)", "$(params.epochs + 1)",
         "only a name or date(…) may stand in $(…)", false},
        {"an unclosed reference", "day=$(params.day)", "day=$(params.day",
         "spec.steps[0].dataValidate.source.partition: the reference \"$(params.day\" has no closing \")\"",
         false},
        {"another's $( passes", "day=$(params.day)", "day=$(HOME)", "", true},
        {"an item without fan-out", "day=$(params.day)", "day=$(item)",
         "item has a value only in a step with foreach", false},
        {"an axis without matrix", "day=$(params.day)", "day=$(matrix.k)",
         "matrix.k has a value only in a step with matrix", false},
        {"its own value", "day=$(params.day)", "day=$(steps.validate.values.rows)",
         "a step cannot use its own values", false},
        {"a reference in SQL", "clicked in (0, 1)", "day = $(params.day)", "", true},
        {"a reference within quotes in SQL", "clicked in (0, 1)", "day = '$(params.day)'",
         "spec.steps[0].dataValidate.checks[0].sql: $(params.day) stands within quotes: remove them, for the value is inserted as an SQL literal",
         false},
        {"a default of the wrong type", "default: \"3\"", "default: three",
         "20: spec.parameters[1].default: expected a whole number, found \"three\"", false},
        {"a default made of another parameter", "default: \"3\"", "default: $(params.day)",
         "a parameter's default cannot use another parameter", false},
        {"a date in a default with a named zone", "'-1d')", "'-1d', 'Europe/Berlin')",
         "spec.parameters[0].default: $(date(", false},
        {"a date in a default with an unknown format", "'%Y-%m-%d'", "'%Y-%Q'",
         "the date format \"%Y-%Q\" has %Q", false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_set(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"a number from a parameter", "workers: 8",
         "set: [{field: trainDdp.optimizers.dense.adamw.lr, value: $(params.epochs)}]\n      workers: 8", "",
         true},
        {"a field that does not exist", "workers: 8",
         "set: [{field: trainDdp.optimizers.dense.adamw.rate, value: \"1\"}]\n      workers: 8",
         "spec.steps[2].set[0].field: there is no field \"rate\"", false},
        {"a field with a typo", "workers: 8",
         "set: [{field: trainDdp.optimisers.dense.adamw.lr, value: \"1\"}]\n      workers: 8",
         "did you mean \"optimizers\"?", false},
        {"a field outside the body", "workers: 8",
         "set: [{field: resources.gpu, value: \"1\"}]\n      workers: 8",
         "expected a path that begins with the step's body, \"trainDdp.…\", found \"resources.gpu\"", false},
        {"text for a number", "workers: 8",
         "set: [{field: trainDdp.clip.globalNorm, value: $(params.day)}]\n      workers: 8",
         "spec.steps[2].set[0].value: the field takes a value of type number, but $(params.day) is a string",
         false},
        {"a constant of the wrong type", "workers: 8",
         "set: [{field: trainDdp.clip.globalNorm, value: much}]\n      workers: 8",
         "spec.steps[2].set[0].value: expected a number, found \"much\"", false},
        {"a constant out of range", "workers: 8",
         "set: [{field: trainDdp.network.dcnV2.dropout, value: \"2\"}]\n      workers: 8",
         "spec.steps[2].set[0].value: expected at most 0.99, found 2", false},
        {"a choice that does not exist", "workers: 8",
         "set: [{field: trainDdp.precision, value: fp8}]\n      workers: 8",
         "expected one of fp32, bf16, fp16, found \"fp8\"", false},
        {"another alternative than the body's", "workers: 8",
         "set: [{field: trainDdp.optimizers.dense.sgd.lr, value: \"1\"}]\n      workers: 8",
         "spec.steps[2].set[0].field: the body has adamw there, not sgd: write the one you mean in the body",
         false},
        {"an element of a list", "workers: 8",
         "set: [{field: \"trainDdp.schedule.decay.steps.at[0]\", value: \"0.5\"}]\n      workers: 8", "",
         true},
        {"an element that is not there", "workers: 8",
         "set: [{field: \"trainDdp.schedule.decay.steps.at[7]\", value: \"0.5\"}]\n      workers: 8",
         "there is no element [7]", false},
        {"a mapping", "workers: 8", "set: [{field: trainDdp.clip, value: x}]\n      workers: 8",
         "the field is a mapping; set the fields in it one by one", false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_inputs_workers_and_pods(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"an input of another kind", "{name: features, from: features.features}]\n      workers",
         "{name: features, from: validate.snapshot}]\n      workers",
         "spec.steps[2].inputs[0].from: the input \"features\" takes the output \"features\" of a featurize step, but \"validate.snapshot\" is the output of a dataValidate step",
         false},
        {"an input that the stage does not know", "[{name: snapshot, from", "[{name: snapshots, from",
         "featurize steps take no input \"snapshots\" (known: snapshot); did you mean \"snapshot\"?", false},
        {"a missing input", "{name: features, from: features.features}, {name: model", "{name: model",
         "spec.steps[3].inputs: evaluate steps need the input \"features\": add {name: features, from: <a featurize step>.features}",
         false},
        {"inputs of a step that takes none", "- name: validate\n",
         "- name: validate\n      inputs: [{name: x, from: register.version}]\n",
         "dataValidate steps take no input \"x\" (known: none); to wait for a step, use after", false},
        {"workers of a step that works alone", "- name: evaluate\n", "- name: evaluate\n      workers: 2\n",
         "spec.steps[3].workers: evaluate steps work alone: expected 1, found 2", false},
        {"fewer workers at least", "minWorkers: 8", "minWorkers: 4",
         "spec.steps[2].minWorkers: expected the number of workers, 8, found 4: elastic training does not exist yet",
         false},
        {"a GPU for a step that uses none", "- name: evaluate\n",
         "- name: evaluate\n      resources: {gpu: 1}\n",
         "spec.steps[3].resources.gpu: warning: evaluate steps do not use GPUs", true},
        {"a longest wait below the first", "maxBackoffSeconds: 300", "maxBackoffSeconds: 5",
         "spec.steps[2].retry.maxBackoffSeconds: expected at least backoffSeconds, 10, found 5", false},
        {"a memory maximum below the start", "max: 64Gi", "max: 16Gi",
         "spec.steps[2].retry.memory.max: expected at least resources.memory, \"32Gi\", found \"16Gi\"",
         false},
        {"a cache where none works", "- name: evaluate\n", "- name: evaluate\n      cache: {enabled: true}\n",
         "spec.steps[3].cache.enabled: warning: has no effect: evaluate steps always look", true},
        {"a reserved label", "nodeSelector: {pool: gpu-spot}", "labels: {trainyard.dev/run: x}",
         "podTemplate.labels.trainyard.dev/run: trainyard.dev/ is reserved", false},
        {"a mount without a volume", "nodeSelector: {pool: gpu-spot}",
         "volumeMounts: [{name: v, mountPath: /v}]",
         "podTemplate.volumeMounts[0]: there is no volume \"v\" in podTemplate.volumes", false},
        {"a mount in our place", "nodeSelector: {pool: gpu-spot}",
         "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /trainyard/in}]",
         "/trainyard is reserved, found the mountPath \"/trainyard/in\"", false},
        {"a host path", "nodeSelector: {pool: gpu-spot}", "volumes: [{name: v, hostPath: {path: /}}]",
         "podTemplate.volumes[0].hostPath: unknown field", false},
        {"the host's network", "nodeSelector: {pool: gpu-spot}", "hostNetwork: true",
         "podTemplate.hostNetwork: unknown field", false},
        {"a reserved variable", "runAsUser: 101", "env: [{name: TRAINYARD_X, value: v}]",
         "spec.steps[5].container.env[0]: names that begin with TRAINYARD_ are reserved", false},
        {"a schedule without its cron", "schedule: {cron", "# schedule: {cron",
         "spec.schedule: required field is missing: runOn names Schedule", false},
        {"a schedule with a minute too late", "0 2 * * *", "60 2 * * *",
         "17: spec.schedule.cron: cron: field minute: \"60\" is out of range", false},
        {"a schedule that never comes", "0 2 * * *", "0 0 30 2 *",
         "17: spec.schedule.cron: the schedule has no time within eight years", false},
        {"a schedule by name", "0 2 * * *", "@daily", "", true},
        {"a schedule that nothing uses", "[SpecChange, Schedule]", "[SpecChange]",
         "17: spec.schedule: warning: has no effect: add Schedule to runOn", true},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_fanout(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"items", "- name: notify\n", "- name: notify\n      foreach: {items: [a, b]}\n", "", true},
        {"an item in the body", "- name: notify\n      finally: true\n      container:",
         "- name: notify\n      foreach: {items: [a, b]}\n      container:\n        workingDir: /$(item)",
         "run.phase", true},
        {"a step named like an item's Job", "- name: notify\n",
         "- name: notify-1\n      approval: {message: x}\n    - name: notify\n      foreach: {items: [a, b]}\n",
         "spec.steps[5].name: the Jobs of the step \"notify-1\" and of item 1 of the fan-out \"notify\" would have equal names: give one of the steps another name",
         false},
        {"a fan-out after the step of that name", "- name: notify\n",
         "- name: notify\n      foreach: {items: [a]}\n      container: {image: x}\n    - name: notify-0\n",
         "spec.steps[6].name: the Jobs of the step \"notify-0\" and of item 0 of the fan-out \"notify\"",
         false},
        {"a step named nearly like one", "- name: notify\n",
         "- name: notify-01\n      approval: {message: x}\n    - name: notify-1a\n      approval: {message: x}\n    - name: notify\n      foreach: {items: [a, b]}\n",
         "", true},
        {"two fan-outs never meet", "- name: notify\n",
         "- name: notify\n      foreach: {items: [a]}\n      container: {image: x}\n    - name: notify-1\n      foreach: {items: [a, b]}\n",
         "", true},
        {"both kinds", "- name: notify\n",
         "- name: notify\n      foreach: {items: [a]}\n      matrix: {axes: {k: [b]}}\n",
         "spec.steps[5].matrix: foreach and matrix exclude each other", false},
        {"more successes than items", "- name: notify\n",
         "- name: notify\n      foreach: {items: [a, b], minSuccess: 3}\n",
         "spec.steps[5].foreach.minSuccess: expected at most 2, the number of items, found 3", false},
        {"an axis' name with capitals", "- name: notify\n",
         "- name: notify\n      matrix: {axes: {K: [a]}}\n",
         "spec.steps[5].matrix.axes.K: expected an axis name of lower-case letters", false},
        {"an unknown axis", "- name: notify\n      finally: true\n      container:",
         "- name: notify\n      matrix: {axes: {rate: [a]}}\n      container:\n        workingDir: /$(matrix.rates)",
         "there is no axis of matrix called \"rates\"; did you mean \"rate\"?", false},
        {"a list that is none", "- name: notify\n", "- name: notify\n      foreach: {from: $(params.day)}\n",
         "spec.steps[5].foreach.from: expected a list", false},
        {"a list that does not exist", "- name: notify\n",
         "- name: notify\n      foreach: {from: $(params.days)}\n",
         "there is no parameter \"days\"; did you mean \"day\"?", false},
        {"a fan-out for a stage's input", "- name: features\n",
         "- name: features\n      foreach: {items: [a, b]}\n",
         "spec.steps[2].inputs[0].from: the input \"features\" takes one artifact, but \"features\" fans out and gives a list",
         false},
        {"an item made of items", "- name: notify\n",
         "- name: notify\n      foreach: {items: [\"$(item)\"]}\n",
         "spec.steps[5].foreach.items[0]: an item cannot be made of items", false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_bodies_of_data_steps(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"bounds that exclude each other", "type: double, min: 0,", "type: double, min: 2, max: 1,",
         "spec.steps[0].dataValidate.columns[1]: min (2) is above max (1)", false},
        {"no nulls and some nulls", "type: int64, nullable: false",
         "type: int64, nullable: false, maxNullFraction: 0.5",
         "nullable: false allows no nulls, maxNullFraction: 0.5 allows some", false},
        {"an aggregate without bounds", "\"count(distinct session_id)\", min: 1000",
         "\"count(distinct session_id)\"", "checks[1]: an aggregate rule needs min or max", false},
        {"bounds of a row rule", "\"clicked in (0, 1)\", maxViolations: 0", "\"clicked in (0, 1)\", min: 0",
         "checks[0]: min and max bound an aggregate", false},
        {"a baseline of the wrong form", "volume: {baseline: previous", "volume: {baseline: last",
         "spec.steps[0].dataValidate.volume.baseline: \"last\" does not match", false},
        {"split by time without time", "        time: time\n", "",
         "spec.steps[1].featurize.time: required field is missing: split by time", false},
        {"split by time with a share", "validation: 2d", "validation: \"0.1\"",
         "spec.steps[1].featurize.split.validation: split by time: expected a length such as 2d, found \"0.1\"",
         false},
        {"split by hash with a length", "split: {by: time", "split: {by: hash",
         "split by hash: expected a share such as \"0.1\", found \"2d\"", false},
        {"folds of a split that has none", "boundary: day", "folds: 5",
         "spec.steps[1].featurize.split.folds: belongs to split by folds, but the split is by time", false},
        {"a feature of two sources", "sql: \"ln(1 + price)\"", "column: price, sql: \"ln(1 + price)\"",
         "features[0]: expected exactly one of the fields column, sql, cross; found column, sql", false},
        {"a feature of no kind", ", categorical: {values: {from: 0, to: 23}}", "",
         "features[1]: expected exactly one of the fields numeric, categorical, sequence; found none of them",
         false},
        {"a feature's name twice", "{name: hour", "{name: price",
         "features[1]: name \"price\" occurs already in spec.steps[1].featurize.features[0]", false},
        {"a cross of a feature that does not exist", "# {name: seg_x_cat, cross: [segment, category]",
         "- {name: seg_x_cat, cross: [segments, category]",
         "features[8]: there is no feature \"segments\"; did you mean \"segment\"?", false},
        {"a cross of a number", "# {name: seg_x_cat, cross: [segment, category]",
         "- {name: seg_x_cat, cross: [price, category]", "\"price\" is not a plain categorical feature",
         false},
        {"a cross", "# {name: seg_x_cat", "- {name: seg_x_cat", "", true},
        {"a cross by vocabulary",
         "# {name: seg_x_cat, cross: [segment, category], categorical: {hash: {function: xxh64, seed: 2, buckets: 4096}}}",
         "- {name: seg_x_cat, cross: [segment, category], categorical: {vocabulary: {}}}",
         "features[8]: a cross is categorical, by hash", false},
        {"a sequence", "# {name: history", "- {name: history",
         "features[8]: sequence features are not available in this version", false},
        {"a window over earlier rows", "# derive: [{name, sql, pointInTime: time}]",
         "derive: [{name: a, sql: \"count(*) OVER (PARTITION BY user_id)\", pointInTime: time}]", "", true},
        {"values in the wrong order", "{from: 0, to: 23}", "{from: 23, to: 0}",
         "features[1]: from (23) is above to (0)", false},
        {"clips in the wrong order", "[0.001, 0.999]", "[0.9, 0.1]",
         "clip: expected two rising quantiles, found 0.9 and 0.1", false},
        {"relevance without a group",
         "        group: session_id                             # ranking query; never straddles splits\n",
         "        # group\n",
         "ndcg@10 is measured within groups, but the step \"features\" has no featurize.group", false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_bodies_of_training_and_evaluation(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"an embedding of a feature that does not exist", "perFeature: {item: 32}", "perFeature: {items: 32}",
         "spec.steps[2].trainDdp.embeddings.perFeature.items: the step \"features\" makes no feature \"items\"; did you mean \"item\"?",
         false},
        {"an embedding of a number", "perFeature: {item: 32}", "perFeature: {price: 32}",
         "\"price\" is a numeric feature: only categorical ones have embeddings", false},
        {"a loss for other labels", "loss: {bce: {labelSmoothing: 0}}", "loss: {mse: {}}",
         "spec.steps[2].trainDdp.loss: mse is for labels of type number or relevance, but the step \"features\" makes one of type binary",
         false},
        {"a stopping metric that is not measured", "metric: auc, patience", "metric: mse, patience",
         "spec.steps[2].trainDdp.earlyStopping.metric: \"mse\" is not in trainDdp.validation.metrics: add it there",
         false},
        {"a stopping metric that does not exist", "metric: auc, patience", "metric: aucs, patience",
         "trainDdp.earlyStopping.metric: expected one of auc, logloss, mse, loss, found \"aucs\"; did you mean \"auc\"?",
         false},
        {"stopping by the loss", "metric: auc, patience", "metric: loss, patience", "", true},
        {"half precision without a GPU", "{gpu: 1, cpu: \"8\"", "{cpu: \"8\"",
         "spec.steps[2].trainDdp.precision: bf16 needs a GPU (resources.gpu): CPUs train in fp32", false},
        {"stopping without validation", "        validation: {every", "        # validation: {every",
         "spec.steps[2].trainDdp.earlyStopping.metric: \"auc\" is not in trainDdp.validation.metrics", false},
        {"a batch smaller than the workers", "global: 65536", "global: 4",
         "spec.steps[2].trainDdp.batch.global: expected at least one row for each of 8 ranks times 1 parts, found 4",
         false},
        {"decay points in the wrong order", "[0.6, 0.85]", "[0.85, 0.6]",
         "expected rising points, found 0.85 before 0.6", false},
        {"cpu with a GPU", "device: auto", "device: cpu",
         "spec.steps[2].trainDdp.device: warning: resources.gpu is 1, but the device is cpu", true},
        {"a gate on a metric that is not measured", "{metric: auc, min: 0.70}", "{metric: acc, min: 0.70}",
         "spec.steps[3].evaluate.gate[1].metric: \"acc\" is not in evaluate.metrics; did you mean \"auc\"?",
         false},
        {"a difference without a baseline", "        baseline: {model", "        # baseline: {model",
         "spec.steps[3].evaluate.gate[0]: minDelta and minRelativeDelta compare with a baseline", false},
        {"a gate that checks nothing", "{metric: auc, min: 0.70}", "{metric: auc}",
         "gate[1]: expected at least one of the fields min, max, minDelta, minRelativeDelta; found none of them",
         false},
        {"a gate that cannot pass", "{metric: auc, min: 0.70}", "{metric: auc, min: 0.70, max: 0.6}",
         "gate[1]: min (0.7) is above max (0.6)", false},
        {"a slice that is not carried", "slices: [country, device]", "slices: [countries]",
         "spec.steps[3].evaluate.slices[0]: \"countries\" is not in featurize.carry of the step \"features\"",
         false},
        {"ndcg without its cut", "metrics: [auc, logloss, ndcg@10]", "metrics: [auc, ndcg, ndcg@10]",
         "evaluate.metrics[1]: unknown metric \"ndcg\"; known are auc, logloss, brier, accuracy, mse, rmse, mae, ndcg@k, mrr@k",
         false},
        {"a metric that does not exist", "metrics: [auc, logloss, ndcg@10]",
         "metrics: [auc, logless, ndcg@10]",
         "evaluate.metrics[1]: unknown metric \"logless\"; known are auc, logloss, brier, accuracy, mse, rmse, mae, ndcg@k, mrr@k; did you mean \"logloss\"?",
         false},
    };
    check(CLICK_RANKER, samples, ARRAY_SIZE(samples));
}

static void test_steps_wait_for_those_whose_values_they_use(void **state)
{
    (void)state;
    char *text =
        manifest_with(CLICK_RANKER, "- name: notify\n      finally: true\n      container:",
                      "- name: notify\n      container:\n        workingDir: /$(steps.train.values.steps)");
    _cleanup_pipeline_ struct pipeline *p = manifest_decode(text);
    assert_int_equal(p->steps[5].n_after, 1);
    assert_int_equal(p->steps[5].after[0], 2);
    assert_int_equal(p->steps[4].n_after, 0); /* evaluate makes its input already */
    free(text);
}

static void test_a_config_that_cannot_travel_is_refused(void **state)
{
    (void)state;
    char long_arg[30001], *args = xstrdup("");
    memset(long_arg, 'x', sizeof long_arg - 1);
    long_arg[sizeof long_arg - 1] = '\0';
    for (int i = 0; i < 7; i++) {
        char *longer = xasprintf("%s%s, ", args, long_arg);
        free(args);
        args = longer;
    }
    char *changed = xasprintf("args: [%s\"-d\"", args);
    char *text = manifest_with(CLICK_RANKER, "args: [\"-d\"", changed);
    struct findings findings = {0};
    struct err err = ERR_INIT;
    struct pipeline *p = NULL;
    assert_fails(pipeline_decode_yaml(text, strlen(text), "p.yaml", &p, &findings, &err), &err, ERR_INVALID,
                 "bytes as JSON: at most 204800 travel to its pod");
    assert_string_equal(findings.items[0].path, "spec.steps[5].container");
    findings_release(&findings);
    free(text);
    free(changed);
    free(args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references_between_steps),
        cmocka_unit_test(test_conditions_and_references),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_inputs_workers_and_pods),
        cmocka_unit_test(test_fanout),
        cmocka_unit_test(test_bodies_of_data_steps),
        cmocka_unit_test(test_bodies_of_training_and_evaluation),
        cmocka_unit_test(test_steps_wait_for_those_whose_values_they_use),
        cmocka_unit_test(test_a_config_that_cannot_travel_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
