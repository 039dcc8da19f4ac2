#include "operator/cli/drive.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "operator/cli/command.h"
#include "operator/cli/describe.h"
#include "operator/cli/local/container.h"
#include "operator/cli/lock.h"
#include "operator/cli/runner.h"

enum { LOCK_WAIT_MS = 60 * 1000 };

/* --- this machine ------------------------------------------------------------------------------------- */

static int self_path(char **ret, struct err *err)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return err_errno(err, errno, "cannot tell where this program is");
    path[n] = '\0';
    *ret = xstrdup(path);
    return 0;
}

static int resolve_stages_dir(const char *given, char **ret, struct err *err)
{
    char absolute[PATH_MAX];
    if (given) {
        if (!realpath(given, absolute))
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "stages-dir",
                            "cannot open the directory of stage programs %s: %s", given, strerror(errno));
        *ret = xstrdup(absolute);
        return 0;
    }
    _cleanup_free_ char *self = NULL;
    if (self_path(&self, err) < 0)
        return -1;
    *strrchr(self, '/') = '\0';
    *ret = xstrdup(*self ? self : "/");
    return 0;
}

static void add_name(struct buf *out, const char *name)
{
    (void)buf_addf(out, "%s%s", out->len ? ", " : "", name);
}

int drive_check_machine(const struct pipeline *p, const char *stages_dir, struct err *err)
{
    _cleanup_free_ char *dir = NULL;
    _cleanup_buf_ struct buf missing = BUF_INIT(ERR_MSG_MAX), containers = BUF_INIT(ERR_MSG_MAX);
    if (resolve_stages_dir(stages_dir, &dir, err) < 0)
        return -1;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        const char *program = step_kind_program(s->kind);
        if (s->kind == STEP_CONTAINER) {
            add_name(&containers, s->name);
            program = "artifact"; /* stands around the container */
        }
        if (!program)
            continue;
        _cleanup_free_ char *path = fs_join(dir, program);
        if (access(path, X_OK) != 0) {
            _cleanup_free_ char *both = xasprintf("%s (for step %s)", program, s->name);
            add_name(&missing, both);
        }
    }
    if (missing.len)
        return err_fail(
            err, ERR_INVALID, EXITCODE_CONFIG, "stage-missing",
            "these stage programs are not in %s: %s; build them, or say where they are with --stages-dir",
            dir, buf_str(&missing));
    if (containers.len) {
        struct err why = ERR_INIT;
        _cleanup_free_ char *engine = NULL;
        if (container_engine(&engine, &why) < 0)
            return err_fail(err, ERR_INVALID, EXITCODE_CONFIG, "no-container-engine",
                            "steps that run containers cannot run here: %s; %s", buf_str(&containers),
                            why.msg);
    }
    return 0;
}

/* --- lock ----------------------------------------------------------------------------------------------- */

static void say_waiting(const struct lock_holder *holder)
{
    (void)fprintf(stderr,
                  holder->alive ? "waiting for process %ld, which drives this run\n"
                                : "waiting for processes that process %ld left behind to end\n",
                  (long)holder->pid);
}

static int take_lock(struct record **record, int *ret_fd, struct err *err)
{
    struct record *old = *record, *fresh;
    _cleanup_free_ char *path = record_path(old, "lock");
    _cleanup_close_ int fd = -1;
    if (lock_acquire(path, LOCK_WAIT_MS, say_waiting, &fd, err) < 0)
        return err_wrap(err, "run %s", old->spec.name);
    if (record_load(old->state_dir, old->spec.uid, &fresh, err) < 0)
        return -1;
    record_free(old);
    *record = fresh;
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* --- restart ---------------------------------------------------------------------------------------------- */

static bool unfinished(const struct run_status *s, size_t step)
{
    enum step_state state = s->steps[step].state;
    return state == STATE_FAILED || state == STATE_STOPPED;
}

const char **drive_unfinished(const struct record *r)
{
    const struct pipeline *p = r->pipeline;
    const char **names = xcalloc(p->n_steps + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < p->n_steps && r->status.n_steps == p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        bool follows = false; /* another unfinished step, with which it begins again anyway */
        for (size_t k = 0; k < s->n_inputs; k++)
            follows |= unfinished(&r->status, s->inputs[k].from);
        for (size_t k = 0; k < s->n_after; k++)
            follows |= unfinished(&r->status, s->after[k]);
        if (unfinished(&r->status, i) && !follows && !s->finally)
            names[n++] = s->name;
    }
    if (n == 0) { /* only finally steps are left */
        for (size_t i = 0; i < p->n_steps && r->status.n_steps == p->n_steps; i++) {
            if (unfinished(&r->status, i))
                names[n++] = p->steps[i].name;
        }
    }
    return names;
}

void drive_set_restart(struct record *r, const char *const *from, size_t n)
{
    struct run_spec *s = &r->spec;
    char random[9];
    for (size_t i = 0; i < s->n_restart_from; i++)
        free(s->restart_from[i]);
    free(s->restart_from);
    free(s->restart_id);
    random_name(random, sizeof random - 1);
    s->restart_id = xasprintf("%s-%s", s->name, random);
    s->restart_from = xcalloc(n + 1, sizeof *s->restart_from);
    for (s->n_restart_from = 0; s->n_restart_from < n; s->n_restart_from++)
        s->restart_from[s->n_restart_from] = xstrdup(from[s->n_restart_from]);
    s->stop = RUN_STOP_NONE;
}

/* --- driving ---------------------------------------------------------------------------------------------- */

static void say_approvals(const struct record *r)
{
    for (size_t i = 0; i < r->status.n_steps; i++) {
        const struct step_status *s = &r->status.steps[i];
        if (s->state != STATE_AWAITING_APPROVAL)
            continue;
        const char *message = s->message                          ? s->message
                              : s->n_items && s->items[0].message ? s->items[0].message
                                                                  : "";
        (void)fprintf(
            stderr,
            "step %s waits for a person%s%s\n  approve: trainyard run --resume %s --approve %s --store %s\n",
            s->name, *message ? ": " : "", message, r->spec.name, s->name, location_url(r->options.store));
    }
}

static int say_end(const struct record *r, enum runner_end end, bool json, struct err *err)
{
    struct store *opened = NULL;
    struct err ignored = ERR_INIT; /* without the store there are no reports to name; the run is what it is */
    if (location_open(r->options.store, r->options.secrets, &opened, &ignored) < 0)
        opened = NULL;
    _cleanup_store_ struct store *store = opened;
    _cleanup_free_ char *hint = describe_hint(r);
    if (command_say_end(r, store, json, hint, err) < 0)
        return -1;
    if (end == RUNNER_NEEDS_APPROVAL && !json)
        say_approvals(r);
    return 0;
}

static int drive(const struct cli_command *cmd, struct record *record, int lock_fd,
                 const struct drive_options *o)
{
    struct err err = ERR_INIT;
    _cleanup_close_ int lock = lock_fd;
    _cleanup_free_ char *stages_dir = NULL, *self = NULL;
    enum runner_end end = RUNNER_FINISHED;
    if (resolve_stages_dir(o->stages_dir ? o->stages_dir : record->options.stages_dir, &stages_dir, &err) <
            0 ||
        self_path(&self, &err) < 0)
        return cli_fail(cmd, &err);
    location_remember(location_url(record->options.store));
    struct ui *ui = ui_new(stderr, o->plain, o->json);
    int r = runner_run(record,
                       &(struct runner_options){.stages_dir = stages_dir,
                                                .self = self,
                                                .log_level = o->log_level,
                                                .lock_fd = lock,
                                                .ui = ui},
                       &end, &err);
    ui_free(ui);
    if (r < 0) {
        (void)err_wrap(&err, "run %s", record->spec.name);
        (void)fprintf(
            stderr,
            "what ran was ended and will be taken up again by: trainyard run --resume %s --store %s\n",
            record->spec.name, location_url(record->options.store));
        return cli_fail(cmd, &err);
    }
    if (say_end(record, end, o->json, &err) < 0)
        return cli_fail(cmd, &err);
    return end == RUNNER_NEEDS_APPROVAL ? EXITCODE_TEMPFAIL : command_exit_code(record);
}

int drive_changed(const struct cli_command *cmd, struct record *record,
                  int (*change)(struct record *r, const void *ctx, struct err *err), const void *ctx,
                  const struct drive_options *options, struct err *err)
{
    _cleanup_close_ int fd = -1;
    int code = -1;
    if (take_lock(&record, &fd, err) == 0 && change(record, ctx, err) == 0 && record_write(record, err) == 0)
        code = drive(cmd, record, steal_fd(&fd), options);
    record_free(record);
    return code;
}
