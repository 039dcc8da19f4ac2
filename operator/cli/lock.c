/* flock(2) belongs to the open file description, so children that inherit the descriptor keep the lock when their parent dies. */
#include "operator/cli/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fs.h"

const int64_t lock_patience_ms = 5000;
static const int64_t wait_step_ms = 50;

/* Start time in clock ticks from /proc/<pid>/stat: with the pid it names one process for ever. 0: gone, or a zombie. */
static uint64_t process_start_time(pid_t pid)
{
    _cleanup_free_ char *path = xasprintf("/proc/%ld/stat", (long)pid);
    _cleanup_free_ char *text = NULL;
    struct err err = ERR_INIT;
    if (fs_read_file(path, 4096, &text, NULL, &err) < 0)
        return 0;
    const char *after_name = strrchr(text, ')'); /* the name may hold anything, blanks included */
    char state = 0;
    uint64_t start = 0;
    if (!after_name ||
        sscanf(after_name,
               ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
               &state, &start) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : start;
}

static void holder_read(int fd, struct lock_holder *ret)
{
    char text[64] = "";
    long pid = 0;
    uint64_t start = 0;
    *ret = (struct lock_holder){0};
    if (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%ld %" SCNu64, &pid, &start) != 2 ||
        pid <= 0)
        return;
    ret->pid = (pid_t)pid;
    ret->alive = process_start_time(ret->pid) == start;
}

static int holder_write(int fd, const char *path, struct err *err)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%ld %" PRIu64 "\n", (long)getpid(), process_start_time(getpid()));
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return err_errno(err, errno, "cannot write the lock %s", path);
    return 0;
}

static int lock_open(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_errno(err, errno, "cannot open the lock %s", path);
    *ret_fd = fd;
    return 0;
}

int lock_acquire(const char *path, int64_t wait_ms, void (*waiting)(const struct lock_holder *holder),
                 int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = -1;
    if (lock_open(path, &fd, err) < 0)
        return -1;
    for (int64_t waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += wait_step_ms) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, errno, "cannot lock %s", path);
        struct lock_holder holder;
        holder_read(fd, &holder);
        if (holder.alive && waited >= (wait_ms < lock_patience_ms ? wait_ms : lock_patience_ms))
            return err_fail(
                err, ERR_RETRY, EXITCODE_TEMPFAIL, "run-locked",
                "process %ld is driving this run already: let it finish, or stop it (kill %ld), and try again",
                (long)holder.pid, (long)holder.pid);
        if (waited >= wait_ms)
            return err_fail(
                err, ERR_RETRY, EXITCODE_TEMPFAIL, "run-locked",
                "processes that an earlier driver of this run (process %ld) started are still alive after %" PRId64
                " s: end them (fuser -v %s) and try again",
                (long)holder.pid, wait_ms / 1000, path);
        if (waiting && waited >= 1000 && waited < 1000 + wait_step_ms)
            waiting(&holder);
        clock_system.sleep_ms(clock_system.ctx, wait_step_ms);
    }
    if (holder_write(fd, path, err) < 0)
        return -1;
    *ret_fd = steal_fd(&fd);
    return 0;
}

bool lock_is_held(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int lock_file(const char *path, int *ret_fd, struct err *err)
{
    _cleanup_close_ int fd = -1;
    if (lock_open(path, &fd, err) < 0)
        return -1;
    for (int64_t waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += wait_step_ms) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, errno, "cannot lock %s", path);
        if (waited >= 30000)
            return err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "locked",
                            "%s is locked by another trainyard for more than 30 s", path);
        clock_system.sleep_ms(clock_system.ctx, wait_step_ms);
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}
