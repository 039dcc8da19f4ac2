/* The trainyard command: see command.h for its parts. As `kubectl-trainyard` it is a plugin of kubectl: called so in its help, and a run is one
 * of the cluster unless --store says otherwise. */
#include <string.h>

#include "operator/cli/command.h"

int main(int argc, char **argv)
{
    static const struct cli_command *const unlisted[] = {&command_docs, &command_container_step};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    if (argc > 0 && strcmp(slash ? slash + 1 : argv[0], "kubectl-trainyard") == 0)
        cli_set_program(COMMAND_PLUGIN_NAME);
    for (size_t i = 0; argc > 1 && i < sizeof unlisted / sizeof unlisted[0]; i++) {
        if (strcmp(argv[1], strrchr(unlisted[i]->name, ' ') + 1) == 0)
            return unlisted[i]->run(unlisted[i], argc - 2, argv + 2);
    }
    return cli_main(&command_trainyard, argc, argv);
}
