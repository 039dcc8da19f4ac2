/* artifact: the helper program beside a user's container (fetch, publish, checkpoint). */
#include "stages/artifact/helper.h"

static const struct cli_command *const commands[] = {&command_fetch, &command_publish, &command_checkpoint,
                                                     NULL};

static const struct cli_command root = {
    .name = "artifact",
    .summary =
        "Move a container step's inputs, outputs and checkpoints between its directories and the store.",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return cli_main(&root, argc, argv);
}
