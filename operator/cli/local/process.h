/* One local process: started in its own session with its output in a file, dying with its parent, reaped without blocking. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

struct process_spec {
    const char *program;   /* path, no search */
    char *const *argv;     /* NULL-terminated, argv[0] included */
    char *const *envp;     /* the whole environment */
    const char *directory; /* working directory */
    const char *log_path;  /* stdout and stderr, appended */
    int lock_fd;           /* inherited, so that the run's lock outlives us as long as it does; -1: none */
};

/* The child leads a session (and so a process group) of its own: signals typed at the terminal do not reach it. It is killed by
 * the kernel when this thread dies. All other descriptors are closed. A program that cannot be started is an error here
 * (ERR_INVALID, exit 78 when it is missing or not executable; ERR_RETRY, exit 75 when the system lacks processes or memory). */
int process_spawn(const struct process_spec *spec, pid_t *ret_pid, struct err *err);

struct process_end {
    int exit_code; /* -1 when a signal ended it */
    int signal;    /* 0: none */
    int64_t max_rss_bytes;
    int64_t cpu_ms;
};
/* True once it has ended: what is left of its process group is killed, then it is reaped. Never blocks. */
bool process_reap(pid_t pid, struct process_end *ret);
/* To the whole group; a group that is gone is fine. */
void process_signal_group(pid_t pid, int signal);

/* How many processes the kernel has killed for lack of memory since it booted; -1: unknown. */
int64_t process_oom_kills(void);
