/* trainyard container-step (unlisted): one rank of a container step, started by the runner in the place of a stage program.
 *
 * fetch → container → publish, as a pod's containers would. SIGTERM, from the runner or from the kernel when the runner has
 * died, goes to the container; the engine keeps containers apart from its client, so one that does not end is killed by name,
 * and what an earlier attempt may have left is removed before this one starts. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/contract.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/result.h"
#include "operator/cli/command.h"
#include "operator/cli/local/container.h"

enum { GRACE_MS = 25 * 1000, HELPER_GRACE_MS = 60 * 1000, ENGINE_ERROR = 125, TAIL_BYTES = 600 };

struct options {
    const char *stages_dir;
};

static const struct cli_option options[] = {
    {.name = "stages-dir",
     .kind = CLI_STRING,
     .metavar = "DIR",
     .offset = offsetof(struct options, stages_dir),
     .help = "Where the program artifact is."},
    CLI_END,
};

struct driver {
    struct container_step step;
    char *engine, *artifact, *root, *env_file, *name;
    cJSON *config;
    bool stopping;
};

static const char *env(const char *name)
{
    return getenv(name);
}

static int64_t mono_ms(void)
{
    return clock_system.mono_ms(clock_system.ctx);
}

/* --- children ----------------------------------------------------------------------------------------- */

/* In a group of its own: a signal to ours is passed on by us, once. Dies with us. */
static pid_t start(char *const *argv)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        (void)execv(argv[0], argv);
    _exit(127);
}

/* The exit code; 128 + n after signal n. SIGTERM is passed on; grace_ms later `overdue` is called once (NULL: SIGKILL). */
static int wait_for(struct driver *d, pid_t pid, int64_t grace_ms, void (*overdue)(struct driver *d))
{
    sigset_t set;
    int64_t kill_at = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        int status = 0;
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (ended < 0 && errno != EINTR)
            return EXITCODE_SOFTWARE;
        struct timespec tick = {.tv_nsec = 200 * 1000 * 1000};
        int signal = sigtimedwait(&set, NULL, &tick);
        if (signal == SIGTERM && !kill_at) {
            d->stopping = true;
            kill_at = mono_ms() + grace_ms;
            (void)kill(pid, SIGTERM);
        }
        if (kill_at && mono_ms() >= kill_at) {
            kill_at = INT64_MAX;
            if (overdue)
                overdue(d);
            (void)kill(-pid, SIGKILL);
        }
    }
}

static int run_child(struct driver *d, char *const *argv, int64_t grace_ms, void (*overdue)(struct driver *d))
{
    pid_t pid = start(argv);
    return pid < 0 ? EXITCODE_TEMPFAIL : wait_for(d, pid, grace_ms, overdue);
}

static void remove_container(struct driver *d)
{
    char *argv[] = {d->engine, (char *)"rm", (char *)"--force", d->name, NULL};
    bool stopping = d->stopping;
    (void)run_child(d, argv, GRACE_MS, NULL);
    d->stopping = stopping;
}

static int artifact(struct driver *d, const char *word)
{
    char *argv[] = {d->artifact, (char *)word, (char *)"--root", d->root, NULL};
    return run_child(d, argv, HELPER_GRACE_MS, NULL);
}

/* --- result --------------------------------------------------------------------------------------------- */

static void leave_error(const struct err *why)
{
    _cleanup_result_ struct result r;
    _cleanup_buf_ struct buf text = BUF_INIT(LIMIT_RESULT_BYTES);
    struct err ignored = ERR_INIT;
    const char *path = getenv(ENV_RESULT);
    result_init(&r);
    result_set_error(&r, why);
    if (path && result_format(&r, &text, &ignored) == 0)
        (void)fs_write_atomic(path, buf_str(&text), text.len, &ignored);
}

/* The end of what it wrote, which is our own log: as a kubelet falls back to logs on error. */
static void add_tail(struct buf *out)
{
    char path[64], tail[TAIL_BYTES + 1];
    (void)snprintf(path, sizeof path, "/proc/self/fd/1");
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
    ssize_t n = fd >= 0 ? pread(fd, tail, TAIL_BYTES, from) : 0;
    if (n <= 0)
        return;
    tail[n] = '\0';
    const char *text = tail;
    while (from > 0 && ((unsigned char)*text & 0xc0) == 0x80)
        text++; /* do not begin within a character */
    (void)buf_addf(out, "; its last output: %s", text);
}

static void explain_exit(const struct driver *d, int code, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(ERR_MSG_MAX);
    if (d->stopping)
        (void)err_fail(err, ERR_RETRY, EXITCODE_TEMPFAIL, "stopped", "the container was stopped");
    else if (code == ENGINE_ERROR)
        (void)buf_addf(&text, "%s could not run the container", d->engine);
    else
        (void)buf_addf(&text, "the container ended with exit code %d", code);
    if (err_is_set(err))
        return;
    add_tail(&text);
    (void)err_fail(err, ERR_TERMINAL, code == ENGINE_ERROR ? EXITCODE_UNAVAILABLE : code,
                   code == ENGINE_ERROR ? "container-engine" : "container-failed", "%s", buf_str(&text));
}

/* --- the step ----------------------------------------------------------------------------------------------- */

static int read_step(struct driver *d, const struct options *o, struct err *err)
{
    const char *config = getenv(ENV_CONFIG), *scratch = getenv(ENV_SCRATCH);
    d->step = (struct container_step){
        .run_uid = getenv(ENV_RUN_UID),
        .step = getenv(ENV_STEP),
        .index = getenv(ENV_INDEX),
        .attempt = getenv(ENV_ATTEMPT),
        .rank = getenv("RANK") ? getenv("RANK") : "0",
        .config_path = config,
        .secrets_dir = getenv(ENV_SECRETS) ? getenv(ENV_SECRETS) : "/nonexistent",
        .memory = getenv(ENV_MEMORY),
        .device = getenv(ENV_DEVICE),
    };
    if (!d->step.run_uid || !d->step.step || !d->step.attempt || !config || !scratch || !o->stages_dir)
        return err_fail(
            err, ERR_INVALID, EXITCODE_USAGE, "usage",
            "this command is started by `trainyard run` for a container step; it lacks the step's environment");
    if (json_parse_file(config, LIMIT_CONFIG_BYTES, &d->config, err) < 0)
        return -1;
    d->root = fs_join(scratch, "trainyard");
    d->env_file = fs_join(scratch, "environment");
    d->artifact = fs_join(o->stages_dir, "artifact");
    d->step.config = d->config;
    d->step.root = d->root;
    d->step.env_file = d->env_file;
    d->name = container_name(&d->step);
    return container_engine(&d->engine, err);
}

/* Directories that another user than ours may have to write to. */
static int open_up(const struct driver *d, struct err *err)
{
    static const char *const names[] = {"in", "out", "checkpoint", NULL};
    for (const char *const *n = names; *n; n++) {
        _cleanup_free_ char *path = fs_join(d->root, *n);
        if (fs_mkdir_p(path, err) < 0)
            return -1;
        if (chmod(path, 0777) < 0)
            return err_errno(err, errno, "cannot open %s for the container", path);
    }
    const cJSON *output;
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(d->config, "outputs"))
    {
        _cleanup_free_ char *path = xasprintf("%s/out/%s", d->root, cJSON_GetStringValue(output));
        if (chmod(path, 0777) < 0)
            return err_errno(err, errno, "cannot open %s for the container", path);
    }
    return 0;
}

static int write_environment(const struct driver *d, struct err *err)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1024 * 1024);
    if (container_environment(&d->step, env, &text, err) < 0)
        return -1;
    _cleanup_close_ int fd = open(d->env_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, buf_str(&text), text.len) != (ssize_t)text.len)
        return err_errno(err, errno, "cannot write %s", d->env_file);
    return 0;
}

/* The container with, if it asks for that, the program that uploads its checkpoints beside it. */
static int run_container(struct driver *d, struct err *err)
{
    _cleanup_container_args_ struct container_args a = {0};
    bool checkpoint = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(d->config, "checkpoint"));
    char *sidecar_argv[] = {d->artifact, (char *)"checkpoint", (char *)"--root", d->root, NULL};
    if (open_up(d, err) < 0 || write_environment(d, err) < 0 ||
        container_arguments(&d->step, d->engine, &a, err) < 0)
        return -1;
    remove_container(d);
    pid_t sidecar = checkpoint && strcmp(d->step.rank, "0") == 0 ? start(sidecar_argv) : 0;
    int code = run_child(d, a.items, GRACE_MS, remove_container);
    if (sidecar > 0) {
        (void)kill(sidecar, SIGTERM);
        (void)wait_for(d, sidecar, HELPER_GRACE_MS, NULL);
    }
    if (code == 0)
        return 0;
    explain_exit(d, code, err);
    return -1;
}

/* 0, or the exit code; an error that a helper has not left itself is left here. */
static int drive(struct driver *d, const struct options *o)
{
    struct err err = ERR_INIT;
    int code = 0;
    if (read_step(d, o, &err) == 0 && (code = artifact(d, "fetch")) == 0 && run_container(d, &err) == 0)
        return artifact(d, "publish");
    if (!err_is_set(&err))
        return code;
    (void)fprintf(stderr, "container step: %s\n", err.msg);
    leave_error(&err);
    return err_exit_code(&err);
}

static void release(struct driver *d)
{
    free(d->engine);
    free(d->artifact);
    free(d->root);
    free(d->env_file);
    free(d->name);
    cJSON_Delete(d->config);
}

static int run(const struct cli_command *cmd, int argc, char **argv)
{
    CLEANUP(release) struct driver d = {0};
    struct options o = {0};
    struct err err = ERR_INIT;
    int n;
    int r = cli_parse(cmd, argc, argv, &o, &n, &err);
    if (r != 0)
        return r < 0 ? cli_fail(cmd, &err) : EXITCODE_OK;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    /* Not SIGKILL as for stages: someone must end the container. The run's lock is held until that is done. */
    const char *parent = getenv(ENV_PARENT_PID);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || (parent && strtol(parent, NULL, 10) != (long)getppid()))
        return EXITCODE_TEMPFAIL;
    return drive(&d, &o);
}

const struct cli_command command_container_step = {
    .name = "trainyard container-step",
    .synopsis = "",
    .summary = "drive a container step",
    .options = options,
    .run = run,
};
