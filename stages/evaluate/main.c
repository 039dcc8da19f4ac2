/* evaluate: is the new model good enough, and better than the one in use? */
#include "stages/evaluate/evaluate.h"

#include "common/base/algorithm.h"
#include "stages/runtime/stage.h"

static const struct stage_output outputs[] = {{.name = "report", .type = "report"}, {.name = NULL}};
static const char *const inputs[] = {"features", "model", NULL};

static const struct stage stage = {
    .name = "evaluate",
    .summary = "Score held-out rows with a model and with the registry's baseline, compare, decide the gate.",
    .description =
        "Every model transforms the held-out source rows with its own feature spec, so that models with different features are compared on the same "
        "rows. Writes metrics.json and a self-contained report.html; gate_passed is what `when: steps.evaluate.values.gate_passed` reads.",
    .algorithm_version = ALGORITHM_EVALUATE,
    .inputs = inputs,
    .outputs = outputs,
    .looks_outside = true,
    .work = evaluate_work,
};

int main(int argc, char **argv)
{
    return stage_main(&stage, argc, argv);
}
