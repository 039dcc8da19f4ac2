/* trainyard container-step (unlisted): drives one container step on this machine. */
#include "operator/cli/command.h"

static const struct cli_option options[] = {CLI_END};
static int run(const struct cli_command *cmd, int argc, char **argv)
{
    (void)cmd;
    (void)argc;
    (void)argv;
    return EXITCODE_CONFIG;
}
const struct cli_command command_container_step = {.name = "trainyard container-step",
                                                   .options = options,
                                                   .run = run};
