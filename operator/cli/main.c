/* The trainyard command: see command.h for its parts. */
#include "operator/cli/command.h"

int main(int argc, char **argv)
{
    static const struct cli_command *const unlisted[] = {&command_docs, &command_container_step};
    for (size_t i = 0; argc > 1 && i < sizeof unlisted / sizeof unlisted[0]; i++) {
        if (strcmp(argv[1], strrchr(unlisted[i]->name, ' ') + 1) == 0)
            return unlisted[i]->run(unlisted[i], argc - 2, argv + 2);
    }
    return cli_main(&command_trainyard, argc, argv);
}
