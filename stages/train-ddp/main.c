/* train-ddp: trains a network on featurize's shards, data-parallel over the step's workers. */
#include "common/base/algorithm.h"
#include "stages/runtime/stage.h"
#include "stages/train-ddp/trainer.h"

static int work(struct stage_run *run, struct err *err)
{
    struct trainer t;
    int r = trainer_setup(&t, run, err);
    if (r == 0)
        r = trainer_join(&t, err);
    if (r == 0)
        r = trainer_run(&t, err);
    if (r == 0)
        r = trainer_write_model(&t, err);
    trainer_release(&t);
    return r;
}

static const char *const inputs[] = {"features", NULL};
static const struct stage_output outputs[] = {{.name = "model", .type = "model"}, {.name = NULL}};

static const struct stage stage = {
    .name = "train-ddp",
    .summary = "Train a network on features, data-parallel over workers.",
    .description =
        "Reads train/ and validation/ of a features artifact, trains the network of the trainDdp config (logistic, mlp or dcnV2) and "
        "writes a model that can be served from its files alone.\n\n"
        "Each worker is one process; rank 0 publishes. Workers meet at MASTER_ADDR:MASTER_PORT with the rendezvous key of their attempt. "
        "State is saved in checkpoints as the config says and on SIGTERM; a killed run resumes from the newest one, bit for bit.",
    .algorithm_version = ALGORITHM_TRAIN_DDP,
    .inputs = inputs,
    .outputs = outputs,
    .work = work,
};

int main(int argc, char **argv)
{
    return stage_main(&stage, argc, argv);
}
