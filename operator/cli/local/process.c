/* fork and exec by hand, for posix_spawn can neither ask for a parent-death signal nor check for a parent that is already gone. */
#include "operator/cli/local/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/cleanup.h"
#include "common/base/fs.h"

enum { CHILD_LOCK_FD = 3 }; /* after stdin, stdout, stderr; everything above is closed */

/* In the child, between fork and exec: async-signal-safe calls only. Never returns. */
static _Noreturn void process_child(const struct process_spec *spec, pid_t parent, int report_fd)
{
    sigset_t none;
    sigemptyset(&none);
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &by_default, NULL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXITCODE_TEMPFAIL); /* the parent died before the line above could notice */

    int in = open("/dev/null", O_RDONLY);
    int out = open(spec->log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    /* The report descriptor moves out of the way of 0…3 first, the lock's after it. */
    int report = fcntl(report_fd, F_DUPFD_CLOEXEC, 10);
    int lock = spec->lock_fd >= 0 ? fcntl(spec->lock_fd, F_DUPFD_CLOEXEC, 10) : -1;
    bool fine =
        in >= 0 && out >= 0 && report >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2;
    unsigned keep = 3;
    if (fine && lock >= 0) {
        fine = dup2(lock, CHILD_LOCK_FD) == CHILD_LOCK_FD;
        keep = CHILD_LOCK_FD + 1;
    }
    if (fine && (unsigned)report > keep)
        (void)close_range(keep, (unsigned)report - 1, 0);
    if (report >= 0)
        (void)close_range((unsigned)report + 1, ~0U, 0);
    if (fine && chdir(spec->directory) == 0)
        (void)execve(spec->program, spec->argv, spec->envp);
    int e = errno;
    (void)!write(report >= 0 ? report : report_fd, &e, sizeof e);
    _exit(127);
}

int process_spawn(const struct process_spec *spec, pid_t *ret_pid, struct err *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_errno(err, errno, "cannot make a pipe");
    _cleanup_close_ int read_fd = pipe_fds[0];
    _cleanup_close_ int write_fd = pipe_fds[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "fork", "cannot start a process for %s: %s",
                        spec->program, strerror(errno));
    if (pid == 0)
        process_child(spec, parent, write_fd);

    (void)close(steal_fd(&write_fd));
    int child_errno = 0;
    ssize_t n;
    while ((n = read(read_fd, &child_errno, sizeof child_errno)) < 0 && errno == EINTR)
        ;
    if (n == (ssize_t)sizeof child_errno) {
        (void)waitpid(pid, NULL, 0);
        bool missing = child_errno == ENOENT || child_errno == EACCES || child_errno == ENOEXEC;
        return err_fail(err, missing ? ERR_INVALID : ERR_RETRY, missing ? EXITCODE_CONFIG : EXITCODE_TEMPFAIL,
                        "exec", "cannot start %s in %s: %s", spec->program, spec->directory,
                        strerror(child_errno));
    }
    *ret_pid = pid;
    return 0;
}

bool process_reap(pid_t pid, struct process_end *ret)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        *ret =
            (struct process_end){.exit_code = -1,
                                 .signal = SIGKILL}; /* not our child any more: nothing is left to wait for */
        return true;
    }
    if (info.si_pid == 0)
        return false;
    /* Its descendants go first: while it is unreaped, no other group can have its number. */
    (void)kill(-pid, SIGKILL);
    int status = 0;
    struct rusage usage = {0};
    (void)wait4(pid, &status, 0, &usage);
    *ret = (struct process_end){
        .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .max_rss_bytes = (int64_t)usage.ru_maxrss * 1024,
        .cpu_ms = ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                  (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000,
    };
    return true;
}

void process_signal_group(pid_t pid, int signal)
{
    if (pid > 1)
        (void)kill(-pid, signal);
}

int64_t process_oom_kills(void)
{
    _cleanup_free_ char *text = NULL;
    struct err err = ERR_INIT;
    if (fs_read_file("/proc/vmstat", 256 * 1024, &text, NULL, &err) < 0)
        return -1;
    const char *at = strstr(text, "\noom_kill ");
    int64_t n = -1;
    return at && sscanf(at, "\noom_kill %" SCNd64, &n) == 1 ? n : -1;
}
