/* The lock of a run: one driver at a time, and none before every process of the driver before it is gone.
 *
 * It is an flock(2) on a file in the run's directory. The driver holds it, and so does every process it starts, through the
 * inherited descriptor: the lock is free only when the last of them is dead. The file's text names the driver, for messages. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

/* What lock_acquire() found when it could not have the lock at once. */
struct lock_holder {
    pid_t pid;  /* of the driver that took it; 0: unknown */
    bool alive; /* that driver still runs; false: only processes it started are left */
};

/* Takes the lock, waiting at most wait_ms; `waiting` (may be NULL) is called once, after a second of waiting. A driver that is
 * alive and stays so ends the wait after lock_patience_ms. Failure: ERR_RETRY, exit 75, naming the holder. The descriptor is
 * close-on-exec; process_spawn() hands it on. */
int lock_acquire(const char *path, int64_t wait_ms, void (*waiting)(const struct lock_holder *holder),
                 int *ret_fd, struct err *err);
extern const int64_t lock_patience_ms;

/* Is a driver or a process of it still there? A moment's answer, for people. */
bool lock_is_held(const char *path);

/* A short exclusive lock around a read-modify-write of a shared file; waits at most 30 s. Close the descriptor to release. */
int lock_file(const char *path, int *ret_fd, struct err *err);
