#include "operator/cli/local/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/failpoint.h"
#include "common/base/fs.h"
#include "common/base/limits.h"
#include "operator/cli/local/workers-internal.h"

enum { MESSAGE_MAX = 12288 }; /* what a kubelet keeps of a termination message */

struct workers {
    struct workers_config config;
    struct attempt **attempts;
    size_t n, capacity;
    /* What workers_observe() hands out. */
    struct observed_attempt *seen;
    struct observed_pod *pods;
};

static int64_t now(const struct workers *w)
{
    return w->config.clock->wall_ms(w->config.clock->ctx);
}

static int64_t n_ranks(const struct attempt *a)
{
    return a->workers * a->per_worker;
}

/* <run>/secrets/<name> → the directory that --secret named. */
static int link_secrets(const struct record *r, struct err *err)
{
    _cleanup_free_ char *dir = record_path(r, "secrets");
    const cJSON *s;
    if (fs_remove_tree(dir, err) < 0 || fs_mkdir_p(dir, err) < 0)
        return -1;
    cJSON_ArrayForEach(s, r->options.secrets)
    {
        _cleanup_free_ char *path = fs_join(dir, s->string);
        if (symlink(s->valuestring, path) < 0)
            return err_errno(err, errno, "cannot make %s", path);
    }
    return 0;
}

int workers_new(const struct workers_config *config, struct workers **ret, struct err *err)
{
    if (link_secrets(config->record, err) < 0)
        return -1;
    struct workers *w = xcalloc(1, sizeof *w);
    w->config = *config;
    *ret = w;
    return 0;
}

static void attempt_free(struct attempt *a)
{
    for (int64_t i = 0; a->ranks && i < n_ranks(a); i++) {
        free(a->ranks[i].message);
        free(a->ranks[i].detail);
    }
    free(a->ranks);
    free(a->dir);
    free(a);
}

struct workers *workers_free(struct workers *w)
{
    if (!w)
        return NULL;
    for (size_t i = 0; i < w->n; i++)
        attempt_free(w->attempts[i]);
    free(w->attempts);
    free(w->seen);
    free(w->pods);
    free(w);
    return NULL;
}

char *workers_attempt_dir(const struct record *r, const char *job_name)
{
    return fs_join(r->dir, job_name);
}

char *workers_log_name(int rank)
{
    return xasprintf("log-%d.txt", rank);
}

static struct attempt *find(const struct workers *w, size_t step, int64_t item, int number)
{
    for (size_t i = 0; i < w->n; i++) {
        struct attempt *a = w->attempts[i];
        if (a->step == step && a->item == item && a->number == number)
            return a;
    }
    return NULL;
}

/* --- starting --------------------------------------------------------------------------------------- */

static void rank_cannot_start(struct rank *r, const struct err *why, int64_t now_ms)
{
    r->phase = POD_FAILED;
    r->exit_code = err_exit_code(why);
    r->detail = xstrdup(why->msg);
    r->finished_ms = now_ms;
}

void workers_start(struct workers *w, const struct job *job)
{
    if (find(w, job->step, job->item, job->attempt))
        return;
    const struct step *step = &w->config.record->pipeline->steps[job->step];
    struct attempt *a = xcalloc(1, sizeof *a);
    *a = (struct attempt){.step = job->step,
                          .item = job->item,
                          .restart = job->restart,
                          .number = job->attempt,
                          .workers = job->workers > 0 ? job->workers : 1,
                          .per_worker = 1};
    a->created_ms = now(w);
    a->oom_kills = process_oom_kills();
    a->dir = workers_attempt_dir(w->config.record, job->name);
    w->attempts = grow_array(w->attempts, &w->capacity, w->n, sizeof *w->attempts);
    w->attempts[w->n++] = a;

    struct launch launch = {0};
    struct err err = ERR_INIT;
    failpoint("runner.start.before");
    bool prepared = launch_prepare(&w->config, step, job, a->dir, &launch, &err) == 0;
    if (prepared)
        a->per_worker = launch.per_worker;
    a->ranks = xcalloc((size_t)n_ranks(a), sizeof *a->ranks);
    (void)progress_begin(w->config.progress, step->name, job->attempt, job->item);
    for (int i = 0; i < n_ranks(a); i++) {
        struct rank *r = &a->ranks[i];
        *r = (struct rank){.phase = POD_RUNNING, .exit_code = -1, .started_ms = a->created_ms};
        if (!prepared || launch_rank(&launch, i, &r->pid, &err) < 0) {
            r->pid = 0;
            rank_cannot_start(r, &err, a->created_ms);
            prepared = false; /* the rest would wait for this one in vain */
        }
    }
    failpoint("runner.start.after");
}

/* --- ending ------------------------------------------------------------------------------------------ */

static void signal_ranks(const struct attempt *a, int signal)
{
    for (int64_t i = 0; i < n_ranks(a); i++) {
        if (a->ranks[i].pid > 0)
            process_signal_group(a->ranks[i].pid, signal);
    }
}

void workers_stop(struct workers *w, size_t step, int64_t item, int number)
{
    struct attempt *a = find(w, step, item, number);
    if (!a || a->over || a->kill_at_ms)
        return;
    a->kill_at_ms = now(w) + w->config.grace_ms;
    signal_ranks(a, SIGTERM);
}

void workers_kill(struct workers *w)
{
    for (size_t i = 0; i < w->n; i++)
        signal_ranks(w->attempts[i], SIGKILL);
}

int64_t workers_deadline(const struct workers *w)
{
    int64_t first = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct attempt *a = w->attempts[i];
        if (!a->over && a->kill_at_ms && (!first || a->kill_at_ms < first))
            first = a->kill_at_ms;
    }
    return first;
}

size_t workers_running(const struct workers *w)
{
    size_t running = 0;
    for (size_t i = 0; i < w->n; i++) {
        for (int64_t k = 0; k < n_ranks(w->attempts[i]); k++)
            running += w->attempts[i]->ranks[k].pid > 0;
    }
    return running;
}

/* The result file, cut where a kubelet would cut it. */
static char *read_message(const char *dir, int rank)
{
    _cleanup_free_ char *path = launch_result_path(dir, rank);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *text = xmalloc(MESSAGE_MAX + 1);
    size_t len = 0;
    ssize_t n = 0;
    while (fd >= 0 && len < MESSAGE_MAX && (n = read(fd, text + len, MESSAGE_MAX - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return len > 0 ? steal_ptr(text) : NULL;
}

static void rank_ended(const struct workers *w, struct attempt *a, int rank, const struct process_end *end)
{
    struct rank *r = &a->ranks[rank];
    r->pid = 0;
    r->phase = end->exit_code == 0 ? POD_SUCCEEDED : POD_FAILED;
    r->exit_code = end->signal ? 128 + end->signal : end->exit_code;
    r->signal = end->signal;
    r->max_rss_bytes = end->max_rss_bytes;
    r->cpu_ms = end->cpu_ms;
    r->finished_ms = now(w);
    r->message = read_message(a->dir, rank);
    if (end->signal == SIGKILL && !a->kill_at_ms && a->oom_kills >= 0 && process_oom_kills() > a->oom_kills) {
        r->reason =
            "OOMKilled"; /* the kernel killed something for memory since, and nobody here sent this signal */
        r->detail = xstrdup("killed with SIGKILL while the machine ran out of memory");
    } else if (end->signal) {
        r->detail = xasprintf("ended by signal %d (%s)", end->signal, strsignal(end->signal));
    }
    failpoint("runner.result");
}

static bool attempt_poll(struct workers *w, struct attempt *a, int64_t now_ms)
{
    bool changed = false, alive = false;
    for (int i = 0; i < n_ranks(a); i++) {
        struct process_end end;
        if (a->ranks[i].pid == 0)
            continue;
        if (process_reap(a->ranks[i].pid, &end)) {
            rank_ended(w, a, i, &end);
            changed = true;
        } else {
            alive = true;
        }
    }
    if (alive && a->kill_at_ms && now_ms >= a->kill_at_ms) {
        signal_ranks(a, SIGKILL);
        a->kill_at_ms = now_ms + 1000; /* and again, should one escape */
    }
    if (!alive && !a->over) {
        a->over = changed = true;
        progress_end(w->config.progress, w->config.record->pipeline->steps[a->step].name, a->number, a->item);
        if (!w->config.record->options.keep_scratch)
            launch_remove_scratch(a->dir, n_ranks(a));
    }
    return changed;
}

bool workers_poll(struct workers *w)
{
    bool changed = false;
    int64_t now_ms = now(w);
    for (size_t i = 0; i < w->n; i++) {
        if (!w->attempts[i]->over)
            changed |= attempt_poll(w, w->attempts[i], now_ms);
    }
    return changed;
}

/* --- what is seen ------------------------------------------------------------------------------------- */

/* A pod is a worker; its ranks stand for its containers: the first that failed speaks for it. */
static struct observed_pod observe_pod(const struct attempt *a, int worker)
{
    struct observed_pod pod = OBSERVED_POD_INIT;
    const struct rank *speaker = &a->ranks[worker * a->per_worker];
    bool running = false;
    for (int i = 0; i < a->per_worker; i++) {
        const struct rank *r = &a->ranks[worker * a->per_worker + i];
        running |= r->phase == POD_RUNNING;
        if (r->phase == POD_FAILED && speaker->phase != POD_FAILED)
            speaker = r;
    }
    pod.worker = worker;
    pod.phase = speaker->phase == POD_FAILED ? POD_FAILED : running ? POD_RUNNING : POD_SUCCEEDED;
    pod.exit_code = speaker->exit_code;
    pod.signal = speaker->signal;
    pod.reason = speaker->reason;
    pod.message = speaker->message;
    pod.detail = speaker->detail;
    pod.started_ms = speaker->started_ms;
    pod.finished_ms = pod.phase == POD_RUNNING ? 0 : speaker->finished_ms;
    return pod;
}

static bool is_gone(const struct workers *w, const struct run_status *status, size_t step, size_t item)
{
    const struct item_status *i = &status->steps[step].items[item];
    return i->attempt > 0 && !i->attempt_over && (i->state == STATE_RUNNING || i->state == STATE_RETRYING) &&
           !find(w, step, (int64_t)item, i->attempt);
}

static size_t count_gone(const struct workers *w, const struct run_status *status)
{
    size_t n = 0;
    for (size_t s = 0; s < status->n_steps; s++) {
        for (size_t i = 0; i < status->steps[s].n_items; i++)
            n += is_gone(w, status, s, i);
    }
    return n;
}

void workers_observe(struct workers *w, const struct run_status *status, struct observed *ret)
{
    size_t n_pods = 0, pod = 0, n = 0;
    for (size_t i = 0; i < w->n; i++)
        n_pods += (size_t)w->attempts[i]->workers;
    free(w->seen);
    free(w->pods);
    w->seen = xcalloc(w->n + count_gone(w, status) + 1, sizeof *w->seen);
    w->pods = xcalloc(n_pods + 1, sizeof *w->pods);
    for (size_t i = 0; i < w->n; i++) {
        const struct attempt *a = w->attempts[i];
        const struct progress_entry *p =
            progress_find(w->config.progress, w->config.record->pipeline->steps[a->step].name, a->number,
                          a->item);
        struct observed_attempt *o = &w->seen[n++];
        *o = OBSERVED_ATTEMPT_INIT;
        o->step = a->step;
        o->item = a->item;
        o->restart = a->restart;
        o->attempt = a->number;
        o->deleting = a->kill_at_ms != 0;
        o->created_ms = a->created_ms;
        o->pods = &w->pods[pod];
        o->n_pods = (size_t)a->workers;
        for (int worker = 0; worker < a->workers; worker++)
            w->pods[pod++] = observe_pod(a, worker);
        if (p) {
            o->progress = p->fraction;
            o->checkpoint_step = p->checkpoint_step;
        }
    }
    for (size_t s = 0; s < status->n_steps; s++) {
        for (size_t i = 0; i < status->steps[s].n_items; i++) {
            if (!is_gone(w, status, s, i))
                continue;
            struct observed_attempt *o = &w->seen[n++];
            *o = OBSERVED_ATTEMPT_INIT;
            o->step = s;
            o->item = (int64_t)i;
            o->restart = status->steps[s].items[i].restart;
            o->attempt = status->steps[s].items[i].attempt;
            o->gone = true;
        }
    }
    *ret = (struct observed){.attempts = w->seen, .n = n};
}

void workers_forget(struct workers *w, const struct run_status *status)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct attempt *a = w->attempts[i];
        const struct step_status *s = &status->steps[a->step];
        bool listed = (size_t)a->item < s->n_items;
        bool recorded = listed && (s->items[a->item].attempt != a->number || s->items[a->item].attempt_over);
        if (a->over && a->measured && recorded)
            attempt_free(a);
        else
            w->attempts[kept++] = a;
    }
    w->n = kept;
}

bool workers_next_measure(struct workers *w, struct workers_measure *ret)
{
    for (size_t i = 0; i < w->n; i++) {
        struct attempt *a = w->attempts[i];
        if (!a->over || a->measured)
            continue;
        a->measured = true;
        *ret = (struct workers_measure){.step = a->step, .item = a->item, .exit_code = 0};
        for (int k = 0; k < n_ranks(a); k++) {
            const struct rank *r = &a->ranks[k];
            ret->max_rss_bytes += r->max_rss_bytes;
            ret->cpu_ms += r->cpu_ms;
            if (ret->exit_code == 0 && r->phase == POD_FAILED) {
                ret->exit_code = r->exit_code;
                ret->signal = r->signal;
            }
        }
        _cleanup_result_ struct result result = {0};
        struct err err = ERR_INIT;
        ret->memoised = a->ranks[0].message &&
                        result_parse(a->ranks[0].message, strlen(a->ranks[0].message), &result, &err) == 0 &&
                        result.cached;
        return true;
    }
    return false;
}
