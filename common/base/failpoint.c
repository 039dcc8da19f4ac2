/* Named places where a test kills the process: see failpoint.h. Nothing in builds without FAILPOINTS=1. */
#include "common/base/failpoint.h"

#ifdef TRAINYARD_FAILPOINTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/err.h"

static char *fatal_name; /* NULL: none */
static long fatal_passage = 1;
static int log_fd = -1;
static atomic_long passages;

static void read_settings(void)
{
    const char *setting = getenv("TRAINYARD_FAILPOINT");
    if (setting && *setting) {
        const char *colon = strrchr(setting, ':');
        fatal_name = colon ? xstrndup(setting, (size_t)(colon - setting)) : xstrdup(setting);
        if (colon)
            fatal_passage = strtol(colon + 1, NULL, 10);
        if (fatal_passage < 1)
            BUG("TRAINYARD_FAILPOINT: expected name or name:n with n ≥ 1, found %s", setting);
    }
    const char *log = getenv("TRAINYARD_FAILPOINT_LOG");
    if (log && *log) {
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (log_fd < 0)
            BUG("TRAINYARD_FAILPOINT_LOG: cannot open %s", log);
    }
}

void failpoint(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, read_settings);
    if (log_fd >= 0) {
        /* One write with O_APPEND: lines of several processes do not mix. */
        char *line = xasprintf("%s\n", name);
        if (write(log_fd, line, strlen(line)) < 0)
            BUG("TRAINYARD_FAILPOINT_LOG: cannot write");
        free(line);
    }
    if (fatal_name && strcmp(fatal_name, name) == 0 && atomic_fetch_add(&passages, 1) + 1 == fatal_passage)
        (void)raise(SIGKILL);
}
#endif
