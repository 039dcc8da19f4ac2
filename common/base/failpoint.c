/* Named places where a test kills the process: see failpoint.h. Nothing in builds without FAILPOINTS=1. */
#include "common/base/failpoint.h"

#ifdef TRAINYARD_FAILPOINTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/err.h"

static char *fatal_name; /* NULL: none */
static long fatal_passage = 1;
static int log_fd = -1;
static atomic_long passages;
static int count_fd = -1;

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
    const char *count = getenv("TRAINYARD_FAILPOINT_COUNT");
    if (count && *count) {
        count_fd = open(count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (count_fd < 0)
            BUG("TRAINYARD_FAILPOINT_COUNT: cannot open %s", count);
    }
    const char *log = getenv("TRAINYARD_FAILPOINT_LOG");
    if (log && *log) {
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (log_fd < 0)
            BUG("TRAINYARD_FAILPOINT_LOG: cannot open %s", log);
    }
}

/* Which passage this is, from 1: of this process, or of all processes that share the count file (a byte each). */
static long count_passage(void)
{
    if (count_fd < 0)
        return atomic_fetch_add(&passages, 1) + 1;
    struct stat st;
    if (flock(count_fd, LOCK_EX) < 0 || write(count_fd, ".", 1) != 1 || fstat(count_fd, &st) < 0 ||
        flock(count_fd, LOCK_UN) < 0)
        BUG("TRAINYARD_FAILPOINT_COUNT: cannot count");
    return (long)st.st_size;
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
    if (fatal_name && strcmp(fatal_name, name) == 0 && count_passage() == fatal_passage)
        (void)raise(SIGKILL);
}
#endif
