#include "operator/cli/local/container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/text.h"

enum { ANSWER_MS = 15000 };

static char *find_on_path(const char *name)
{
    const char *cursor = getenv("PATH"), *part;
    size_t len;
    while (cursor && text_next_part(&cursor, ':', &part, &len)) {
        _cleanup_free_ char *dir = xstrndup(part, len);
        char *path = fs_join(len ? dir : ".", name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

/* An engine may be installed and its daemon not running: it must answer `ps` within a while. */
static bool answers(const char *engine)
{
    pid_t pid = fork();
    if (pid < 0)
        return false;
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2)
            (void)execl(engine, engine, "ps", "--quiet", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    for (int waited = 0; waited < ANSWER_MS; waited += 50) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        clock_system.sleep_ms(clock_system.ctx, 50);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    return false;
}

int container_engine(char **ret, struct err *err)
{
    static const char *const names[] = {"podman", "docker", NULL};
    _cleanup_buf_ struct buf tried = BUF_INIT(ERR_MSG_MAX);
    for (const char *const *n = names; *n; n++) {
        char *path = find_on_path(*n);
        if (path && answers(path)) {
            *ret = path;
            return 0;
        }
        (void)buf_addf(&tried, "%s%s %s", tried.len ? ", " : "", *n,
                       path ? "is installed but does not answer (is its service running?)"
                            : "is not installed");
        free(path);
    }
    return err_fail(err, ERR_NOTFOUND, EXITCODE_CONFIG, "no-container-engine",
                    "podman or docker is needed: %s", buf_str(&tried));
}
