#include "operator/cli/runner.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/fs.h"
#include "common/base/json.h"
#include "common/http/loop.h"
#include "operator/cli/cachefile.h"
#include "operator/cli/local/progress.h"
#include "operator/cli/local/workers.h"

enum { GRACE_MS = 30 * 1000, PROGRESS_PLAN_MS = 2000, WAIT_MAX_MS = 60 * 1000 };

extern char **environ;

struct runner {
    struct record *record;
    const struct runner_options *options;
    struct plan_options plan_options;
    uint8_t key[SHA256_LEN];
    struct loop *loop;
    struct loop_fd *signals;
    int signal_fd;
    struct progress *progress;
    struct workers *workers;
    struct cachefile *cache;
    int stops;          /* how often a person asked to stop */
    bool learnt;        /* something new to plan with */
    bool asked_nothing; /* the last plan() wanted no start and no wake-up */
    bool progress_new;  /* posts since the last plan() */
    int64_t planned_ms, wake_at_ms, drawn_ms;
    char *notice;
};

static int64_t now_ms(void)
{
    return clock_system.wall_ms(clock_system.ctx);
}

/* --- machine ----------------------------------------------------------------------------------------- */

/* The class of this machine's vector unit: part of the cache key, for results are equal only within one. */
static const char *machine_isa(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "avx2";
    return "x86-64";
#elif defined(__aarch64__)
    return "arm64";
#else
    return "portable";
#endif
}

/* Unless told otherwise, as many attempts at a time as there are processors: a wide fan-out must not start hundreds of processes.
 * Results do not depend on it. */
static int64_t default_parallelism(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors > 2 ? processors : 2;
}

void runner_plan_options(const struct record_options *o, struct plan_options *ret)
{
    *ret = (struct plan_options){
        .max_workers = o->workers,
        .max_threads = o->cpu,
        .force_cpu = o->cpu > 0,
        .has_cuda = fs_exists("/dev/nvidiactl"),
        .isa = machine_isa(),
        .parallelism = o->parallelism > 0 ? o->parallelism : default_parallelism(),
        .grace_ms = GRACE_MS,
        .cache_disabled = o->no_cache,
    };
}

/* --- signals ------------------------------------------------------------------------------------------- */

static void ask_to_stop(struct runner *r)
{
    r->stops++;
    r->learnt = true;
    free(r->notice);
    r->notice = NULL;
    if (r->stops == 1) {
        r->record->spec.stop = RUN_STOP_GRACEFUL;
        r->notice =
            xstrdup("stopping: running steps may save their state, finally steps run (again: stop now)");
    } else if (r->stops == 2) {
        r->record->spec.stop = RUN_STOP_NOW;
        r->notice = xstrdup("stopping now: running steps may save their state (again: kill them)");
    } else {
        workers_kill(r->workers);
        r->notice = xstrdup("killing what runs");
    }
    if (ui_mode(r->options->ui) == UI_PLAIN)
        ui_say(r->options->ui, now_ms(), "%s", r->notice);
}

static void on_signal(void *ctx, short revents)
{
    struct runner *r = ctx;
    struct signalfd_siginfo info;
    (void)revents;
    while (read(r->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGINT:
        case SIGTERM:
        case SIGHUP:
            ask_to_stop(r);
            break;
        case SIGWINCH:
            ui_resized(r->options->ui);
            break;
        default: /* SIGCHLD: workers_poll() looks at every child in each iteration */
            break;
        }
    }
}

static int watch_signals(struct runner *r, sigset_t *ret_before, struct err *err)
{
    static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
        sigaddset(&set, watched[i]);
    (void)sigprocmask(SIG_BLOCK, &set, ret_before);
    (void)signal(SIGPIPE, SIG_IGN);
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signal_fd < 0)
        return err_errno(err, errno, "cannot watch signals");
    r->signals = loop_fd_start(r->loop, r->signal_fd, POLLIN, on_signal, r);
    return 0;
}

/* --- measures -------------------------------------------------------------------------------------------- */

/* Facts about ended attempts that the planner does not need: kept in the record for `get`. Largest memory, summed time, the
 * newest exit code; a step is memoised when every item is. */
static void note_measures(struct runner *r)
{
    struct workers_measure m;
    while (workers_next_measure(r->workers, &m)) {
        const char *name = r->record->pipeline->steps[m.step].name;
        cJSON *usage = cJSON_GetObjectItemCaseSensitive(r->record->usage, name);
        if (!usage) {
            json_add(r->record->usage, name, json_object());
            usage = cJSON_GetObjectItemCaseSensitive(r->record->usage, name);
        }
        double rss = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "maxRssBytes"));
        double cpu = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "cpuSeconds"));
        const cJSON *memoised = cJSON_GetObjectItemCaseSensitive(usage, "memoised");
        bool all = m.memoised && (m.item == 0 || !memoised || cJSON_IsTrue(memoised));
        static const char *const keys[] = {"maxRssBytes", "cpuSeconds", "exitCode",
                                           "signal",      "memoised",   NULL};
        for (const char *const *k = keys; *k; k++)
            cJSON_DeleteItemFromObjectCaseSensitive(usage, *k);
        json_add_double(usage, "maxRssBytes", rss > (double)m.max_rss_bytes ? rss : (double)m.max_rss_bytes);
        json_add_double(usage, "cpuSeconds", (cpu > 0 ? cpu : 0) + (double)m.cpu_ms / 1000);
        json_add_int(usage, "exitCode", m.exit_code);
        if (m.signal)
            json_add_int(usage, "signal", m.signal);
        json_add_bool(usage, "memoised", all);
    }
}

/* --- deciding -------------------------------------------------------------------------------------------- */

static void act(struct runner *r, const struct plan *p)
{
    r->asked_nothing = p->wake_at_ms == 0;
    for (size_t i = 0; i < p->n_actions; i++) {
        const struct job *job = &p->actions[i].job;
        if (p->actions[i].kind == ACTION_STOP) {
            workers_stop(r->workers, job->step, job->item, job->attempt);
        } else {
            workers_start(r->workers, job);
            r->asked_nothing = false;
            r->learnt = true; /* the next plan() sees it, or sees that it could not start */
        }
    }
}

static int decide(struct runner *r, struct err *err)
{
    _cleanup_plan_ struct plan p = {0};
    struct observed observed;
    r->learnt = r->progress_new = false;
    r->planned_ms = now_ms();
    workers_observe(r->workers, &r->record->status, &observed);
    if (plan(r->record->pipeline, &r->record->spec, &r->record->status, &observed,
             cachefile_entries(r->cache), &r->plan_options, r->planned_ms, &p, err) < 0)
        return err_wrap(err, "cannot plan the run");
    note_measures(r);
    run_status_release(&r->record->status);
    r->record->status = p.status;
    run_status_init(&p.status);
    if (p.status_changed && record_write(r->record, err) < 0)
        return -1;
    if (cachefile_apply(r->cache, &p, err) < 0)
        return err_wrap(err, "cannot write the cache");
    r->wake_at_ms = p.wake_at_ms;
    act(r, &p);
    workers_forget(r->workers, &r->record->status);
    return 0;
}

/* Nothing runs, nothing will by itself, and a person is asked. */
static bool only_approval_helps(const struct runner *r)
{
    const struct run_status *s = &r->record->status;
    bool awaits = false;
    if (workers_running(r->workers) > 0 || r->learnt || r->stops > 0)
        return false;
    for (size_t i = 0; i < s->n_steps; i++) {
        enum step_state state = s->steps[i].state;
        if (state == STATE_RUNNING || state == STATE_RETRYING || state == STATE_READY)
            return false;
        awaits |= state == STATE_AWAITING_APPROVAL;
    }
    return awaits;
}

static struct ui_view view_of(const struct runner *r)
{
    return (struct ui_view){.pipeline = r->record->pipeline,
                            .run = &r->record->spec,
                            .status = &r->record->status,
                            .progress = r->progress,
                            .now_ms = now_ms(),
                            .notice = r->notice};
}

static void draw(struct runner *r)
{
    struct ui_view view = view_of(r);
    r->drawn_ms = view.now_ms;
    ui_update(r->options->ui, &view);
}

static int64_t until(int64_t at_ms, int64_t now, int64_t most)
{
    if (at_ms == 0)
        return most;
    int64_t left = at_ms > now ? at_ms - now : 5; /* never spins, whatever it is asked */
    return left < most ? left : most;
}

static int64_t wait_ms(const struct runner *r)
{
    int64_t now = now_ms();
    int interval = ui_interval_ms(r->options->ui);
    int64_t wait = until(r->wake_at_ms, now, WAIT_MAX_MS);
    wait = until(workers_deadline(r->workers), now, wait);
    if (r->progress_new)
        wait = until(r->planned_ms + PROGRESS_PLAN_MS, now, wait);
    if (interval >= 0)
        wait = until(r->drawn_ms + interval, now, wait);
    return r->learnt ? 0 : wait;
}

static int iterate(struct runner *r, bool *ret_done, enum runner_end *ret_end, struct err *err)
{
    r->learnt |= workers_poll(r->workers);
    r->progress_new |= progress_changed(r->progress);
    int64_t now = now_ms();
    bool due = r->wake_at_ms && now >= r->wake_at_ms;
    bool posts = r->progress_new && now >= r->planned_ms + PROGRESS_PLAN_MS;
    bool decided = r->learnt || due || posts;
    if (decided && decide(r, err) < 0)
        return -1;
    int interval = ui_interval_ms(r->options->ui);
    if (decided || (interval >= 0 && now >= r->drawn_ms + interval))
        draw(r);
    bool finished = run_phase_finished(r->record->status.phase) && workers_running(r->workers) == 0;
    *ret_done = finished || only_approval_helps(r);
    *ret_end = finished ? RUNNER_FINISHED : RUNNER_NEEDS_APPROVAL;
    return *ret_done ? 0 : loop_step(r->loop, wait_ms(r), err);
}

/* --- life -------------------------------------------------------------------------------------------------- */

static int runner_init(struct runner *r, sigset_t *ret_before, struct err *err)
{
    random_bytes(r->key, sizeof r->key);
    runner_plan_options(&r->record->options, &r->plan_options);
    if (loop_new(&r->loop, err) < 0 || watch_signals(r, ret_before, err) < 0)
        return -1;
    r->progress = progress_new(r->record->spec.uid, r->key);
    if (progress_listen(r->progress, r->loop, &clock_system, err) < 0 ||
        cachefile_open(r->record->state_dir, r->record->pipeline->name, &r->cache, err) < 0)
        return -1;
    struct workers_config config = {
        .record = r->record,
        .stages_dir = r->options->stages_dir,
        .self = r->options->self,
        .progress = r->progress,
        .key = r->key,
        .environ_ = environ,
        .clock = &clock_system,
        .log_level = r->options->log_level,
        .lock_fd = r->options->lock_fd,
        .grace_ms = GRACE_MS,
    };
    return workers_new(&config, &r->workers, err);
}

/* Ends every process and waits for it: nothing may run that no record knows how to find again. */
static void end_everything(struct runner *r)
{
    while (r->workers && workers_running(r->workers) > 0) {
        workers_kill(r->workers);
        clock_system.sleep_ms(clock_system.ctx, 10);
        (void)workers_poll(r->workers);
    }
}

static void runner_release(struct runner *r, const sigset_t *before)
{
    end_everything(r);
    workers_free(r->workers);
    cachefile_free(r->cache);
    progress_free(r->progress);
    loop_fd_stop(r->signals);
    loop_free(r->loop);
    if (r->signal_fd >= 0)
        (void)close(r->signal_fd);
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    free(r->notice);
}

int runner_run(struct record *record, const struct runner_options *options, enum runner_end *ret,
               struct err *err)
{
    struct runner r = {.record = record, .options = options, .signal_fd = -1, .learnt = true};
    sigset_t before;
    bool done = false;
    (void)sigprocmask(SIG_SETMASK, NULL, &before);
    int result = runner_init(&r, &before, err);
    struct ui_view view = view_of(&r);
    ui_begin(options->ui, &view);
    while (result == 0 && !done)
        result = iterate(&r, &done, ret, err);
    runner_release(&r, &before);
    return result;
}
