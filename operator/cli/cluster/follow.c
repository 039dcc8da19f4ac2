#include "operator/cli/cluster/follow.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "operator/cli/cluster/clusterrun.h"
#include "operator/cli/command.h"
#include "operator/cli/ui.h"
#include "operator/kube/reflector.h"

enum { BLIND_MS = 150 * 1000, IDLE_MS = 60 * 1000 };

/* What the cache holds of the run. */
struct seen {
    struct kube_meta meta;
    cJSON *object;
};

struct follow {
    const struct cluster *cluster;
    const struct follow_options *options;
    struct loop *loop;
    struct loop_fd *signals;
    int signal_fd;
    struct kube_client *client; /* in the loop */
    struct reflector *reflector;
    struct ui *ui;
    struct record *record;
    bool changed, deleted, interrupted;
    bool *told; /* by step: that it waits for a person */
    size_t n_told;
    int64_t started_mono_ms, drawn_ms;
};

static int64_t wall_ms(void)
{
    return clock_system.wall_ms(clock_system.ctx);
}

/* --- the watch ------------------------------------------------------------------------------------------- */

static void *trim(void *ctx, const cJSON *object)
{
    struct seen *s = xcalloc(1, sizeof *s);
    (void)ctx;
    kube_meta_init(&s->meta, object);
    s->object = cJSON_Duplicate(object, true);
    return s;
}

static void free_seen(void *p)
{
    struct seen *s = p;
    kube_meta_release(&s->meta);
    cJSON_Delete(s->object);
    free(s);
}

static void on_change(void *ctx, const void *old, const void *now)
{
    struct follow *f = ctx;
    (void)old;
    f->changed = true;
    f->deleted = now == NULL;
}

static void on_synced(void *ctx)
{
    struct follow *f = ctx;
    const struct seen *s = reflector_get(f->reflector, f->cluster->ns, f->record->spec.name);
    f->deleted |= s == NULL; /* between the first look and the list */
}

static void on_signal(void *ctx, short revents)
{
    struct follow *f = ctx;
    struct signalfd_siginfo info;
    (void)revents;
    while (read(f->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGWINCH)
            ui_resized(f->ui);
        else
            f->interrupted = true;
    }
}

static int watch_signals(struct follow *f, sigset_t *ret_before, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGWINCH);
    (void)sigprocmask(SIG_BLOCK, &set, ret_before);
    f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (f->signal_fd < 0)
        return err_errno(err, errno, "cannot watch signals");
    f->signals = loop_fd_start(f->loop, f->signal_fd, POLLIN, on_signal, f);
    return 0;
}

/* A watch that is forbidden would be tried again and again without a word; asked for once, the list says so. */
static int check_rights(const struct follow *f, const char *selector, struct err *err)
{
    _cleanup_buf_ struct buf query = BUF_INIT(1024);
    (void)buf_adds(&query, "limit=1&fieldSelector=");
    cluster_escape(selector, &query);
    const struct kube_request q = {.verb = KUBE_GET,
                                   .resource = &CLUSTER_RUNS,
                                   .ns = f->cluster->ns,
                                   .query = buf_str(&query)};
    return cluster_call(f->cluster, &q, NULL, err) < 0
               ? err_wrap(err, "watching takes the verbs get, list and watch on trainingruns")
               : 0;
}

static int begin(struct follow *f, sigset_t *ret_before, struct err *err)
{
    _cleanup_free_ char *selector = xasprintf("metadata.name=%s", f->record->spec.name);
    if (check_rights(f, selector, err) < 0 || loop_new(&f->loop, err) < 0 ||
        watch_signals(f, ret_before, err) < 0 ||
        kube_client_new(f->loop, f->cluster->config, NULL, &f->client, err) < 0)
        return -1;
    f->reflector = reflector_new(f->client, &(struct reflector_config){.resource = &CLUSTER_RUNS,
                                                                       .ns = f->cluster->ns,
                                                                       .field_selector = selector,
                                                                       .trim = trim,
                                                                       .free_trimmed = free_seen,
                                                                       .changed = on_change,
                                                                       .synced = on_synced,
                                                                       .ctx = f});
    return 0;
}

static void release(struct follow *f, const sigset_t *before)
{
    reflector_free(f->reflector);
    kube_client_free(f->client);
    loop_fd_stop(f->signals);
    loop_free(f->loop);
    if (f->signal_fd >= 0)
        (void)close(f->signal_fd);
    (void)sigprocmask(SIG_SETMASK, before, NULL);
    ui_free(f->ui);
    record_free(f->record);
    free(f->told);
}

/* --- the view ---------------------------------------------------------------------------------------------- */

static void draw(struct follow *f)
{
    char blind[UI_TEXT_MAX] = "";
    int64_t heard = reflector_heard_ms(f->reflector), silence = heard ? loop_now_ms() - heard : 0;
    _cleanup_free_ char *notice = NULL;
    if (silence > BLIND_MS) {
        ui_format_duration(silence, blind);
        notice = xasprintf("no word from the API server for %s", blind);
    }
    struct ui_view view = {.pipeline = f->record->pipeline,
                           .run = &f->record->spec,
                           .status = &f->record->status,
                           .now_ms = wall_ms(),
                           .notice = notice};
    f->drawn_ms = view.now_ms;
    ui_update(f->ui, &view);
}

/* How a person answers a step that waits for one: once each time it does. */
static void say_approvals(struct follow *f)
{
    const struct run_status *s = &f->record->status;
    _cleanup_free_ char *hint = cluster_hint(f->cluster, f->options->where);
    if (f->n_told != s->n_steps) {
        free(f->told);
        f->told = xcalloc(s->n_steps + 1, sizeof *f->told);
        f->n_told = s->n_steps;
    }
    for (size_t i = 0; i < s->n_steps; i++) {
        bool awaits = s->steps[i].state == STATE_AWAITING_APPROVAL;
        if (awaits && !f->told[i])
            ui_say(f->ui, wall_ms(), "step %s waits for a person: %s approve %s %s%s", s->steps[i].name,
                   cli_program("trainyard"), f->record->spec.name, s->steps[i].name, hint);
        f->told[i] = awaits;
    }
}

static bool ended(const struct follow *f)
{
    const struct run_status *s = &f->record->status;
    const char *restart = f->options->after_restart;
    return run_phase_finished(s->phase) && (!restart || text_equal(restart, s->observed_restart));
}

static int take_change(struct follow *f, struct err *err)
{
    const struct seen *s = reflector_get(f->reflector, f->cluster->ns, f->record->spec.name);
    f->changed = false;
    if (!s)
        return 0;
    if (clusterrun_update(f->cluster, s->object, &f->record, err) < 0)
        return -1;
    draw(f);
    say_approvals(f);
    return 0;
}

static int64_t wait_ms(const struct follow *f)
{
    int64_t wait = ui_interval_ms(f->ui) >= 0 ? ui_interval_ms(f->ui) : IDLE_MS;
    if (f->options->timeout_ms) {
        int64_t left = f->started_mono_ms + f->options->timeout_ms - loop_now_ms();
        wait = left < wait ? left : wait;
    }
    return wait > 0 ? wait : 0;
}

static bool out_of_time(const struct follow *f)
{
    return f->options->timeout_ms && loop_now_ms() >= f->started_mono_ms + f->options->timeout_ms;
}

static int look_on(struct follow *f, struct err *err)
{
    while (!ended(f) && !f->interrupted && !out_of_time(f)) {
        if (f->deleted)
            return err_fail(err, ERR_NOTFOUND, EXITCODE_NOINPUT, "deleted",
                            "run %s was deleted while it was being watched", f->record->spec.name);
        if (loop_step(f->loop, wait_ms(f), err) < 0 || (f->changed && take_change(f, err) < 0))
            return -1;
        int interval = ui_interval_ms(f->ui);
        if (interval >= 0 && wall_ms() >= f->drawn_ms + interval)
            draw(f);
    }
    return 0;
}

static int last_words(struct follow *f, struct err *err)
{
    _cleanup_free_ char *hint = cluster_hint(f->cluster, f->options->where);
    const char *program = cli_program("trainyard"), *name = f->record->spec.name;
    if (ended(f)) {
        f->ui = ui_free(f->ui);
        return command_say_end(f->record, NULL, f->options->json, hint, err) < 0
                   ? -1
                   : command_exit_code(f->record);
    }
    ui_say(f->ui, wall_ms(), "%s; the run goes on: look again with %s watch %s%s, end it with %s stop %s%s",
           f->interrupted ? "interrupted" : "the time to watch is over", program, name, hint, program, name,
           hint);
    return f->interrupted ? EXIT_RUN_STOPPED : EXITCODE_TEMPFAIL;
}

int follow_run(const struct cluster *c, const char *name, const struct follow_options *o, struct err *err)
{
    struct follow f = {.cluster = c, .options = o, .signal_fd = -1, .started_mono_ms = loop_now_ms()};
    sigset_t before;
    (void)sigprocmask(SIG_SETMASK, NULL, &before);
    int r = clusterrun_get(c, name, &f.record, NULL, err);
    f.ui = ui_new(stderr, o->plain, o->json);
    if (r == 0 && !ended(&f))
        r = begin(&f, &before, err);
    if (r == 0 && f.reflector) {
        struct ui_view view = {.pipeline = f.record->pipeline,
                               .run = &f.record->spec,
                               .status = &f.record->status,
                               .now_ms = wall_ms()};
        ui_begin(f.ui, &view);
        draw(&f);
        say_approvals(&f);
        r = look_on(&f, err);
    }
    if (r == 0)
        r = last_words(&f, err);
    release(&f, &before);
    return r;
}
