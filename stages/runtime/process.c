/* Signals set a flag; a local child dies with its parent. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/contract.h"
#include "common/base/text.h"
#include "stages/runtime/run-internal.h"

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

void process_watch_signals(void)
{
    /* SA_RESTART: only what polls the flag ends early; a write to the store is not cut in two. */
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGTERM, &sa, NULL);
    (void)sigaction(SIGINT, &sa, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

bool process_stopping(void)
{
    return stopping != 0;
}

int process_bind_to_parent(const char *parent_pid, struct err *err)
{
    if (!parent_pid || !*parent_pid)
        return 0;
    int64_t expected;
    if (text_parse_int(parent_pid, &expected, err) < 0)
        return err_wrap(err, "%s", ENV_PARENT_PID);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return err_errno(err, errno, "prctl(PR_SET_PDEATHSIG)");
    /* The parent may have died before the line above; then nobody will send the signal. */
    if (getppid() != (pid_t)expected)
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "orphaned",
                        "the process that started this step (pid %s) is gone", parent_pid);
    return 0;
}
